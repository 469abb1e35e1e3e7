"""`plan`: memory and hours on a device that need not be there."""

from pathlib import Path
from typing import Annotated

import typer

from everystep.cli.options import AsJson, Debug, Overrides, Quiet, RecipeFile, print_json

LIKE = "a run directory: completions are taken to be as long as its were"


def plan(
    recipe: RecipeFile,
    overrides: Overrides = None,
    device: Annotated[str, typer.Option("--device", help="v5e-8, v3-8, t4, l4, a100-40, h100, … or cpu")] = "cpu",
    folder: Annotated[Path | None, typer.Option("--dir", metavar="RUN", help=LIKE)] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Foretell a run on a device that need not be there: memory of each step, hours of each stage.

    Nothing is downloaded. Exit code 2: something does not fit; what would help is said.
    """
    from everystep.core.recipe import load
    from everystep.core.run import read_run
    from everystep.forecast.devices import device as device_of
    from everystep.forecast.plan import plan as plan_of
    from everystep.show.plan import plan_tables
    from everystep.show.screen import Screen

    loaded, planned_for = load(recipe, overrides or ()), device_of(device)
    if loaded.kind != "run":
        raise ValueError(f"recipe {recipe}: is for `everystep {loaded.kind}`; plan is for runs")
    made = plan_of(loaded, planned_for, read_run(folder) if folder else None, Screen(quiet=quiet).say)
    if as_json:
        print_json(made.to_json())
    else:
        from rich.console import Console

        Console().print(plan_tables(made), highlight=False)
    if not made.fits:
        raise typer.Exit(2)
