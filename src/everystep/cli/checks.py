"""The verbs that look ahead: `preflight` and `plan`. `cli/app.py` takes them into the command line."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from everystep.cli.options import AsJson, Debug, Quiet, print_json

checks = typer.Typer(add_completion=False, rich_markup_mode=None)

RUN = "a run directory: its SFT policy is measured where it has one, and preflight.json is written there"
FORGO = "leave out the training steps: no hours and no memory then, but seconds instead of minutes"
LIKE = "a run directory: completions are taken to be as long as its were"


@checks.command()
def preflight(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="a recipe, e.g. recipes/tiny.yaml")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[A.B=VALUE]...", help="changes, e.g. grpo.steps=40"),
    ] = None,
    folder: Annotated[Path | None, typer.Option("--dir", metavar="RUN", help=RUN)] = None,
    prompts: Annotated[int, typer.Option("--prompts", min=1, help="how many prompts are sampled")] = 32,
    samples: Annotated[int, typer.Option("--samples", min=2, help="completions for each of them")] = 16,
    no_steps: Annotated[bool, typer.Option("--no-steps", help=FORGO)] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Find out in minutes what would spoil hours: data, tokens, sampler, rewards, limits, time, disk.

    Every check is green, amber or red, with its mend. Exit code 2: something is red.
    """
    from everystep.core.recipe import load

    try:
        loaded = load(recipe, overrides or ())
        if loaded.kind != "run":
            raise ValueError(f"recipe {recipe}: is for `everystep {loaded.kind}`; preflight is for runs")
    except ValueError as error:
        from everystep.forecast.findings import Findings, red

        found = Findings((red("recipe", str(error), "correct it; the rest is looked at then"),))
    else:
        from everystep.cli.process import set_up_jax
        from everystep.core.run import open_run

        opened = open_run(folder, loaded, recipe.read_text(encoding="utf-8")) if folder else nullcontext(None)
        with opened as run:
            set_up_jax()
            from everystep.forecast.preflight import Effort
            from everystep.forecast.preflight import preflight as check
            from everystep.show.screen import Screen

            effort = Effort(prompts, samples, steps=not no_steps)
            found = check(loaded, run, Screen(quiet=quiet).say, effort=effort)
    if as_json:
        print_json(found.to_json())
    else:
        from rich.console import Console

        from everystep.show.preflight import findings

        Console().print(findings(found, f"preflight of {recipe}"), highlight=False)
    if found.red:
        raise typer.Exit(2)


@checks.command()
def plan(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="a recipe, e.g. recipes/gemma3_1b.yaml")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[A.B=VALUE]...", help="changes, e.g. grpo.steps=40"),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="v5e-8, v3-8, t4, l4, a100-40, h100, … or cpu")] = "cpu",
    folder: Annotated[Path | None, typer.Option("--dir", metavar="RUN", help=LIKE)] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Foretell a run on a device that need not be there: memory of each step, hours of each stage.

    Nothing is downloaded. Exit code 2: something does not fit; what would mend it is said.
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
