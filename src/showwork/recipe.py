"""The recipe: a strict YAML file of values, its schema, and how it is loaded, overridden and identified.

Every key is declared here; an unknown key, a wrong type or a value out of range is an error that names the
path and the nearest right key. Behaviour is chosen by name from plain dicts elsewhere; this module only
holds values.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class RecipeError(ValueError):
    """A recipe that cannot be used; the message is one clear line."""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


_Section = TypeVar("_Section", bound=Part)


class Lora(Part):
    rank: int = Field(default=16, gt=0)
    alpha: float = Field(default=32.0, gt=0)


class Model(Part):
    """`name` is "tiny" or a folder of a base model; `prompt` a key of `trace.INSTRUCTIONS`."""

    name: str = "tiny"
    prompt: str = "none"
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


class Sft(Part):
    """LoRA fine-tuning on worked traces. `traces` caps how many distinct ones are seen."""

    traces: int = Field(default=4_000, gt=0)
    epochs: float = Field(default=3.0, gt=0)
    batch: int = Field(default=32, gt=0)
    accumulate: int = Field(default=1, gt=0)
    learning_rate: float = Field(default=2e-3, gt=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    eval_every: int = Field(default=50, gt=0)


class Grpo(Part):
    """GRPO. `prompts` × `group` completions a step; β is the weight of the KL against the SFT policy;
    `choose` says which adapter is kept: the one that did best on dev, or the last; `start` where it begins:
    at the policy that SFT left, or at the base with a fresh adapter (then there is no SFT)."""

    start: Literal["sft", "base"] = "sft"
    steps: int = Field(default=80, gt=0)
    prompts: int = Field(default=16, gt=0)
    group: int = Field(default=8, ge=2)
    micro_prompts: int | None = Field(default=None, gt=0)
    learning_rate: float = Field(default=5e-4, gt=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    beta: float = Field(default=0.03, ge=0)
    epsilon: float = Field(default=0.2, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    max_tokens: int = Field(default=128, gt=0)
    refill: bool = False
    choose: Literal["best", "last"] = "best"
    eval_every: int = Field(default=20, gt=0)


class Checkpoint(Part):
    """How often training saves, by the clock and (None: not) by steps; the newest `keep` files stay, and
    those at multiples of `keep_every` steps."""

    minutes: float = Field(default=30.0, gt=0)
    steps: int | None = Field(default=None, gt=0)
    keep: int = Field(default=2, ge=1)
    keep_every: int | None = Field(default=None, gt=0)


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
    rubrics: dict[str, str] = {}

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
        _apply(tree, override)
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


def read_tree(path: Path, where: str, example: str) -> dict[str, Any]:
    """The mapping in a YAML file; RecipeError, which begins with `where`, for everything else."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(
            f"{where}: cannot be read ({error.strerror}); give a YAML file, e.g. {example}"
        ) from None
    except UnicodeDecodeError:
        raise RecipeError(f"{where}: is not UTF-8 text") from None
    try:
        tree = yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise RecipeError(f"{where}: is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or number that cannot be
        raise RecipeError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise RecipeError(f"{where}: must be a mapping of keys to values, is {type(tree).__name__}")
    return tree


def validated(model: type[_Section], tree: Any, where: str) -> _Section:
    """A section of a schema from plain values; RecipeError as `validate` says."""
    try:
        # By way of JSON, in which pydantic's strictness still lets a list be a tuple.
        return model.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        errors = error.errors()
        # An unknown key explains a missing one, so it comes first.
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
        keys = ".".join(str(k) for k in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _known_keys(model, first["loc"][:-1])
            near = difflib.get_close_matches(str(first["loc"][-1]), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
            raise RecipeError(f"{where}: unknown key {keys!r}; {hint}") from None
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        if first["type"] == "missing":
            raise RecipeError(f"{where}: the key {keys!r} is missing{more}") from None
        message = first["msg"].removeprefix("Value error, ")
        got = f", got {_short(first.get('input'))}" if first["type"] != "value_error" else ""
        raise RecipeError(f"{where}: {keys}{': ' if keys else ''}{message}{got}{more}") from None
    except (TypeError, ValueError, RecursionError):
        raise RecipeError(
            f"{where}: holds values that are no plain YAML (a cycle, or keys of other kinds)"
        ) from None


def resolve(recipe: Recipe) -> dict[str, Any]:
    """Every value, defaults included, as plain JSON-able values."""
    return recipe.model_dump(mode="json")


def identity(recipe: Recipe) -> str:
    """16 hex digits that are equal exactly for recipes with equal resolved values."""
    return hashlib.sha256(json.dumps(resolve(recipe), sort_keys=True).encode()).hexdigest()[:16]


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads `1e-5` as text (it wants a dot); users mean the number. A key given twice is an error,
    where YAML would silently take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} occurs twice", key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?\d[\d_]*(?:\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise RecipeError(f"override {override!r}: must look like a.b=value, e.g. grpo.steps=40")
    at = tree
    for part in parts[:-1]:
        child = at.get(part)
        if child is None:
            child = at[part] = {}
        if not isinstance(child, dict):
            raise RecipeError(f"override {override!r}: {part!r} is a value, not a section")
        at = child
    try:
        at[parts[-1]] = yaml.load(value, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise RecipeError(f"override {override!r}: the value is not valid YAML") from None


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _known_keys(model: Any, path: Sequence[int | str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        if field is None:
            return []
        arguments = [field.annotation, *getattr(field.annotation, "__args__", ())]
        models = [a for a in arguments if isinstance(a, type) and issubclass(a, BaseModel)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)
