"""Every source of tasks, by name, and how the rows of files are shared out to splits.

A source is a function of its section of the recipe, a split and a seed. Which source is on, and with what
weight, is the recipe's business; filters are in `data.clean`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from everystep.core.recipe import FileSource, WorkedSource
from everystep.core.types import Task
from everystep.data import gsm8k, jsonl, svamp, worked

SPLITS = ("train", "dev", "test")


def from_worked(settings: WorkedSource, split: str, seed: int) -> list[Task]:
    """Tasks of our own generators, all levels of the recipe."""
    n = {"train": settings.train, "dev": settings.dev, "test": settings.test}[_known(split)]
    return worked.tasks(split, n, seed, names=settings.generators, levels=settings.levels)


def _rows_of(load: Callable[[str | None], list[Task]]) -> "Source":
    """The source that shares out what `load` reads from a path. The seed changes nothing: rows are what they are."""
    return lambda settings, split, seed: share_out(load(settings.path), settings, split)


Source = Callable[[Any, str, int], list[Task]]
SOURCES: Mapping[str, Source] = {
    "worked": from_worked,
    "gsm8k": _rows_of(gsm8k.load),
    "svamp": _rows_of(svamp.load),
    "jsonl": _rows_of(jsonl.load),
}


def share_out(tasks: Sequence[Task], settings: FileSource, split: str) -> list[Task]:
    """The tasks of one split, in the order of the file, each with its split filled in.

    Rows without a split ("") go to train, dev or test at 80, 10 and 10 % by the hash of their content, so
    that a row keeps its split whatever else the file holds. Data with a train split but no dev split
    gives up `settings.dev` train rows, at most a tenth, for dev: those with the lowest hashes. Caps
    (`train`, `dev`, `test` of the settings) also keep the lowest hashes. Raises ValueError for a split that
    is empty.
    """
    _known(split)
    shared = [task if task.split else replace(task, split=_bucket(task)) for task in tasks]
    if not any(t.split == "dev" for t in shared):
        train = sorted((t for t in shared if t.split == "train"), key=_order)
        dev = {t.id for t in train[: min(settings.dev, len(train) // 10)]}
        shared = [replace(t, split="dev") if t.split == "train" and t.id in dev else t for t in shared]
    own = [t for t in shared if t.split == split]
    if not own:
        have = ", ".join(sorted({t.split for t in shared})) or "nothing"
        place = f"{tasks[0].source} ({settings.path})" if tasks else str(settings.path)
        raise ValueError(f"{place} has no tasks for the split {split!r}, only for {have}")
    cap = {"train": settings.train, "dev": settings.dev, "test": settings.test}[split]
    if cap is not None and cap < len(own):
        kept = {t.id for t in sorted(own, key=_order)[:cap]}
        own = [t for t in own if t.id in kept]
    return own


def _bucket(task: Task) -> str:
    tenth = int(_order(task)[:8], 16) % 10
    return "test" if tenth == 9 else "dev" if tenth == 8 else "train"


def _order(task: Task) -> str:
    return hashlib.sha256(f"share out {task.id}".encode()).hexdigest()


def _known(split: str) -> str:
    if split not in SPLITS:
        raise ValueError(f"split {split!r} does not exist; there are {', '.join(SPLITS)}")
    return split
