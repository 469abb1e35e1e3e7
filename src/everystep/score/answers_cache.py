"""Answers kept on disk by what was asked: an answer that was paid for is never asked for again.

One SQLite file in write-ahead mode. Each answer is committed by itself as it arrives, so that a process
killed at any moment loses none that had arrived. What counts as "the same question" is the caller's
business: it makes the key.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everystep.core.files import cache_folder

_TABLE = """CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, text TEXT NOT NULL, cut INTEGER NOT NULL, model TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, seconds REAL NOT NULL,
    at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) WITHOUT ROWID"""
_COLUMNS = "text, cut, model, prompt_tokens, completion_tokens, seconds"
_WAIT = 30.0  # seconds for another process that is writing


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered. `cut`: the token limit ended it; `model`: the name that the server gives;
    tokens as the server counts them (or as estimated where it does not say); `seconds`: how long it took."""

    text: str
    cut: bool = False
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


def key(question: Any) -> str:
    """The key of a question given as plain JSON values: the SHA-256 of its canonical text, in hex."""
    text = json.dumps(question, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def default_path() -> Path:
    """Where answers are kept unless a recipe says otherwise: the user's cache folder."""
    return cache_folder("judge.sqlite")


@dataclass(frozen=True, slots=True)
class Answers:
    """An open file of answers, for one thread. From `open_answers`."""

    table: sqlite3.Connection

    def get(self, key: str) -> Answer | None:
        """The answer to a question, or None."""
        row = self.table.execute(f"SELECT {_COLUMNS} FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else Answer(row[0], bool(row[1]), *row[2:])

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer; it is on disk when this returns. The first answer to a question stays."""
        row = (answer.text, int(answer.cut), answer.model, answer.prompt_tokens, answer.completion_tokens)
        self.table.execute(
            f"INSERT OR IGNORE INTO answers (key, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key, *_storable(row), answer.seconds),
        )


@contextmanager
def open_answers(path: Path) -> Iterator[Answers]:
    """The answers in a file, which is made where it is not there; several processes may have it open.

    Raises ValueError, one line, where the file cannot be made or holds something else.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # autocommit (isolation_level None): every answer is a transaction of its own.
        table = sqlite3.connect(path, timeout=_WAIT, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise ValueError(f"answers in {path}: cannot be opened ({error}); give another judge.cache") from None
    try:
        try:
            table.execute("PRAGMA journal_mode = WAL")
            table.execute("PRAGMA synchronous = FULL")
            table.execute(_TABLE)
            table.execute(f"SELECT {_COLUMNS} FROM answers LIMIT 1").fetchone()
        except sqlite3.Error as error:
            raise ValueError(
                f"answers in {path}: no file of answers ({error}); move it away or give another judge.cache"
            ) from None
        yield Answers(table)
    finally:
        table.close()


def _storable(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Half characters, which JSON can name and UTF-8 cannot hold, become question marks."""
    return tuple(v.encode("utf-8", "replace").decode() if isinstance(v, str) else v for v in row)
