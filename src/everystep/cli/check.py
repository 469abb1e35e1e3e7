"""`check`: is the work in a file right, claim by claim?"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from everystep.cli.options import AsJson, Debug, Page
from everystep.cli.rows import collect_rarely, json_line, lines, require_readable


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines: id, question, trace (or steps)")],
    page: Page = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check the work in a file, claim by claim; no gold answers are needed.

    A terminal gets the text with its claims marked; a pipe, or --json, a line of JSON for each row.
    """
    from everystep.verify.files import check_file

    rows: list[dict[str, Any]] = []
    errors: list[bool] = []
    collect_rarely()
    show = None if as_json or not sys.stdout.isatty() else _on_terminal()
    for row in check_file(lines(file)):
        errors.append("error" in row)
        if show is None:
            print(json_line(row))
        else:
            show(row)
        if page is not None:
            rows.append(row)
    if page is not None:
        from everystep.core.files import write_text
        from everystep.show import checked

        write_text(page, checked.page(rows, title=f"Checked traces: {file.name}"))
    require_readable(sum(errors), len(errors), file)


def _on_terminal() -> Callable[[dict[str, Any]], None]:
    """What shows one checked row on the terminal."""
    from rich.console import Console

    from everystep.show.checked import screen

    console = Console()
    return lambda row: console.print(screen(row))
