"""How long a run takes, stage by stage, and whether its hours suffice: one answer for plan and preflight.

`stages` lays out the run. What its parts take is `Seconds`: counted work over a device's rates (`counted`), or
measured on this machine (`measured`). What is stated and not counted is named in `STATED`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from everystep.core.recipe import Recipe
from everystep.core.run import stages_of
from everystep.core.sizes import DEV_TASKS, bucket, padded, reserved_minutes
from everystep.forecast.devices import EFFICIENCY
from everystep.forecast.findings import Finding, amber, green, red
from everystep.forecast.lengths import Lengths
from everystep.forecast.measured import Pace, Samples
from everystep.forecast.programs import micro, prompt_tokens, sharing
from everystep.forecast.rates import dead_share, refill_draws
from everystep.forecast.work import Machine

TOO_LONG, TIGHT = 1.2, 0.8  # time needed over time given
# Rows of the public test and training sets, where a recipe does not cap them.
_ROWS = {"gsm8k": (1_319, 7_473), "svamp": (300, 700)}
_UNKNOWN = 1_000  # rows of a file that is not looked into
_DEAD = 0.3  # share of groups in which all completions earn the same, where groups are refilled
_SOUND = 0.4  # share of the stock model's completions that become SFT data
_GRADING = 0.002  # seconds a completion for grading and scoring it on the host
_BESIDE = 0.3  # seconds a step for all else on the host

STATED = (
    f"prompts as long as data.max_prompt_tokens; {_DEAD:.0%} of the groups dead, where grpo.refill replaces "
    f"them; {_GRADING * 1000:g} ms to grade a completion, {_BESIDE} s a step for the rest on the host"
)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage's seconds, and in words of what they are made."""

    name: str
    seconds: float
    what: str


@dataclass(frozen=True, slots=True)
class Step:
    """Seconds of one GRPO step, by phase."""

    rollout: float
    reference: float
    update: float
    host: float

    @property
    def total(self) -> float:
        return self.rollout + self.reference + self.update + self.host


@dataclass(frozen=True, slots=True)
class Seconds:
    """What the parts of a run take. `data`: with loading and the report; `evaluate`: so many tasks; `draw`: so
    many completions for each of so many questions, for self-made data; `sft`: the first step and a further
    one, `grpo_first`: GRPO's first beyond `grpo` (None: the stage is done); `compiling`: what first steps do
    not hold."""

    data: float
    evaluate: Callable[[int], float]
    draw: Callable[[int, int], float]
    sft: tuple[float, float] | None
    grpo: Step | None
    grpo_first: float = 0.0
    compiling: tuple[float, str] = (0.0, "")


def stages(
    recipe: Recipe, counts: Mapping[str, int], sft_steps: int, seconds: Seconds, done: frozenset[str] = frozenset()
) -> list[Stage]:
    """The stages that are left, in their order. `counts`: tasks by set ("sft", "dev", "test"); `done`: "data",
    "self", "sft", "grpo", "evaluate STAGE"."""
    config, own, out = recipe.grpo, recipe.sft.self_made, list[Stage]()
    if "data" not in done:
        out.append(Stage("data, loading, report", seconds.data, "assumed" if seconds.compiling[1] else "measured"))
    for stage in stages_of(recipe):
        if stage == "sft" and recipe.sft.data == "self" and not {"self", "sft", "grpo"} & done:
            asked, probed = min(own.tasks, counts["sft"]), min(own.probe, counts["sft"])
            spent = seconds.draw(asked, own.samples)
            if len(own.prompts) > 1:
                spent += len(own.prompts) * seconds.draw(probed, 1)
            out.append(Stage("self-made data", spent, f"{asked} questions x {own.samples}"))
        if stage == "sft" and seconds.sft is not None:
            first, each = seconds.sft
            what = f"{sft_steps} steps of {recipe.sft.batch * recipe.sft.accumulate} traces"
            out.append(Stage("sft", first + sft_steps * each, what))
        if stage == "grpo" and seconds.grpo is not None:
            each = seconds.grpo.total
            what = f"{config.steps} steps of {each:.1f} s"
            out.append(Stage("grpo", seconds.grpo_first + config.steps * each, what))
            looks, dev = math.ceil(config.steps / config.eval_every), min(DEV_TASKS, counts["dev"])
            if dev:
                out.append(Stage("looks at dev", looks * seconds.evaluate(dev), f"{looks} x {dev} tasks"))
        if f"evaluate {stage}" not in done:
            out.append(Stage(f"evaluate {stage}", seconds.evaluate(counts["test"]), f"{counts['test']} tasks"))
    if seconds.compiling[1]:
        out.append(Stage("compiling", *seconds.compiling))
    return out


def hours(spent: Sequence[Stage], recipe: Recipe, beside: Mapping[str, Any] | None = None, note: str = "") -> Finding:
    """Do the stages fit the recipe's hours, less what a session keeps free at its end? `beside`: further
    figures; `note`: said at the end."""
    need = math.fsum(s.seconds for s in spent)
    given = recipe.hours * 3600 - 60 * reserved_minutes(recipe.hours)
    share = need / given
    figures = {"hours": recipe.hours, "needed": need / 3600, "minutes": {s.name: s.seconds / 60 for s in spent}}
    each = ", ".join(f"{s.name} {_time(s.seconds)}" for s in spent if s.seconds > need / 50)
    said = f"{_time(need)} of {_time(given)}: {each}{note}"
    figures |= beside or {}
    if share <= TIGHT:
        return green("hours", said, figures)
    trained = math.fsum(s.seconds for s in spent if s.name in ("grpo", "looks at dev"))
    fit = steps_that_fit(recipe, need, trained, given) if trained else 0
    fewer = f"grpo.steps={fit} fits the hours (a run shrinks its plan to that by itself)"
    if share > TOO_LONG:
        return red("hours", said, fewer if fit else "more hours: the rest of the run takes them all", figures)
    suggestion = fewer if share > 1 and fit else "tight: the plan and its learning rate shrink if steps get slower"
    return amber("hours", said, suggestion, figures)


def measured(
    pace: Pace, samples: Samples | None, recipe: Recipe, gold: Sequence[int], prepared: float, rounds: int
) -> tuple[Seconds, float]:
    """What was measured, and by how much it was stretched. `gold`: lengths of gold texts; `prepared`: seconds
    that the data took; `rounds`: of refills.

    A base that was measured before SFT writes other lengths than the policy that SFT leaves, so its times are
    stretched to the mean length of the gold texts where that is more.
    """
    stretch = 1.0
    if samples is not None and not samples.ready and gold:
        stretch = max(1.0, math.fsum(gold) / len(gold) / max(1.0, math.fsum(samples.lengths) / len(samples.lengths)))
    grpo = None
    if pace.grpo is not None:
        dead = dead_share(samples.kinds, recipe.grpo.group).value if samples is not None else 1.0
        rollout = pace.rollout * (1 + refill_draws(dead, rounds))
        grpo = Step(stretch * rollout, 0.0, stretch * (pace.grpo.each - pace.rollout), 0.0)
    return Seconds(
        prepared,
        evaluate=lambda count: count * pace.sample * stretch,
        draw=lambda questions, n: questions * n * pace.sample,
        sft=(pace.sft.first, pace.sft.each) if pace.sft else None,
        grpo=grpo,
        grpo_first=pace.grpo.first if pace.grpo else 0.0,
    ), stretch


def counted(recipe: Recipe, machine: Machine, stock: Lengths, trained: Lengths, written: Lengths) -> Seconds:
    """Counted work on a device. Lengths of completions: `stock` in self-made data, `trained` in GRPO,
    `written` in evaluations."""
    length, own, sft = prompt_tokens(recipe), recipe.sft.self_made, recipe.sft
    reach, shapes = EFFICIENCY[machine.device.family], _shapes(recipe)

    def decoding(count: int, batch: int, n: int, most: int, lengths: Lengths) -> float:
        batch = min(batch, count)
        each = machine.decoding(batch, n, length, most, lengths)
        return math.ceil(count / batch) * each + count * n * _GRADING

    # Rows of similar length lie side by side: a batch is hardly longer than its mean.
    mean = padded(length + 1.2 * trained.mean)
    return Seconds(
        reach.fixed,
        evaluate=lambda count: decoding(count, recipe.evaluate.batch, 1, recipe.evaluate.max_tokens, written),
        draw=lambda questions, n: decoding(questions, own.batch, n, own.max_tokens, stock),
        sft=(0.0, sft.accumulate * machine.update(sft.batch, 0, 0, mean) + _BESIDE),
        grpo=_step(recipe, machine, trained),
        compiling=(shapes * reach.compile, f"{shapes} shapes, {reach.compile:g} s each, once"),
    )


def counted_sft_steps(recipe: Recipe, counts: Mapping[str, int]) -> int:
    """How many steps SFT makes, where the share of self-made completions that become traces is assumed."""
    sft, own = recipe.sft, recipe.sft.self_made
    traces = min(sft.traces, counts["sft"])
    if sft.data == "self":
        asked = min(own.tasks, counts["sft"])
        traces = min(traces, math.ceil(asked * min(own.per_task, own.samples * _SOUND)))
    return max(1, math.ceil(traces * sft.epochs / (sft.batch * sft.accumulate)))


def _step(recipe: Recipe, machine: Machine, trained: Lengths) -> Step:
    config, length = recipe.grpo, prompt_tokens(recipe)
    # For refills half as many again as are dead, drawn along with the step's own.
    prompts = config.prompts + (math.ceil(1.5 * _DEAD * config.prompts) if config.refill else 0)
    rollout = machine.decoding(prompts, config.group, length, config.max_tokens, trained)
    # Groups with short completions come first, so a micro-batch is as long as its own longest one.
    micros = math.ceil(config.prompts / micro(recipe))
    rows = micro(recipe) * config.group
    computed = rows / sharing(recipe, machine.device.chips)
    last = padded(min(config.max_tokens, trained.longest(rows)))
    return Step(
        rollout,
        micros * machine.passing(rows, computed, length, last) if config.beta else 0.0,
        micros * machine.update(rows, computed, length, last),
        prompts * config.group * _GRADING + _BESIDE,
    )


def _shapes(recipe: Recipe) -> int:
    """How many shapes are compiled, at least: for each length of prompts that comes up, of which half are
    taken to, a prefill and a chunk for every number of rows; updates and references for every length."""
    config, lengths = recipe.grpo, max(1, prompt_tokens(recipe) // padded(1) // 2)

    def decoding(prompts: int, n: int) -> int:
        return lengths * (1 + int(math.log2(bucket(prompts * n) // bucket(1))) + 1)

    count = decoding(config.prompts, config.group) + decoding(recipe.evaluate.batch, 1)
    count += (2 if config.beta else 1) * math.ceil(padded(config.max_tokens) / padded(1) / 2)
    if config.start == "sft":
        count += max(1, padded(recipe.data.max_trace_tokens) // padded(1) // 2)
        if recipe.sft.data == "self":
            count += decoding(recipe.sft.self_made.batch, recipe.sft.self_made.samples)
    return count


def tasks(recipe: Recipe) -> dict[str, int]:
    """How many tasks the recipe's sources have: "train", "sft", "dev", "test"; of files that are not looked
    into, as many as the recipe takes at most."""
    out = {"train": 0, "dev": 0, "test": 0}
    for name in ("worked", "gsm8k", "svamp", "jsonl"):
        source = getattr(recipe.data, name)
        if source is None:
            continue
        test, train = _ROWS.get(name, (_UNKNOWN, _UNKNOWN))
        if name == "worked":
            test, train = source.test, source.train
        out["test"] += min(test, source.test or test)
        out["train"] += min(train, source.train or train)
        out["dev"] += source.dev
    return out | {"sft": out["train"]}


def steps_that_fit(recipe: Recipe, seconds: float, grpo: float, given: float) -> int:
    """How many steps of GRPO fit the time given, where all take `seconds` and `grpo` of them are GRPO's (its
    looks at dev included): 0 where even the rest does not fit.

    >>> from everystep.core.recipe import Data, Grpo, WorkedSource
    >>> recipe = Recipe(name="x", data=Data(worked=WorkedSource()), grpo=Grpo(steps=100))
    >>> steps_that_fit(recipe, 1000.0, 800.0, 600.0)
    50
    """
    free = given - (seconds - grpo)
    return max(0, int(recipe.grpo.steps * min(1.0, free / grpo)))


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.1f} min"
