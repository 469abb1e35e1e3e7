"""How sure a completion was of its answer, and what being sure of a wrong one costs.

How sure: the mean probability of the tokens of its answer, where the sampler gave log-probabilities and
says where each token ends; else the share of the group's other completions that give an equivalent answer.
One measure for the whole group, so that completions stay comparable.

The cost of a wrong answer at confidence q is ((q - τ) / (1 - τ))², and nothing up to τ = 0.5: the squared
error of the Brier score, without its reward for being unsure and wrong. It is bounded, zero for right
answers, and the measure is what RLPR (arXiv 2506.18254) takes from the token probabilities.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

from everystep.core.types import Graded, Kind, Task, Verdict
from everystep.verify.answers import same_answer

SURE = 0.5  # τ: confidence up to here costs nothing


def confidence(group: Sequence[Graded]) -> list[float | None]:
    """A value in [-1, 0] for each completion of a group: 0 right, below 0 wrong and sure, -1 malformed; None
    where the answer could not be graded.

    All are None in a group without a right completion (there, the differences between wrong answers would be
    the whole signal) and in a group whose confidence cannot be known: one completion without
    log-probabilities.
    """
    if not any(g.contract for g in group):
        return [None] * len(group)
    sure = how_sure(group)
    if sure is None:
        return [None] * len(group)
    return [_cost(g, q) for g, q in zip(group, sure, strict=True)]


def how_sure(group: Sequence[Graded]) -> list[float] | None:
    """The confidence of each completion in its answer, in [0, 1]; 1 for a malformed one, which has none to
    speak of. None where it cannot be known."""
    by_tokens = [1.0 if g.trace.faults else answer_probability(g) for g in group]
    known = [q for q in by_tokens if q is not None]
    if len(known) == len(group):
        return known
    return _by_share(group) if len(group) > 1 else None


def answer_probability(graded: Graded) -> float | None:
    """The mean probability, at sampling, of the tokens that hold some of the answer's text (without outer
    white space, though a token may reach beyond it); None where that is not known."""
    made, answer, start = graded.completion, graded.trace.answer, graded.trace.answer_start
    if made.logprobs is None or made.ends is None or answer is None or start is None:
        return None
    if not len(made.logprobs) == len(made.ends) == len(made.tokens):
        return None
    found, begin = [], 0
    for logprob, end in zip(made.logprobs, made.ends, strict=True):
        if end > begin and begin < start + len(answer) and end > start:
            found.append(math.exp(min(logprob, 0.0)))
        begin = end
    return math.fsum(found) / len(found) if found else None


def _cost(graded: Graded, q: float) -> float | None:
    if graded.trace.faults:
        return -1.0
    if graded.verdict is Verdict.UNGRADABLE:
        return None
    return 0.0 if graded.verdict.right else -(max(0.0, (q - SURE) / (1 - SURE)) ** 2)


def _by_share(group: Sequence[Graded]) -> list[float]:
    """For each, the share of the others that give an equivalent answer, drawn towards one half as if two
    more had been seen, one with it and one without: (n + 1) / (G - 1 + 2) for n of the G - 1 others."""
    kinds: list[str] = []  # one answer for each class of equivalent ones
    members: list[int | None] = []
    for g in group:
        answer = g.trace.answer
        if g.trace.faults or answer is None:
            members.append(None)
            continue
        text = g.task.answer if g.verdict.right else answer
        at = next((i for i, known in enumerate(kinds) if equivalent(g.task, text, known)), len(kinds))
        if at == len(kinds):
            kinds.append(text)
        members.append(at)
    return [1.0 if m is None else members.count(m) / (len(group) + 1) for m in members]


def equivalent(task: Task, answer: str, other: str) -> bool:
    """Whether two answers to a task say the same, by the rules that compare an answer with the gold one."""
    if answer.strip() == other.strip():
        return True
    return _same(answer, other, task.kind, task.unit, task.choices)


@lru_cache(maxsize=16_384)
def _same(answer: str, other: str, kind: Kind, unit: str | None, choices: tuple[str, ...]) -> bool:
    return same_answer(answer, other, kind, unit=unit, choices=choices).verdict.right
