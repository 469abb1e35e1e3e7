"""Which of many traces are kept: the best of each question, none that is almost another, no level too many.

Pure: candidates in, which are kept and why the others are not out. What makes a trace is `data.rewrite`'s
business.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from everystep.data.near import THRESHOLD, grams

ALIKE, SPARE, LEVEL = "near-duplicate", "more than per_task", "more than its level's share"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trace that could be kept: of which task, in which cell (source and level), its text, and its rank
    (the least is the best)."""

    task: str
    cell: str
    text: str
    rank: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """The positions of the candidates that are kept, in the candidates' order; why each other one is not; how
    many each cell had `before` it was balanced and `after`."""

    kept: tuple[int, ...]
    why: Mapping[int, str]
    before: Mapping[str, int]
    after: Mapping[str, int]


def choose(candidates: Sequence[Candidate], per_task: int, balance: float, most: int) -> Choice:
    """At most `per_task` traces of a task, the best first, none near another of the same task; then of each
    cell at most `balance` times the median cell, and so many that all are at most `most` together (but one of
    each). A cell gives up the second traces of its tasks before the first ones, later tasks before earlier
    ones.

    >>> some = [Candidate(str(i), "easy" if i < 8 else "hard", f"text {i}", (0.0,)) for i in range(10)]
    >>> choice = choose(some, 1, 1.0, 100)
    >>> dict(choice.before), dict(choice.after)
    ({'easy': 8, 'hard': 2}, {'easy': 5, 'hard': 2})
    """
    why: dict[int, str] = {}
    chosen: list[tuple[int, int]] = []  # which one it is of its task, position
    by_task: dict[str, list[int]] = defaultdict(list)
    for at, candidate in enumerate(candidates):
        by_task[candidate.task].append(at)
    for positions in by_task.values():
        taken: list[frozenset[tuple[str, ...]]] = []
        for at in sorted(positions, key=lambda at: (candidates[at].rank, at)):
            own = grams(candidates[at].text)
            if any(len(own & other) >= THRESHOLD * len(own | other) for other in taken):
                why[at] = ALIKE
            elif len(taken) == per_task:
                why[at] = SPARE
            else:
                chosen.append((len(taken), at))
                taken.append(own)
    before = Counter(candidates[at].cell for _, at in chosen)
    most_of_one = _most_of_one(before, balance, most)
    after: Counter[str] = Counter()
    kept = []
    for _, at in sorted(chosen):
        cell = candidates[at].cell
        if after[cell] < most_of_one:
            after[cell] += 1
            kept.append(at)
        else:
            why[at] = LEVEL
    cells = sorted(before)
    return Choice(tuple(sorted(kept)), why, {c: before[c] for c in cells}, {c: after[c] for c in cells})


def _most_of_one(sizes: Mapping[str, int], balance: float, most: int) -> int:
    """How many of one cell may be kept; at least one."""
    if not sizes:
        return 1
    cap = max(1, math.ceil(balance * median(sizes.values())))
    low, high = 1, cap
    while low < high:  # the largest that leaves no more than `most` in all
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _sum(sizes, middle) <= most else (low, middle - 1)
    return low


def _sum(sizes: Mapping[str, int], cap: int) -> int:
    return sum(min(size, cap) for size in sizes.values())
