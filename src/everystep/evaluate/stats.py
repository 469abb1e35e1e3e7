"""The statistics behind every number we print: intervals, a paired test, and a correction for many tests.

Pure functions of plain numbers. What is counted, and for whom, is `evaluate.harness`'s business.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from statistics import NormalDist

import numpy as np


def wilson(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a proportion: (low, high), both in [0, 1].

    With p = right/n and z the two-sided normal quantile of `level`:

        (p + z²/2n ± z·√(p(1-p)/n + z²/4n²)) / (1 + z²/n)

    Unlike p ± z·√(p(1-p)/n) it does not collapse at 0 and 1. Source: E. B. Wilson, JASA 22 (1927) 209-212.
    Raises ValueError for n < 1, `right` outside 0..n or `level` outside (0, 1).

    >>> [round(x, 3) for x in wilson(50, 50)]
    [0.929, 1.0]
    >>> [round(x, 3) for x in wilson(330, 1319)]
    [0.228, 0.274]
    """
    if n < 1 or not 0 <= right <= n:
        raise ValueError(f"a proportion needs 0 <= right <= n and n >= 1, got {right} of {n}")
    z = NormalDist().inv_cdf(0.5 + _level(level) / 2)
    p = right / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the closed form is exactly 0 or 1; rounding must not put the bound past p.
    low = 0.0 if right == 0 else max(0.0, (centre - half) / scale)
    high = 1.0 if right == n else min(1.0, (centre + half) / scale)
    return low, high


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided McNemar test: the probability, if both variants were equally good, of a split of
    the tasks on which they differ at least as uneven as this one.

    `gained` and `lost` count the tasks that only the second, only the first variant has right. With
    m = gained + lost and k = min(gained, lost):  p = min(1, 2 · Σ_{i≤k} C(m, i) / 2^m);  1 for m = 0.
    Source: Q. McNemar, Psychometrika 12 (1947) 153-157, in its binomial form. Raises ValueError for
    negative counts.

    >>> round(mcnemar(30, 15), 3)
    0.036
    >>> mcnemar(0, 0), mcnemar(4, 4)
    (1.0, 1.0)
    """
    if gained < 0 or lost < 0:
        raise ValueError(f"counts cannot be negative, got {gained} and {lost}")
    m, term, tail = gained + lost, 1, 0
    for i in range(min(gained, lost) + 1):
        tail += term
        term = term * (m - i) // (i + 1)
    return float(min(Fraction(1), Fraction(2 * tail, 2**m)))


def bootstrap_mean(
    values: Sequence[float], *, seed: int = 0, resamples: int = 10_000, level: float = 0.95
) -> tuple[float, float]:
    """The percentile bootstrap interval of a mean: (low, high), in the unit of the values.

    Draws `resamples` samples of the values' size with replacement and takes the (1-level)/2 and
    1-(1-level)/2 quantiles of their means. The same values, seed and counts give the same interval. For
    paired comparisons give the per-task differences. Source: B. Efron, R. Tibshirani, An Introduction to
    the Bootstrap (1993), ch. 13. Raises ValueError without values, for a value that is not finite, or
    for fewer than 100 resamples.

    >>> bootstrap_mean([3.0, 3.0, 3.0])
    (3.0, 3.0)
    >>> low, high = bootstrap_mean([0, 1] * 50, seed=1)
    >>> 0.35 < low < 0.45 and 0.55 < high < 0.65
    True
    """
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0 or not np.isfinite(data).all():
        raise ValueError("a mean needs at least one value, and finite ones only")
    if resamples < 100:
        raise ValueError(f"{resamples} resamples say nothing about a tail; use at least 100")
    tail = (1 - _level(level)) / 2
    random = np.random.default_rng(seed)
    means = np.empty(resamples)
    # In chunks: all indices at once would be resamples x n integers (100 MB for a test set of a thousand).
    chunk = max(1, 2_000_000 // data.size)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        means[start : start + rows] = data[random.integers(0, data.size, (rows, data.size))].mean(axis=1)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: each may be compared with the one error rate that shall
    hold for all the tests together.

    With p_(1) ≤ … ≤ p_(m):  adjusted_(i) = max_{j≤i} min(1, (m-j+1) · p_(j)). Source: S. Holm, Scandinavian
    Journal of Statistics 6 (1979) 65-70. Raises ValueError for a value outside [0, 1].

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise ValueError(f"p-values lie in [0, 1], got {list(p_values)}")
    m, highest = len(p_values), 0.0
    adjusted = [0.0] * m
    for rank, at in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (m - rank) * p_values[at]))
        adjusted[at] = highest
    return adjusted


def _level(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"a level of confidence lies between 0 and 1, got {level}")
    return level
