"""Whether the run fits what it is given: disk, memory, chips. Pure functions of measured numbers."""

import math
from collections.abc import Mapping

from everystep.core.recipe import Recipe
from everystep.forecast.findings import Finding, amber, green, red
from everystep.forecast.measured import Memory, Storage

FULL = 0.5  # of the free disk
NEAR = 0.9  # of the memory
_REST = 20e6  # bytes for what is small: report, plots, metrics, TensorBoard


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
    suggestion = "smaller grpo.micro_prompts, sft.batch or evaluate.batch"
    if out is not None:
        return red("memory", f"{out}: a step of the recipe's size does not fit", suggestion, {"stage": out})
    if m is None:
        return green("memory", "steps of the recipe's size fit the device", {})
    most = m.peak / max(m.share, 0.05)  # all of it taken to grow with the rows: more than will be needed
    figures = {"peak": m.peak, "total": m.total, "share": m.share, "estimate": most}
    said = f"{_size(m.peak)} of {_size(m.total)}, at most {_size(most)} when rows are as long as they may be"
    if m.peak > 0.95 * m.total:
        return red("memory", said, suggestion, figures)
    if most > NEAR * m.total:
        return amber("memory", said, suggestion, figures)
    return green("memory", said, figures)


def chips(wanted: int, have: int) -> Finding:
    """Are there as many devices as the run is laid out for?"""
    figures = {"wanted": wanted, "have": have}
    said = f"laid out for {wanted}, {have} there"
    if have < wanted:
        suggestion = f"a recipe for {have}, or a machine with {wanted}: on fewer the plan does not hold"
        return red("devices", said, suggestion, figures)
    if have > wanted:
        return amber("devices", said, f"{have - wanted} would stand idle", figures)
    return green("devices", said, figures)


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
