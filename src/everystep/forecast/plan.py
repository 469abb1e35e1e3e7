"""The plan: what a recipe needs of a device in memory and in hours, what does not fit, what would mend it.

Put together here of the sizes (`steps.py`), XLA's analysis (`memory.py`), counted work (`work.py`,
`hours.py`) and the devices' facts; how it looks is `show/plan.py`.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from everystep.core.recipe import Recipe
from everystep.core.run import Run
from everystep.core.sizes import reserved_minutes
from everystep.forecast.devices import EFFICIENCY, Device, Dtype
from everystep.forecast.hours import STATED, Pace, Stage, stages, steps_that_fit
from everystep.forecast.lengths import Lengths, even, of_run
from everystep.forecast.memory import Analysis, Use, analyse, dtype_of, uses
from everystep.forecast.programs import steps_of, uneven
from everystep.forecast.suggestions import mend
from everystep.forecast.work import Machine
from everystep.model.shape import Shape


@dataclass(frozen=True, slots=True)
class Problem:
    """What does not fit, where, and what would mend it ("" where no single change that was tried does)."""

    where: str
    what: str
    mend: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a plan says. Bytes are a chip's; `reserved`: seconds of the recipe's hours that the run keeps
    free at its end; `assumed`: what is stated and not counted."""

    recipe: str
    model: str
    hours: float
    reserved: float
    device: Device
    dtype: Dtype
    analysis: Analysis
    uses: tuple[Use, ...]
    stages: tuple[Stage, ...]
    pace: Pace
    problems: tuple[Problem, ...]
    assumed: tuple[str, ...]
    minutes: float

    @property
    def fits(self) -> bool:
        return not self.problems

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """The same as plain values for JSON; memory in bytes a chip, time in seconds."""
        return {
            "recipe": self.recipe,
            "model": self.model,
            "device": asdict(self.device) | {"room": self.device.room()},
            "dtype": self.dtype,
            "fits": self.fits,
            "problems": [asdict(p) for p in self.problems],
            "memory": {
                "held": dict(self.analysis.held),
                "steps": {
                    use.step.name: {
                        "size": dict(use.step.size),
                        "given": use.given,
                        "working": use.working,
                        "beside": use.beside,
                        "total": use.total,
                    }
                    for use in self.uses
                },
                "compiled_layers": list(self.analysis.layers),
                "layers": self.analysis.shape["layers"],
            },
            "hours": self.hours,
            "seconds": {stage.name: stage.seconds for stage in self.stages},
            "grpo_step_seconds": asdict(self.pace),
            "needed_hours": (self.seconds + self.reserved) / 3600,
            "assumed": list(self.assumed),
            "minutes": self.minutes,
        }


def plan(recipe: Recipe, device: Device, run: Run | None = None, say: Callable[[str], None] = print) -> Plan:
    """What the recipe needs on the device. With a run, completions are as long as that run's were.

    Raises ValueError, one line, for a model whose shape is not known.
    """
    began = time.monotonic()
    problems = [Problem("chips", what, change) for what, change in uneven(recipe, device.chips)]
    steps = [] if problems else steps_of(recipe, device.chips)
    say(f"{len(steps)} steps of {recipe.model.name} are compiled for {device.title}, without weights")
    analysis = analyse(recipe, device, steps)
    found = uses(analysis, steps)
    failing = [use for use in found if use.total > device.room()]
    if failing:
        say(f"{', '.join(use.step.name for use in failing)}: too large; looking for a change that mends it")
        change = mend(recipe, device, analysis, failing) or ""
        worst = max(failing, key=lambda use: use.total)
        problems.append(
            Problem(
                "memory",
                f"{worst.step.name} needs {worst.total / 1e9:.1f} GB a chip of {device.room() / 1e9:.1f}"
                + (f" ({len(failing)} steps do not fit)" if len(failing) > 1 else ""),
                change,
            )
        )
    dtype = dtype_of(recipe, device)
    itemsize = 2 if dtype == "bfloat16" else 4
    shape = Shape(**{**analysis.shape, "adapter": analysis.held["adapter"] / itemsize})
    spread = recipe.model.weights == "fsdp" and device.chips > 1
    lengths = _lengths(recipe, run)
    spent, pace = stages(recipe, Machine(shape, device, dtype, spread), *lengths)
    reserved = 60 * reserved_minutes(recipe.hours)
    need, given = sum(s.seconds for s in spent), recipe.hours * 3600 - reserved
    if need > given:
        trained = sum(s.seconds for s in spent if s.name in ("grpo", "looks at dev"))
        fit = steps_that_fit(recipe, need, trained, given)
        change = f"grpo.steps={fit} (the run would shrink its plan by itself)" if fit else ""
        said = f"{(need + reserved) / 3600:.1f} h are needed, {recipe.hours:g} are given"
        problems.append(Problem("hours", said, change))
    return Plan(
        recipe.name,
        recipe.model.name,
        recipe.hours,
        reserved,
        device,
        dtype,
        analysis,
        tuple(found),
        tuple(spent),
        pace,
        tuple(problems),
        _assumed(device, *lengths[1:]),
        (time.monotonic() - began) / 60,
    )


def _lengths(recipe: Recipe, run: Run | None) -> tuple[Lengths, Lengths, Lengths]:
    """Of the stock model's completions, of GRPO's, of evaluations'."""
    grpo, written = recipe.grpo.max_tokens, recipe.evaluate.max_tokens
    known = [of_run(run, kind, most) for kind, most in (("grpo", grpo), ("evaluate", written))] if run else []
    trained, evaluated = known or (None, None)
    return even(recipe.sft.self_made.max_tokens), trained or even(grpo), evaluated or even(written)


def _assumed(device: Device, trained: Lengths, written: Lengths) -> tuple[str, ...]:
    reach = EFFICIENCY[device.family]
    cpu = device.family == "cpu"
    where = "set by the tiny recipe's steps" if cpu else "assumed: not measured on such a device"
    out = [
        f"reached of the device's rates: {reach.compute:.0%} in updates and prefills, {reach.decode:.0%} in "
        f"decoding ({where})",
        f"lengths of completions in GRPO: {trained.origin}; in evaluations: {written.origin}",
        STATED,
    ]
    return tuple(out)
