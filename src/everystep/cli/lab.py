"""`lab`: can a reward be gamed?"""

from pathlib import Path
from typing import Annotated

import typer

from everystep.cli.options import AsJson, Debug, Reward, print_json
from everystep.cli.rows import lines


def lab(
    records: Annotated[
        Path,
        typer.Argument(metavar="RECORDS", help="records of a run (a file or folder), or rows as for score"),
    ],
    reward: Reward = "verified",
    tasks: Annotated[int, typer.Option("--tasks", min=1, help="how many tasks the hacks are tried on")] = 20,
    plots: Annotated[Path | None, typer.Option("--plots", metavar="OUT", help="write a picture")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Replay saved completions through a reward, and attack it. Exit code 1: a hack outranks honest work."""
    from rich.console import Console

    from everystep.score.lab import lab as replay
    from everystep.score.mix import read_mix
    from everystep.show.lab import plot, report, verdict

    mix = read_mix(reward)
    files = sorted(records.glob("*.jsonl")) if records.is_dir() else [records]
    found = replay((line for file in files for line in lines(file)), mix, tasks=tasks)
    if as_json:
        print_json(found.to_json())
    else:
        Console().print(report(found, reward), highlight=False)
        print(verdict(found, reward))
    if plots is not None:
        plot(found, reward, plots)
    if found.broken:
        raise typer.Exit(1)
