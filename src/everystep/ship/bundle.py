"""What may be published: a folder that `everystep export` has made, compared and left as it is now.

Nothing here knows a network; where a parcel goes is `hub.py` and `kaggle.py`.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everystep.core.files import RunError, read_json
from everystep.core.run import Run

FORMATS = ("hf", "peft", "tunix")
MARK = "export.json"
CARD = "README.md"
NOTICE = "NOTICE"
_STAGES = ("grpo", "sft")  # the later one first
_HASH = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = re.compile(r"\..+\.(partial|replaced)")


@dataclass(frozen=True, slots=True)
class Parcel:
    """A folder that may be published. `files`: every file of it, by its name below the folder, with its size
    in bytes; `title`: what it is, in one line; `gemma`: whether Gemma's terms go with it."""

    folder: Path
    kind: str
    title: str
    gemma: bool
    files: dict[str, int]


def parcel(where: Path, kind: str | None = None, stage: str | None = None) -> Parcel:
    """The export that `where` is (a folder), or holds (a run: of its last exported stage and "hf" where
    nothing else is asked for), every file read and held against its SHA-256 in `export.json`.

    Raises ValueError, one line that says what to do, for a folder that `everystep export` has not made, not to
    its end, or not in this form: without its card, with files that are missing, changed or of something else.
    """
    if kind is not None and kind not in FORMATS:
        raise ValueError(f"format {kind!r} does not exist; there are {', '.join(FORMATS)}")
    if not where.is_dir():
        raise ValueError(f"{where}: no such folder; give a run, or a folder that `everystep export` has made")
    if (where / MARK).is_file() or not Run(where).recipe_resolved.is_file():
        if stage is not None:
            raise ValueError(f"{where}: is no run; without --stage, or give the run")
        folder = where
    else:
        folder = _of_run(Run(where), kind, stage)
    about = _mark(folder)
    if kind is not None and about["format"] != kind:
        raise ValueError(f"{folder}: is a {about['format']} export, not {kind}; give the other folder")
    files = _whole(folder, about["files"])
    gemma = about.get("base") != "tiny"
    if CARD not in files:
        raise ValueError(f"{folder}: has no model card ({CARD}); {_again(about['format'])}")
    if gemma and NOTICE not in files:
        raise ValueError(f"{folder}: has no {NOTICE}, which Gemma's terms ask for; {_again(about['format'])}")
    title = f"{about.get('run')} after {about.get('stage')}, step {about.get('step')} ({about['format']})"
    return Parcel(folder, about["format"], " ".join(title.split())[:200], gemma, files)


def _of_run(run: Run, kind: str | None, stage: str | None) -> Path:
    """The folder of a run's export."""
    stages = [p.name for p in sorted(run.export.glob("*")) if any((p / f / MARK).is_file() for f in FORMATS)]
    if not stages:
        raise ValueError(f"{run.root}: holds no export; make one: everystep export {run.root}")
    if stage is None:
        stage = next((s for s in _STAGES if s in stages), stages[0])
    elif stage not in stages:
        raise ValueError(
            f"{run.root}: the stage {stage!r} is not exported, only {', '.join(stages)}; "
            f"make it: everystep export {run.root} --stage {stage}"
        )
    kind = kind or FORMATS[0]
    kinds = [f for f in FORMATS if (run.export / stage / f / MARK).is_file()]
    if kind not in kinds:
        raise ValueError(
            f"{run.root}: the stage {stage!r} is exported as {', '.join(kinds)}, not as {kind}; give "
            f"--format, or make it: everystep export {run.root} --stage {stage} --format {kind}"
        )
    return run.export / stage / kind


def _mark(folder: Path) -> dict[str, Any]:
    """What `export.json` says, as far as it is needed and sound."""
    if _UNFINISHED.fullmatch(folder.resolve().name):
        raise ValueError(f"{folder}: is half an export, of a process that was stopped; {_again()}")
    if not (folder / MARK).is_file():
        below = [f for f in FORMATS if (folder / f / MARK).is_file()]
        if below:
            raise ValueError(f"{folder}: holds exports; give one of them: {folder / below[0]}")
        raise ValueError(
            f"{folder}: has no {MARK}, so it is no export that came to its end; make one: everystep export RUN"
        )
    try:
        about = read_json(folder / MARK)
    except RunError:
        about = None
    if not isinstance(about, dict) or about.get("format") not in FORMATS:
        raise ValueError(f"{folder / MARK}: is damaged; {_again()}")
    if not _compared(about.get("agreement")):
        raise ValueError(
            f"{folder}: its {MARK} does not say that it was compared with its policy; {_again(about['format'])}"
        )
    files = about.get("files")
    if not isinstance(files, dict) or not all(isinstance(h, str) and _HASH.fullmatch(h) for h in files.values()):
        raise ValueError(f"{folder}: its {MARK} does not say which files belong to it; {_again(about['format'])}")
    return about


def _compared(agreement: Any) -> bool:
    """Whether an `agreement` is one that an export passes with."""
    if not isinstance(agreement, dict):
        return False
    try:
        return 0 <= agreement["logits"] <= agreement["tolerance"] and agreement["tokens"] > 0
    except (KeyError, TypeError):
        return False


def _whole(folder: Path, hashes: dict[str, str]) -> dict[str, int]:
    """Name and size of every file, where they are exactly those of `hashes` (and `export.json`)."""
    there = set(_entries(folder)) - {MARK}
    if gone := sorted(hashes.keys() - there):
        raise ValueError(f"{folder}: lacks {gone[0]}, which its {MARK} names; {_again()}")
    if more := sorted(there - hashes.keys()):
        raise ValueError(f"{folder}: holds {more[0]}, which is not of the export; move it elsewhere")
    sizes = {}
    for name in sorted(there):
        with open(folder / name, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != hashes[name]:
                raise ValueError(
                    f"{folder}: {name} is not the one that was compared (its SHA-256 is another); {_again()}"
                )
            sizes[name] = os.fstat(file.fileno()).st_size
    return dict(sorted((sizes | {MARK: (folder / MARK).stat().st_size}).items()))


def _entries(folder: Path) -> list[str]:
    """The name of everything below a folder that is not a plain folder: links to folders among it."""
    found = []
    for at, folders, files in os.walk(folder):
        names = [*files, *(f for f in folders if os.path.islink(os.path.join(at, f)))]
        found += [(Path(at) / name).relative_to(folder).as_posix() for name in names]
    return found


def _again(kind: str | None = None) -> str:
    return "make it again: everystep export RUN" + (f" --format {kind}" if kind else "") + " --force"
