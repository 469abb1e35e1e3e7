"""The order of training: which tasks batch k holds, as a pure function of the tasks, the seed and k.

Nothing is consumed and nothing is remembered, so that a run that resumes at step k sees what a straight run
would have seen. The mixture does not filter and does not tokenise.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from everystep.core.types import Task

CYCLE = 1_000  # positions after which the pattern of sources repeats; weights are kept to 1 in CYCLE


@dataclass(frozen=True, slots=True)
class Pool:
    """One source in a mixture: its tasks, and its share of the positions (out of CYCLE)."""

    name: str
    tasks: tuple[Task, ...]
    share: int


@dataclass(frozen=True, slots=True)
class Mixture:
    """Batches of `size` tasks; make one with `mixture`. Batch k holds the positions from k·size on.

    `pattern` gives the pool of each position of a cycle, `before` how many of the cycle's earlier positions
    belong to the same pool: so position → (pool, how many draws of it came before) needs no scan. `orders`
    caches the permutations in use and is no part of the mixture's value.
    """

    pools: tuple[Pool, ...]
    size: int
    seed: int
    pattern: tuple[int, ...]
    before: tuple[int, ...]
    orders: dict[tuple[int, int], list[int]] = field(default_factory=dict, compare=False, repr=False)

    def batch(self, k: int) -> tuple[Task, ...]:
        """The tasks of batch k ≥ 0. Sorting a pool, once an epoch, is all that depends on its size."""
        if k < 0:
            raise ValueError(f"batches are counted from 0, got {k}")
        return tuple(self._task(position) for position in range(k * self.size, (k + 1) * self.size))

    def epoch(self, k: int) -> float:
        """How many times the pools have been seen when batch k begins, on average over all the tasks."""
        return k * self.size / sum(len(p.tasks) for p in self.pools)

    def _task(self, position: int) -> Task:
        cycle, at = divmod(position, CYCLE)
        which = self.pattern[at]
        pool = self.pools[which]
        epoch, draw = divmod(cycle * pool.share + self.before[at], len(pool.tasks))
        return pool.tasks[self._order(which, epoch)[draw]]

    def _order(self, which: int, epoch: int) -> list[int]:
        """A permutation by hash: it depends on the tasks' content, not on their order, nor on the version of
        a random generator."""
        key = (which, epoch)
        if key not in self.orders:
            for old in [k for k in self.orders if k[0] == which and abs(k[1] - epoch) > 1]:
                del self.orders[old]
            tasks, salt = self.pools[which].tasks, f"{self.seed} {self.pools[which].name} {epoch} "
            digests = [hashlib.sha256((salt + t.id).encode()).digest() for t in tasks]
            self.orders[key] = sorted(range(len(tasks)), key=lambda i: digests[i])
        return self.orders[key]


def mixture(tasks: Mapping[str, Sequence[Task]], weights: Mapping[str, float], size: int, seed: int) -> Mixture:
    """A mixture of sources by weight: each is a seeded permutation per epoch, so that every task of it is
    seen once before any is seen again.

    Raises ValueError for an empty source, one without a weight or with a weight that is not positive, a
    task that occurs twice, and a batch size below 1.
    """
    if size < 1 or not tasks:
        raise ValueError(f"a mixture needs a source and a batch of at least one task, got {size}")
    if len(tasks) > CYCLE:
        raise ValueError(f"a mixture holds at most {CYCLE} sources, got {len(tasks)}")
    for name, own in tasks.items():
        weight = weights.get(name, 0.0)
        if not own:
            raise ValueError(f"source {name!r} has no tasks to train on")
        if not (weight > 0 and math.isfinite(weight)):
            raise ValueError(f"source {name!r} has the weight {weight}; give a positive number")
        if len({t.id for t in own}) < len(own):
            raise ValueError(f"source {name!r} holds a task twice; clean the data first")
    names = sorted(tasks)
    shares = _shares([weights[name] for name in names])
    pools = tuple(Pool(name, tuple(tasks[name]), share) for name, share in zip(names, shares, strict=True))
    pattern = _interleave(shares)
    counts = [0] * len(pools)
    before = []
    for which in pattern:
        before.append(counts[which])
        counts[which] += 1
    return Mixture(pools, size, seed, pattern, tuple(before))


def _shares(weights: Sequence[float]) -> list[int]:
    """CYCLE split in proportion to the weights, by largest remainders, at least 1 each."""
    whole = math.fsum(weights)
    exact = [CYCLE * w / whole for w in weights]
    shares = [max(1, math.floor(e)) for e in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (shares[i] - exact[i], i))
    for i in by_remainder[: max(0, CYCLE - sum(shares))]:
        shares[i] += 1
    while sum(shares) > CYCLE:
        shares[max(range(len(shares)), key=lambda i: shares[i])] -= 1
    return shares


def _interleave(shares: Sequence[int]) -> tuple[int, ...]:
    """The pools of one cycle, spread as evenly as they can be (smooth weighted round robin)."""
    credit, pattern = [0] * len(shares), []
    for _ in range(CYCLE):
        credit = [c + s for c, s in zip(credit, shares, strict=True)]
        which = max(range(len(shares)), key=lambda i: (credit[i], -i))
        credit[which] -= CYCLE
        pattern.append(which)
    return tuple(pattern)
