"""Near-duplicates between splits: questions of the training side that are almost those of the held-out side.

Likeness is the Jaccard index of the sets of word 5-grams, numbers kept as words: the same story with other
numbers is another task, the same story with another name is not.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from everystep.core.types import Task

SIZE = 5
THRESHOLD = 0.5

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two tasks whose questions are alike, by id, and how much (Jaccard index, in (0, 1])."""

    train: str
    held_out: str
    likeness: float


def grams(text: str) -> frozenset[tuple[str, ...]]:
    """The word 5-grams of a text, lower case, without punctuation; a shorter text is one gram.

    >>> [" ".join(g) for g in sorted(grams("Tom has 1,200 pens. He has 3."))]
    ['1,200 pens he has 3', 'has 1,200 pens he has', 'tom has 1,200 pens he']
    """
    words = _WORD.findall(text.lower())
    if len(words) <= SIZE:
        return frozenset([tuple(words)])
    return frozenset(tuple(words[i : i + SIZE]) for i in range(len(words) - SIZE + 1))


def near(train: Sequence[Task], held_out: Iterable[Task], threshold: float = THRESHOLD) -> list[Pair]:
    """Every pair of a train and a held-out task whose questions are at least `threshold` alike, best first.

    The grams of the training side are indexed, so that only pairs that share one are looked at. Raises
    ValueError for a threshold outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"a threshold of likeness lies in (0, 1], got {threshold}")
    index: dict[tuple[str, ...], list[int]] = defaultdict(list)
    sizes: list[int] = []
    for at, task in enumerate(train):
        own = grams(task.question)
        sizes.append(len(own))
        for gram in own:
            index[gram].append(at)
    pairs = []
    for task in held_out:
        own = grams(task.question)
        shared: Counter[int] = Counter()
        for gram in own:
            shared.update(index.get(gram, ()))
        for at, n in shared.items():
            likeness = n / (sizes[at] + len(own) - n)
            if likeness >= threshold:
                pairs.append(Pair(train[at].id, task.id, likeness))
    return sorted(pairs, key=lambda p: (-p.likeness, p.train, p.held_out))


def without_near(
    train: Sequence[Task], held_out: Iterable[Task], threshold: float = THRESHOLD
) -> tuple[list[Task], list[Pair]]:
    """The training tasks that are not near any held-out task, in order, and the pairs found."""
    pairs = near(train, held_out, threshold)
    out = {p.train for p in pairs}
    return [t for t in train if t.id not in out], pairs
