"""The command line: the verbs and the set-up of the process, and nothing else.

Whatever is heavy is imported inside its verb, so that `--help`, `grade` and `check` start at once and never
load JAX.
"""

import sys
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from everystep.cli.ablate import ablations
from everystep.cli.checks import checks
from everystep.cli.export import exports
from everystep.cli.options import AsJson, Debug, Quiet, print_json
from everystep.cli.play import player
from everystep.cli.process import (
    GONE,
    INTERRUPTED,
    STOPPED,
    WAS_INTERRUPTED,
    asked_to_stop,
    keep_imports,
    one_of_several,
    set_up_jax,
)
from everystep.cli.push import pushes
from everystep.cli.reward_verbs import rewards
from everystep.cli.rows import collect_rarely, json_line, lines
from everystep.cli.views import views
from everystep.core.types import Stopped

app = typer.Typer(
    name="everystep",
    help="Teach an open Gemma model to show its work, and check that the work is right.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="a recipe, e.g. recipes/tiny.yaml")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[A.B=VALUE]...", help="values to change, e.g. grpo.steps=40")
]
Folder = Annotated[Path | None, typer.Option("--dir", help="the run directory [runs/<name of the recipe>]")]
Page = Annotated[Path | None, typer.Option("--html", metavar="OUT", help="write a page that shows each row")]
From = Annotated[Path | None, typer.Option("--from", metavar="RUN", help="go on with a copy of this run, made first")]
Accept = Annotated[
    str, typer.Option("--accept", metavar="NAMES", help="go on though code, data or base changed, e.g. code")
]
Hosts = Annotated[
    str | None,
    typer.Option(
        "--hosts",
        metavar="PLACE",
        help="train with other processes: INDEX/COUNT@HOST:PORT, or auto",
    ),
]


@app.command()
def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    folder: Folder = None,
    source: From = None,
    accept: Accept = "",
    hosts: Hosts = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Do everything a recipe says: data, SFT, GRPO, evaluation, export, report.

    The same command again resumes where the last one stopped.
    """
    _train("run", recipe, overrides, folder, source, accept, hosts, quiet, as_json)


@app.command()
def pretrain(
    recipe: RecipeFile,
    overrides: Overrides = None,
    folder: Folder = None,
    source: From = None,
    accept: Accept = "",
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train the tiny base model from nothing. The same command again resumes."""
    _train("pretrain", recipe, overrides, folder, source, accept, None, quiet, as_json)


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL|RUN", help="tiny, a model's folder, or a run")],
    data: Annotated[str | None, typer.Option("--data", help="a source, or a file of tasks")] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="of a run: base, sft or grpo")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Evaluate a model, or the model that a stage of a run has left."""
    set_up_jax()
    from everystep.cli.verbs import evaluate_only
    from everystep.show.screen import Screen

    summary = evaluate_only(model, data, stage, Screen(quiet=quiet))
    if as_json:  # a person has seen the table
        print_json(summary)


@app.command()
def grade(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON lines: id, prediction, gold, and if known kind, unit")
    ],
    text: Annotated[str, typer.Option(help="what predictions are: answer or trace")] = "answer",
    kind: Annotated[str | None, typer.Option(help="the kind of rows without one, e.g. number, money")] = None,
    unit: Annotated[str | None, typer.Option(help="the unit of rows without one")] = None,
    page: Page = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Grade the answers in a file against the gold ones.

    A terminal gets the rows that are not right and the counts; a pipe, or --json, a line of JSON for each
    row.
    """
    from everystep.core.types import Kind
    from everystep.verify.files import grade_file, tally

    if kind is not None and kind not in tuple(Kind):
        raise ValueError(f"--kind {kind!r} is none of {', '.join(Kind)}")
    as_json = as_json or not sys.stdout.isatty()
    rows: list[dict[str, Any]] = []
    verdicts: list[str] = []
    known = Kind(kind) if kind else None
    collect_rarely()
    for row in grade_file(lines(file), known, unit=unit, text=text, texts=page is not None):
        if page is not None:
            rows.append(row)
            row = {name: value for name, value in row.items() if name not in ("prediction", "gold")}
        verdicts.append(row.get("verdict", "unreadable"))
        if as_json or verdicts[-1] != "right":
            print(json_line(row, ascii_only=not as_json))
    if not as_json:
        print(tally(verdicts))
    if page is not None:
        from everystep.core.files import write_text
        from everystep.show.checked import graded_page

        write_text(page, graded_page(rows, title=f"Graded answers: {file.name}"))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines: id, question, trace (or steps)")],
    page: Page = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check the work in a file, claim by claim; no gold answers are needed.

    A terminal gets the text with its claims marked; a pipe, or --json, a line of JSON for each row.
    """
    from everystep.verify.files import check_file

    rows = []
    collect_rarely()
    show = None if as_json or not sys.stdout.isatty() else _on_terminal()
    for row in check_file(lines(file)):
        if show is None:
            print(json_line(row))
        else:
            show(row)
        if page is not None:
            rows.append(row)
    if page is not None:
        from everystep.core.files import write_text
        from everystep.show import checked

        write_text(page, checked.page(rows, title=f"Checked traces: {file.name}"))


app.add_typer(rewards)  # score, lab, judge
app.add_typer(views)  # report, show, compare, video
app.add_typer(checks)  # preflight
app.add_typer(ablations)  # ablate
app.add_typer(exports)  # export
app.add_typer(pushes)  # push
app.add_typer(player)  # play


def _train(
    verb: str,
    file: Path,
    overrides: list[str] | None,
    folder: Path | None,
    source: Path | None,
    accept: str,
    hosts: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    from everystep.core.recipe import load
    from everystep.core.relay import carry_on
    from everystep.core.run import open_run
    from everystep.core.strict import RecipeError
    from everystep.score.mix import mix_of

    recipe = load(file, overrides or ())
    if recipe.kind != verb:
        raise RecipeError(f"recipe {file}: is for `everystep {recipe.kind}`, not for `everystep {verb}`")
    where = folder or Path("runs") / recipe.name
    if hosts is not None and mix_of(recipe.reward).judged:
        raise RecipeError("--hosts: a judge need not tell every process the same; give a reward without one")
    with ExitStack() as held:
        first, now, stop = True, time.time, asked_to_stop()
        if hosts is not None:
            set_up_jax()
            from everystep.model import hosts as several

            several.join(hosts)
            first, now, stop = several.first(), several.time_of_first(now), several.stop_of_any(stop)
            if source is not None and first:
                carry_on(source, where)
            where = held.enter_context(several.one_directory(where))
        elif source is not None:
            carry_on(source, where)
        opened = held.enter_context(open_run(where, recipe, file.read_text(encoding="utf-8")))
        set_up_jax()
        from everystep.cli.verbs import pretrain
        from everystep.core.clock import Deadline
        from everystep.pipeline import run_all
        from everystep.show.screen import Screen
        from everystep.train.session import Session

        keep_imports()
        # A tenth of the time, but no more than ten minutes, is kept for what follows training.
        deadline = Deadline(now(), recipe.hours, reserved=min(10.0, recipe.hours * 6.0))
        names = frozenset(name.strip() for name in accept.split(",") if name.strip())
        session = Session(deadline, stop, now, names, first)
        screen = Screen(quiet=quiet or not first)
        command = ["everystep", verb, str(file), *(overrides or ())]
        result = (run_all if verb == "run" else pretrain)(recipe, opened, session, screen, command)
        if as_json and first:  # a person has seen the table
            print_json(result)


def _on_terminal() -> Callable[[dict[str, Any]], None]:
    """What shows one checked row on the terminal."""
    from rich.console import Console

    from everystep.show.checked import screen

    console = Console()
    return lambda row: console.print(screen(row))


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code. 0: done · 1: a defect, with its traceback · 2: something the user can
    mend, in one line · 75: left in good order before its end, to be gone on with · 130: interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(args=arguments or ["--help"], prog_name="everystep", standalone_mode=False)
    except typer.TyperException as error:
        print(f"everystep: {error.format_message()} (see --help)", file=sys.stderr)
        return 2
    except Stopped as error:
        print(f"everystep: {error}", file=sys.stderr)
        return STOPPED
    except Exception as error:
        if one_of_several() and type(error).__name__ == "JaxRuntimeError" and "--debug" not in arguments:
            print(f"everystep: {GONE} ({str(error).splitlines()[0][:200]})", file=sys.stderr)
            return STOPPED
        known = _for_the_user(error)
        if known is None or "--debug" in arguments:
            traceback.print_exc()
        if known is not None:
            print(f"everystep: {known}", file=sys.stderr)
        return 1 if known is None else 2
    if code == INTERRUPTED:
        print(WAS_INTERRUPTED, file=sys.stderr)
    return code or 0


def _for_the_user(error: Exception) -> str | None:
    """One line for an error that the user can mend, None for a defect.

    What the package itself raises as ValueError is written for the user. The same type out of a library is
    a defect of ours, or unknown, and keeps its traceback.
    """
    if isinstance(error, MemoryError) or str(error).startswith("RESOURCE_EXHAUSTED"):  # the host; a device
        return "out of memory; choose smaller batches (sft.batch, grpo.micro_prompts, evaluate.batch)"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, ValueError) and _raised_here(error):
        return " ".join(str(error).split())
    return None


def _raised_here(error: Exception) -> bool:
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(modules) and modules[-1].split(".")[0] == "everystep"
