"""The groups of a step: tasks drawn, completions sampled, graded and scored, groups without a spread replaced.

All of it happens on the host, but for the sampling, which a rollout does (`rollouts.py`). What is learned from a
group is the business of the advantages and the loss.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from everystep.core.recipe import Grpo
from everystep.core.trace import prompt
from everystep.core.types import Completion, Graded, Sampling, Score, Stop, Task
from everystep.data.difficulty import Draws
from everystep.model.decode import Decoded
from everystep.model.tokenizer import Tokenizer
from everystep.score.groups import spread
from everystep.score.judge import Judge, score_judged
from everystep.score.mix import Mix
from everystep.train.rollouts import Rollout
from everystep.train.timing import PhaseTimer
from everystep.verify.grade import grade

REFILLS = 2  # how often dead groups of a step may be replaced


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


def sample_groups(
    rollout: Rollout,
    tasks: Sequence[Task],
    config: Grpo,
    mix: Mix,
    tokenizer: Tokenizer,
    *,
    instruction: str,
    seed: int,
    judge: Judge | None = None,
    timer: PhaseTimer | None = None,
) -> Groups:
    """One group for each task: sampled at `config`'s temperature with `seed`, graded and scored. Completions are
    graded while others are still decoded, so that grading is part of the timer's phase "rollout". A reward part
    that raises stops it: ValueError names the part and the task."""
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens, seed=seed)
    timer = timer or PhaseTimer()
    found: dict[int, Graded] = {}

    def on_done(some: Sequence[tuple[int, Decoded]]) -> None:
        for r, row in some:
            i, sample = divmod(r, config.group)
            found[r] = grade(tasks[i], _completion(tasks[i], sample, row, tokenizer))

    with timer.phase("rollout"):
        rows = rollout([prompt(t, instruction).text for t in tasks], config.group, sampling, on_done)
    with timer.phase("reward"):
        graded = [[found[i * config.group + k] for k in range(config.group)] for i in range(len(tasks))]
        return Groups(list(tasks), rows, graded, score_judged(graded, mix, judge))


@dataclass(frozen=True, slots=True)
class GroupSource:
    """Where the groups of every step come from: `draws` chooses tasks, `rollout` samples, `mix` and `judge` score.
    Everything depends on (`seed`, step) and on what earlier groups were, so that a run can go on anywhere."""

    rollout: Rollout
    draws: Draws
    config: Grpo
    mix: Mix
    tokenizer: Tokenizer
    instruction: str
    seed: int
    judge: Judge | None
    timer: PhaseTimer

    def groups(self, step: int) -> tuple[Groups, dict[str, float]]:
        """The groups of step `step` (from 0), and what is reported of how they came about."""
        count = self.config.prompts
        tasks = self.draws.draw(step, 0, count)
        expected = self.draws.expected(step, tasks)
        if self.config.refill:  # the first refill is drawn ahead: one batch of twice the rows costs less than two
            more = spare(self.draws.dead, count, self.config.group)
            tasks = tasks + (self.draws.draw(step, 1, more, {t.id for t in tasks}) if more else [])
        first = self.sample(tasks, step, 0)
        drawn, dead = {t.id for t in tasks}, len(first.dead()) / len(tasks)
        self.draws.died(dead)
        groups, ahead = parted(first, count)

        def fresh(round_: int, wanted: int) -> Groups:
            if round_ == 1 and ahead.tasks:
                return ahead
            new = self.draws.draw(step, round_, wanted, drawn)
            drawn.update(t.id for t in new)
            return self.sample(new, step, round_) if new else Groups([], [], [], [])

        if self.config.refill:
            groups = refilled(groups, fresh)
        return groups, {
            "dead_groups": dead,
            "live": 1 - len(groups.dead()) / len(groups.tasks),
            "drawn": float(len(drawn)),
            "expected_mixed": expected,
            "solved": self.draws.solved(),
        }

    def sample(self, tasks: Sequence[Task], step: int, round_: int) -> Groups:
        """A group for each task; what came out is remembered for the next draws."""
        groups = sample_groups(
            self.rollout,
            tasks,
            self.config,
            self.mix,
            self.tokenizer,
            instruction=self.instruction,
            seed=step_seed(self.seed, step, round_),
            judge=self.judge,
            timer=self.timer,
        )
        for task, group in zip(groups.tasks, groups.graded, strict=True):
            self.draws.saw(step, task, sum(g.contract for g in group), len(group))
        return groups


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
