"""The verbs about rewards: `score`, `lab`, `judge`. They are part of the command line (`cli/app.py` takes them
in); whatever is heavy is imported inside.
"""

from pathlib import Path
from typing import Annotated

import typer

from everystep.cli.options import AsJson, Debug, Quiet, print_json
from everystep.cli.process import set_up_jax
from everystep.cli.rows import collect_rarely, json_line, lines

rewards = typer.Typer(add_completion=False, rich_markup_mode=None)

Reward = Annotated[
    str, typer.Option("--reward", metavar="PRESET|FILE", help="verified, composite, rubric, or a YAML file")
]


@rewards.command()
def score(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="JSON lines: id, group, question, gold, completion; - is stdin"),
    ],
    reward: Reward = "verified",
    debug: Debug = False,
) -> None:
    """Score the completions in a file by a reward, group by group. Prints a line of JSON for each."""
    from everystep.score.files import score_file
    from everystep.score.mix import read_mix

    mix = read_mix(reward)
    collect_rarely()
    for row in score_file(lines(file), mix):
        print(json_line(row))


@rewards.command()
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


@rewards.command()
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
