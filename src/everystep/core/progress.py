"""What whoever works needs of whoever shows it: a place for lines, tables and progress.

`show/screen.py` is the implementation for a terminal. Both protocols are structural: anything with these
methods will do.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol


class Advance(Protocol):
    """`n` more things are done; `note` is shown beside the bar."""

    def __call__(self, n: int = 1, note: str = "") -> None: ...


class Progress(Protocol):
    """Where a stage says what it does."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def say(self, text: str) -> None:
        """One line of plain text."""

    def table(self, table: Any, /) -> None:
        """A table; rich's, on a terminal."""

    def progress(self, label: str, total: int | None = None, done: int = 0) -> AbstractContextManager[Advance]:
        """A context whose value is called as things are done: `done` of `total` are already; None: unknown."""
        ...


def ignore(n: int = 1, note: str = "") -> None:
    """Progress that nobody looks at."""


class _Silent:
    """Shows nothing."""

    def stage(self, name: str) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def table(self, table: Any, /) -> None:
        pass

    def progress(self, label: str, total: int | None = None, done: int = 0) -> AbstractContextManager[Advance]:
        return nullcontext(ignore)


SILENT: Progress = _Silent()
