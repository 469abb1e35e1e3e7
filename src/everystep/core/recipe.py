"""The recipe: a strict YAML file of values, its schema, and how it is loaded, overridden and identified.

Every key is declared here; how a file is read against it is in `core/strict.py`. Behaviour is chosen by name from
plain dicts elsewhere; this module only holds values.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from everystep.core.strict import Part, apply, read_tree, validated


class Lora(Part):
    rank: int = Field(default=16, gt=0)
    alpha: float = Field(default=32.0, gt=0)


class Model(Part):
    """`name` is "tiny", a folder, a hub id, a Kaggle handle or a run (docs/real-models.md); `prompt` a key of
    `trace.INSTRUCTIONS`; `weights` whether every device has all of them, or a part ("fsdp")."""

    name: str = "tiny"
    prompt: str = "none"
    weights: Literal["replicated", "fsdp"] = "replicated"
    lora: Lora = Lora()


class WorkedSource(Part):
    """Our own generators. `sft_levels` bounds what SFT may see; `levels` is everything else."""

    weight: float = Field(default=1.0, gt=0)
    generators: tuple[str, ...] = ()
    levels: tuple[int, ...] = (1, 2, 3, 4, 5)
    sft_levels: tuple[int, ...] = (1, 2)
    train: int = Field(default=20_000, gt=0)
    dev: int = Field(default=200, gt=0)
    test: int = Field(default=600, gt=0)


class FileSource(Part):
    """A source read from files. `path` names the file or folder; without it the hub is asked.

    `dev` rows are taken from the training split by content hash; `test` and `train` cap the number of rows
    (None: all).
    """

    path: str | None = None
    weight: float = Field(default=1.0, gt=0)
    train: int | None = Field(default=None, gt=0)
    dev: int = Field(default=200, gt=0)
    test: int | None = Field(default=None, gt=0)


class Data(Part):
    """Which sources, and how many rows filters may drop before the run is stopped (a share of the rows)."""

    worked: WorkedSource | None = None
    gsm8k: FileSource | None = None
    svamp: FileSource | None = None
    jsonl: FileSource | None = None
    max_dropped: float = Field(default=0.05, ge=0, le=1)
    max_prompt_tokens: int = Field(default=96, gt=0)
    max_trace_tokens: int = Field(default=128, gt=0)


class SelfMade(Part):
    """How the stock model makes its own SFT data.

    It is asked up to `tasks` training questions, `samples` times each, at `temperature`, for at most
    `max_tokens` tokens, `batch` questions at once. `prompts` are keys of `trace.INSTRUCTIONS`: the one with
    the most right answers to the first `probe` questions, asked greedily, is used (of equals the first). Of
    a question at most `per_task` traces are kept; of one level of a source at most `balance` times the
    median over all levels. Fewer than `least` traces in all stop the run.
    """

    prompts: tuple[str, ...] = Field(default=("steps", "examples", "none"), min_length=1)
    probe: int = Field(default=64, gt=0)
    tasks: int = Field(default=2_000, gt=0)
    samples: int = Field(default=4, gt=0)
    temperature: float = Field(default=0.7, gt=0)
    max_tokens: int = Field(default=400, gt=0)
    batch: int = Field(default=64, gt=0)
    per_task: int = Field(default=1, gt=0)
    balance: float = Field(default=1.5, ge=1)
    least: int = Field(default=32, gt=0)


class Sft(Part):
    """LoRA fine-tuning on worked traces. `data` says whose: "gold" the sources' own solutions (also those of
    a file in `data.jsonl`), "self" those that the stock model itself gets right, in our form (`self_made`).
    `traces` caps how many distinct ones are seen; `share` is how much of a session's time it may take at
    most."""

    data: Literal["gold", "self"] = "gold"
    self_made: SelfMade = SelfMade()
    traces: int = Field(default=4_000, gt=0)
    epochs: float = Field(default=3.0, gt=0)
    batch: int = Field(default=32, gt=0)
    accumulate: int = Field(default=1, gt=0)
    learning_rate: float = Field(default=2e-3, gt=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    eval_every: int = Field(default=50, gt=0)
    share: float = Field(default=0.5, gt=0, le=1)


class Grpo(Part):
    """GRPO: `prompts` × `group` completions a step.

    `start`: at the policy that SFT left, or at the base with a fresh adapter (then there is no SFT). `draw`: tasks
    whose groups are likely mixed ("difficulty"), or all alike. `choose`: which adapter is kept, the one that did
    best on dev or the last. What is learned from a group: `loss` (`train/losses.py`), with ratios clipped to
    1 - `epsilon` … 1 + `epsilon_high` (None: `epsilon`); `advantage` (`train/advantages.py`); `beta`, the weight of
    the KL against the policy that GRPO began with. What samples: `rollout` (`train/rollouts.py`); `sampler_cap`
    bounds the importance weights that correct for another engine's sampling (None: no correction). `engine`: the
    loop of `train/grpo.py`, or Tunix's own learner as it comes (docs/engine.md).
    """

    engine: Literal["everystep", "tunix-stock"] = "everystep"
    start: Literal["sft", "base"] = "sft"
    steps: int = Field(default=80, gt=0)
    prompts: int = Field(default=16, gt=0)
    group: int = Field(default=8, ge=2)
    micro_prompts: int | None = Field(default=None, gt=0)
    rollout: Literal["ours"] = "ours"
    loss: Literal["grpo", "dapo", "dr_grpo", "gspo", "cispo"] = "dapo"
    advantage: Literal["group", "dr_grpo", "rloo"] = "group"
    learning_rate: float = Field(default=5e-4, gt=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    beta: float = Field(default=0.03, ge=0)
    epsilon: float = Field(default=0.2, gt=0)
    epsilon_high: float | None = Field(default=None, gt=0)
    sampler_cap: float | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, gt=0)
    max_tokens: int = Field(default=128, gt=0)
    refill: bool = False
    draw: Literal["difficulty", "even"] = "difficulty"
    choose: Literal["best", "last"] = "best"
    eval_every: int = Field(default=20, gt=0)

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        if self.engine == "tunix-stock" and (self.loss == "cispo" or self.sampler_cap is not None):
            raise ValueError("engine tunix-stock knows neither loss cispo nor sampler_cap (docs/engine.md)")
        if self.engine == "tunix-stock" and self.refill:
            raise ValueError("engine tunix-stock learns from the groups as they are drawn; set refill to false")
        return self


class Checkpoint(Part):
    """How often training saves, by the clock and (None: not) by steps; the newest `keep` files stay, and
    those at multiples of `keep_every` steps."""

    minutes: float = Field(default=30.0, gt=0)
    steps: int | None = Field(default=None, gt=0)
    keep: int = Field(default=2, ge=1)
    keep_every: int | None = Field(default=None, gt=0)


class Bound(Part):
    """What a metric must not pass, and what then happens: "back" to the last checkpoint with half the rate
    (once; the second time it ends), "end" the training with what was best on dev, "pause" the run, or nothing
    ("off")."""

    bound: float = Field(ge=0)
    action: Literal["back", "end", "pause", "off"]


class Watch(Part):
    """Bounds while GRPO trains: KL above so many nats a token, entropy below so many, so many steps in a row
    without a finite gradient, right answers on dev down by so much while the format holds, so many steps
    without a live group, so many without an answer of the judge."""

    kl: Bound = Bound(bound=1.0, action="back")
    entropy: Bound = Bound(bound=0.005, action="back")
    gradient: Bound = Bound(bound=3, action="back")
    hacking: Bound = Bound(bound=0.1, action="back")
    dead: Bound = Bound(bound=10, action="end")
    judge: Bound = Bound(bound=3, action="pause")

    @model_validator(mode="before")
    @classmethod
    def _partly(cls, given: Any) -> Any:
        """A bound without its action, or an action without its bound, leaves the other as it is."""
        if not isinstance(given, dict):
            return given
        usual = {name: field.default.model_dump() for name, field in cls.model_fields.items()}
        return {k: usual[k] | v if k in usual and isinstance(v, dict) else v for k, v in given.items()}


class RewardMix(Part):
    """Exactly one of `preset` (a file of `score/presets` by its name) and `parts` (weights by the name of a
    part, `score.rewards`). The other keys change how a group is scored; None: as the preset has it.

    `normalise`: "total", or "parts" for each part by itself within its group. `only_if`: part → the part
    that must be at its most for it to count. `floor`: the least deviation that a group is divided by.
    `tolerance`: a share of the gold number by which a right answer may differ. `budget`: tokens up to which
    a length is a good one.
    """

    preset: str | None = None
    parts: dict[str, float] | None = None
    normalise: Literal["total", "parts"] | None = None
    only_if: dict[str, str] | None = None
    floor: float | None = Field(default=None, gt=0)
    tolerance: float | None = Field(default=None, ge=0, lt=1)
    budget: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.preset is None) == (self.parts is None):
            raise ValueError("give either preset or parts, and not both")
        return self


class Judge(Part):
    """Who judges the work by a rubric: an OpenAI-compatible endpoint at `base_url`, or without one a local
    Gemma (`model`: "tiny" or a folder). The key is never here: `key_variable` names what holds it.

    `timeout`: seconds for one request; `patience`: for one batch, after which what is missing stays unknown.
    Prices are per million tokens. `max_calls` and `max_money` stop the judging of one process, never its
    training. `cache`: a file (None: in the user's cache folder). `rubrics`: domain → rubric, over the usual.
    """

    base_url: str | None = None
    model: str = Field(default="tiny", min_length=1)
    key_variable: str | None = None
    concurrency: int = Field(default=8, gt=0, le=256)
    retries: int = Field(default=5, ge=0, le=10)
    timeout: float = Field(default=60.0, gt=0)
    patience: float = Field(default=600.0, gt=0)
    max_tokens: int = Field(default=400, gt=0)
    input_price: float | None = Field(default=None, ge=0)
    output_price: float | None = Field(default=None, ge=0)
    max_calls: int | None = Field(default=None, ge=0)
    max_money: float | None = Field(default=None, ge=0)
    cache: str | None = None
    rubrics: dict[str, str] = Field(default={})

    @model_validator(mode="after")
    def _usable(self) -> Self:
        # None of these messages repeats the value: it may be, or hold, the key itself.
        if self.key_variable is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.key_variable):
            raise ValueError("key_variable is the name of an environment variable, not the key")
        if self.base_url is not None and not re.fullmatch(r"https?://[^\s@?#]+", self.base_url):
            raise ValueError(
                "base_url must be http(s)://host/path, without user, password or query; "
                "the key goes into a variable, and its name into key_variable"
            )
        if (self.input_price is None) != (self.output_price is None):
            raise ValueError("give input_price and output_price, or neither")
        if self.max_money is not None and self.input_price is None:
            raise ValueError("max_money needs input_price and output_price, per million tokens")
        return self


class Evaluate(Part):
    """The one evaluation for every stage: greedy, on the test split."""

    batch: int = Field(default=128, gt=0)
    max_tokens: int = Field(default=160, gt=0)


class Pretrain(Part):
    """The from-scratch training of the tiny base."""

    steps: int = Field(default=4_000, gt=0)
    batch: int = Field(default=64, gt=0)
    length: int = Field(default=160, gt=0)
    learning_rate: float = Field(default=3e-3, gt=0)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    vocabulary: int = Field(default=1024, ge=512)


class Recipe(Part):
    """One run. `export`: the formats in which the last policy is written at its end (docs/export.md).
    `log`: where metrics go besides the run directory's own rows (docs/metrics.md)."""

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    kind: Literal["run", "pretrain"] = "run"
    seed: int = Field(default=0, ge=0, lt=2**31)
    hours: float = Field(default=9.0, gt=0)
    model: Model = Model()
    data: Data
    sft: Sft = Sft()
    grpo: Grpo = Grpo()
    reward: RewardMix = RewardMix(preset="verified")
    judge: Judge | None = None
    evaluate: Evaluate = Evaluate()
    checkpoint: Checkpoint = Checkpoint()
    watch: Watch = Watch()
    export: tuple[Literal["hf", "peft", "tunix"], ...] = ()
    log: tuple[Literal["tensorboard", "wandb"], ...] = ("tensorboard",)
    pretrain: Pretrain | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        data = self.data
        if self.kind == "run" and not (data.worked or data.gsm8k or data.svamp or data.jsonl):
            raise ValueError("data names no source; give at least one of worked, gsm8k, svamp, jsonl")
        if self.kind == "pretrain" and self.pretrain is None:
            raise ValueError("kind is pretrain, but the section pretrain is missing")
        return self


def load(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and apply `a.b=value` overrides (values are YAML, `1e-5` is a number).

    Raises RecipeError, one line, for a missing file, bad YAML, an unknown key or a value of the wrong type.
    """
    tree = read_tree(Path(path), f"recipe {path}", "recipes/tiny.yaml")
    for override in overrides:
        apply(tree, override)
    return validate(tree, f"recipe {path}")


def load_reward(path: str | Path) -> RewardMix:
    """The reward section in a YAML file: the file's section `reward` where it has one, else the whole file.

    Raises RecipeError as `load` does.
    """
    tree = read_tree(Path(path), f"reward {path}", "recipes/tiny.yaml, or name a preset")
    return validated(RewardMix, tree.get("reward", tree), f"reward {path}")


def validate(tree: Any, where: str) -> Recipe:
    """A Recipe from plain values, as YAML or JSON has them; RecipeError names the first wrong path and the
    nearest right key. Types are strict: "40" is no number, `yes` is no 1, and 1 is a fine 1.0.
    """
    return validated(Recipe, tree, where)


def resolve(recipe: Recipe) -> dict[str, Any]:
    """Every value, defaults included, as plain JSON-able values."""
    return recipe.model_dump(mode="json")


# Keys that leave the result alone: they may change while a run is under way.
FREE = {
    *("hours", "export", "log", "checkpoint", "grpo.micro_prompts", "evaluate.batch", "sft.self_made.batch"),
    *(f"judge.{key}" for key in ("concurrency", "retries", "timeout", "patience", "cache", "max_calls", "max_money")),
}
EXTENDED = {"grpo.steps"}  # may grow, where the user says so: the schedule is stretched from where it is


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    """The values of a tree of mappings by their dotted keys.

    >>> flat({"a": {"b": 1}, "c": {}})
    {'a.b': 1, 'c': {}}
    """
    if not isinstance(tree, dict) or not tree:
        return {path: tree}
    rows = [flat(v, f"{path}.{k}" if path else str(k)) for k, v in tree.items()]
    return {k: v for row in rows for k, v in row.items()}


def is_free(key: str) -> bool:
    """Whether a dotted key may change while a run is under way."""
    return key in FREE or key.split(".")[0] in FREE


def identity(recipe: Recipe) -> str:
    """16 hex digits that are equal exactly for recipes with equal resolved values."""
    return _digest(resolve(recipe))


def resumable(recipe: Recipe) -> str:
    """16 hex digits that are equal for recipes of which one can go on with the other's checkpoints: all but the
    values that are `FREE` or can be `EXTENDED`."""
    return _digest({k: v for k, v in flat(resolve(recipe)).items() if not is_free(k) and k not in EXTENDED})


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
