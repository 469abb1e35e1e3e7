"""Whether the run fits what it is given: hours, disk, memory, chips. Pure functions of measured numbers."""

import math
from collections.abc import Mapping, Sequence

from everystep.core.recipe import Recipe
from everystep.core.run import stages_of
from everystep.core.sizes import DEV_TASKS
from everystep.forecast.findings import Finding, amber, green, red
from everystep.forecast.measured import Memory, Pace, Samples, Storage
from everystep.forecast.rates import dead_share, refill_draws

TOO_LONG, TIGHT = 1.2, 0.8  # hours needed over hours given
FULL = 0.5  # of the free disk
NEAR = 0.9  # of the memory
_REST = 20e6  # bytes for what is small: report, plots, metrics, TensorBoard


def hours(
    pace: Pace,
    samples: Samples | None,
    recipe: Recipe,
    counts: Mapping[str, int],
    gold: Sequence[int],
    prepared: float,
    done: frozenset[str],
    rounds: int,
    sft_steps: int,
) -> Finding:
    """Is what is left of the run done within `hours`?

    `gold`: lengths of gold texts. A base that was measured before SFT writes other lengths than the policy
    that SFT leaves, so its times are stretched to the mean length of the gold texts where that is more.
    """
    stretch = 1.0
    if samples is not None and not samples.ready and gold:
        stretch = max(1.0, math.fsum(gold) / len(gold) / max(1.0, math.fsum(samples.lengths) / len(samples.lengths)))
    config, parts = recipe.grpo, {"data": 0.0 if "data" in done else prepared}
    if recipe.sft.data == "self" and config.start == "sft" and not {"self", "sft", "grpo"} & done:
        own = recipe.sft.self_made
        asked = min(own.tasks, counts["sft"])
        parts["self"] = (own.samples * asked + len(own.prompts) * min(own.probe, asked)) * pace.sample
    if pace.sft is not None:
        parts["sft"] = pace.sft.first + pace.sft.each * sft_steps
    if pace.grpo is not None:
        dead = dead_share(samples.kinds, config.group).value if samples is not None else 1.0
        refill = pace.rollout * refill_draws(dead, rounds)
        looks = math.ceil(config.steps / config.eval_every) * min(DEV_TASKS, counts["dev"]) * pace.sample
        parts["grpo"] = pace.grpo.first + stretch * (config.steps * (pace.grpo.each + refill) + looks)
    stages = stages_of(recipe)
    left = sum(f"evaluate {stage}" not in done for stage in stages)
    parts["evaluation"] = left * counts["test"] * pace.sample * stretch
    need = math.fsum(parts.values()) / 3600
    share = need / recipe.hours
    figures = {"hours": recipe.hours, "needed": need, "stretch": stretch}
    figures |= {f"{name}_minutes": seconds / 60 for name, seconds in parts.items()}
    figures |= {
        f"{name}_{key}": value
        for name, steps in (("sft", pace.sft), ("grpo", pace.grpo))
        if steps is not None
        for key, value in (("first_seconds", steps.first), ("step_seconds", steps.each))
    }
    each = ", ".join(f"{name} {_time(seconds)}" for name, seconds in parts.items() if seconds)
    said = f"{_time(need * 3600)} of {_time(recipe.hours * 3600)}: {each}"
    if stretch > 1:
        said += f" (times of the base x {stretch:.1f}, for gold is that much longer)"
    if share > TOO_LONG:
        fit = max(1, int(config.steps / share))
        return red("hours", said, f"more hours, or fewer steps (grpo.steps about {fit}), or smaller groups", figures)
    if share > TIGHT:
        return amber("hours", said, "tight: the plan and its learning rate will shrink if steps get slower", figures)
    return green("hours", said, figures)


def disk(m: Storage, recipe: Recipe, counts: Mapping[str, int], sft_steps: int) -> Finding:
    """Is there room for checkpoints, records, evaluations and export?"""
    keep, config = recipe.checkpoint, recipe.grpo
    adapter = m.values * m.itemsize
    masters = 12 * m.values  # float32 masters and two moments
    files = {
        "sft": (adapter + masters + (4 * m.values if recipe.sft.accumulate > 1 else 0), sft_steps),
        "grpo": (2 * adapter + masters, config.steps),  # the best on dev is in it
    }
    parts = {
        "checkpoints": sum(
            size * (keep.keep + 1 + (steps // keep.keep_every if keep.keep_every else 0))
            for size, steps in files.values()
        ),
        "records": m.record * config.steps * config.prompts * config.group,
        "evaluations": 2 * 3 * m.record * counts["test"],  # twice: while it is made it is there by batches too
        "data": m.task * sum(counts.values()),
        "export": m.base + 2 * adapter,
        "rest": _REST,
    }
    need = math.fsum(parts.values())
    figures = {"needed": need, "free": m.free} | parts
    each = ", ".join(f"{name} {_size(size)}" for name, size in parts.items() if size > need / 50)
    said = f"{_size(need)} of {_size(m.free)} free: {each}"
    if need > m.free:
        return red("disk", said, "make room, give another --dir, or fewer checkpoint.keep", figures)
    if need > FULL * m.free:
        return amber("disk", said, "little will be left; others may be writing there too", figures)
    return green("disk", said, figures)


def memory(m: Memory | None, out: str | None) -> Finding:
    """Was there room for the measured steps, and will there be for the longest? None: the device is not the
    host, and its own room was tried by the steps themselves."""
    mend = "smaller grpo.micro_prompts, sft.batch or evaluate.batch"
    if out is not None:
        return red("memory", f"{out}: a step of the recipe's size does not fit", mend, {"stage": out})
    if m is None:
        return green("memory", "steps of the recipe's size fit the device", {})
    most = m.peak / max(m.share, 0.05)  # all of it taken to grow with the rows: more than will be needed
    figures = {"peak": m.peak, "total": m.total, "share": m.share, "estimate": most}
    said = f"{_size(m.peak)} of {_size(m.total)}, at most {_size(most)} when rows are as long as they may be"
    if m.peak > 0.95 * m.total:
        return red("memory", said, mend, figures)
    if most > NEAR * m.total:
        return amber("memory", said, mend, figures)
    return green("memory", said, figures)


def chips(wanted: int, have: int) -> Finding:
    """Are there as many devices as the run is laid out for?"""
    figures = {"wanted": wanted, "have": have}
    said = f"laid out for {wanted}, {have} there"
    if have < wanted:
        mend = f"a recipe for {have}, or a machine with {wanted}: on fewer the plan does not hold"
        return red("devices", said, mend, figures)
    if have > wanted:
        return amber("devices", said, f"{have - wanted} would stand idle", figures)
    return green("devices", said, figures)


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.1f} min"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
