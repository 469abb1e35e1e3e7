"""Carrying a run on elsewhere: a copy of its directory, and the list of the sessions that worked on it."""

import os
import shutil
from pathlib import Path
from typing import Any

from everystep.core.files import RunError, append_jsonl, read_jsonl
from everystep.core.run import Run, read_run

_OWN = {".lock"}  # what belongs to the process that works on a directory, not to the run


def carry_on(source: Path, root: Path) -> bool:
    """Copy the run at `source` (which may be read-only) to `root`, unless a run is there already: then it is
    that one that goes on, as it does when the same command is given again. True where a copy was made.

    The copy appears whole or not at all. Raises RunError where there is no run at `source`, or where `root`
    holds something else or cannot be written.
    """
    read_run(source)
    if Run(root).recipe_resolved.exists():
        return False
    if root.exists() and any(root.iterdir()):
        raise RunError(f"{root}: holds files but no run; give another --dir")
    beside = root.with_name(f".{root.name}.partial")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        root.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, beside, ignore=_not_the_runs, copy_function=_copied)
        for folder, _, _ in os.walk(beside):
            os.chmod(folder, 0o755)
        if root.exists():
            root.rmdir()
        os.replace(beside, root)
    except OSError as error:
        raise RunError(f"{root}: cannot be written ({error.strerror}); give another --dir") from None
    return True


def add_session(run: Run, about: dict[str, Any]) -> None:
    """Note that a session begins to work on the run."""
    append_jsonl(run.sessions, [{"session": len(sessions(run)) + 1, **about}])


def sessions(run: Run) -> list[dict[str, Any]]:
    """What `add_session` was told of every session, in order."""
    return read_jsonl(run.sessions)[0] if run.sessions.exists() else []


def _not_the_runs(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name in _OWN or (".partial" in name and name.startswith("."))}


def _copied(source: str, target: str) -> str:
    """The bytes, and not the permissions: the source may be read-only."""
    return shutil.copyfile(source, target)
