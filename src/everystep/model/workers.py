"""Programs side by side on the cores of one processor: how many pay, and the threads that launch them.

XLA's CPU client runs what one thread launches in that order, and what several threads launch side by side.
One program of a small model does not keep several cores busy: many of its operations are too small to be
divided, and a batch of small products XLA does not divide at all. An accelerator runs one program after the
other. What is computed is the callers' business (`decode.py`, `train/engine.py`).
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from threading import Lock
from typing import Any, TypeVar

import jax

from everystep.model.mesh import mesh_of

_FILL = 8  # rows below which a program costs nearly as much as one with twice as many
T = TypeVar("T")
R = TypeVar("R")
LAUNCH = Lock()  # held where programs are launched, so that one that several workers have is compiled once


def worker_count(like: Any) -> int:
    """How many programs are to run side by side where the arrays of `like` lie: one a core where one
    processor is the only device, otherwise one."""
    mesh = mesh_of(like)
    if jax.default_backend() != "cpu" or (mesh is not None and mesh.size > 1):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """So many threads, each of which launches programs; the caller's own where there is one worker."""

    def __init__(self, count: int):
        self.count = count
        self.threads = [ThreadPoolExecutor(1) for _ in range(count)] if count > 1 else []

    def parts(self, rows: int, units: int) -> list[slice]:
        """The parts of so many rows, made of so many units that must stay whole: equal ones, one a worker where
        each has its fill of rows.

        >>> Workers(2).parts(32, units=4)
        [slice(0, 16, None), slice(16, 32, None)]
        >>> Workers(2).parts(24, units=3)
        [slice(0, 24, None)]
        """
        most = min(self.count, rows // _FILL)
        count = max((n for n in range(1, most + 1) if units % n == 0), default=1)
        return [slice(i * rows // count, (i + 1) * rows // count) for i in range(count)]

    def each(self, launch: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """What `launch` returns for each part, in their order; the parts take turns with the threads. Arrays
        among it may still be computed."""
        if not self.threads or len(parts) == 1:
            return [launch(part) for part in parts]

        def one(part: T) -> R:
            with LAUNCH:
                return launch(part)

        futures = [thread.submit(one, part) for thread, part in zip(cycle(self.threads), parts, strict=False)]
        return [future.result() for future in futures]


ONE_WORKER = Workers(1)
