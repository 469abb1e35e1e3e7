"""The ledger of a judge: what it has been asked, what that has cost, and whether it may be asked more.

It counts and bounds; who asks whom is not its business. One ledger is for one process.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_MILLION = 1_000_000


@dataclass(slots=True)
class Ledger:
    """Counts since the process began. `calls`: requests sent, failed ones too; `answers`: those that brought
    an answer; `cached`: answers found on disk; `estimated`: answers whose tokens the server did not count;
    `seconds`: how long each answer took; `failures`: what went wrong, by kind, and `said`: the last of it.

    `money` is in the currency of the prices and None without prices: unknown, which is not free.
    """

    input_price: float | None = None
    output_price: float | None = None
    max_calls: int | None = None
    max_money: float | None = None
    calls: int = 0
    answers: int = 0
    cached: int = 0
    estimated: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    said: str = ""
    under_way: int = 0  # requests that have no answer yet, and
    promised: float = 0.0  # what they cost at most

    def price(self, prompt_tokens: float, completion_tokens: float) -> float | None:
        """What so many tokens cost; None without prices."""
        if self.input_price is None or self.output_price is None:
            return None
        return (prompt_tokens * self.input_price + completion_tokens * self.output_price) / _MILLION

    @property
    def money(self) -> float | None:
        """What all answers together have cost; None without prices."""
        return self.price(self.prompt_tokens, self.completion_tokens)

    def allows(self, cost: float | None) -> bool:
        """Whether one more request, which costs at most this, stays within the budget, those under way
        counted at the most they can cost."""
        if self.max_calls is not None and self.calls >= self.max_calls:
            return False
        if self.max_money is None or cost is None:
            return True
        return (self.money or 0.0) + self.promised + cost <= self.max_money

    def send(self, cost: float | None) -> None:
        """Count a request that is sent and costs at most this; `settle` when it has come to its end."""
        self.calls += 1
        self.under_way += 1
        self.promised += cost or 0.0

    def settle(self, cost: float | None) -> None:
        """A request has come to its end. (When none is left, nothing is promised, whatever rounding says.)"""
        self.under_way -= 1
        self.promised = self.promised - (cost or 0.0) if self.under_way else 0.0

    def fail(self, kind: str, said: str = "") -> None:
        """Count what went wrong."""
        self.failures[kind] += 1
        self.said = said or self.said

    def earn(self, prompt_tokens: int, completion_tokens: int, seconds: float) -> None:
        """Count an answer that had to be asked for."""
        self.answers += 1
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        self.seconds.append(seconds)

    def to_json(self) -> dict[str, Any]:
        """The counts as plain values; of the seconds their mean, median and 95th percentile (None: no answer
        had to be asked for)."""
        return {
            "calls": self.calls,
            "answers": self.answers,
            "cached": self.cached,
            "estimated": self.estimated,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "money": self.money,
            "seconds_mean": sum(self.seconds) / len(self.seconds) if self.seconds else None,
            "seconds_median": _quantile(self.seconds, 0.5),
            "seconds_p95": _quantile(self.seconds, 0.95),
            "failures": dict(sorted(self.failures.items())),
            "said": self.said,
        }


def _quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of the values does not exceed."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, -(-int(share * 1000) * len(ranked) // 1000) - 1))]
