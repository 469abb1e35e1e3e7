"""Whole files of completions, scored as groups: lines of JSON in, rows out; a bad line is a row with its
error, never the end.

Lines are read one group at a time, so that memory does not grow with the file. Reading and writing the files
themselves is the caller's.
"""

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from everystep.core.record import read_record
from everystep.core.types import Completion, Graded, Kind, Stop, Task, task_id
from everystep.score.groups import score_groups
from everystep.score.mix import Mix
from everystep.verify.grade import grade
from everystep.verify.kinds import infer_kind

Row = dict[str, Any]
LARGEST = 10_000  # lines of a group; it ends there, and what follows of it is refused
REMEMBERED = 65_536  # names of groups that are over, so that one which goes on later is noticed


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: its number, the row's `id`, and what was read, or why it could not be."""

    line: int
    name: object
    graded: Graded | None = None
    error: str | None = None


@dataclass(slots=True)
class Group:
    """The lines of one group, in order, and what a judge gave to its completions."""

    key: object
    entries: list[Entry] = field(default_factory=list)
    judged: dict[tuple[str, int], dict[str, float | None]] = field(default_factory=dict)

    @property
    def graded(self) -> list[Graded]:
        return [e.graded for e in self.entries if e.graded is not None]


def score_file(lines: Iterable[str], mix: Mix) -> Iterator[Row]:
    """For each line a row `{"id", "parts", "total"}`; for one that cannot be read, `{"id", "line", "error"}`.

    Lines of one group follow each other; what they hold says `read_groups`. Raises what `score_groups`
    raises, with the line of the group's first row.

    >>> text = "<reasoning>\\nStep 1: 6 * 4 = 24 pens.\\n</reasoning>\\n<answer>24</answer>"
    >>> row = {"id": 1, "question": "6 pens a box, 4 boxes?", "gold": "24", "completion": text}
    >>> next(score_file([json.dumps(row)], Mix({"correctness": 1.0, "process": 0.2})))
    {'id': 1, 'parts': {'correctness': 1.0, 'process': 1.0}, 'total': 1.2}
    """
    for group in read_groups(lines):
        try:
            scores = iter(score_groups([group.graded], mix, group.judged)[0])
        except ValueError as error:
            raise ValueError(f"line {group.entries[0].line}: {error}") from error
        for entry in group.entries:
            if entry.graded is None:
                yield {"id": entry.name, "line": entry.line, "error": entry.error}
            else:
                score = next(scores)
                yield {"id": entry.name, "parts": score.parts, "total": score.total}


def read_groups(lines: Iterable[str]) -> Iterator[Group]:
    """The groups of a file. A line is a record as runs keep them, or a row

        {"id", "group"?, "question", "gold", "completion", "kind"?, "unit"?, "choices"?, "aliases"?,
         "truncated"?, "tokens"?, "logprobs"?, "judged"?}

    `group` (text or a number) is shared by completions of one question; without it a row is a group by
    itself. `truncated`: the token limit cut it. `logprobs`: one for each token, as numbers or as
    [text, number] or {"token", "logprob"}; only with texts is it known which tokens the answer has. `tokens`:
    their number. `judged`: values in [0, 1] (or null) by criterion. Records of one task and step that follow
    each other are a group, which begins with sample 0.
    """
    over: OrderedDict[object, None] = OrderedDict()
    current = Group(None)  # of lines that stand before any group

    def close(group: Group) -> Group:
        if group.key is not None:
            over[group.key] = None
            if len(over) > REMEMBERED:
                over.popitem(last=False)
        return group

    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row: Row = {}
        try:
            row = _object(line)
            key = _key(row, number)
            begins = "task" in row and row.get("sample") == 0  # a step can hold a task's group twice
            if key in over and "task" not in row:
                raise ValueError(f"group {key!r} goes on after others; sort the file by group")
        except ValueError as error:
            current.entries.append(Entry(number, row.get("id"), error=str(error)))
        else:
            if key != current.key or begins:
                if current.entries:
                    yield close(current)
                current = Group(key)
            _add(current, row, number)
        if len(current.entries) >= LARGEST:
            yield close(current)
            current = Group(None)
    if current.entries:
        yield current


def _add(group: Group, row: Row, number: int) -> None:
    name, sample = row.get("id"), len(group.entries)
    try:
        graded, judged = _record(row) if "task" in row else _row(row, sample)
        first = next(iter(group.graded), None)
        if first is not None and first.task.id != graded.task.id:
            raise ValueError(f"group {group.key!r} has another question or gold answer in an earlier line")
    except (ValueError, TypeError) as error:
        group.entries.append(Entry(number, name, error=str(error)))
        return
    group.entries.append(Entry(number, name if "task" not in row else graded.task.id, graded))
    if judged is not None:
        group.judged[graded.task.id, graded.completion.sample] = judged


def _object(line: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"not an object but {type(row).__name__}")
    return row


def _key(row: Row, number: int) -> object:
    """What tells a row's group from others."""
    if "task" in row:
        task = row["task"]
        return ("record", row.get("step"), task.get("id") if isinstance(task, dict) else None)
    key = row.get("group")
    if key is None:
        return ("line", number)
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        raise ValueError(f"'group' must be text or a whole number, not {type(key).__name__}")
    return key


def _record(row: Row) -> tuple[Graded, None]:
    """A record; of its tokens only the number is kept, so they come back as so many zeros."""
    read = read_record(row)
    made = replace(read.graded.completion, tokens=(0,) * read.tokens)
    return replace(read.graded, completion=made), None


def _row(row: Row, sample: int) -> tuple[Graded, dict[str, float | None] | None]:
    question, gold, text = (_text(row, key) for key in ("question", "gold", "completion"))
    unit = _text(row, "unit") if row.get("unit") is not None else None
    choices, aliases = _texts(row, "choices"), _texts(row, "aliases")
    kind = Kind(_text(row, "kind")) if row.get("kind") is not None else None
    task = Task(
        id=task_id("score", question, gold),
        domain=str(row.get("domain", "unknown")),
        question=question,
        answer=gold,
        kind=kind or infer_kind(gold, unit=unit, choices=choices),
        source="score",
        split="score",
        unit=unit,
        choices=choices,
        aliases=aliases,
    )
    truncated = row.get("truncated", False)
    if not isinstance(truncated, bool):
        raise TypeError(f"'truncated' is true or false, not {truncated!r}")
    stop = Stop.LENGTH if truncated else Stop.END
    logprobs, ends = _logprobs(row.get("logprobs"), text)
    count = row.get("tokens", 0 if logprobs is None else len(logprobs))
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= 10_000_000:
        raise TypeError(f"'tokens' must be their number, not {count!r}")
    completion = Completion(task.id, sample, text, (0,) * count, logprobs, stop, ends)
    return grade(task, completion), _judged(row.get("judged"))


def _logprobs(given: object, text: str) -> tuple[tuple[float, ...] | None, tuple[int, ...] | None]:
    """The log-probabilities of a row and, where the tokens' texts are there, where each of them ends."""
    if given is None:
        return None, None
    if not isinstance(given, list):
        raise TypeError("'logprobs' must be a list with one entry for each token")
    pairs = [_pair(entry) for entry in given]
    logprobs = tuple(number for _, number in pairs)
    texts = [piece for piece, _ in pairs if piece is not None]
    if len(texts) < len(pairs):
        return logprobs, None
    if not "".join(texts).startswith(text):
        raise ValueError("the texts of 'logprobs' do not make up the completion")
    return logprobs, tuple(min(end, len(text)) for end in accumulate(map(len, texts)))


def _pair(entry: object) -> tuple[str | None, float]:
    piece, value = None, entry
    if isinstance(entry, dict):
        piece, value = entry.get("token"), entry.get("logprob")
    elif isinstance(entry, list) and len(entry) == 2:
        piece, value = entry
    if (
        isinstance(piece, (str, type(None)))
        and isinstance(value, (int, float))
        and not isinstance(value, bool)
        and -1e9 < value <= 1e-6
    ):
        return piece, float(value)
    raise TypeError("'logprobs' must hold numbers up to 0, [text, number] or {token, logprob}")


def _judged(given: object) -> dict[str, float | None] | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise TypeError("'judged' must be an object of criteria")
    for name, value in given.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise TypeError(f"'judged' has {value!r} for {name!r}; a value is a number in [0, 1] or null")
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"'judged' has {value} for {name!r}; a value is in [0, 1]")
    return {str(name): None if value is None else float(value) for name, value in given.items()}


def _text(row: Row, key: str) -> str:
    if key not in row:
        raise ValueError(f"'{key}' is missing")
    if not isinstance(row[key], str):
        raise TypeError(f"'{key}' must be text, not {type(row[key]).__name__}")
    return row[key]


def _texts(row: Row, key: str) -> tuple[str, ...]:
    value = row.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise TypeError(f"'{key}' must be a list of texts")
    return tuple(value)
