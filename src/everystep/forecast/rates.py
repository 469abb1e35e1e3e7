"""From samples of a policy to how many groups will be dead: estimators on counts, and nothing else.

A group is dead where all its completions earn the same, so that it teaches nothing. For a prompt whose
completions fall into kinds (by what they earn) with probabilities π, a group of G is dead with probability Σ
π_j^G. Putting the observed shares in for π is biased upwards, and most where it matters: 8 right samples of
8 would say "dead for certain at any G". Here c_j samples of kind j among n give Σ C(c_j, G) / C(n, G) for G
≤ n: the share of all groups of G that can be drawn from the n samples without replacement and are dead,
which is unbiased (the U-statistic of W. Hoeffding, Annals of Mathematical Statistics 19 (1948) 293-325).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from everystep.evaluate.stats import bootstrap_mean, wilson

Counts = Sequence[int]
"""How many samples of one prompt are of each kind."""


@dataclass(frozen=True, slots=True)
class Share:
    """An estimated share with its 95 % interval over prompts. `extrapolated`: groups of that size are larger
    than the number of samples, so that only bounds are known, and `value` lies in their middle."""

    value: float
    low: float
    high: float
    extrapolated: bool = False


def dead_share(counts: Sequence[Counts], size: int) -> Share:
    """The predicted share of dead groups of `size`, over prompts that all have the same number of samples.

    Above that number n: the dead share d(G) = E[Σ π_j^G] falls with G and is log-convex in it (a mixture of
    powers), hence d(n) · (d(n) / d(n-1))^(G-n) ≤ d(G) ≤ d(n), with the estimates put in. Raises ValueError
    without prompts, for fewer than two samples, for unequal numbers of them, and for a size below 2.

    >>> dead_share([(8,), (4, 4)], 8).value  # one prompt solved, one even
    0.5
    >>> round(dead_share([(7, 1)] * 9, 4).value, 3)  # 7 of 8 right; the plug-in (7/8)^4 says 0.586
    0.5
    """
    samples = {sum(c) for c in counts}
    if len(samples) != 1 or min(samples) < 2 or size < 2:
        raise ValueError(f"{len(counts)} prompts with {sorted(samples)} samples give no dead share at {size}")
    n = samples.pop()
    if size <= n:
        return _mean([_dead(c, size, n) for c in counts])
    last, before = _mean([_dead(c, n, n) for c in counts]), _mean([_dead(c, n - 1, n) for c in counts])
    factor = (last.value / before.value) ** (size - n) if before.value else 0.0
    return Share((1 + factor) / 2 * last.value, factor * last.low, last.high, extrapolated=True)


def after_refills(dead: float, rounds: int) -> float:
    """The share that is still dead when `rounds` times half as many new groups again as there are dead ones
    were drawn and live ones took the places.

    >>> [round(after_refills(0.5, r), 3) for r in (0, 1, 2)], after_refills(1.0, 2)
    ([0.5, 0.125, 0.031], 1.0)
    """
    left = dead
    for _ in range(rounds):
        left *= max(0.0, 1 - 1.5 * (1 - dead))
    return left


def refill_draws(dead: float, rounds: int) -> float:
    """How many groups those rounds draw, as a share of the groups of a step.

    >>> refill_draws(0.5, 2), refill_draws(1.0, 2)
    (0.9375, 2.0)
    """
    return sum(min(1.0, 1.5 * after_refills(dead, r)) for r in range(rounds))


def histogram(rates: Sequence[float]) -> dict[str, int]:
    """How many prompts have which pass rate; the ends, which teach nothing, by themselves.

    >>> histogram([0, 0.1, 0.5, 1])
    {'0': 1, 'to 25 %': 1, 'to 50 %': 1, 'to 75 %': 0, 'below 100 %': 0, '100 %': 1}
    """
    bins = {"0": 0, "to 25 %": 0, "to 50 %": 0, "to 75 %": 0, "below 100 %": 0, "100 %": 0}
    names = list(bins)
    for rate in rates:
        bins[names[0] if rate <= 0 else names[5] if rate >= 1 else names[min(4, math.ceil(rate * 4))]] += 1
    return bins


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that at least this share of the values do not exceed. ValueError without values.

    >>> quantile([4, 1, 3, 2], 0.5), quantile([4, 1, 3, 2], 1.0)
    (2, 4)
    """
    if not values:
        raise ValueError("no values have no quantile")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _dead(counts: Counts, size: int, n: int) -> float:
    return sum(math.comb(c, size) for c in counts) / math.comb(n, size)


def _mean(values: Sequence[float]) -> Share:
    value = math.fsum(values) / len(values)
    if min(values) == max(values) and value in (0.0, 1.0):  # a bootstrap of equal values has no width
        return Share(value, *wilson(round(value * len(values)), len(values)))
    if len(values) == 1:
        return Share(value, 0.0, 1.0)
    return Share(value, *bootstrap_mean(values))
