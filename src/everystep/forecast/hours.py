"""How the hours are spent, stage by stage: counted work over a device's rates, and a few stated seconds.

What is stated and not counted is named in `STATED`, so that whoever reads a plan can judge it.
"""

import math
from dataclasses import dataclass

from everystep.core.recipe import Recipe
from everystep.core.sizes import DEV_TASKS, bucket, padded
from everystep.forecast.devices import EFFICIENCY
from everystep.forecast.lengths import Lengths
from everystep.forecast.programs import micro, prompt_tokens, sharing
from everystep.forecast.work import Machine

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
class Pace:
    """Seconds of one GRPO step, by phase."""

    rollout: float
    reference: float
    update: float
    host: float

    @property
    def step(self) -> float:
        return self.rollout + self.reference + self.update + self.host


def stages(
    recipe: Recipe, machine: Machine, stock: Lengths, trained: Lengths, written: Lengths
) -> tuple[list[Stage], Pace]:
    """The stages in their order, and the pace of GRPO. Lengths of completions: `stock` in self-made data,
    `trained` in GRPO, `written` in evaluations."""
    length, how, sft = prompt_tokens(recipe), recipe.grpo, recipe.sft
    reach = EFFICIENCY[machine.device.family]
    counts, out = tasks(recipe), [Stage("data, loading, report", reach.fixed, "assumed")]

    def evaluation(count: int) -> float:
        batch = min(recipe.evaluate.batch, count)
        each = machine.decoding(batch, 1, length, recipe.evaluate.max_tokens, written)
        return math.ceil(count / batch) * each + count * _GRADING

    out.append(Stage("evaluate base", evaluation(counts["test"]), f"{counts['test']} tasks"))
    if how.start == "sft":
        traces = min(sft.traces, counts["train"])
        if sft.data == "self":
            own = sft.self_made
            asked, probe = min(own.tasks, counts["train"]), min(own.probe, counts["train"])
            batches = math.ceil(asked / own.batch)
            seconds = batches * machine.decoding(own.batch, own.samples, length, own.max_tokens, stock)
            if len(own.prompts) > 1:
                seconds += len(own.prompts) * machine.decoding(probe, 1, length, own.max_tokens, stock)
            seconds += asked * own.samples * _GRADING
            traces = min(traces, math.ceil(asked * min(own.per_task, own.samples * _SOUND)))
            out.append(Stage("self-made data", seconds, f"{asked} questions x {own.samples}"))
        steps = max(1, math.ceil(traces * sft.epochs / (sft.batch * sft.accumulate)))
        # Rows of similar length lie side by side: a batch is hardly longer than its mean.
        mean = padded(length + 1.2 * trained.mean)
        each = sft.accumulate * machine.update(sft.batch, 0, 0, mean) + _BESIDE
        out.append(Stage("sft", steps * each, f"{steps} steps of {sft.batch * sft.accumulate} traces"))
        out.append(Stage("evaluate sft", evaluation(counts["test"]), f"{counts['test']} tasks"))
    pace = _pace(recipe, machine, trained)
    out.append(Stage("grpo", how.steps * pace.step, f"{how.steps} steps of {pace.step:.1f} s"))
    looks = math.ceil(how.steps / how.eval_every)
    dev = min(DEV_TASKS, counts["dev"])
    if dev:
        out.append(Stage("looks at dev", looks * evaluation(dev), f"{looks} x {dev} tasks"))
    out.append(Stage("evaluate grpo", evaluation(counts["test"]), f"{counts['test']} tasks"))
    shapes = _shapes(recipe)
    out.append(Stage("compiling", shapes * reach.compile, f"{shapes} shapes, {reach.compile:g} s each, once"))
    return out, pace


def _pace(recipe: Recipe, machine: Machine, trained: Lengths) -> Pace:
    how, length = recipe.grpo, prompt_tokens(recipe)
    # For refills half as many again as are dead, drawn along with the step's own.
    prompts = how.prompts + (math.ceil(1.5 * _DEAD * how.prompts) if how.refill else 0)
    rollout, drawn = (
        machine.decoding(prompts, how.group, length, how.max_tokens, trained),
        prompts / how.prompts,
    )
    # Groups with short completions come first, so a micro-batch is as long as its own longest one.
    prompts = micro(recipe)
    micros = math.ceil(how.prompts / prompts)
    rows = prompts * how.group
    computed = rows / sharing(recipe, machine.device.chips)
    last = padded(min(how.max_tokens, trained.longest(rows)))
    reference = micros * machine.passing(rows, computed, length, last) if how.beta else 0.0
    update = micros * machine.update(rows, computed, length, last)
    return Pace(rollout, reference, update, how.prompts * how.group * drawn * _GRADING + _BESIDE)


def _shapes(recipe: Recipe) -> int:
    """How many shapes are compiled, at least: for each length of prompts that comes up, of which half are
    taken to, a prefill and a chunk for every number of rows; updates and references for every length."""
    how, length = recipe.grpo, prompt_tokens(recipe)
    lengths = max(1, length // 32 // 2)

    def decoding(prompts: int, n: int) -> int:
        return lengths * (1 + int(math.log2(bucket(prompts * n) // 16)) + 1)

    count = decoding(how.prompts, how.group) + decoding(recipe.evaluate.batch, 1)
    count += (2 if how.beta else 1) * math.ceil(padded(how.max_tokens) / 32 / 2)
    if how.start == "sft":
        count += max(1, padded(recipe.data.max_trace_tokens) // 32 // 2)
        if recipe.sft.data == "self":
            count += decoding(recipe.sft.self_made.batch, recipe.sft.self_made.samples)
    return count


def tasks(recipe: Recipe) -> dict[str, int]:
    """How many tasks the recipe's sources have: "train", "dev", "test"; of files that are not looked into, as
    many as the recipe takes at most."""
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
    return out


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
