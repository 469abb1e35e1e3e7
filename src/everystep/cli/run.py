"""`run`: do everything a recipe says. What it shares with `pretrain` is `train`."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from everystep.cli.options import Accept, AsJson, Debug, Folder, From, Overrides, Quiet, RecipeFile, print_json
from everystep.cli.process import asked_to_stop, keep_imports, set_up_jax

Hosts = Annotated[
    str | None,
    typer.Option(
        "--hosts",
        metavar="PLACE",
        help="train with other processes: INDEX/COUNT@HOST:PORT, or auto",
    ),
]


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
    train("run", recipe, overrides, folder, source, accept, hosts, quiet, as_json)


def train(
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
        names = frozenset(name.strip() for name in accept.split(",") if name.strip())
        opened = held.enter_context(open_run(where, recipe, file.read_text(encoding="utf-8"), names))
        set_up_jax()
        from everystep.core.clock import Deadline
        from everystep.pipeline import pretrain, run_all
        from everystep.show.screen import Screen
        from everystep.train.session import Session

        keep_imports()
        # A tenth of the time, but no more than ten minutes, is kept for what follows training.
        deadline = Deadline(now(), recipe.hours, reserved=min(10.0, recipe.hours * 6.0))
        session = Session(deadline, stop, now, names, first)
        screen = Screen(quiet=quiet or not first)
        command = ["everystep", verb, str(file), *(overrides or ())]
        result = (run_all if verb == "run" else pretrain)(recipe, opened, session, screen, command)
        if as_json and first:  # a person has seen the table
            print_json(result)
