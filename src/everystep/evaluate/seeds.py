"""Differences between trained models, paired by task and by seed: how large, how sure, and told apart or not.

A model trained with another seed is another model. An interval over tasks says nothing of that, and three
seeds say little by themselves; what is done about it is in `differences`. Pure functions of plain numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Pairs = Sequence[tuple[float, float]]  # of each task, in one order: what is counted, and of how much


@dataclass(frozen=True, slots=True)
class Seed:
    """One seed's difference, and its variance if only the tasks were others."""

    difference: float
    variance: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A change against its reference: the mean of the seeds' differences with its 95 % interval and the
    two-sided p of "no difference"; all three None where one seed is all there is. `degrees` are those of the
    t distribution behind them."""

    value: float
    by_seed: tuple[float, ...]
    low: float | None
    high: float | None
    p: float | None
    degrees: float | None


def share(pairs: Pairs) -> float | None:
    """Σ counted / Σ of how much; None where the second is 0: nothing could be measured.

    >>> share([(1, 1), (0, 1), (0, 0)])
    0.5
    >>> share([(0, 0)]) is None
    True
    """
    whole = math.fsum(of for _, of in pairs)
    return math.fsum(counted for counted, _ in pairs) / whole if whole else None


def seed_difference(reference: Pairs, change: Pairs) -> Seed | None:
    """The difference of two shares over the same tasks in the same order, and its variance over tasks; None
    where either cannot be measured.

    The variance is that of a mean of the tasks' own differences; for shares whose denominators differ between
    tasks it is linearised: u_i = (counted_i − share · of_i) / mean(of), Var = Var(u_i of the change − u_i of
    the reference) / n. Source: W. G. Cochran, Sampling Techniques (1977), §6.4. Raises ValueError where the
    two are not of the same tasks.

    >>> seed_difference([(0, 1), (1, 1)] * 8, [(1, 1), (1, 1)] * 8)
    Seed(difference=0.5, variance=0.01666...)
    """
    if len(reference) != len(change):
        raise ValueError(f"a paired difference needs the same tasks, got {len(reference)} and {len(change)}")
    before, after = share(reference), share(change)
    if before is None or after is None:
        return None
    moved = _influence(change, after) - _influence(reference, before)
    variance = float(moved.var(ddof=1)) / len(moved) if len(moved) > 1 else math.nan
    return Seed(after - before, variance)


def _influence(pairs: Pairs, value: float) -> np.ndarray:
    both = np.asarray(pairs, dtype=np.float64)
    return (both[:, 0] - value * both[:, 1]) / both[:, 1].mean()


def differences(family: Mapping[str, Sequence[Seed]], level: float = 0.95) -> dict[str, Difference]:
    """Of each change of a family, all held against one reference, the difference over its seeds.

    The interval is for the mean difference that further seeds and further tasks would show: tasks are nested
    in seeds (each seed has tasks of its own), and the seed is random, not fixed. It is

        D ± t · √(max(B, P, W) / S)

    with S seeds; D the mean of their differences; B their variance (which holds both seeds and tasks); P the
    mean of B over the family's changes, each weighted by its S − 1; W the mean of the variances over tasks
    alone, below which the truth cannot lie; and t of Student's distribution with Σ(S − 1) / (1 + (K − 1)/4)
    degrees of freedom over the K changes, twice as many where W is the largest, since hundreds of tasks know
    it well. The divisor is there because the changes share one reference: their differences are then
    correlated by a half, and their variances by a quarter.

    Three seeds alone have two degrees of freedom, hence t = 4.3, and a chance of one in ten that B is a tenth
    of the truth; P and W mend both, and the largest of the three errs to the side of "cannot be told apart":
    by simulation 95 to 99 of 100 intervals hold the truth. That assumes that one change is about as unsteady
    over seeds as the others of its family; of one that is three times as unsteady it is 92, five times 87
    (`tests/test_seeds.py`).
    """
    sizes = {name: len(seeds) for name, seeds in family.items()}
    spreads = {name: _variance([s.difference for s in seeds]) for name, seeds in family.items() if len(seeds) > 1}
    known = sum(sizes[name] - 1 for name in spreads)
    pooled = sum(b * (sizes[name] - 1) for name, b in spreads.items()) / known if known else None
    degrees = known / (1 + (len(spreads) - 1) / 4) if known else None
    out = {}
    for name, seeds in family.items():
        if not seeds:
            continue
        own = tuple(s.difference for s in seeds)
        mean = math.fsum(own) / len(own)
        if pooled is None or degrees is None or len(seeds) < 2:
            out[name] = Difference(mean, own, None, None, None, None)
            continue
        tasks = math.fsum(s.variance for s in seeds) / len(seeds)
        deviation = math.sqrt(max(spreads[name], pooled, tasks) / len(seeds))
        free = degrees if max(spreads[name], pooled) > tasks else 2 * degrees
        half = student_quantile(level, free) * deviation
        p = student_p(mean / deviation, free) if deviation else float(mean == 0)
        out[name] = Difference(mean, own, mean - half, mean + half, p, free)
    return out


def _variance(values: Sequence[float]) -> float:
    return float(np.var(np.asarray(values, dtype=np.float64), ddof=1))


def student_p(t: float, degrees: float) -> float:
    """The two-sided p of a t statistic: I_x(ν/2, 1/2) with x = ν / (ν + t²), I being the regularised
    incomplete beta function. Source: Abramowitz and Stegun, 26.7.1.

    >>> [round(student_p(t, 2), 4) for t in (0.0, 4.3027, -9.9248)]
    [1.0, 0.05, 0.01]
    >>> round(student_p(1.96, 1e6), 4)
    0.05
    """
    if degrees <= 0:
        raise ValueError(f"degrees of freedom are positive, got {degrees}")
    return _beta(degrees / (degrees + t * t), degrees / 2, 0.5)


@lru_cache(maxsize=256)
def student_quantile(level: float, degrees: float) -> float:
    """The t between −t and t of which so much of Student's distribution lies.

    >>> [round(student_quantile(0.95, d), 3) for d in (1, 2, 5.6, 30)]
    [12.706, 4.303, 2.49, 2.042]
    """
    if not 0 < level < 1:
        raise ValueError(f"a level of confidence lies between 0 and 1, got {level}")
    low, high = 0.0, 1.0
    while student_p(high, degrees) > 1 - level:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if student_p(middle, degrees) > 1 - level else (low, middle)
    return (low + high) / 2


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (Abramowitz and Stegun, 26.5.8),
    evaluated from the front by Lentz's method as modified by Thompson and Barnett."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly, that of the mirror image does not
        return 1 - _beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    tiny = 1e-300  # in place of 0, which cannot be divided by
    c, d = 1.0, 1 / ((1 - (a + b) * x / (a + 1)) or tiny)
    value = d
    for m in range(1, 500):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / ((1 + numerator * d) or tiny)
            c = (1 + numerator / c) or tiny
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * value / a
