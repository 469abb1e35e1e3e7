"""`compare`: runs on the tasks they share."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from everystep.cli.options import AsJson, Debug, print_json

STAGE = "the stage that is compared [the last that was evaluated]"


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="the directories of runs")],
    stage: Annotated[str | None, typer.Option("--stage", help=STAGE)] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Compare runs on the tasks they share: paired tests, corrected for how many there are."""
    from rich.console import Console

    from everystep.evaluate.compare import pairs
    from everystep.show.findings import read_sides
    from everystep.show.terminal import compared

    stages, sides = read_sides(runs, stage)
    found = pairs(sides)
    if as_json:
        print_json([asdict(pair) | {"verdict": pair.verdict} for pair in found])
    else:
        Console().print(compared(stages, sides, found), highlight=False)
