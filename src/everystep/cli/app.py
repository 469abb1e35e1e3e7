"""The command line: its verbs, and what an error becomes.

Each verb is a file of its own. Whatever is heavy is imported inside its function, so that `--help`, `grade` and
`check` start at once and never load JAX.
"""

import sys
import traceback

import typer

from everystep.cli.ablate import ablate
from everystep.cli.check import check
from everystep.cli.compare import compare
from everystep.cli.eval import evaluate
from everystep.cli.export import export
from everystep.cli.grade import grade
from everystep.cli.judge import judge
from everystep.cli.lab import lab
from everystep.cli.plan import plan
from everystep.cli.play import play
from everystep.cli.preflight import preflight
from everystep.cli.pretrain import pretrain
from everystep.cli.process import GONE, INTERRUPTED, STOPPED, WAS_INTERRUPTED, one_of_several
from everystep.cli.push import push
from everystep.cli.report import report
from everystep.cli.run import run
from everystep.cli.score import score
from everystep.cli.show import show
from everystep.cli.video import video
from everystep.core.types import Stopped

VERBS = {
    "run": run,
    "pretrain": pretrain,
    "eval": evaluate,
    "preflight": preflight,
    "plan": plan,
    "ablate": ablate,
    "grade": grade,
    "check": check,
    "score": score,
    "lab": lab,
    "judge": judge,
    "report": report,
    "show": show,
    "compare": compare,
    "play": play,
    "video": video,
    "export": export,
    "push": push,
}

app = typer.Typer(
    name="everystep",
    help="Teach an open Gemma model to show its work, and check that the work is right.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for name, verb in VERBS.items():
    app.command(name)(verb)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code. 0: done · 1: a defect, with its traceback · 2: something the user can
    mend, in one line · 75: left in good order before its end, to be gone on with · 130: interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(args=arguments or ["--help"], prog_name="everystep", standalone_mode=False)
    except typer.TyperException as error:
        print(f"everystep: {error.format_message()} (see --help)", file=sys.stderr)
        return 2
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        return 0  # who reads our output has gone away (`| head`), and has what it wanted
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
