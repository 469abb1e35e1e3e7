"""What the seconds of GRPO bought: completions and tokens a second, and operations a second beside what the
device can do.

Counted is the least that the work takes: of completions that were kept or drawn, without prompts, padding and
attention; two operations for each parameter forward, and as many again backward through a frozen base. What
the device can do is measured: one large product, in the dtype of the weights.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from everystep.model.shape import Shape

_REPEATS = 5


@dataclass(frozen=True, slots=True)
class Throughput:
    """A training's rates: `completions` a second of everything, `tokens` a second of rollout, operations a
    second of `rollout` and `update`, and the `reach` of the device."""

    completions: float
    tokens: float
    rollout: float
    update: float
    reach: float

    def describe(self) -> str:
        """
        >>> Throughput(30.0, 12000.0, 3e10, 4.5e10, 1.5e11).describe()
        '30 completions a second, 12,000 tokens a second of rollout; rollout 20 %, update 30 % of 150 GFLOP/s'
        """
        rollout, update = 100 * self.rollout / self.reach, 100 * self.update / self.reach
        return (
            f"{self.completions:,.0f} completions a second, {self.tokens:,.0f} tokens a second of rollout; "
            f"rollout {rollout:.0f} %, update {update:.0f} % of {self.reach / 1e9:,.0f} GFLOP/s"
        )


def throughput(
    shape: Shape,
    prompts: int,
    group: int,
    steps: Sequence[Mapping[str, float]],
    seconds: Sequence[Mapping[str, float]],
    reach: float,
) -> Throughput | None:
    """The rates of a training from the rows of its metrics (`drawn` prompts of `group` completions of
    `tokens` each, of which `prompts` were learned from) and of its ledger. None where nothing was trained.

    >>> shape = Shape(1, 10, 10, 10, 1, 1, 10, False)
    >>> spent = {"rollout": 2.0, "update": 1.0, "total": 4.0}
    >>> rates = throughput(shape, 2, 8, [{"drawn": 4.0, "tokens": 50.0}], [spent], 1e9)
    >>> rates.completions, rates.tokens, rates.rollout == 800 * 2 * shape.parameters
    (8.0, 800.0, True)
    """
    spent = {k: sum(row.get(k, 0.0) for row in seconds) for k in ("rollout", "update", "total")}
    if not steps or not all(spent.values()):
        return None
    drawn = sum(group * row["drawn"] for row in steps)
    tokens = sum(group * row["drawn"] * row["tokens"] for row in steps)
    learned = sum(group * prompts * row["tokens"] for row in steps)
    return Throughput(
        completions=drawn / spent["total"],
        tokens=tokens / spent["rollout"],
        rollout=2 * shape.parameters * tokens / spent["rollout"],
        update=4 * shape.parameters * learned / spent["update"],
        reach=reach,
    )


def reach(dtype: Any) -> float:
    """Operations a second of one large product, the best of some, times the devices there are."""
    n = 2048 if jax.default_backend() == "cpu" else 8192
    x = jnp.ones((n, n), dtype)
    product = jax.jit(lambda x: x @ x)
    product(x).block_until_ready()
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        product(x).block_until_ready()
        times.append(time.perf_counter() - began)
    return jax.device_count() * 2 * n**3 / min(times)
