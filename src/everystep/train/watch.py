"""Bounds over the metrics of a GRPO training: what has gone wrong, told from the rows logged so far.

A pure function of rows and bounds, so that a run that resumes finds what a straight one would have found.
What is then done (go back, end, pause) is the stage's business.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from everystep.core.recipe import Bound, Watch

_LAST = 3  # kl and entropy are judged by the median of so many steps: one odd batch is not a trend

Rows = Sequence[Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A bound that is broken: its name in the recipe's section `watch`, what was seen, and what to do."""

    name: str
    reason: str
    action: str


class RollBack(Exception):
    """Raised after a step that broke a bound, out of the training, before that step is saved."""

    def __init__(self, trouble: Trouble, step: int):
        super().__init__(trouble.reason)
        self.trouble, self.step = trouble, step


def trouble(rows: Rows, watch: Watch) -> Trouble | None:
    """The first bound that the newest of the rows breaks (one row a step, oldest first), or None.

    >>> rows = [{"kl": kl, "entropy": 0.1, "live": 1.0} for kl in (0.1, 2.0, 2.5)]
    >>> trouble(rows[:2], Watch()), trouble(rows, Watch())
    (None, Trouble(name='kl', reason='the KL divergence is 2 nats a token, above its bound 1', action='back'))
    """
    for name, seen in (
        ("gradient", _gradient),
        ("kl", _kl),
        ("entropy", _entropy),
        ("hacking", _hacking),
        ("dead", _dead),
        ("judge", _judge),
    ):
        bound: Bound = getattr(watch, name)
        reason = seen(rows, bound.bound) if rows and bound.action != "off" else None
        if reason is not None:
            return Trouble(name, reason, bound.action)
    return None


def _gradient(rows: Rows, bound: float) -> str | None:
    last = rows[-math.ceil(bound) :]
    if len(last) < bound or not all(row.get("skipped", 0) > 0 for row in last):
        return None
    return f"the gradients of the last {len(last)} steps were no finite numbers"


def _kl(rows: Rows, bound: float) -> str | None:
    value = _median(rows, "kl")
    if value is None or value <= bound:
        return None
    return f"the KL divergence is {value:.3g} nats a token, above its bound {bound:.3g}"


def _entropy(rows: Rows, bound: float) -> str | None:
    value = _median(rows, "entropy")
    if value is None or value >= bound:
        return None
    return f"the entropy is {value:.3g} nats a token, below its bound {bound:.3g}: every sample is the same"


def _hacking(rows: Rows, bound: float) -> str | None:
    """On dev, fewer right answers than before by more than the bound, in no worse a format: what is rewarded
    is no longer what is wanted."""
    if "dev/contract" not in rows[-1]:
        return None
    now, best = rows[-1], max((r for r in rows if "dev/contract" in r), key=lambda r: r["dev/contract"])
    fell = best["dev/contract"] - now["dev/contract"]
    if fell <= bound or now["dev/format"] < best["dev/format"]:
        return None
    return (
        f"on dev the format holds at {now['dev/format']:.1%} and right answers fell from "
        f"{best['dev/contract']:.1%} to {now['dev/contract']:.1%}, by more than {bound:.1%}"
    )


def _dead(rows: Rows, bound: float) -> str | None:
    last = rows[-math.ceil(bound) :]
    if len(last) < bound or any(row["live"] > 0 for row in last):
        return None
    return f"in the last {len(last)} steps no group had completions of different reward: nothing is learned"


def _judge(rows: Rows, bound: float) -> str | None:
    asked = [share for row in rows if not math.isnan(share := float(row.get("judged", math.nan)))]
    last = asked[-math.ceil(bound) :]
    if len(last) < bound or any(last):
        return None
    return f"the judge has not answered in the last {len(last)} steps that asked it"


def _median(rows: Rows, name: str) -> float | None:
    """Of the newest steps; None where there are too few, where one is no number (which `gradient` is about), or
    where it is not measured (no KL without `beta`)."""
    last = [float(row.get(name, math.nan)) for row in rows[-_LAST:]]
    return sorted(last)[len(last) // 2] if len(last) == _LAST and not any(map(math.isnan, last)) else None
