"""Is the model as sure as it is right, and what do more samples buy? Reliability, pass@k and majority@k.

All of it is about groups: several completions of one prompt, sampled. Which groups, and where they come
from, is the caller's business; how sure a completion is of its answer is `score.confidence`'s.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from everystep.core.types import Graded, Verdict
from everystep.evaluate.agreement import auroc, interval
from everystep.evaluate.stats import wilson
from everystep.score.confidence import answer_probability, equivalent, how_sure

BINS = 10
SUBSETS = 200  # of a group are looked at for majority@k, where there are more than so many
Group = Sequence[Graded]


@dataclass(frozen=True, slots=True)
class Bin:
    """Some of the answers: how many, their mean confidence, the share that is right with its 95 % Wilson
    interval."""

    n: int
    confidence: float
    right: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figure:
    """A value and its 95 % bootstrap interval over groups; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Reliability:
    """How confidence goes with being right. `measure` says what confidence is: "tokens", the mean
    probability of the answer's tokens, or "share", the share of the group that gives an equivalent answer.

    `n` answers of `groups` groups were used; `left_out` completions have no answer in form, or one that
    could not be graded. `ece` is the expected calibration error over `bins`, `brier` the mean squared
    difference of confidence and outcome, `auroc` the probability that a right answer is the surer one.
    """

    measure: str
    n: int
    groups: int
    left_out: int
    bins: tuple[Bin, ...]
    ece: Figure
    brier: Figure
    auroc: float | None


@dataclass(frozen=True, slots=True)
class AtK:
    """What k samples of a prompt are worth: `passed`, at least one is right; `majority`, the most frequent
    answer is right."""

    k: int
    passed: Figure
    majority: Figure


def reliability(groups: Sequence[Group], bins: int = BINS) -> Reliability | None:
    """The reliability of the answers in groups; None where no confidence can be known.

    The bins hold equally many answers as far as ties allow: answers of one confidence share a bin. ECE is
    Σ (n_b / n)·|confidence_b - right_b|; it is never below 0, so with few answers it is biased upwards, and
    Brier's score is the one to compare. Sources: M. P. Naeini et al., AAAI 2015; G. W. Brier, Monthly Weather
    Review 78 (1950) 1-3.
    """
    by_tokens = all(g.trace.faults or answer_probability(g) is not None for group in groups for g in group) and any(
        not g.trace.faults for group in groups for g in group
    )
    rows: list[tuple[float, bool, int]] = []
    total = 0
    for i, group in enumerate(groups):
        total += len(group)
        sure = how_sure(group)
        if sure is None:
            continue
        rows += [
            (q, g.verdict.right, i)
            for g, q in zip(group, sure, strict=True)
            if not g.trace.faults and g.verdict is not Verdict.UNGRADABLE
        ]
    if not rows:
        return None
    sure_, right = np.array([q for q, _, _ in rows]), np.array([r for _, r, _ in rows], dtype=float)
    members = _members([i for _, _, i in rows])

    def ece(at: np.ndarray) -> float:
        return sum(n * abs(c - r) for n, c, r in _binned(sure_[at], right[at], bins)) / len(at)

    def brier(at: np.ndarray) -> float:
        return float(((sure_[at] - right[at]) ** 2).mean())

    def figure(of: Callable[[np.ndarray], float]) -> Figure:
        # Completions of one prompt are not independent, so it is groups that are drawn.
        ends = interval(lambda at: of(np.concatenate([members[i] for i in at])), len(members))
        return Figure(of(np.arange(len(rows))), *(ends or (None, None)))

    found = tuple(Bin(n, c, r, *wilson(round(r * n), n)) for n, c, r in _binned(sure_, right, bins))
    return Reliability(
        "tokens" if by_tokens else "share",
        len(rows),
        len(members),
        total - len(rows),
        found,
        figure(ece),
        figure(brier),
        auroc(sure_, right > 0.5),
    )


def at_k(groups: Sequence[Group]) -> list[AtK]:
    """pass@k and majority@k for k = 1, 2, 4, … and the size of the groups, right being `Graded.contract`;
    empty unless all groups have one size. Intervals: bootstrap over groups."""
    sizes = {len(group) for group in groups}
    if len(sizes) != 1 or 0 in sizes:
        return []
    (n,) = sizes
    out = []
    for k in sorted({*(2**i for i in range(n.bit_length()) if 2**i <= n), n}):
        passed = [pass_at_k(n, sum(g.contract for g in group), k) for group in groups]
        voted = [majority_at_k(group, k) for group in groups]
        out.append(AtK(k, _mean(passed), _mean(voted)))
    return out


def pass_at_k(n: int, right: int, k: int) -> float:
    """The probability that k of n samples, drawn without replacement, hold at least one of the `right` ones:
    1 - C(n - right, k) / C(n, k). Source: M. Chen et al., arXiv 2107.03374. Raises ValueError unless
    0 <= right <= n and 1 <= k <= n.

    >>> pass_at_k(8, 2, 1), pass_at_k(8, 2, 8), round(pass_at_k(8, 2, 4), 3)
    (0.25, 1.0, 0.786)
    """
    if not 0 <= right <= n or not 1 <= k <= n:
        raise ValueError(f"pass@k needs 0 <= right <= n and 1 <= k <= n, got right={right}, n={n}, k={k}")
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def majority_at_k(group: Group, k: int) -> float:
    """The probability that the most frequent answer of k samples of the group is right; equivalent answers
    are one, ties are shared, and what breaks the form has no vote (no vote at all: wrong).

    Exact where there are at most `SUBSETS` ways to draw k, else over so many drawn ones (seed 0).
    """
    votes, n = ballots(group), len(group)
    if math.comb(n, k) <= SUBSETS:
        drawn = list(combinations(range(n), k))
    else:
        random = np.random.default_rng(0)
        drawn = [tuple(random.permutation(n)[:k]) for _ in range(SUBSETS)]
    shares = [_right_wins([votes[i] for i in some]) for some in drawn]
    return math.fsum(shares) / len(shares)


def ballots(group: Group) -> list[int | None]:
    """For each completion the number of its class of equivalent answers, 0 for the right ones, or None where
    it keeps no form."""
    wrong: list[str] = []
    votes: list[int | None] = []
    for g in group:
        if g.trace.faults or g.trace.answer is None:
            votes.append(None)
        elif g.verdict.right:
            votes.append(0)
        else:
            answer = g.trace.answer
            at = next((i for i, known in enumerate(wrong) if equivalent(g.task, answer, known)), len(wrong))
            if at == len(wrong):
                wrong.append(answer)
            votes.append(at + 1)
    return votes


def _right_wins(votes: Iterable[int | None]) -> float:
    """1 where the right answers are the most, a share where they tie with others, else 0."""
    counts = Counter(v for v in votes if v is not None)
    most = max(counts.values(), default=0)
    first = [v for v, n in counts.items() if n == most]
    return 1 / len(first) if 0 in first else 0.0


def _binned(sure: np.ndarray, right: np.ndarray, bins: int) -> list[tuple[int, float, float]]:
    """(how many, mean confidence, share right) of bins of about equal size; equal values share one."""
    values, starts, counts = np.unique(sure, return_inverse=True, return_counts=True)
    # A value belongs where the middle of its run falls.
    middle = (np.cumsum(counts) - counts / 2) / len(sure)
    own = values if len(values) <= bins else np.minimum((middle * bins).astype(int), bins - 1)
    _, which = np.unique(own, return_inverse=True)
    of = which[starts]
    out = []
    for b in range(which.max() + 1):
        inside = of == b
        out.append((int(inside.sum()), float(sure[inside].mean()), float(right[inside].mean())))
    return out


def _members(groups: Sequence[int]) -> list[np.ndarray]:
    at: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        at.setdefault(group, []).append(i)
    return [np.array(rows) for rows in at.values()]


def _mean(values: Sequence[float]) -> Figure:
    data = np.array(values)
    ends = interval(lambda at: float(data[at].mean()), len(data))
    return Figure(float(data.mean()), *(ends or (None, None)))
