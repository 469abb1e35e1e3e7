"""What a stage says while it works: one line a stage, bars with rate and time left on a terminal, a line
every ten seconds elsewhere, nothing with `--quiet`.

All of it goes to stderr, so that stdout is left for results. Nothing depends on colour alone.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as Bar
from rich.table import Table
from rich.text import Text

from everystep.core.progress import Advance
from everystep.show.checked import printable

EVERY = 10.0  # seconds between the lines of progress that go to a log


@dataclass(frozen=True, slots=True)
class Screen:
    """The one thing stages talk to. `clock` gives seconds and is only there for the tests' sake."""

    quiet: bool = False
    console: Console = field(default_factory=lambda: Console(stderr=True))
    clock: Callable[[], float] = time.monotonic

    def stage(self, name: str) -> None:
        """A stage begins."""
        self._print(Text.assemble(("== ", "bold cyan"), (name, "bold")))

    def say(self, text: str) -> None:
        """One line of plain text, exactly as it is."""
        self._print(Text(text))

    def table(self, table: RenderableType) -> None:
        """A table, or whatever else rich can show."""
        self._print(table)

    @contextmanager
    def progress(self, label: str, total: int | None = None, done: int = 0) -> Iterator[Advance]:
        """While `total` things are done (None: unknown how many), `done` of them already, by calls of what
        this yields."""
        if self.quiet:
            yield _ignore
        elif self.console.is_terminal:
            with _bar(self.console) as bar:
                task = bar.add_task(label, total=total, completed=done, note="")

                def advance(n: int = 1, note: str = "") -> None:
                    bar.update(task, advance=n, note=note)

                yield advance
        else:
            lines = _Lines(self, label, total, self.clock(), done, done)
            yield lines.advance
            lines.close()

    def _print(self, thing: RenderableType) -> None:
        if not self.quiet:
            self.console.print(thing, highlight=False, soft_wrap=isinstance(thing, Text))


def _ignore(n: int = 1, note: str = "") -> None:
    """Progress nobody looks at."""


def _bar(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
    )


class _Rate(ProgressColumn):
    """How many a second; rich has this only for bytes."""

    def render(self, task: Bar) -> Text:
        return Text("" if task.speed is None else rate(task.speed))


@dataclass(slots=True)
class _Lines:
    """Progress as lines of a log: one every `EVERY` seconds and one at the end."""

    screen: Screen
    label: str
    total: int | None
    began: float
    before: int = 0  # done when this began; the rate does not count them
    done: int = 0
    note: str = ""
    said: float = field(default=float("-inf"))
    unsaid: bool = True

    def advance(self, n: int = 1, note: str = "") -> None:
        self.done += n
        self.note, self.unsaid = note, True
        now = self.screen.clock()
        if now - max(self.said, self.began) >= EVERY:
            self.said, self.unsaid = now, False
            self._say(now)

    def close(self) -> None:
        if self.unsaid:
            self._say(self.screen.clock())

    def _say(self, now: float) -> None:
        seconds = max(now - self.began, 1e-9)
        speed = (self.done - self.before) / seconds
        parts = [f"{self.label}: {self.done}" + (f"/{self.total}" if self.total else ""), duration(seconds)]
        if speed and seconds > 0.05:
            parts.append(rate(speed))
        if self.total and speed and self.done < self.total:
            parts.append(f"{duration((self.total - self.done) / speed)} left")
        self.screen.say("  ".join([*parts, self.note]).rstrip())


def table(
    heads: Sequence[str], kinds: str, rows: Iterable[Sequence[str | Text]], title: str = "", note: str = ""
) -> Table:
    """A table for a terminal of 80 columns. `kinds`: a letter for each column: `l` or `r` for left or right, large
    where its cells may go on in a second line. `note` stands below it."""
    made = Table(box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False, show_header=any(heads))
    made.title, made.caption = Text(printable(title)) if title else None, note or None
    made.title_justify = made.caption_justify = "left"
    for head, kind in zip(heads, kinds, strict=True):
        justify = "left" if kind in "lL" else "right"
        made.add_column(Text(printable(head)), justify=justify, no_wrap=kind.islower(), overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(cell)) if isinstance(cell, str) else cell for cell in row))
    return made


def rate(speed: float) -> str:
    """A rate in units that read well: per second, or seconds each where that is slow.

    >>> rate(12.34), rate(0.25)
    ('12.3/s', '4.0 s each')
    """
    return f"{speed:.1f}/s" if speed >= 1 or speed <= 0 else f"{1 / speed:.1f} s each"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as few of them as needed.

    >>> duration(7), duration(75), duration(3 * 3600 + 61)
    ('7s', '1m15s', '3h01m')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
