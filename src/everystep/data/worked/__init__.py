"""Seeded tasks with worked solutions: arithmetic in words, by domain and by level.

A task is a pure function of its seed and index, so a training set needs no file. Levels move the magnitude
of the numbers and leave the sentences and the number of steps as they are. A task's `source` is
"worked/<generator>". Splits are decided by content: two wordings of one calculation share a split.

>>> t = task(0, 0, names=["purchase"], levels=[1])
>>> t.source, t.domain, t.level
('worked/purchase', 'math', 1)
>>> t == task(0, 0, names=["purchase"], levels=[1])
True
"""

import hashlib
import random
import re
from collections.abc import Callable, Sequence

from everystep.core.types import Task, task_id
from everystep.data.worked import general, math, reasoning, science
from everystep.data.worked.problem import Problem

__all__ = ["GENERATORS", "LEVELS", "Problem", "split_of", "task", "tasks"]

Generator = Callable[[random.Random, int], Problem]

LEVELS = (1, 2, 3, 4, 5)

GENERATORS: dict[str, tuple[str, Generator]] = {
    "gain_loss": ("math", math.gain_loss),
    "purchase": ("math", math.purchase),
    "percent": ("math", math.percent),
    "equation": ("math", math.equation),
    "perimeter": ("math", math.perimeter),
    "rows": ("math", math.rows),
    "average": ("math", math.average),
    "sharing": ("math", math.sharing),
    "fraction": ("math", math.fraction),
    "speed": ("science", science.speed),
    "distance": ("science", science.distance),
    "density": ("science", science.density),
    "ohm": ("science", science.ohm),
    "convert": ("science", science.convert),
    "work": ("science", science.work),
    "temperature": ("science", science.temperature),
    "energy": ("science", science.energy),
    "ordering": ("reasoning", reasoning.ordering),
    "compare": ("reasoning", reasoning.compare),
    "sequence": ("reasoning", reasoning.sequence),
    "ages": ("reasoning", reasoning.ages),
    "truth": ("reasoning", reasoning.truth),
    "undo": ("reasoning", reasoning.undo),
    "together": ("reasoning", reasoning.together),
    "choice": ("reasoning", reasoning.choice),
    "calendar": ("general", general.calendar),
    "schedule": ("general", general.schedule),
    "sorting": ("general", general.sorting),
    "change": ("general", general.change),
    "recipe": ("general", general.recipe),
    "counting": ("general", general.counting),
    "reading": ("general", general.reading),
    "passengers": ("general", general.passengers),
}

_NUMBER = re.compile(r"\d+")
# Draws without a new task of the split after which a generator's level counts as used up. The rarest split
# is a tenth of the contents: 400 misses in a row happen by chance once in 10^18.
_PATIENCE = 400


def split_of(name: str, problem: Problem) -> str:
    """The split: train (80 %), dev or test (10 % each), by SHA-256 of the generator's name and the content.

    The content is the problem's `key`, or else the sorted numbers of its question, so that neither names
    and nouns nor the order in which a wording gives the numbers can move a calculation to another split.
    """
    content = problem.key or tuple(sorted(map(int, _NUMBER.findall(problem.question))))
    digest = hashlib.sha256("\x1f".join((name, *map(str, content))).encode()).digest()
    bucket = int.from_bytes(digest[:8], "big") % 10
    return "test" if bucket == 0 else "dev" if bucket == 1 else "train"


def task(seed: int, index: int, *, names: Sequence[str] = (), levels: Sequence[int] = LEVELS) -> Task:
    """The task with this index: generators take turns, then levels; the numbers follow from seed and index.

    `names` limits the generators (all where empty). Raises ValueError for a name or level that is not there.
    """
    chosen, levels = _chosen(names, levels)
    name, level = chosen[index % len(chosen)], levels[index // len(chosen) % len(levels)]
    return _task(name, level, random.Random(f"{seed}/{name}/{level}/{index}"))


def tasks(split: str, n: int, seed: int, *, names: Sequence[str] = (), levels: Sequence[int] = LEVELS) -> list[Task]:
    """`n` tasks of a split with different questions, balanced over generators and levels.

    A generator's level that runs out of new questions leaves its places to the others. The list for a
    smaller `n` is the beginning of the list for a larger one. Raises ValueError for an unknown split, name
    or level, and where there are not `n` different questions.
    """
    if split not in ("train", "dev", "test"):
        raise ValueError(f"worked: no split {split!r}; there are train, dev and test")
    chosen, levels = _chosen(names, levels)
    # Generators take turns fastest, each time at another level, so that any beginning is balanced as well.
    cells = [(name, levels[(i + j) % len(levels)]) for j in range(len(levels)) for i, name in enumerate(chosen)]
    alive = [(name, level, random.Random(f"{seed}/{name}/{level}")) for name, level in cells]
    seen: set[str] = set()
    found: list[Task] = []
    while len(found) < n and alive:
        still = []
        for name, level, rng in alive:
            if len(found) == n:
                break
            new = _new(name, level, rng, split, seen)
            if new is not None:
                seen.add(new.question)
                found.append(new)
                still.append((name, level, rng))
        alive = still
    if len(found) < n:
        raise ValueError(
            f"worked: only {len(found)} different {split} tasks of the {n} asked for, with generators "
            f"{', '.join(chosen)} at levels {', '.join(map(str, levels))}; ask for fewer"
        )
    return found


def _new(name: str, level: int, rng: random.Random, split: str, seen: set[str]) -> Task | None:
    """The next task of a split whose question is not yet seen, or None after long without one."""
    for _ in range(_PATIENCE):
        drawn = _task(name, level, rng)
        if drawn.split == split and drawn.question not in seen:
            return drawn
    return None


def _task(name: str, level: int, rng: random.Random) -> Task:
    domain, generate = GENERATORS[name]
    p = generate(rng, level)
    return Task(
        id=task_id("worked", p.question, p.answer),
        domain=domain,
        question=p.question,
        answer=p.answer,
        kind=p.kind,
        source=f"worked/{name}",
        split=split_of(name, p),
        solution=p.steps,
        level=level,
        unit=p.unit,
        choices=p.choices,
    )


def _chosen(names: Sequence[str], levels: Sequence[int]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The asked-for generators and levels, each once, in the order given."""
    unknown = [n for n in names if n not in GENERATORS]
    if unknown:
        raise ValueError(f"worked: no generator {unknown[0]!r}; there are {', '.join(GENERATORS)}")
    wrong = [level for level in levels if level not in LEVELS]
    if wrong or not levels:
        raise ValueError(f"worked: levels {list(levels)} are not among {list(LEVELS)}; give at least one of them")
    return tuple(dict.fromkeys(names)) or tuple(GENERATORS), tuple(dict.fromkeys(levels))
