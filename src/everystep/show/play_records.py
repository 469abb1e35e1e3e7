"""The records of a run's evaluations, to be browsed: read once, chosen by stage, domain, verdict and more.

Reading is `report_data`'s, showing `play_cards`'.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from everystep.core.run import Run, read_run
from everystep.core.types import Verdict
from everystep.evaluate.failures import Failure
from everystep.show.play_cards import records
from everystep.show.report_data import ORDER, Line, Stage, read_stage

PAGE = 6  # records that are shown at once
ANY = "all"


@dataclass(frozen=True, slots=True)
class Wish:
    """Which records: each part is a value or `ANY`; `words` is looked for in question, answer, text and id,
    whatever its case."""

    stage: str
    domain: str = ANY
    verdict: str = ANY
    failure: str = ANY
    words: str = ""


@dataclass(eq=False, slots=True)
class Book:
    """The records of one run; nothing is read before it is asked for."""

    root: Path
    name: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    held: dict[str, Stage] = field(default_factory=dict)


def stages(book: Book) -> dict[str, Stage]:
    """The stages that were evaluated, with their records, in their order. Raises ValueError where there is
    none, and for a damaged file."""
    with book.lock:
        if not book.held:
            book.held = _read(read_run(book.root))
        return book.held


def _read(run: Run) -> dict[str, Stage]:
    done = run.evaluations()
    if not done:
        raise ValueError(f"{run.root}: no stage has been evaluated yet; finish the run first")
    main = "test" if any(of == "test" for of, _ in done) else done[0][0]
    done.sort(key=lambda one: (one[0] != main, ORDER.index(one[1]) if one[1] in ORDER else len(ORDER), one))
    return {stage if of == main else f"{of}/{stage}": read_stage(run, of, stage, []) for of, stage in done}


def domains(book: Book) -> list[str]:
    """The domains that any record has, sorted."""
    return sorted({line.graded.task.domain for stage in stages(book).values() for line in stage.lines.values()})


VERDICTS = tuple(verdict.value for verdict in Verdict)
FAILURES = tuple(failure.value for failure in Failure)


def chosen(book: Book, wish: Wish) -> list[Line]:
    """The records that are as wished, in the order of their file."""
    held = stages(book)
    if wish.stage not in held:
        raise ValueError(f"{book.root}: has not evaluated {wish.stage!r}, only {', '.join(held)}")
    return [line for line in held[wish.stage].lines.values() if _is(line, wish)]


def browse(book: Book, wish: Wish, page: int) -> tuple[str, int, int]:
    """The HTML of a page of the records that are as wished, which page it is (from 0; the nearest to the one
    asked for) and how many there are."""
    found = chosen(book, wish)
    stage = stages(book)[wish.stage]
    pages = max(1, -(-len(found) // PAGE))
    page = min(max(page, 0), pages - 1)
    some: Sequence[Line] = found[page * PAGE : (page + 1) * PAGE]
    return records(some, stage.file, page * PAGE, len(found), len(stage.lines)), page, pages


def _is(line: Line, wish: Wish) -> bool:
    graded = line.graded
    words = wish.words.strip().lower()
    return (
        wish.domain in (ANY, graded.task.domain)
        and wish.verdict in (ANY, graded.verdict.value)
        and wish.failure in (ANY, line.found.failure.value)
        and (not words or any(words in text.lower() for text in _texts(line)))
    )


def _texts(line: Line) -> tuple[str, ...]:
    task = line.graded.task
    return task.question, task.answer, line.graded.completion.text, task.id
