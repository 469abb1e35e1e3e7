"""`eval`: the one evaluation by itself."""

from typing import Annotated

import typer

from everystep.cli.options import AsJson, Debug, Quiet, print_json


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL|RUN", help="tiny, a model's folder, or a run")],
    data: Annotated[str | None, typer.Option("--data", help="a source, or a file of tasks")] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="of a run: base, sft or grpo")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Evaluate a model, or the model that a stage of a run has left."""
    from everystep.cli.evaluation import evaluate_only
    from everystep.show.screen import Screen

    summary = evaluate_only(model, data, stage, Screen(quiet=quiet))
    if as_json:  # a person has seen the table
        print_json(summary)
