"""`grade`: are the answers in a file right?"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from everystep.cli.options import AsJson, Debug, Page
from everystep.cli.rows import collect_rarely, json_line, lines, require_readable


def grade(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON lines: id, prediction, gold, and if known kind, unit")
    ],
    text: Annotated[str, typer.Option(help="what predictions are: answer or trace")] = "answer",
    kind: Annotated[str | None, typer.Option(help="the kind of rows without one, e.g. number, money")] = None,
    unit: Annotated[str | None, typer.Option(help="the unit of rows without one")] = None,
    page: Page = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Grade the answers in a file against the gold ones.

    A terminal gets the rows that are not right and the counts; a pipe, or --json, a line of JSON for each
    row.
    """
    from everystep.core.types import Kind
    from everystep.verify.files import grade_file, tally

    if kind is not None and kind not in tuple(Kind):
        raise ValueError(f"--kind {kind!r} is none of {', '.join(Kind)}")
    as_json = as_json or not sys.stdout.isatty()
    rows: list[dict[str, Any]] = []
    verdicts: list[str] = []
    known = Kind(kind) if kind else None
    collect_rarely()
    for row in grade_file(lines(file), known, unit=unit, text=text, texts=page is not None):
        if page is not None:
            rows.append(row)
            row = {name: value for name, value in row.items() if name not in ("prediction", "gold")}
        verdicts.append(row.get("verdict", "unreadable"))
        if as_json or verdicts[-1] != "right":
            print(json_line(row, ascii_only=not as_json))
    if not as_json:
        print(tally(verdicts))
    if page is not None:
        from everystep.core.files import write_text
        from everystep.show.checked import graded_page

        write_text(page, graded_page(rows, title=f"Graded answers: {file.name}"))
    require_readable(verdicts.count("unreadable"), len(verdicts), file)
