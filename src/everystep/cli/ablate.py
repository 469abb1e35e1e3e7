"""`ablate`: named changes to a recipe over several seeds."""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everystep.cli.options import AsJson, Debug, Quiet, print_json
from everystep.cli.process import asked_to_stop, set_up_jax

if TYPE_CHECKING:
    from everystep.cli.ablation_queue import Planned
    from everystep.evaluate.changes import Ablation, Arm, Job
    from everystep.evaluate.results import Place
    from everystep.show.screen import Screen


def ablate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="e.g. recipes/ablations/tiny.yaml")],
    folder: Annotated[Path | None, typer.Option("--dir", help="its folder [runs/ablations/<name>]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="list the runs, and do none")] = False,
    report_only: Annotated[bool, typer.Option("--report-only", help="make the tables, and do no run")] = False,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FOLDER", help="where tables and plot go [its folder]")
    ] = None,
    only: Annotated[str | None, typer.Option("--only", metavar="RUN", help="do this one run")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="do those again that failed")] = False,
    at_once: Annotated[
        int, typer.Option("--at-once", min=1, help="runs side by side, each on its share of the cores")
    ] = 1,
    accept: Annotated[
        str, typer.Option("--accept", metavar="NAMES", help="go on though code, data or base changed")
    ] = "",
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Change a recipe in named ways, over several seeds, and say what each change does. Exit code 1: some run
    failed.

    Whatever is done is kept; the same command again does what is missing.
    """
    from everystep.cli.ablation_queue import ablate as run_missing
    from everystep.cli.ablation_queue import plan
    from everystep.evaluate.changes import arms, read_ablation
    from everystep.evaluate.results import Place
    from everystep.show.screen import Screen

    ablation = read_ablation(file)
    own, screen = arms(ablation, file), Screen(quiet=quiet)
    place = Place(folder or Path("runs") / "ablations" / ablation.name)
    if only is not None:
        _one(only, own, place, screen, accept)
        return
    if dry_run:
        _show_plan(plan(ablation, own, place, retry), as_json)
        return
    if not report_only:
        stop = asked_to_stop()
        command = [sys.executable, "-m", "everystep", "ablate", str(file), "--dir", str(place.root)]
        command += (["--accept", accept] if accept else []) + (["--quiet"] if quiet or at_once > 1 else [])

        def of(job: "Job") -> list[str]:
            return [*command, "--only", job.label]

        run_missing(ablation, own, place, of, screen, stop, retry, at_once)
    failed = _report(ablation, file, own, place, write or place.root, screen, as_json)
    if failed:
        raise typer.Exit(1)


def _one(label: str, own: "Sequence[Arm]", place: "Place", screen: "Screen", accept: str) -> None:
    """Do one run in this process; it leaves in good order when the process that began it is gone."""
    from everystep.cli.ablation_queue import decided
    from everystep.evaluate.changes import jobs

    every = jobs(own)
    found = [job for job in every if job.label == label]
    if not found:
        raise ValueError(f"--only {label}: no run has this label; --dry-run lists them, e.g. {every[0].label}")
    set_up_jax()
    from everystep.cli.ablation_run import run_job

    stop, parent = asked_to_stop(), os.getppid()

    def reason() -> str | None:
        return stop() or (None if os.getppid() == parent else "the process that began this one is gone")

    names = frozenset(name.strip() for name in accept.split(",") if name.strip())
    command = ["everystep", "ablate", "--only", label]
    run_job(found[0], decided(found[0], own), place, screen, reason, names, command)


def _show_plan(planned: "Sequence[Planned]", as_json: bool) -> None:
    from rich.console import Console

    from everystep.cli.ablation_queue import minutes_left
    from everystep.show.ablations import plan_table

    rows = [
        {
            "run": p.job.label,
            "for": [f"{a.family}.{a.change}" for a in p.arms],
            "shares": None if p.job.shares is None else p.job.shares.label,
            "state": p.state,
            "wanted": p.wanted,
            "minutes": p.minutes,
        }
        for p in planned
    ]
    if as_json:
        print_json(rows)
    else:
        Console().print(plan_table(rows, minutes_left(planned)), highlight=False)


def _report(
    ablation: "Ablation",
    file: Path,
    own: "Sequence[Arm]",
    place: "Place",
    to: Path,
    screen: "Screen",
    as_json: bool,
) -> int:
    """Tables and plot from the ledger alone; how many of the newest rows say that a run failed."""
    from rich.console import Console

    from everystep.core.files import write_text
    from everystep.evaluate.ablation import findings
    from everystep.show.ablations import markdown, terminal
    from everystep.show.plots import forest

    rows = place.rows()
    if not rows:
        raise ValueError(f"{place.root}: its ledger has no row yet; run the ablation first, without --report-only")
    found = findings(ablation, own, rows, place.outcomes)
    picture = f"ablations-{ablation.name}.svg"
    write_text(to / picture, forest(found))
    write_text(to / "ablations.md", markdown(ablation, file, found, rows, own, picture))
    if as_json:
        print_json([asdict(f) | {"compared": [asdict(c) | {"verdict": c.verdict} for c in f.compared]} for f in found])
    else:
        Console().print(terminal(found), highlight=False)
    screen.say(f"{to / 'ablations.md'}, {to / picture}")
    return sum(len(side.failed) for f in found for side in f.sides)
