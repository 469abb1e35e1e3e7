"""Scores for groups: all completions of one prompt, scored so that they can be compared with each other.

A part that is None for one completion is left out for its whole group: its scores show None, and no total of
the group counts it. The weights of the other parts stay as they are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from showwork.score.rewards import PARTS, check_weights, total
from showwork.types import Graded, Reward, Score


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


def score_groups(
    graded: Sequence[Sequence[Graded]], weights: Mapping[str, float], parts: Mapping[str, Reward] = PARTS
) -> list[list[Score]]:
    """A Score for every completion, in the given shape; parts are those that `weights` names.

    For every score, `total == rewards.total(parts, weights)`. Raises ValueError for weights that name no
    part, for completions of different tasks in one group, and for a part that raises or gives a value that
    is not finite: the message names part, task and sample, since a broken reward must never become a 0.
    """
    check_weights(weights, parts)
    return [_score_group(group, weights, parts) for group in graded]


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


def _score_group(
    group: Sequence[Graded], weights: Mapping[str, float], parts: Mapping[str, Reward]
) -> list[Score]:
    tasks = {g.task.id for g in group}
    if len(tasks) > 1:
        raise ValueError(f"a group holds completions of one task, this one of {', '.join(sorted(tasks))}")
    values = {name: [_value(name, parts[name], g) for g in group] for name in weights}
    for name, column in values.items():
        if any(value is None for value in column):
            values[name] = [None] * len(column)
    scores = []
    for i, g in enumerate(group):
        own = {name: column[i] for name, column in values.items()}
        scores.append(Score(g.task.id, g.completion.sample, own, total(own, weights)))
    return scores


def _value(name: str, part: Reward, graded: Graded) -> float | None:
    where = f"reward part {name!r}, task {graded.task.id}, sample {graded.completion.sample}"
    try:
        value = part(graded)
    except Exception as error:
        raise ValueError(f"{where}: raised {type(error).__name__}: {error}") from error
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{where}: gave {value}; a part gives a finite number or None")
    return value
