"""Options that several verbs have, and how a result is printed."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="a recipe, e.g. recipes/tiny.yaml")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[A.B=VALUE]...", help="values to change, e.g. grpo.steps=40")
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="the directory of a run")]
Folder = Annotated[Path | None, typer.Option("--dir", help="the run directory [runs/<name of the recipe>]")]
From = Annotated[Path | None, typer.Option("--from", metavar="RUN", help="go on with a copy of this run, made first")]
Accept = Annotated[
    str, typer.Option("--accept", metavar="NAMES", help="go on though code, data or base changed, or for more steps")
]
Page = Annotated[Path | None, typer.Option("--html", metavar="OUT", help="write a page that shows each row")]
Reward = Annotated[
    str, typer.Option("--reward", metavar="PRESET|FILE", help="verified, composite, rubric, or a YAML file")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="say nothing but the result")]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
# Read by `app.main` from the arguments themselves; declared so that every verb accepts and explains it.
Debug = Annotated[bool, typer.Option("--debug", help="show where an error comes from")]


def print_json(result: Any) -> None:
    """The result as JSON, on stdout."""
    from everystep.core.files import to_json

    print(json.dumps(to_json(result), indent=2, ensure_ascii=False))
