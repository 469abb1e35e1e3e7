"""Rows of JSON lines, into and out of the verbs that read a file of anybody's texts."""

import gc
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def lines(file: Path) -> Iterator[str]:
    """The lines of a file; of standard input for "-". Bytes that are no UTF-8 spoil their line only."""
    if str(file) == "-":
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8", errors="replace")
        yield from sys.stdin
        return
    with open(file, encoding="utf-8", errors="replace") as opened:
        yield from opened


def collect_rarely() -> None:
    """Rows leave next to no cycles behind, but the search for them costs a fifth of the time of a file."""
    gc.freeze()
    gc.set_threshold(100_000)


def json_line(row: dict[str, Any], ascii_only: bool = False) -> str:
    """The row as one line of JSON. Half characters, which JSON can name and UTF-8 cannot hold, stay named."""
    return json.dumps(row, ensure_ascii=ascii_only).encode("utf-8", "backslashreplace").decode()
