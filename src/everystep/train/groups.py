"""The groups of a step: prompts sampled, completions graded and scored, dead groups replaced, advantages.

All on the host but for the drawing itself, which the caller gives. What is learned from a group is the
loss's business (`loss.py`).
"""
# ruff: noqa: F821 (shapes in annotations are strings)

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from everystep.core.recipe import Grpo
from everystep.core.trace import prompt
from everystep.core.types import Completion, Graded, Sampling, Score, Stop, Task
from everystep.model.decode import Decoded, OnDone
from everystep.model.tokenizer import Tokenizer
from everystep.score.groups import spread
from everystep.score.judge import Judge, score_judged
from everystep.score.mix import Mix
from everystep.train.timing import Ledger
from everystep.verify.grade import grade

REFILLS = 2  # how often dead groups of a step may be replaced

# Prompts, rows for each, how, and who is given each row once when it has ended.
Draw = Callable[[Sequence[str], int, Sampling, OnDone], list[list[Decoded]]]


@dataclass(frozen=True, slots=True)
class Groups:
    """The sampled, graded and scored groups of one step; one entry a prompt."""

    tasks: list[Task]
    rows: list[list[Decoded]]
    graded: list[list[Graded]]
    scores: list[list[Score]]

    def dead(self) -> list[int]:
        return [i for i, group in enumerate(self.scores) if spread(group).dead]


def step_seed(seed: int, step: int, round_: int = 0) -> int:
    """The sampling seed of a step: a function of (run seed, step, refill round) and of nothing else."""
    return zlib.crc32(f"{seed}/{step}/{round_}".encode())


def advantages(scores: Sequence[Sequence[Score]], floor: float = 0.05) -> Float[np.ndarray, "rows"]:
    """(score - group mean) / group standard deviation, row by row. The deviation has a floor, so that noise
    in a nearly unanimous group is not blown up; dead groups and scores that are None get 0."""
    out: list[float] = []
    for group in scores:
        if spread(group).dead:
            out += [0.0] * len(group)
            continue
        totals = np.array([math.nan if s.total is None else s.total for s in group])
        known = totals[~np.isnan(totals)]
        out += np.nan_to_num((totals - known.mean()) / max(known.std(), floor)).tolist()
    return np.array(out, np.float32)


def sample_groups(
    draw: Draw,
    tasks: Sequence[Task],
    config: Grpo,
    mix: Mix,
    tokenizer: Tokenizer,
    *,
    instruction: str,
    seed: int,
    judge: Judge | None = None,
    ledger: Ledger | None = None,
) -> Groups:
    """One group for each task: sampled at `config`'s temperature with `seed`, graded and scored. Rows are graded
    while others are still decoded, so that this is part of the ledger's phase "rollout". A reward part that
    raises stops it: ValueError names the part and the task."""
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens, seed=seed)
    ledger = ledger or Ledger()
    found: dict[int, Graded] = {}

    def on_done(some: Sequence[tuple[int, Decoded]]) -> None:
        for r, row in some:
            i, sample = divmod(r, config.group)
            found[r] = grade(tasks[i], _completion(tasks[i], sample, row, tokenizer))

    with ledger.phase("rollout"):
        rows = draw([prompt(t, instruction).text for t in tasks], config.group, sampling, on_done)
    with ledger.phase("reward"):
        graded = [[found[i * config.group + k] for k in range(config.group)] for i in range(len(tasks))]
        return Groups(list(tasks), rows, graded, score_judged(graded, mix, judge))


def spare(dead: float, prompts: int, group: int) -> int:
    """How many prompts more are drawn along with a step's, where such a share of its groups is likely to be
    dead: half as many again as that, since some of them are dead too, and what fits into the same batch
    (decoding pads its rows to a power of two); no more than the step has.

    >>> [spare(d, 16, 8) for d in (0.0, 0.2, 0.5, 1.0)], spare(0.5, 6, 8)
    ([0, 16, 16, 16], 6)
    """
    wanted = min(prompts, math.ceil(1.5 * dead * prompts))
    if not wanted:
        return 0
    rows = 1 << ((prompts + wanted) * group - 1).bit_length()
    return min(prompts, rows // group - prompts)


def parted(groups: Groups, count: int) -> tuple[Groups, Groups]:
    """The first so many groups, and the others."""

    def part(of: slice) -> Groups:
        return Groups(groups.tasks[of], groups.rows[of], groups.graded[of], groups.scores[of])

    return part(slice(count)), part(slice(count, None))


def refilled(groups: Groups, fresh: Callable[[int, int], Groups]) -> Groups:
    """The groups with dead ones replaced by live ones of `fresh(round, count)`, rounds 1 to `REFILLS`; as
    many groups as before, in the same places. What finds no replacement stays. Half as many again as are
    dead are asked for, since some of the new ones are dead too."""
    out = Groups(list(groups.tasks), list(groups.rows), list(groups.graded), list(groups.scores))
    for round_ in range(1, REFILLS + 1):
        dead = out.dead()
        if not dead:
            break
        new = fresh(round_, min(len(out.tasks), math.ceil(1.5 * len(dead))))
        live = sorted(set(range(len(new.tasks))) - set(new.dead()))
        for at, i in zip(dead, live, strict=False):
            out.tasks[at], out.rows[at] = new.tasks[i], new.rows[i]
            out.graded[at], out.scores[at] = new.graded[i], new.scores[i]
    return out


def _completion(task: Task, sample: int, row: Decoded, tokenizer: Tokenizer) -> Completion:
    tokens = row.tokens.tolist()
    text, ends = tokenizer.decode_with_ends(tokens)
    stop = Stop.END if row.ended else Stop.LENGTH
    return Completion(task.id, sample, text, tuple(tokens), tuple(row.logprobs.tolist()), stop, ends)
