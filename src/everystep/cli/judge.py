"""`judge`: a sample of records, scored 1 to 5 by rubrics."""

from pathlib import Path
from typing import Annotated

import typer

from everystep.cli.options import AsJson, Debug, Quiet, print_json
from everystep.cli.process import set_up_jax
from everystep.cli.rows import lines


def judge(
    records: Annotated[list[Path], typer.Argument(metavar="RECORDS...", help="as for lab")],
    recipe: Annotated[Path | None, typer.Option("--recipe", help="a recipe with a section judge")] = None,
    base_url: Annotated[str | None, typer.Option("--base-url", help="an OpenAI-compatible endpoint")] = None,
    model: Annotated[str | None, typer.Option(help="its name there; else tiny, or a model's folder")] = None,
    key_variable: Annotated[str | None, typer.Option(help="the variable that holds the key")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="how many completions are judged")] = 50,
    seed: Annotated[int, typer.Option("--seed", min=0, help="which ones")] = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Have a sample of records judged by rubrics, 1 to 5. Exit code 1: the judge failed a canary."""
    from rich.console import Console

    from everystep.evaluate import judged
    from everystep.show.screen import Screen

    settings = judged.settings_of(recipe, base_url, model, key_variable)
    files = [f for path in records for f in (sorted(path.glob("*.jsonl")) if path.is_dir() else [path])]
    if settings.base_url is None:
        set_up_jax()
    with Screen(quiet=quiet).progress("judge") as advance:
        rows = (line for file in files for line in lines(file))
        result = judged.judge_lines(rows, settings, n, seed, advance)
    if as_json:
        print_json(result)
    else:
        Console().print(judged.table(result), highlight=False)
    if result["void"]:
        raise typer.Exit(1)
