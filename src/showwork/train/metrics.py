"""Where training's numbers go: JSON lines in the run directory, and TensorBoard beside them.

Every name is explained in `docs/metrics.md`. Rows are appended as they come; what a resumed stage repeats
is cut off first (`files.rewind`).
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tensorboardX import SummaryWriter

from showwork.files import append_jsonl


@dataclass(frozen=True, slots=True)
class Metrics:
    """A stage's metrics: `log` writes one row to both places."""

    path: Path
    board: SummaryWriter

    def log(self, step: int, values: Mapping[str, float]) -> None:
        append_jsonl(self.path, [{"step": step, **values}])
        for name, value in values.items():
            if math.isfinite(value):
                self.board.add_scalar(name, value, step)


@contextmanager
def metrics(path: Path, start: int = 0) -> Iterator[Metrics]:
    """Open a stage's metrics: `path` for the rows, the folder `tensorboard` beside it, in which a leg that
    begins after step `start` replaces what had been logged beyond it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    board = SummaryWriter(
        str(path.parent / "tensorboard"), flush_secs=10, purge_step=start + 1 if start else None
    )
    try:
        yield Metrics(path, board)
    finally:
        board.close()
