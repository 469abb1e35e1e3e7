"""Verification of whole files: lines of JSON in, rows out; a bad line is a row with its error, never the end.

The two functions behind `everystep grade` and `everystep check`; reading and writing the files is the caller's.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from everystep.core.trace import parse
from everystep.core.types import Check, Kind, Process, Step, Trace, Truth
from everystep.verify.answers import same_answer
from everystep.verify.latex import boxed
from everystep.verify.steps import verify

Row = dict[str, Any]


def grade_file(
    lines: Iterable[str],
    kind: Kind | None = None,
    *,
    unit: str | None = None,
    text: str = "answer",
    texts: bool = False,
) -> Iterator[Row]:
    """For each line `{"id", "prediction", "gold", "kind"?, "unit"?, "choices"?, "aliases"?}` a row
    `{"id", "verdict", "read", "reason"}`; for a line that cannot be read, `{"id", "line", "error"}`.

    `kind` and `unit` hold for rows without their own. `text` says what predictions are: `answer`, `trace`
    for whole completions, of which the answer block is graded, or `any` for text of any form (`final_answer`).
    With `texts`, rows that could be read also hold the "prediction" and "gold" they came with.

    >>> list(grade_file(['{"id": 1, "prediction": "$1,200", "gold": "1200"}']))[0]["verdict"]
    'right'
    >>> list(grade_file(['{"id": 2, "prediction": 5}']))[0]["error"]
    "'prediction' must be text, not int"
    """
    if text not in ("answer", "trace", "any"):
        raise ValueError(f"predictions are 'answer', 'trace' or 'any', not {text!r}")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row = _row(line)
        try:
            prediction, gold = _text(row, "prediction"), _text(row, "gold")
            own = _kind(_text(row, "kind")) if row.get("kind") is not None else kind
            own_unit = _text(row, "unit") if row.get("unit") is not None else unit
            choices, aliases = _texts(row, "choices"), _texts(row, "aliases")
        except (ValueError, TypeError) as error:
            yield _error(row, number, error)
            continue
        source = {"prediction": prediction, "gold": gold} if texts else {}
        read = {"answer": str, "trace": lambda t: parse(t).answer, "any": final_answer}[text]
        answer = read(prediction)
        if answer is None:
            missing = {"verdict": "missing", "read": None, "reason": "no answer block"}
            yield {"id": row.get("id"), **missing, **source}
            continue
        reading = same_answer(answer, gold, own, unit=own_unit, choices=choices, aliases=aliases)
        yield {
            "id": row.get("id"),
            "verdict": reading.verdict.value,
            "read": reading.read,
            "reason": reading.reason,
            **source,
        }


_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_FINAL = re.compile(
    r"(?:####|\b(?:final\s+)?answer\**\s*(?:is|:|=)\**:?|\bthe\s+answer\s+is:?)\s*(?=\S)", re.IGNORECASE
)


def final_answer(text: str) -> str | None:
    """The answer that a text of any form ends in: its answer block, else its last `\\boxed{…}`, else what follows its
    last "the answer is", "Answer:" or `####` on that line, else what a forgiving reader takes; thoughts in `<think>`
    do not count. None where nothing is left.

    >>> final_answer("<think>40?</think> So 6 * 7 = 42. The answer is 42.")
    '42.'
    """
    text = _THOUGHT.sub("", text)
    trace = parse(text)
    if trace.answer is not None:
        return trace.answer
    at = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if at >= 0:
        return boxed(text[at:])
    marks = list(_FINAL.finditer(text))
    if marks:
        return text[marks[-1].end() :].split("\n", 1)[0].strip()
    return trace.lenient if trace.lenient is not None else (text.strip() or None)


def tally(verdicts: Iterable[str]) -> str:
    """How many of each, in one line.

    >>> tally(["right", "wrong", "right", "unreadable"])
    '2 right, 1 unreadable, 1 wrong of 4'
    """
    counts = Counter(verdicts)
    if not counts:
        return "no rows"
    return ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items())) + f" of {counts.total()}"


def check_file(lines: Iterable[str]) -> Iterator[Row]:
    """For each line `{"id", "question", "trace"}` (or `"steps": [text, …]` for `"trace"`) a row with its
    checks, `first_false` (the 1-based number of the first step with a false claim, or None), `flags`,
    `score`, `coverage`, and the `text` and `question` that were checked; for a line that cannot be read,
    `{"id", "line", "error"}`.

    Spans are offsets into `text`, which for rows with steps is those, one a line.

    >>> row = next(check_file(['{"id": 1, "question": "2 and 3?", "steps": ["2 + 3 = 5", "5 * 2 = 11"]}']))
    >>> row["first_false"], row["checks"][1]["value"]
    (2, '10')
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row = _row(line)
        try:
            question = _text(row, "question") if "question" in row else ""
            if "steps" in row:
                steps = _texts(row, "steps")
                if not steps:
                    raise ValueError("'steps' is empty")
                text = "\n".join(steps)
                trace = _of_steps(steps)
            else:
                text = _text(row, "trace")
                trace = parse(text)
        except (ValueError, TypeError) as error:
            yield _error(row, number, error)
            continue
        checks, process = verify(question, trace)
        yield _checked(row.get("id"), question, text, trace, checks, process)


def _checked(name: object, question: str, text: str, trace: Trace, checks: tuple[Check, ...], process: Process) -> Row:
    first = next((c.step for c in checks if c.truth is Truth.FALSE), None)
    return {
        "id": name,
        "checks": [
            {
                "step": c.step,
                "claim": c.claim,
                "truth": c.truth.value,
                "value": c.value,
                "reason": c.reason,
                "span": list(c.span),
            }
            for c in checks
        ],
        "first_false": first,
        "flags": [{"finding": f.finding.value, "step": f.step, "detail": f.detail} for f in process.flags],
        "score": process.score,
        "coverage": process.coverage,
        "answer": trace.answer,
        "question": question,
        "text": text,
    }


def _of_steps(steps: tuple[str, ...]) -> Trace:
    """A trace of given steps, whose offsets are those in the steps joined by line breaks."""
    made = []
    at = 0
    for i, step in enumerate(steps, 1):
        made.append(Step(step, i, at))
        at += len(step) + 1
    return Trace(tuple(made), None)


def _row(line: str) -> Row:
    """The line's object; for a line that has none, an object that says so."""
    try:
        row = json.loads(line.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        return {"": f"not JSON: {error.msg} at character {error.pos + 1}"}
    except (ValueError, RecursionError) as error:
        return {"": f"not JSON: {error}"}
    return row if isinstance(row, dict) else {"": f"not an object but {type(row).__name__}"}


def _kind(name: str) -> Kind:
    if name not in tuple(Kind):
        raise ValueError(f"'kind' {name[:40]!r} is none of {', '.join(Kind)}")
    return Kind(name)


def _text(row: Row, key: str) -> str:
    if "" in row:
        raise ValueError(row[""])
    if key not in row:
        raise ValueError(f"'{key}' is missing")
    value = row[key]
    if not isinstance(value, str):
        raise TypeError(f"'{key}' must be text, not {type(value).__name__}")
    return value


def _texts(row: Row, key: str) -> tuple[str, ...]:
    value = row.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise TypeError(f"'{key}' must be a list of texts")
    return tuple(value)


def _error(row: Row, number: int, error: Exception) -> Row:
    return {"id": row.get("id"), "line": number, "error": str(error)}
