"""Tasks from a user's own file of JSON lines, and the strict reader of such lines.

A row is `{"prompt", "answer"}` and, where known, "reasoning", "domain", "level", "kind", "unit", "aliases",
"choices", "split" and "id". "reasoning" holds one step a line, with or without `Step N:` marks, or a whole
tagged text. Rows are read or refused, with file and line; what is well formed but not wanted is
`data.clean`'s business.
"""

import difflib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from everystep.core import trace
from everystep.core.types import Kind, Task, task_id

REQUIRED = ("prompt", "answer")
OPTIONAL = ("reasoning", "domain", "level", "kind", "unit", "aliases", "choices", "split", "id")
SPLITS = ("train", "dev", "test")
LONGEST = 20_000  # characters of one text; a question of a megabyte is a broken file, not a task

# What must not stand in a task's text: tokens that end turns or texts, and the tags of the format.
CONTROL_TOKEN = re.compile(
    r"<(?:start_of_turn|end_of_turn|bos|eos|pad|unk|mask|(?:start|end)_of_image|image_soft_token|unused\d{1,4})>"
    r"|</?(?:reasoning|answer)>"
)
CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_STEP_MARK = re.compile(r"^\s*(?:[-*]\s+)?(?:\*\*)?Step \d{1,4}(?:\*\*)?[:.)](?:\*\*)?\s*", re.IGNORECASE)
_KINDS = (
    (Kind.PERCENT, re.compile(r"[-−+]?\d[\d,]*(?:\.\d+)?\s?%")),
    (Kind.MONEY, re.compile(r"[-−+]?[$€£]\s?\d[\d,]*(?:\.\d+)?")),
    (Kind.FRACTION, re.compile(r"[-−+]?\d+/\d+")),
    (Kind.NUMBER, re.compile(r"[-−+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")),
    (Kind.BOOLEAN, re.compile(r"yes|no|true|false", re.IGNORECASE)),
)


def read_rows(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a file of JSON lines, each with its place "file:line".

    A byte order mark, Windows line ends and empty lines are accepted. Raises ValueError for a file that
    cannot be read, bytes that are not UTF-8, and lines that are not one JSON object.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
        except RecursionError:
            raise ValueError(f"{where}: not valid JSON (nested too deeply)") from None
        except ValueError as error:
            raise ValueError(f"{where}: not valid JSON ({error})") from None
        if not isinstance(row, dict):
            raise ValueError(f"{where}: must be one JSON object, is {type(row).__name__}")
        yield where, row


def hub_rows(source: str, hub: str, subset: str | None, instead: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The rows of a data set on the hub, in the order of its splits, each with its split and its place.

    Raises ValueError, one line, where the hub cannot be reached; `instead` is what `path` may name.
    """
    from datasets import load_dataset  # takes seconds to import, and most runs have files

    try:
        data = load_dataset(hub, subset)
    except Exception as error:  # the hub's client raises many kinds; every one of them means the same here
        raise ValueError(
            f"data.{source}: {hub} cannot be had from the hub ({type(error).__name__}); "
            f"set data.{source}.path to {instead}"
        ) from error
    for split in sorted(data, key=lambda name: name != "train"):
        yield from ((str(split), f"{hub}/{split}:{i}", dict(row)) for i, row in enumerate(data[split], 1))


def text_of(value: Any, key: str, where: str) -> str:
    """A row's value as text without surrounding white space. Raises ValueError for what is not text, is
    empty, is longer than LONGEST, or holds control characters or half a surrogate pair.
    """
    if not isinstance(value, str):
        raise ValueError(f'{where}: "{key}" must be text, is {type(value).__name__}')
    text = value.replace("\r\n", "\n").strip()
    if not text:
        raise ValueError(f'{where}: "{key}" is empty')
    if len(text) > LONGEST:
        raise ValueError(f'{where}: "{key}" has {len(text):,} characters, more than {LONGEST:,}')
    bad = CONTROL_CHARACTER.search(text)
    if bad:
        raise ValueError(f'{where}: "{key}" holds the control character U+{ord(bad.group()):04X}')
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError(f'{where}: "{key}" holds half a surrogate pair')
    return text


def load(path: str | Path | None) -> list[Task]:
    """The tasks of a file, in its order; a row without "split" gets the split "" (see `data.sources`).

    The kind, where not given, is read off the answer. Raises ValueError, with file and line, for the first
    row that cannot be read.
    """
    if path is None:
        raise ValueError('data.jsonl.path is not set; name a file of rows {"prompt", "reasoning", "answer"}')
    tasks: list[Task] = []
    ids: dict[str, str] = {}
    for where, row in read_rows(path):
        tasks.append(_task(row, where))
        if "id" in row:
            key = str(row["id"])
            if key in ids:
                raise ValueError(f'{where}: "id" {key[:60]!r} is used already at {ids[key]}')
            ids[key] = where
    if not tasks:
        raise ValueError(f"{path}: holds no rows")
    return tasks


def _task(row: dict[str, Any], where: str) -> Task:
    known = (*REQUIRED, *OPTIONAL)
    for key in row:
        near = difflib.get_close_matches(key, known, 1, 0.8) if key not in known else []
        if near:
            raise ValueError(f'{where}: unknown key "{key}"; did you mean "{near[0]}"?')
    for key in REQUIRED:
        if key not in row:
            raise ValueError(f'{where}: has no "{key}"; a row needs {" and ".join(REQUIRED)}')
    question = text_of(row["prompt"], "prompt", where)
    given = row["answer"]
    if isinstance(given, int | float) and not isinstance(given, bool):
        given = format(given, "g") if isinstance(given, float) and given.is_integer() else str(given)
    answer = text_of(given, "answer", where)
    for key, text in (("prompt", question), ("answer", answer)):
        token = CONTROL_TOKEN.search(text)
        if token:
            raise ValueError(f'{where}: "{key}" holds the control token {token.group()}')
    level = row.get("level", 0)
    if not isinstance(level, int) or isinstance(level, bool) or level < 0:
        raise ValueError(f'{where}: "level" must be a whole number from 0, is {level!r}')
    split = row.get("split", "")
    if split not in (*SPLITS, ""):
        raise ValueError(f'{where}: "split" must be one of {", ".join(SPLITS)}, is {split!r}')
    unit = None if row.get("unit") is None else text_of(row["unit"], "unit", where)
    return Task(
        id=task_id("jsonl", question, answer),
        domain=text_of(row.get("domain", "general"), "domain", where),
        question=question,
        answer=answer,
        kind=_kind(row.get("kind"), answer, unit, where),
        source="jsonl",
        split=split,
        solution=_solution(row.get("reasoning"), where),
        level=level,
        unit=unit,
        choices=_texts(row, "choices", where),
        aliases=_texts(row, "aliases", where),
    )


def _solution(value: Any, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    text = text_of(value, "reasoning", where)
    if trace.REASONING in text:
        return tuple(s.text for s in trace.parse(text).steps) or None
    token = CONTROL_TOKEN.search(text)
    if token:
        raise ValueError(f'{where}: "reasoning" holds the control token {token.group()}')
    lines = (_STEP_MARK.sub("", line).strip() for line in text.split("\n"))
    return tuple(line for line in lines if line) or None


def _kind(given: Any, answer: str, unit: str | None, where: str) -> Kind:
    if given is not None:
        if not isinstance(given, str) or given not in {k.value for k in Kind}:
            near = difflib.get_close_matches(str(given), [k.value for k in Kind], 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(Kind)}"
            raise ValueError(f'{where}: "kind" {given!r} is not known; {hint}')
        return Kind(given)
    for kind, pattern in _KINDS:
        if pattern.fullmatch(answer):
            return Kind.QUANTITY if kind is Kind.NUMBER and unit else kind
    return Kind.TEXT


def _texts(row: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    values = row.get(key, [])
    if not isinstance(values, list):
        raise ValueError(f'{where}: "{key}" must be a list of texts, is {type(values).__name__}')
    return tuple(text_of(v, key, where) for v in values)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
