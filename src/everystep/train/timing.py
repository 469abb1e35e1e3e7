"""Where the time of a training goes: seconds by phase, compilation apart.

Phases do not overlap, so that they add up; what is in none of them is "other". Reading the clock is all that
happens here; what is measured is whatever runs inside `phase`.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import jax


def shares(rows: Iterable[Mapping[str, float]]) -> str:
    """What several `take`s come to, the largest first, in words.

    >>> shares([{"rollout": 2.0, "update": 1.0, "total": 4.0}, {"rollout": 1.0, "other": 0.0, "total": 1.0}])
    'rollout 60 %, update 20 %'
    """
    spent: dict[str, float] = {}
    for row in rows:
        for name, seconds in row.items():
            spent[name] = spent.get(name, 0.0) + seconds
    total = spent.pop("total", 0.0) or 1.0
    parts = sorted(((seconds / total, name) for name, seconds in spent.items()), reverse=True)
    return ", ".join(f"{name} {share:.0%}".replace("%", " %") for share, name in parts if share >= 0.005)


_COMPILE = "/jax/core/compile/"  # tracing, lowering and compiling of jitted functions
_compiled = [0.0]  # seconds in this process


def _listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
    if event.startswith(_COMPILE):
        _compiled[0] += duration_secs


def listen() -> None:
    """Count compilation from now on. Once at import; again after Tunix's trainer, which takes every listener of
    the process off when it closes."""
    jax.monitoring.register_event_duration_secs_listener(_listen)


listen()


@dataclass(slots=True)
class PhaseTimer:
    """Seconds by phase since the last `take`.

    >>> ticks = iter([0.0, 1.0, 3.0, 10.0])
    >>> timer = PhaseTimer(now=lambda: next(ticks))
    >>> with timer.phase("rollout"):
    ...     pass
    >>> timer.take()
    {'rollout': 2.0, 'compile': 0.0, 'other': 8.0, 'total': 10.0}
    """

    now: Callable[[], float] = time.perf_counter
    compiled: Callable[[], float] = lambda: _compiled[0]
    spent: dict[str, float] = field(default_factory=dict)
    began: float = field(init=False)
    compiled_before: float = field(init=False)

    def __post_init__(self) -> None:
        self.began, self.compiled_before = self.now(), self.compiled()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What runs inside counts for the phase, but for compilation. Phases are not nested."""
        began, compiled = self.now(), self.compiled()
        try:
            yield
        finally:
            own = self.now() - began - (self.compiled() - compiled)
            self.spent[name] = self.spent.get(name, 0.0) + own

    def take(self) -> dict[str, float]:
        """Seconds by phase, those of compilation, of everything else, and their sum; then begins anew."""
        now, compiled = self.now(), self.compiled()
        total, compiling = now - self.began, compiled - self.compiled_before
        spent, self.spent = self.spent, {}
        self.began, self.compiled_before = now, compiled
        other = total - compiling - sum(spent.values())
        return {**spent, "compile": compiling, "other": other, "total": total}
