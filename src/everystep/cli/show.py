"""`show`: a run on the terminal."""

from typing import Annotated

import typer

from everystep.cli.options import Debug, RunFolder


def show(
    run: RunFolder,
    examples: Annotated[int, typer.Option("--examples", min=0, help="how many tasks are shown")] = 3,
    debug: Debug = False,
) -> None:
    """Show a run on the terminal: table, small curves, failures, and examples with their claims marked."""
    from rich.console import Console

    from everystep.core.run import read_run
    from everystep.show.findings import read_findings
    from everystep.show.terminal import overview

    Console().print(overview(read_findings(read_run(run)), examples), highlight=False)
