"""Files of a run, written so that no crash can leave half of one where a whole one is expected, and read so
that damage is named by its place.

JSON, JSON lines and plain bytes; which files there are is the run directory's business (`core/run.py`).
"""

import fcntl
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

PARTIAL = ".partial"  # in the name of a file that is being written
LOCK = ".lock"  # of a folder that one process at a time may write


class RunError(ValueError):
    """A run directory that cannot be used; the message is one clear line."""


def take_lock(folder: Path, doing: str) -> int | None:
    """Lock a folder against other processes until the returned descriptor is closed; None where the file system
    has no locks. Raises RunError, with the other process's id and what it is `doing`, where it is locked."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        os.close(lock)
        who = f"another process ({owner})" if owner else "another process"
        raise RunError(f"{folder}: {who} is {doing}; wait for it or stop it") from None
    except OSError:  # some network file systems have no locks: better no lock than no run
        os.close(lock)
        return None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def cache_folder(name: str) -> Path:
    """Where a cache of that name lies, below the user's cache directory; it need not be there yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "everystep" / name


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is, at every moment, either the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}{PARTIAL}")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)  # on a full disk, what was written of it is in the way
        raise
    # The rename itself lives in the folder; without this a power cut may undo it.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError:  # not every file system can
        pass
    finally:
        os.close(folder)


def write_text(path: Path, content: str) -> None:
    """`write_bytes` of UTF-8; lone surrogates, which a tokenizer can produce, become question marks."""
    write_bytes(path, content.encode("utf-8", "replace"))


def write_json(path: Path, value: Any) -> None:
    """`write_text` of indented JSON; see `to_json` for what `value` may hold."""
    write_text(path, json.dumps(to_json(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """A whole file of JSON lines, written at once."""
    write_text(path, "".join(_line(row) for row in rows))


def append_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Add rows to a file of JSON lines and flush them. A torn last line (left by a crash) is cut off first,
    or completed by its line end if nothing else is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(_line(row) for row in rows).encode("utf-8", "replace")
    with open(path, "a+b") as file:
        _mend_end(file.fileno())
        file.write(content)
        file.flush()


def read_json(path: Path, like: Any = object) -> Any:
    """The value in a JSON file. Raises RunError, with the place, where it is missing, damaged, or not `like` what
    it should be (`check_shape`)."""
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from None
    except RecursionError:
        raise RunError(f"{path}: is nested too deeply") from None
    except ValueError as error:
        raise RunError(f"{path}: is not valid JSON: {error}") from None
    check_shape(value, like, str(path))
    return value


def read_jsonl(path: Path) -> tuple[list[Any], str | None]:
    """The rows of a file of JSON lines, each a mapping, and a remark where the last line is torn (it is left out),
    else None.

    Raises RunError, with file and line, for damage anywhere else, and for a missing file.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from None
    rows: list[Any] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError):
            if number == len(lines):
                return rows, f"{path}:{number}: the last line is torn and was left out"
            raise RunError(f"{path}:{number}: is not valid JSON") from None
        check_shape(rows[-1], dict, f"{path}:{number}")
    return rows, None


def check_shape(value: Any, like: Any, where: str) -> None:
    """Raise RunError, naming the place, where a JSON value has another shape than `like`: a type or types; a list
    of one shape for every element; a mapping of shapes by key, in which "a?" may be missing and "*" is the shape of
    every key that is not named.

    >>> check_shape({"n": 1, "by": {"x": 2.5}}, {"n": int, "by": {"*": (int, float)}, "note?": str}, "here")
    >>> check_shape({"n": [True]}, {"n": [int]}, "here")
    Traceback (most recent call last):
        ...
    everystep.core.files.RunError: here: n.0 is bool, not int; the file is damaged
    """
    wrong = _unlike(value, like, "")
    if wrong:
        raise RunError(f"{where}: {wrong}; the file is damaged")


def _unlike(value: Any, like: Any, at: str) -> str | None:
    types = {dict: (dict,), list: (list,)}.get(type(like), like if isinstance(like, tuple) else (like,))
    if not isinstance(value, types) or (isinstance(value, bool) and not {bool, object} & set(types)):
        names = " or ".join("null" if t is type(None) else t.__name__ for t in types)
        return f"{at or 'what it holds'} is {'null' if value is None else type(value).__name__}, not {names}"
    held: Any = value
    inner: list[tuple[Any, Any]] = []
    if isinstance(like, list):
        inner = [(i, like[0]) for i in range(len(held))]
    elif isinstance(like, dict):
        named = {key.removesuffix("?"): shape for key, shape in like.items()}
        if missing := [key for key in like if key != "*" and not key.endswith("?") and key not in value]:
            return f"the key {f'{at}.{missing[0]}'.lstrip('.')!r} is missing"
        inner = [(key, named.get(key, like.get("*", object))) for key in held]
    found = (_unlike(held[key], shape, f"{at}.{key}".lstrip(".")) for key, shape in inner)
    return next((wrong for wrong in found if wrong), None)


def rewind(path: Path, step: int) -> int:
    """Keep only the rows whose "step" is at most `step`, for a resume from that step; the number dropped.

    A file that is not there has nothing to drop.
    """
    if not path.exists():
        return 0
    rows, torn = read_jsonl(path)
    keep = [row for row in rows if row["step"] <= step]
    if torn or len(keep) < len(rows):
        write_jsonl(path, keep)
    return len(rows) - len(keep)


def to_json(value: Any) -> Any:
    """Plain JSON values of dataclasses, enums, mappings, sequences, paths and scalars of array libraries.

    A float that is not finite has no JSON form and becomes the text that `float()` reads back ("nan",
    "inf", "-inf"), so that a broken loss stays visible. Raises RunError for anything else.

    >>> to_json({"a": (1, float("nan")), 2: None})
    {'a': [1, 'nan'], '2': None}
    """
    if isinstance(value, Enum):
        return to_json(value.value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(to_json(k)): to_json(v) for k, v in value.items()}
    if isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, (bytes, bytearray)):
        return [to_json(v) for v in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, Path):
        return value.as_posix()
    to_list = getattr(value, "tolist", None)
    if callable(to_list):  # numpy and jax, without importing either
        return to_json(to_list())
    raise RunError(f"a {type(value).__name__} cannot be written as JSON")


def _line(row: Any) -> str:
    return json.dumps(to_json(row), ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def _mend_end(file: int) -> None:
    """Make an open file end with a whole line. Reads backwards, since such files can be long."""
    size = os.fstat(file).st_size
    start, tail = size, b""
    while start > 0 and b"\n" not in tail:
        step = min(65_536, start)
        start -= step
        tail = os.pread(file, step, start) + tail
    torn = tail[tail.rfind(b"\n") + 1 :]
    if not torn:
        return
    try:
        json.loads(torn)
    except ValueError:
        os.ftruncate(file, size - len(torn))
    else:
        os.pwrite(file, b"\n", size)
