"""Rows of JSON lines, into and out of the verbs that read a file of anybody's texts."""

import gc
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from everystep.core.files import to_json

# How files begin that are no UTF-8 text, and what to do about it.
_FOREIGN = {
    b"\xff\xfe": "is UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "is UTF-16 text; save it as UTF-8",
    b"\x1f\x8b": "is compressed (gzip); unpack it first, e.g. gzip -dc FILE | everystep … -",
    b"PK\x03\x04": "is compressed (zip); unpack it first",
    b"PAR1": "is a Parquet file; write its rows as JSON lines",
}


def lines(file: Path) -> Iterator[str]:
    """The lines of a file; of standard input for "-". Bytes that are no UTF-8 spoil their line only; a byte order mark
    is left out. Raises ValueError, one line, for a file that is no UTF-8 text as a whole."""
    if str(file) != "-":
        with open(file, "rb") as opened:
            yield from _decoded(opened, str(file))
    elif isinstance(sys.stdin, io.TextIOWrapper):
        yield from _decoded(sys.stdin.buffer, "standard input")
    else:
        yield from sys.stdin


def _decoded(opened: IO[bytes], name: str) -> Iterator[str]:
    first = opened.readline()
    for mark, advice in _FOREIGN.items():
        # Two bytes that begin a line of text with a fault in it are no file of another kind.
        if first.startswith(mark) and (b"\x00" in first or mark in (b"\x1f\x8b", b"PAR1")):
            raise ValueError(f"{name}: {advice}")
    yield first.decode("utf-8-sig", "replace")
    for line in opened:
        yield line.decode("utf-8", "replace")


def require_readable(unreadable: int, rows: int, file: Path) -> None:
    """Raise ValueError where more than half of the rows of a file could not be read."""
    if 2 * unreadable > rows:
        raise ValueError(f"{file}: {unreadable} of {rows} rows cannot be read; see their errors, and the verb's --help")


def collect_rarely() -> None:
    """Rows leave next to no cycles behind, but the search for them costs a fifth of the time of a file."""
    gc.freeze()
    gc.set_threshold(100_000)


def json_line(row: dict[str, Any], ascii_only: bool = False) -> str:
    """The row as one line of JSON. Half characters, which JSON can name and UTF-8 cannot hold, stay named; a number
    that is none (NaN) becomes text."""
    try:
        text = json.dumps(row, ensure_ascii=ascii_only, allow_nan=False)
    except ValueError:
        text = json.dumps(to_json(row), ensure_ascii=ascii_only)
    return text.encode("utf-8", "backslashreplace").decode()
