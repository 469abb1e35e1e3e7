"""The verbs that only look at runs: `report`, `show`, `compare`. None of them needs JAX.

They are part of the command line (`cli.py` takes them in); whatever is heavy is imported inside its verb.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from showwork.options import AsJson, Debug, Quiet, print_json

views = typer.Typer(add_completion=False, rich_markup_mode=None)

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="the directory of a run")]
STAGE = "the stage that is compared [the last that was evaluated]"


@views.command()
def report(run: RunFolder, quiet: Quiet = False, debug: Debug = False) -> None:
    """Make the report of a run, RUN/report/index.html: one page that needs nothing else."""
    from showwork.run import read_run
    from showwork.show.report import write_report

    page = write_report(read_run(run))
    if not quiet:
        print(f"{page} ({page.stat().st_size / 1e6:.1f} MB)")


@views.command()
def show(
    run: RunFolder,
    examples: Annotated[int, typer.Option("--examples", min=0, help="how many tasks are shown")] = 3,
    debug: Debug = False,
) -> None:
    """Show a run on the terminal: table, small curves, failures, and examples with their claims marked."""
    from rich.console import Console

    from showwork.run import read_run
    from showwork.show.report_data import read_findings
    from showwork.show.terminal import overview

    Console().print(overview(read_findings(read_run(run)), examples), highlight=False)


@views.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="the directories of runs")],
    stage: Annotated[str | None, typer.Option("--stage", help=STAGE)] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Compare runs on the tasks they share: paired tests, corrected for how many there are."""
    from rich.console import Console

    from showwork.evaluate.compare import pairs
    from showwork.show.report_data import read_sides
    from showwork.show.terminal import compared

    stages, sides = read_sides(runs, stage)
    found = pairs(sides)
    if as_json:
        print_json([asdict(pair) | {"verdict": pair.verdict} for pair in found])
    else:
        Console().print(compared(stages, sides, found), highlight=False)
