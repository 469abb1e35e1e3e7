"""Where training's numbers go: JSON lines in the run directory, and the sinks that the recipe names (`log`).

Every name is explained in `docs/metrics.md`. Rows are appended as they come; what a resumed stage repeats
is cut off first (`files.rewind`). A sink is for looking only: nothing here reads it again.
"""

import importlib
import importlib.util
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everystep.core.files import append_jsonl

Log = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True, slots=True)
class Metrics:
    """A stage's metrics: `log` writes one row to every place; sinks get its finite numbers."""

    path: Path
    sinks: tuple[Log, ...]

    def log(self, step: int, values: Mapping[str, float]) -> None:
        append_jsonl(self.path, [{"step": step, **values}])
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        for sink in self.sinks:
            sink(step, finite)


@contextmanager
def metrics(path: Path, start: int = 0, sinks: Sequence[str] = ()) -> Iterator[Metrics]:
    """Open a stage's metrics: `path` for the rows, and a folder beside it for each sink (a key of `SINKS`),
    in which a session that begins after step `start` goes on. Raises ValueError for one that is not installed."""
    require(sinks)
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        yield Metrics(path, tuple(held.enter_context(SINKS[name](path.parent, start)) for name in sinks))


def require(sinks: Sequence[str]) -> None:
    """Raises ValueError, one line, where a sink's package is not installed."""
    for name in sinks:
        package = _PACKAGES[name]
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"log: {name} needs the package {package}; pip install {package}")


@contextmanager
def _tensorboard(folder: Path, start: int) -> Iterator[Log]:
    """What had been logged beyond `start` is replaced."""
    from tensorboardX import SummaryWriter

    board = SummaryWriter(str(folder / "tensorboard"), flush_secs=10, purge_step=start + 1 if start else None)

    def log(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            board.add_scalar(name, value, step)

    try:
        yield log
    finally:
        board.close()


@contextmanager
def _wandb(folder: Path, start: int) -> Iterator[Log]:
    """Offline unless WANDB_MODE says otherwise; `wandb sync` sends it later. Each session is a run of its own in
    the group of its run directory, since an offline run cannot be gone on with."""
    wandb: Any = importlib.import_module("wandb")
    root = folder.parent.name
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "everystep"),
        group=root,
        name=f"{root} {folder.name}" + (f" from {start}" if start else ""),
        dir=str(folder),
        mode=os.environ.get("WANDB_MODE", "offline"),
        settings=wandb.Settings(console="off", silent=True),
    )
    try:
        yield lambda step, values: run.log(dict(values), step=step)
    finally:
        run.finish()


SINKS: dict[str, Callable[[Path, int], AbstractContextManager[Log]]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
}
_PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}
