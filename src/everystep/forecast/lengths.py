"""How long completions are: by a stated share of their limit, or as those of a run were."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from everystep.core.files import read_jsonl
from everystep.core.run import TEST, Run

SHARE = 0.5  # of the limit: the mean length where nothing is known
_PARTS = 64  # quantiles that lengths are thought of as
_LAST_STEPS = 20  # of a run's GRPO: whose completions are looked at


@dataclass(frozen=True, slots=True)
class Lengths:
    """Equally likely lengths in tokens, ascending, and in words where they come from."""

    values: tuple[float, ...]
    origin: str

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / len(self.values)

    def alive(self, step: int) -> float:
        """The share of completions that are longer than `step` tokens."""
        return sum(v > step for v in self.values) / len(self.values)

    def longest(self, n: float) -> float:
        """The longest of `n` completions, on average.

        >>> even(512).longest(1), round(even(512).longest(8)), round(even(512).longest(64))
        (256.0, 455, 503)
        """
        count = len(self.values)
        chance = [(i / count) ** n for i in range(count + 1)]
        return math.fsum(v * (b - a) for v, a, b in zip(self.values, chance, chance[1:], strict=False))


def even(limit: int, share: float = SHARE) -> Lengths:
    """Lengths spread evenly, with a mean of that share of the limit: down to nothing where the share is half
    or less, up to the limit where it is more.

    >>> even(100).mean, even(100, 0.25).mean, even(100, 0.75).mean, even(100, 0.75).values[-1] > 99
    (50.0, 25.0, 75.0, True)
    """
    low, high = (0.0, 2 * share) if share <= 0.5 else (2 * share - 1, 1.0)
    each = [limit * (low + (high - low) * (i + 0.5) / _PARTS) for i in range(_PARTS)]
    return Lengths(tuple(each), f"assumed: {share:.0%} of the limit on average, evenly spread")


def of_run(run: Run, kind: str, limit: int) -> Lengths | None:
    """Lengths of a run's completions, cut at the limit: of its last steps of GRPO ("grpo"), or of its last
    evaluation ("evaluate"). None where it has none yet."""
    if kind == "grpo":
        files = run.record_files()[-_LAST_STEPS:]
    else:
        stages = (run.evaluation_records(TEST, stage) for stage in ("grpo", "sft", "base"))
        files = [path for path in stages if path.is_file()][:1]
    found = [min(limit, int(row["tokens"])) for path in files for row in read_jsonl(path)[0]]
    return quantiles(found, f"as in {run.root} ({len(found)} completions)") if found else None


def quantiles(found: Sequence[int], origin: str) -> Lengths:
    """Lengths as these are: their middle values in equal parts. ValueError without any.

    >>> quantiles([10] * 9 + [90], "").mean
    17.5
    """
    if not found:
        raise ValueError("no completions have no lengths")
    ordered = sorted(found)
    picked = [ordered[int((i + 0.5) / _PARTS * len(ordered))] for i in range(_PARTS)]
    return Lengths(tuple(float(v) for v in picked), origin)
