"""Advantages: how much better than its group each completion is. A new one is a function here, an entry in
`ADVANTAGES`, and its name in `core/recipe.py` (`grpo.advantage`).
"""
# ruff: noqa: F821 (shapes in annotations are strings)

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from everystep.core.types import Score
from everystep.score.groups import spread

Totals = Float[np.ndarray, "completions"]


def group_normalised(totals: Totals, floor: float) -> Totals:
    """(r_i - mean(r)) / std(r), the standard deviation over the group itself and no less than `floor`, so that
    noise in a nearly unanimous group is not blown up (DeepSeekMath, arXiv:2402.03300, section 4.1.2)."""
    return (totals - totals.mean()) / max(totals.std(), floor)


def centred(totals: Totals, floor: float) -> Totals:
    """r_i - mean(r): without the deviation, which weighs easy and hard questions more than others (Dr. GRPO,
    arXiv:2503.20783, section 3.2)."""
    return totals - totals.mean()


def leave_one_out(totals: Totals, floor: float) -> Totals:
    """r_i - the mean of the *other* rewards of the group (RLOO, arXiv:2402.14740, section 3.3)."""
    return (totals - totals.mean()) * len(totals) / max(1, len(totals) - 1)


# By the name in a recipe: a group's known rewards, and the floor of a deviation, to their advantages.
ADVANTAGES: dict[str, Callable[[Totals, float], Totals]] = {
    "group": group_normalised,
    "dr_grpo": centred,
    "rloo": leave_one_out,
}


def advantages(
    scores: Sequence[Sequence[Score]], floor: float = 0.05, kind: str = "group"
) -> Float[np.ndarray, "rows"]:
    """The advantage of every completion, group after group, in float32. Groups without a spread and completions
    without a score (None) get 0."""
    out: list[float] = []
    for group in scores:
        if spread(group).dead:
            out += [0.0] * len(group)
            continue
        totals = np.array([math.nan if s.total is None else s.total for s in group])
        known = ~np.isnan(totals)
        gains = np.zeros(len(totals))
        gains[known] = ADVANTAGES[kind](totals[known], floor)
        out += gains.tolist()
    return np.array(out, np.float32)
