"""`preflight`: what would spoil a run, in minutes before hours."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from everystep.cli.options import AsJson, Debug, Overrides, Quiet, RecipeFile, print_json

RUN = "a run directory: its SFT policy is measured where it has one, and preflight.json is written there"
PROMPTS = "how many prompts are sampled, however long it takes; otherwise up to 32, as the budget allows"
FORGO = "leave out the training steps: no hours and no memory then, but seconds instead of minutes"


def preflight(
    recipe: RecipeFile,
    overrides: Overrides = None,
    folder: Annotated[Path | None, typer.Option("--dir", metavar="RUN", help=RUN)] = None,
    prompts: Annotated[int | None, typer.Option("--prompts", min=1, help=PROMPTS)] = None,
    samples: Annotated[int, typer.Option("--samples", min=2, help="completions for each of them")] = 16,
    no_steps: Annotated[bool, typer.Option("--no-steps", help=FORGO)] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Find out in minutes what would spoil hours: data, tokens, sampler, rewards, limits, time, disk.

    Every check is green, amber or red, with a suggestion. Exit code 2: something is red.
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
        from everystep.cli.process import asked_to_stop, set_up_jax
        from everystep.core.interrupt import droppable
        from everystep.core.run import open_run

        stop = asked_to_stop()
        opened = open_run(folder, loaded, recipe.read_text(encoding="utf-8")) if folder else nullcontext(None)
        with opened as run, droppable(stop, "preflight"):
            set_up_jax()
            from everystep.forecast.preflight import Effort
            from everystep.forecast.preflight import preflight as check
            from everystep.show.screen import Screen

            effort = Effort(prompts or 32, samples, not no_steps, limited=prompts is None)
            found = check(loaded, run, Screen(quiet=quiet), effort=effort)
    if as_json:
        print_json(found.to_json())
    else:
        from rich.console import Console

        from everystep.show.preflight import findings

        Console().print(findings(found, f"preflight of {recipe}"), highlight=False)
    if found.red:
        raise typer.Exit(2)
