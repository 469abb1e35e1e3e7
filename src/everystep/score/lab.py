"""The reward lab: saved completions replayed through a mix, before anything is trained on it; no model.

What each part does (how its values lie, how often it is at its end, how much of the advantage it makes up),
whether it agrees with correctness, and whether known hacks beat honest work. Showing it is `show.lab`'s
business.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from everystep.core.types import Graded, Score
from everystep.score.attacks import Honest, Result, honest, suite
from everystep.score.files import Group, read_groups
from everystep.score.groups import score_groups
from everystep.score.mix import Mix, order
from everystep.score.rewards import bounds

TASKS = 20  # on so many tasks of the file the attack suite is run
BINS = 10
TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Values:
    """How one part (or the total) lies over the completions that have it.

    `coverage`: their share. `quartiles`: least, 25 %, 50 %, 75 %, most. `at_low`, `at_high`: the shares at
    the ends of what the part can give (of what is seen, for the total); `still`: the share of the groups of
    two or more in which it is the same for all, and so teaches nothing. `histogram`: counts in `BINS` equal
    bins between those ends. `variance`: its share of the variance of the advantages (the shares sum to 1; one
    below 0 works against the others), None without a live group. `agreement`: how often, of two completions
    of a group (of the file, where no group has both) of which one is right, it gives more to that one; ties
    count half, None without such pairs.
    """

    name: str
    weight: float | None
    coverage: float
    mean: float | None
    std: float | None
    quartiles: tuple[float, ...]
    at_low: float
    at_high: float
    still: float | None
    histogram: tuple[int, ...]
    ends: tuple[float, float]
    variance: float | None
    agreement: float | None


@dataclass(frozen=True, slots=True)
class Lab:
    """What the lab found. `live`: groups whose totals differ; `right`: the share that is right and in form;
    `pairs`: the pairs that agreement was counted on, `within`: whether inside groups; `correlation`: of the
    parts, in the order of `values` without the total, None where one does not vary; `order`: the bounds of
    the totals by the mix's definition; `attacks`: by scenario ("" or "judge fooled"); `skipped`: tasks for
    which no honest traces could be made; `errors`: lines that could not be read."""

    completions: int
    groups: int
    live: int
    right: float
    pairs: int
    within: bool
    values: list[Values]
    correlation: list[list[float | None]]
    order: dict[str, tuple[float, float]]
    attacks: dict[str, list[Result]]
    tasks: int
    skipped: int
    errors: list[tuple[int, str]]

    @property
    def broken(self) -> list[tuple[str, Result]]:
        """The hacks that outrank honest work, by scenario."""
        return [(name, r) for name, results in self.attacks.items() for r in results if r.outranked]

    @property
    def keeps_order(self) -> bool:
        """Whether, by the parts' bounds, right always beats wrong, and wrong malformed."""
        low, high = 0, 1
        o = self.order
        return o["right"][low] > o["wrong"][high] and o["wrong"][low] > o["malformed"][high]

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"keeps_order": self.keeps_order}


def lab(lines: Iterable[str], mix: Mix, *, tasks: int = TASKS) -> Lab:
    """Replay the lines of a file (as `files.read_groups` takes them) through a mix, and attack it on up to
    `tasks` of its tasks. Raises ValueError for a file without any completion, one without a task that can be
    attacked, and what `score_groups` raises."""
    groups = list(read_groups(lines))
    errors = [(e.line, e.error) for g in groups for e in g.entries if e.error is not None]
    groups = [g for g in groups if g.graded]
    if not groups:
        why = f"; first, line {errors[0][0]}: {errors[0][1]}" if errors else ""
        raise ValueError(f"there is no completion to replay{why}")
    scored = [score_groups([g.graded], mix, g.judged)[0] for g in groups]
    right = np.array([g.contract for group in groups for g in group.graded])
    sizes = [len(s) for s in scored]
    totals = _column(scored, TOTAL)
    columns = {name: _column(scored, name) for name in mix.names}
    gains, parts = _advantages(columns, totals, sizes, mix)
    pairs, within = _pairs(right, sizes)
    values = [
        _values(name, mix.weights.get(name), column, sizes, bounds_of(name), _share(parts.get(name), gains), pairs)
        for name, column in columns.items()
    ]
    known = totals[~np.isnan(totals)]
    ends = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    values.append(_values(TOTAL, None, totals, sizes, ends, None, pairs))
    attacked, skipped = _honest(groups, tasks)
    attacks = {"": suite(attacked, mix)}
    if mix.judged:
        attacks["judge fooled"] = suite(attacked, mix, fooled=True)
    return Lab(
        completions=len(right),
        groups=len(groups),
        live=sum(_differ(s) for s in scored),
        right=float(right.mean()),
        pairs=len(pairs[0]),
        within=within,
        values=values,
        correlation=_correlation(list(columns.values())),
        order=order(mix),
        attacks=attacks,
        tasks=len(attacked),
        skipped=skipped,
        errors=errors,
    )


def bounds_of(name: str) -> tuple[float, float]:
    """The least and the most that the part can give to anybody."""
    known = bounds(name)
    return min(low for low, _ in known), max(high for _, high in known)


def _honest(groups: Sequence[Group], most: int) -> tuple[list[Honest], int]:
    """The first tasks of the file that can be attacked, each once, and how many before them could not."""
    seen: dict[str, list[Graded]] = {}
    for group in groups:
        seen.setdefault(group.graded[0].task.id, []).extend(group.graded)
    out, skipped = [], 0
    for graded in seen.values():
        if len(out) >= most:
            break
        found = honest(graded[0].task, graded)
        if found is None:
            skipped += 1
        else:
            out.append(found)
    return out, skipped


def _column(scored: Sequence[Sequence[Score]], name: str) -> np.ndarray:
    """One part's values over all completions; nan where there is none."""
    values = [s.total if name == TOTAL else s.parts[name] for group in scored for s in group]
    return np.array([np.nan if v is None else v for v in values], float)


def _advantages(
    columns: dict[str, np.ndarray], totals: np.ndarray, sizes: Sequence[int], mix: Mix
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Advantages as training takes them, and the part of each that a reward part contributes; both 0 in dead
    groups and where nothing is known."""
    gains = np.zeros(len(totals))
    parts = {name: np.zeros(len(totals)) for name in mix.weights}
    for span in _spans(sizes):
        whole = totals[span]
        if np.isnan(whole).any() or np.ptp(whole) < 1e-9:
            continue
        scale = max(float(whole.std()), mix.floor)
        gains[span] = (whole - whole.mean()) / scale
        for name, weight in mix.weights.items():
            own = columns[name][span]
            if np.isnan(own).any():
                continue
            own = own - own.mean()
            if mix.normalise == "parts":
                own = own / max(float(own.std()), mix.floor)
            parts[name][span] = weight * own / scale
    return gains, parts


def _share(part: np.ndarray | None, gains: np.ndarray) -> float | None:
    """The covariance of the part's contribution with the advantage, over the advantage's variance."""
    whole = float((gains**2).sum())
    return None if part is None or whole == 0 else float((part * gains).sum()) / whole


def _pairs(right: np.ndarray, sizes: Sequence[int]) -> tuple[tuple[np.ndarray, np.ndarray], bool]:
    """Places of (right, wrong) pairs inside groups; of the whole file where no group has both, drawn evenly
    if they are many."""
    first, second = [], []
    for span in _spans(sizes):
        good = np.flatnonzero(right[span]) + span.start
        bad = np.flatnonzero(~right[span]) + span.start
        first.append(np.repeat(good, len(bad)))
        second.append(np.tile(bad, len(good)))
    pairs = np.concatenate(first), np.concatenate(second)
    if len(pairs[0]):
        return pairs, True
    good, bad = np.flatnonzero(right), np.flatnonzero(~right)
    if not len(good) or not len(bad):
        return (good[:0], bad[:0]), False
    count = min(200_000, len(good) * len(bad))
    at = np.linspace(0, len(good) * len(bad) - 1, count).astype(np.int64)
    return (good[at // len(bad)], bad[at % len(bad)]), False


def _values(
    name: str,
    weight: float | None,
    column: np.ndarray,
    sizes: Sequence[int],
    ends: tuple[float, float],
    variance: float | None,
    pairs: tuple[np.ndarray, np.ndarray],
) -> Values:
    known = column[~np.isnan(column)]
    low, high = ends
    spans = [span for span in _spans(sizes) if span.stop - span.start > 1 and not np.isnan(column[span]).any()]
    still = [float(np.ptp(column[span])) < 1e-9 for span in spans]
    gap = column[pairs[0]] - column[pairs[1]]
    gap = gap[~np.isnan(gap)]
    counts, _ = np.histogram(known, BINS, (low, high if high > low else low + 1))
    return Values(
        name=name,
        weight=weight,
        coverage=len(known) / len(column),
        mean=float(known.mean()) if len(known) else None,
        std=float(known.std()) if len(known) else None,
        quartiles=tuple(float(q) for q in np.quantile(known, (0, 0.25, 0.5, 0.75, 1))) if len(known) else (),
        at_low=float((known <= low + 1e-9).mean()) if len(known) else 0.0,
        at_high=float((known >= high - 1e-9).mean()) if len(known) else 0.0,
        still=sum(still) / len(still) if still else None,
        histogram=tuple(int(c) for c in counts),
        ends=ends,
        variance=variance,
        agreement=float(((gap > 1e-9) + 0.5 * (abs(gap) <= 1e-9)).mean()) if len(gap) else None,
    )


def _correlation(columns: Sequence[np.ndarray]) -> list[list[float | None]]:
    """Pearson's, over the completions that have both parts."""
    return [[_correlated(a, b) for b in columns] for a in columns]


def _correlated(a: np.ndarray, b: np.ndarray) -> float | None:
    both = ~(np.isnan(a) | np.isnan(b))
    if both.sum() < 2 or a[both].std() < 1e-9 or b[both].std() < 1e-9:
        return None
    return float(np.corrcoef(a[both], b[both])[0, 1])


def _spans(sizes: Sequence[int]) -> list[slice]:
    ends = list(itertools.accumulate(sizes))
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def _differ(scores: Sequence[Score]) -> bool:
    totals = [s.total for s in scores if s.total is not None]
    return bool(totals) and max(totals) - min(totals) >= 1e-9
