"""The time a session has: when it ends, what is reserved for the stages after training, what still fits.

Nothing here reads a clock: `now` is an argument, in seconds of the same clock as `started`.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """A session of `hours` that began at `started` (seconds), whose last `reserved` minutes are kept free for
    what must still happen then (evaluation, export, report).

    >>> d = Deadline(started=1000.0, hours=1.0, reserved=10.0)
    >>> d.left(1000.0)
    3000.0
    >>> d.fits(3400.0, 600.0), d.fits(3400.0, 601.0), d.must_stop(4000.0)
    (True, False, True)

    Raises ValueError for hours that are not positive and a negative or infinite reserve.
    """

    started: float
    hours: float
    reserved: float = 10.0

    def __post_init__(self) -> None:
        if not self.hours > 0:
            raise ValueError(f"a session lasts more than 0 hours, got {self.hours}")
        if not 0 <= self.reserved < math.inf:
            raise ValueError(f"the reserved minutes are 0 or more, got {self.reserved}")

    def left(self, now: float) -> float:
        """Seconds of work left before the reserved minutes begin; never negative."""
        return max(0.0, self.started + self.hours * 3600.0 - self.reserved * 60.0 - now)

    def must_stop(self, now: float) -> bool:
        """Whether only the reserved minutes (or less) are left."""
        return self.left(now) <= 0.0

    def over(self, now: float) -> bool:
        """Whether the reserved minutes are used up too."""
        return now >= self.started + self.hours * 3600.0

    def fits(self, now: float, seconds: float) -> bool:
        """Whether work of so many seconds ends before the reserved minutes begin."""
        return not self.must_stop(now) and seconds <= self.left(now)


def fitting(left: float, pace: float, wanted: int) -> int:
    """How many of `wanted` steps of `pace` seconds fit `left` seconds: all, or as many as leave a twentieth
    to spare.

    >>> fitting(100.0, 1.0, 99), fitting(100.0, 1.0, 101), fitting(-5.0, 1.0, 9)
    (99, 95, 0)
    """
    if pace * wanted <= left:
        return wanted
    return max(0, int(0.95 * left / pace))
