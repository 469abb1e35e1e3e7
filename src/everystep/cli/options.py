"""What the verbs of the command line share: the options of several of them, and how a result is printed."""

import json
from typing import Annotated, Any

import typer

Quiet = Annotated[bool, typer.Option("--quiet", help="say nothing but the result")]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
# Read by `cli.main` from the arguments themselves; declared so that every verb accepts and explains it.
Debug = Annotated[bool, typer.Option("--debug", help="show where an error comes from")]


def print_json(result: Any) -> None:
    """The result as JSON, on stdout."""
    from everystep.core.files import to_json

    print(json.dumps(to_json(result), indent=2, ensure_ascii=False))
