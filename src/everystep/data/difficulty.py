"""Which tasks GRPO draws: in the mixture's order, or by how hard they have been so far.

A group whose completions are all right or all wrong teaches nothing, so "difficulty" draws a task by the
squared chance that its next group will be mixed. The state is three numbers a task, two a kind of task and
how many groups were dead lately; draws are a function of that state, the seed, the step and the round.
Grading and training happen elsewhere.
"""
# ruff: noqa: F821 (shapes in annotations are strings)

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from everystep.core.types import Task
from everystep.data.mixture import mixture

_ROUNDS = 8  # more than a step ever asks for, so that no two draws share their tasks or noise
_PRIOR = 2.0  # completions' worth of belief in what is known of a task's kind
_FADE = 0.98  # a step; what an earlier policy got right says less of this one
_REST = 10.0  # steps after which half of a task's chance to be drawn again is back
_DEAD = 0.3  # share of dead groups that is expected before the first step
_NEWS = 0.3  # how much the last step says of it afterwards
_RARELY = 0.02  # the least chance to be drawn, of 1: solved and hopeless tasks come back, for both can change


class Draws:
    """Draws of tasks without repeats inside a step (but where the mixture's order repeats one, where an epoch
    ends), and what has become of those that were drawn.

    `shares` are the sources' parts of what is drawn, whatever their sizes; `group` is the number of
    completions a task gets. The kind of a task is (source, domain, kind, unit, level).
    """

    def __init__(
        self,
        train: Mapping[str, Sequence[Task]],
        shares: Mapping[str, float],
        prompts: int,
        group: int,
        seed: int,
        mode: Literal["even", "difficulty"] = "difficulty",
    ):
        self.mode, self.prompts, self.group, self.seed = mode, prompts, group, seed
        self.order = mixture(train, shares, prompts, seed)
        self.spare = mixture(train, shares, prompts, seed + 1)
        rows = sorted(((t, source) for source, tasks in train.items() for t in tasks), key=lambda r: r[0].id)
        self.tasks = [task for task, _ in rows]
        self.index = {task.id: i for i, task in enumerate(self.tasks)}
        names = {source: i for i, source in enumerate(sorted(train))}
        self.source = np.array([names[source] for _, source in rows])
        self.shares = np.array([shares[source] for source in sorted(train)])
        kinds = [(s, t.domain, t.kind, t.unit or "", t.level) for t, s in rows]
        numbers = {kind: i for i, kind in enumerate(sorted(set(kinds)))}
        self.kind = np.array([numbers[kind] for kind in kinds])
        self.right = np.zeros(len(rows))  # of the task's last group, how many completions were right
        self.seen = np.zeros(len(rows), np.int64)  # ... of how many
        self.at = np.full(len(rows), -1, np.int64)  # ... in which step
        self.kind_right, self.kind_seen = np.zeros(len(numbers)), np.zeros(len(numbers))
        self.step = 0  # up to which step the kinds' counts have faded
        self.dead = _DEAD

    def draw(self, step: int, round_: int, count: int, taken: Collection[str] = ()) -> list[Task]:
        """`count` tasks for a step (from 0): round 0 is the step's own, later ones refill it. Those whose ids
        are `taken` are left out; fewer come back where the training data have no more."""
        if self.mode == "even" or count > len(self.tasks):
            batch = self.order.batch(step) if round_ == 0 else self.spare.batch(step * _ROUNDS + round_ - 1)
            return [task for task in batch if task.id not in taken][:count]
        weight = self.mixed(step) ** 2  # in proportion alone, easy tasks would crowd out what can be learned
        weight *= 1 - 0.5 ** ((step - self.at) / _REST) * (self.seen > 0)
        weight[[self.index[name] for name in taken]] = 0
        weight = np.maximum(weight, _RARELY * (weight > 0))
        totals = np.bincount(self.source, weight, len(self.shares))
        weight *= (self.shares / np.maximum(totals, 1e-12))[self.source]
        # Weighted draws without replacement: the least of exponential variates (Efraimidis, Spirakis 2006).
        noise = np.random.default_rng((self.seed, step, round_)).exponential(size=len(weight))
        with np.errstate(divide="ignore"):
            order = np.argsort(noise / weight, kind="stable")
        return [self.tasks[i] for i in order[:count] if weight[i] > 0]

    def saw(self, step: int, task: Task, right: int, of: int) -> None:
        """A group of `of` completions was drawn for the task in that step, and so many were right."""
        self._fade(step)
        i = self.index[task.id]
        self.right[i], self.seen[i], self.at[i] = right, of, step
        self.kind_right[self.kind[i]] += right
        self.kind_seen[self.kind[i]] += of

    def mixed(self, step: int) -> Float[np.ndarray, "tasks"]:
        """For each task the chance that its next group holds both right and wrong completions.

        The pass rate is Beta distributed: centred on what is known of the task's kind, moved by the task's
        own last group; then P(mixed) = 1 - E[p^G] - E[(1-p)^G], in closed form.
        """
        self._fade(step)
        known = (self.kind_right.sum() + 1) / (self.kind_seen.sum() + 2)
        centre = ((self.kind_right + _PRIOR * known) / (self.kind_seen + _PRIOR))[self.kind]
        fresh = _FADE ** np.maximum(0, step - self.at)
        a = _PRIOR * centre + fresh * self.right
        b = _PRIOR * (1 - centre) + fresh * (self.seen - self.right)
        i = np.arange(self.group)[:, None]
        return 1 - np.prod((a + i) / (a + b + i), axis=0) - np.prod((b + i) / (a + b + i), axis=0)

    def expected(self, step: int, tasks: Sequence[Task]) -> float:
        """The mean of `mixed` over these tasks: what share of their groups should come out live."""
        return float(self.mixed(step)[[self.index[task.id] for task in tasks]].mean())

    def solved(self) -> float:
        """Of the tasks seen so far the share whose last group was right throughout (0: none was seen)."""
        return float(((self.right == self.seen) & (self.seen > 0)).sum() / max(1, (self.seen > 0).sum()))

    def state(self) -> dict[str, np.ndarray]:
        """All that draws depend on besides what the constructor was given."""
        return {
            "draws/right": self.right.copy(),
            "draws/seen": self.seen.copy(),
            "draws/at": self.at.copy(),
            "draws/kind_right": self.kind_right.copy(),
            "draws/kind_seen": self.kind_seen.copy(),
            "draws/step": np.array([self.step]),
            "draws/dead": np.array([self.dead]),
        }

    def go_on(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take up a `state`."""
        own = {name[6:]: array for name, array in arrays.items() if name.startswith("draws/")}
        self.right, self.seen, self.at = own["right"].copy(), own["seen"].copy(), own["at"].copy()
        self.kind_right, self.kind_seen = own["kind_right"].copy(), own["kind_seen"].copy()
        self.step = int(own["step"][0])
        self.dead = float(own["dead"][0]) if "dead" in own else _DEAD  # older checkpoints do not say

    def died(self, share: float) -> None:
        """Such a share of the groups of a step was dead as drawn."""
        self.dead += _NEWS * (share - self.dead)

    def _fade(self, step: int) -> None:
        if step > self.step:
            self.kind_right *= _FADE ** (step - self.step)
            self.kind_seen *= _FADE ** (step - self.step)
            self.step = step
