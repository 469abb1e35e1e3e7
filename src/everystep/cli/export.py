"""The verb `export`: what a run has learned, as files that others read."""

from pathlib import Path
from typing import Annotated

import typer

from everystep.cli.options import AsJson, Debug, Quiet, print_json


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the directory of a run")],
    stage: Annotated[str | None, typer.Option("--stage", help="sft or grpo [the last there is]")] = None,
    kind: Annotated[str, typer.Option("--format", help="hf, peft, tunix or all")] = "all",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="gets DIR/<format> [RUN/export/<stage>]")
    ] = None,
    shard: Annotated[float, typer.Option("--shard", min=0.001, help="gigabytes of a file, at most")] = 5.0,
    force: Annotated[bool, typer.Option("--force", help="replace what is there")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Export a trained model: merged for transformers, as a PEFT adapter, or as a Tunix checkpoint.

    Each is read again and compared with the run's policy before it gets its name.
    """
    from everystep.cli.process import set_up_jax
    from everystep.core.run import read_run

    opened = read_run(run)
    recipe = opened.recipe()
    set_up_jax()
    from everystep.ship.export import FORMATS, folder_of, what_was_trained
    from everystep.ship.export import export as write
    from everystep.show.screen import Screen

    chosen = what_was_trained(recipe, opened, stage).stage
    made = write(
        recipe,
        opened,
        out or folder_of(opened, chosen),
        Screen(quiet=quiet),
        stage=chosen,
        formats=FORMATS if kind == "all" else (kind,),
        force=force,
        shard_bytes=round(shard * 1e9),
    )
    if as_json:
        print_json(made)
