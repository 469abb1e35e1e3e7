"""The plan: what a recipe needs of a device in memory and in hours, what does not fit, what would help.

Put together of the steps (`programs.py`), XLA's analysis (`memory.py`), counted work (`work.py`, `hours.py`)
and the devices' facts. How it looks is `show/plan.py`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from everystep.core.recipe import Recipe
from everystep.core.run import Run
from everystep.core.sizes import reserved_minutes
from everystep.forecast.devices import EFFICIENCY, Device, Dtype
from everystep.forecast.findings import Finding, Findings, green, red
from everystep.forecast.hours import STATED, Stage, Step, counted, counted_sft_steps, hours, stages, tasks
from everystep.forecast.lengths import Lengths, even, of_run
from everystep.forecast.memory import Analysis, Use, analyse, dtype_of, uses
from everystep.forecast.programs import steps_of, uneven
from everystep.forecast.suggestions import suggestion
from everystep.forecast.work import Machine


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
    pace: Step
    findings: Findings
    assumed: tuple[str, ...]
    minutes: float

    @property
    def fits(self) -> bool:
        return not self.findings.red

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
            "findings": self.findings.to_json()["findings"],
            "memory": {
                "held": dict(self.analysis.held),
                "steps": {
                    use.step.name: {"size": dict(use.step.size), **use.bytes, "total": use.total} for use in self.uses
                },
                "compiled_layers": list(self.analysis.layers),
                "layers": self.analysis.shape.layers,
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
    found = [red("chips", what, change) for what, change in uneven(recipe, device.chips)]
    steps = [] if found else steps_of(recipe, device.chips)
    say(f"{len(steps)} steps of {recipe.model.name} are compiled for {device.title}, without weights")
    analysis = analyse(recipe, device, steps)
    used = uses(analysis, steps)
    if used:
        found.append(_fit(recipe, device, analysis, used, say))
    dtype = dtype_of(recipe, device)
    adapter = analysis.held["adapter"] / (2 if dtype == "bfloat16" else 4)
    machine = Machine(
        replace(analysis.shape, adapter=adapter), device, dtype, recipe.model.weights == "fsdp" and device.chips > 1
    )
    lengths, counts = _lengths(recipe, run), tasks(recipe)
    seconds = counted(recipe, machine, *lengths)
    spent = stages(recipe, counts, counted_sft_steps(recipe, counts), seconds)
    assert seconds.grpo is not None
    return Plan(
        recipe.name,
        recipe.model.name,
        recipe.hours,
        60 * reserved_minutes(recipe.hours),
        device,
        dtype,
        analysis,
        tuple(used),
        tuple(spent),
        seconds.grpo,
        Findings((*found, hours(spent, recipe))),
        _assumed(device, *lengths[1:]),
        (time.monotonic() - began) / 60,
    )


def _fit(
    recipe: Recipe, device: Device, analysis: Analysis, used: Sequence[Use], say: Callable[[str], None]
) -> Finding:
    """Does every step fit a chip? Where not, with the change that makes it."""
    worst, failing = max(used, key=lambda use: use.total), [use for use in used if use.total > device.room()]
    said = f"{worst.step.name} needs {worst.total / 1e9:.1f} GB a chip of {device.room() / 1e9:.1f}"
    figures = {"needed": worst.total, "room": device.room()}
    if not failing:
        return green("memory", said, figures)
    say(f"{', '.join(use.step.name for use in failing)}: too large; looking for a change that helps")
    change = suggestion(recipe, device, analysis, failing)
    more = f" ({len(failing)} steps do not fit)" if len(failing) > 1 else ""
    none = "no single change that was tried does it: a larger device, or a smaller model"
    return red("memory", said + more, change or none, figures)


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
    return (
        f"reached of the device's rates: {reach.compute:.0%} in updates and prefills, {reach.decode:.0%} in "
        f"decoding ({where})",
        f"lengths of completions in GRPO: {trained.origin}; in evaluations: {written.origin}",
        STATED,
    )
