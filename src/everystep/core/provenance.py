"""Where a run came from: code, packages, device, data, command. Nothing that names a person, a machine or a
place on it.
"""

import hashlib
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from everystep import __version__

# The rooms that can change a number; the others only show, ship, foretell or start.
_DECIDES = ("core", "verify", "data", "score", "model", "train", "evaluate", "pipeline.py")
_READ = {".py", ".yaml"}  # presets and rubrics decide too; the weights of a base have a hash of their own
_ABSOLUTE = re.compile(r"(?<![^\s=:,\"'])(?:~|/)[^\s=:,\"']*")


def provenance(device: str, data: Mapping[str, str], command: Sequence[str]) -> dict[str, Any]:
    """Plain values for `provenance.json`: `device` and `data` (source → hash) as they are given; the version,
    the commit and a hash of what differs from it (None where the package is not in a git checkout); Python
    and all packages; `command` with absolute paths cut to their last name.
    """
    commit, changes = _git()
    return {
        "everystep": __version__,
        "commit": commit,
        "changes": changes,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": device,
        "data": dict(data),
        "command": [without_places(part) for part in command],
        "packages": dict(sorted({d.metadata["Name"]: d.version for d in distributions()}.items())),
    }


def code(package: Path = Path(__file__).parents[1]) -> str:
    """The identity of the code that a resume must find unchanged: 16 hex digits, of the files that can change a
    number and of no others."""
    files = [p for p in sorted(package.rglob("*")) if p.suffix in _READ]
    named = [(p.relative_to(package), p) for p in files]
    parts = [name.as_posix().encode() + b"\0" + p.read_bytes() for name, p in named if name.parts[0] in _DECIDES]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def without_places(text: str) -> str:
    """The text with every absolute path cut to its last name.

    >>> without_places("data.gsm8k.path=/srv/ann/gsm8k/"), without_places("a/b 1/2")
    ('data.gsm8k.path=gsm8k', 'a/b 1/2')
    """
    return _ABSOLUTE.sub(lambda m: m.group().rstrip("/").rpartition("/")[2], text)


def _git() -> tuple[str | None, str | None]:
    """The commit of the package's own checkout, and the SHA-256 of its differences from it (None: none)."""
    here = Path(__file__).parents[1]
    commit = _output(here, "rev-parse", "HEAD")
    # A package installed below somebody else's repository is not part of that repository.
    if commit is None or not _output(here, "ls-files", "--", "__init__.py"):
        return None, None
    changes = (_output(here, "diff", "HEAD", "--", ".") or b"") + (_output(here, "status", "-s", "--", ".") or b"")
    return commit.decode().strip(), hashlib.sha256(changes).hexdigest() if changes else None


def _output(folder: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
