"""Runs and stages held against each other on the tasks they share: what a gain is made of, and which
differences are more than chance.

Paired, with Holm's correction over all the comparisons that are made at once. Nothing is read from disk here.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from everystep.core.types import Graded
from everystep.evaluate.harness import Rate, paired
from everystep.evaluate.stats import holm, wilson

LEVEL = 0.05  # below this adjusted p two sides are told apart


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sides on the same tasks, by `Graded.contract`: see `harness.paired` for the figures; `adjusted` is
    p after Holm's correction over all pairs of the comparison."""

    before: str
    after: str
    n: int
    gained: int
    lost: int
    difference: float
    low: float
    high: float
    p: float
    adjusted: float

    @property
    def apart(self) -> bool:
        """Whether the two can be told apart at `LEVEL`."""
        return self.adjusted < LEVEL

    @property
    def verdict(self) -> str:
        """The outcome in words."""
        if not self.apart:
            return "cannot be told apart"
        return f"{self.after} is {'better' if self.difference > 0 else 'worse'}"


@dataclass(frozen=True, slots=True)
class Gain:
    """What the change from one stage to another is made of, in tasks of `n`.

    Of those gained: `recovered` had the right answer before, in another form; `newly_right` had not. Of those
    lost: `form_lost` still have the right answer for a forgiving reader; `newly_wrong` have not.
    """

    n: int
    recovered: int
    newly_right: int
    form_lost: int
    newly_wrong: int

    def share(self, name: str) -> Rate:
        """One of the four counts as a share of all tasks, with its 95 % Wilson interval."""
        count = {
            "recovered": self.recovered,
            "newly_right": self.newly_right,
            "form_lost": self.form_lost,
            "newly_wrong": self.newly_wrong,
        }[name]
        return Rate(count / self.n, *wilson(count, self.n))


def gain(before: Sequence[Graded], after: Sequence[Graded]) -> Gain:
    """The gain over the tasks that both have. Raises ValueError where they share none."""
    first, second = _by_id(before), _by_id(after)
    both = [(first[i], second[i]) for i in first if i in second]
    if not both:
        raise ValueError("a gain needs tasks that both sides have done; they share none")
    gained = [(a, b) for a, b in both if b.contract and not a.contract]
    lost = [(a, b) for a, b in both if a.contract and not b.contract]
    recovered = sum(a.capable for a, _ in gained)
    form_lost = sum(b.capable for _, b in lost)
    return Gain(len(both), recovered, len(gained) - recovered, form_lost, len(lost) - form_lost)


def pairs(sides: Mapping[str, Sequence[Graded]], following: bool = False) -> list[Pair]:
    """Every side against every later one (`following`: first each against the next, then the first against
    the last), over the tasks that all of them share, with Holm's correction over all of it.

    Raises ValueError for fewer than two sides, and where they share no task.
    """
    if len(sides) < 2:
        raise ValueError("a comparison needs two sides or more")
    shared = common(sides)
    if not shared:
        raise ValueError(f"{', '.join(sides)}: they share no task, so nothing can be compared")
    some = {name: [g for g in graded if g.task.id in shared] for name, graded in sides.items()}
    names = list(sides)
    which = list(itertools.pairwise(names)) if following else list(itertools.combinations(names, 2))
    if following and len(names) > 2:
        which.append((names[0], names[-1]))
    found = [paired(some[a], some[b]) for a, b in which]
    adjusted = holm([float(f["p"]) for f in found])
    return [
        Pair(
            a,
            b,
            len(shared),
            int(f["gained"]),
            int(f["lost"]),
            float(f["difference"]),
            float(f["low"]),
            float(f["high"]),
            float(f["p"]),
            q,
        )
        for (a, b), f, q in zip(which, found, adjusted, strict=True)
    ]


def common(sides: Mapping[str, Sequence[Graded]]) -> set[str]:
    """The ids of the tasks that all sides have done."""
    sets = [{g.task.id for g in graded} for graded in sides.values()]
    return set.intersection(*sets) if sets else set()


def _by_id(graded: Sequence[Graded]) -> dict[str, Graded]:
    return {g.task.id: g for g in graded}
