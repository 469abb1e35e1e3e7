"""Scores for groups: all completions of one prompt, scored so that they can be compared with each other.

A part that is None for one completion is left out for its whole group: its scores show None, and no total of
the group counts it. The weights of the other parts stay as they are. What a judge says comes from outside:
a part `judge/<criterion>` is looked up in `judged`, and is None where nothing is there.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from everystep.core.types import Graded, Reward, Score
from everystep.score.confidence import confidence
from everystep.score.mix import Mix
from everystep.score.rewards import CONFIDENCE, JUDGE, bounds, total

Judged = Mapping[tuple[str, int], Mapping[str, float | None] | None]
"""What a judge gave, by (task id, sample): for each criterion a value in [0, 1], or None."""


@dataclass(frozen=True, slots=True)
class GroupStats:
    """How the totals of one group lie. `mean` and `std` (of the population) are None where no total is known.

    `dead`: all totals are equal (or unknown), so that the group teaches nothing. `coverage`: for each part,
    the share of the scores that have it.
    """

    mean: float | None
    std: float | None
    dead: bool
    coverage: dict[str, float]


def score_groups(graded: Sequence[Sequence[Graded]], mix: Mix, judged: Judged | None = None) -> list[list[Score]]:
    """A Score for every completion, in the given shape, with the parts that the mix names.

    For a mix that normalises totals, `total == rewards.total(parts, mix.weights)`; for one that normalises
    parts, the total is the weighted sum of each part's (value - group mean) / group deviation. Raises
    ValueError for completions of different tasks in one group, and for a part that raises, or gives a value
    that is not finite or a judge's value outside [0, 1]: the message names part, task and sample, since a
    broken reward must never become a 0.
    """
    return [_score_group(group, mix, judged or {}) for group in graded]


def spread(scores: Sequence[Score]) -> GroupStats:
    """The statistics of one group's scores. Raises ValueError for an empty group."""
    if not scores:
        raise ValueError("a group without completions has no statistics")
    totals = [s.total for s in scores if s.total is not None]
    names = dict.fromkeys(name for s in scores for name in s.parts)
    coverage = {name: sum(s.parts.get(name) is not None for s in scores) / len(scores) for name in names}
    if not totals:
        return GroupStats(None, None, True, coverage)
    mean = math.fsum(totals) / len(totals)
    std = math.sqrt(math.fsum((t - mean) ** 2 for t in totals) / len(totals))
    return GroupStats(mean, std, max(totals) - min(totals) < 1e-9, coverage)


def _score_group(group: Sequence[Graded], mix: Mix, judged: Judged) -> list[Score]:
    tasks = {g.task.id for g in group}
    if len(tasks) > 1:
        raise ValueError(f"a group holds completions of one task, this one of {', '.join(sorted(tasks))}")
    values = {name: _column(name, group, mix, judged) for name in mix.names}
    for name, gate in mix.only_if.items():
        values[name] = _gated(values[name], values[gate], max(high for _, high in bounds(gate)))
    counted = values
    if mix.normalise == "parts":
        counted = {name: _normalised(column, mix.floor) for name, column in values.items()}
    scores = []
    for i, g in enumerate(group):
        own = {name: column[i] for name, column in values.items()}
        whole = total({name: column[i] for name, column in counted.items()}, mix.weights)
        scores.append(Score(g.task.id, g.completion.sample, own, whole))
    return scores


def _column(name: str, group: Sequence[Graded], mix: Mix, judged: Judged) -> list[float | None]:
    """One part's values for a group; all None if one is."""
    if name == CONFIDENCE and name not in mix.parts:
        column = confidence(group)
    elif name.startswith(JUDGE):
        column = [_judgement(name, g, judged) for g in group]
    else:
        column = [_value(name, mix.parts[name], g) for g in group]
    return [None] * len(column) if any(value is None for value in column) else column


def _gated(column: Sequence[float | None], gates: Sequence[float | None], open_: float) -> list[float | None]:
    if any(gate is None for gate in gates):
        return [None] * len(column)
    return [
        value if value is None or (gate is not None and gate >= open_ - 1e-9) else 0.0
        for value, gate in zip(column, gates, strict=True)
    ]


def _normalised(column: Sequence[float | None], floor: float) -> list[float | None]:
    known = [value for value in column if value is not None]
    if len(known) < len(column):
        return [None] * len(column)
    mean = math.fsum(known) / len(known)
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in known) / len(known))
    return [(v - mean) / max(std, floor) for v in known]


def _value(name: str, part: Reward, graded: Graded) -> float | None:
    try:
        value = part(graded)
    except Exception as error:
        raise ValueError(f"{_where(name, graded)}: raised {type(error).__name__}: {error}") from error
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{_where(name, graded)}: gave {value}; a part gives a finite number or None")
    return value


def _judgement(name: str, graded: Graded, judged: Judged) -> float | None:
    """What the judge gave; 0 to a malformed completion, whatever it gave: there is no trace to judge."""
    given = judged.get((graded.task.id, graded.completion.sample))
    value = None if given is None else given.get(name.removeprefix(JUDGE))
    if value is not None and not 0.0 <= value <= 1.0:
        raise ValueError(f"{_where(name, graded)}: the judge's value is {value}; it must be in [0, 1] or None")
    return 0.0 if graded.trace.faults else value


def _where(name: str, graded: Graded) -> str:
    return f"reward part {name!r}, task {graded.task.id}, sample {graded.completion.sample}"
