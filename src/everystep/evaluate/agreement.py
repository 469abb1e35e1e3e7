"""How far two raters agree: weighted kappa, the area under the ROC curve, and bootstrap intervals of both.

Pure functions of plain numbers. Where a figure is not defined it is None, never 0.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 2_000
_DEFINED = 0.9  # share of the resamples in which a figure must be defined for its interval to mean anything


def quadratic_kappa(a: Sequence[int], b: Sequence[int], levels: int = 5) -> float | None:
    """Cohen's kappa of two ratings from 1 to `levels`, with quadratic weights; at most 1, 0 for chance.

    With O the counts of pairs, E those expected from the margins and w_ij = (i-j)²:
    1 - Σ w·O / Σ w·E. None without ratings, and where both raters give everybody one and the same rating.
    Source: J. Cohen, Psychological Bulletin 70 (1968) 213-220. Raises ValueError for ratings out of range
    or of different number.

    >>> quadratic_kappa([1, 5, 1, 5], [1, 5, 1, 5]), quadratic_kappa([1, 5, 1, 5], [1, 1, 5, 5])
    (1.0, 0.0)
    >>> quadratic_kappa([3, 3], [3, 3]) is None
    True
    """
    if len(a) != len(b) or any(not 1 <= r <= levels for r in (*a, *b)):
        raise ValueError(f"kappa needs as many ratings from 1 to {levels} on both sides")
    if not a:
        return None
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    expected = float(((x[:, None] - y[None, :]) ** 2).mean())  # the margins, paired in every way
    return None if expected == 0 else 1.0 - float(((x - y) ** 2).mean()) / expected


def auroc(scores: ArrayLike, right: ArrayLike) -> float | None:
    """The probability that one that is right scores above one that is not, ties counting half; None unless
    there are some of both. Raises ValueError for lists of different length.

    >>> auroc([1, 2, 4, 4], [False, False, True, True]), auroc([1, 1], [False, True])
    (1.0, 0.5)
    >>> auroc([1, 2], [True, True]) is None
    True
    """
    values, flags = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    if values.shape != flags.shape:
        raise ValueError("as many scores as verdicts are needed")
    high, low = values[flags], values[~flags]
    if not high.size or not low.size:
        return None
    above = (high[:, None] > low[None, :]).mean() + 0.5 * (high[:, None] == low[None, :]).mean()
    return float(above)


def interval(
    figure: Callable[[np.ndarray], float | None], n: int, *, seed: int = 0, level: float = 0.95
) -> tuple[float, float] | None:
    """The percentile bootstrap interval of a figure of `n` items: (low, high).

    `figure` gets the indices of a resample. Resamples in which it is None are left out; the interval is None
    where that are more than a tenth, or n is 0. The same figure and seed give the same interval.
    """
    if n < 1:
        return None
    random = np.random.default_rng(seed)
    drawn = (figure(random.integers(0, n, n)) for _ in range(RESAMPLES))
    known = [value for value in drawn if value is not None]
    if len(known) < _DEFINED * RESAMPLES:
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
