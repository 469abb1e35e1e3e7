"""Records: a graded and scored completion as one row of JSON, and back.

A row holds all that was found out, so that pages and summaries are made from rows alone, without grading
again. Of the tokens only their number is kept. Where rows are kept is `core/run.py`'s business.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from everystep.core.files import RunError, read_jsonl
from everystep.core.types import (
    Check,
    Completion,
    Fault,
    Finding,
    Flag,
    Graded,
    Kind,
    Process,
    Score,
    Step,
    Stop,
    Task,
    Trace,
    Truth,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class Record:
    """A row, read: `graded` equals the one that was written but for `completion.tokens` and `.logprobs`,
    which are empty; `tokens` is their number. `step`: the training step, None outside training."""

    graded: Graded
    score: Score | None
    tokens: int
    step: int | None


def record(graded: Graded, score: Score | None = None, step: int | None = None) -> dict[str, Any]:
    """One row. Every key is always there but `step`, and those of the task that a task need not have."""
    task, completion, trace, process = graded.task, graded.completion, graded.trace, graded.process
    row: dict[str, Any] = {} if step is None else {"step": step}
    row["task"] = task_row(task)
    row["sample"] = completion.sample
    row["text"] = completion.text
    row["tokens"] = len(completion.tokens)
    row["stop"] = completion.stop.value
    row["verdict"] = graded.verdict.value
    row["lenient"] = graded.lenient.value
    row["reason"] = graded.reason
    row["answer"] = trace.answer
    row["lenient_answer"] = trace.lenient
    row["faults"] = [f.value for f in trace.faults]
    # A step is a slice of the text: number, start, end.
    row["steps"] = [[s.number, s.start, s.start + len(s.text)] for s in trace.steps]
    row["checks"] = [
        {
            "step": c.step,
            "claim": c.claim,
            "truth": c.truth.value,
            "value": c.value,
            "span": list(c.span),
            "reason": c.reason,
        }
        for c in graded.checks
    ]
    row["process"] = {
        "score": process.score,
        "coverage": process.coverage,
        "flags": [{"finding": f.finding.value, "step": f.step, "detail": f.detail} for f in process.flags],
    }
    row["parts"] = None if score is None else dict(score.parts)
    row["total"] = None if score is None else score.total
    return row


def read_record(row: dict[str, Any]) -> Record:
    """The inverse of `record`. Raises ValueError, naming what is missing or wrong, for any other row."""
    return _told(_read, row, "record")


def read_records(path: Path) -> list[Record]:
    """The records of a file. Raises RunError, with file and line, for a row that is none."""
    return _each(path, read_record)


def read_tasks(path: Path) -> list[Task]:
    """The tasks of a file. Raises RunError, with file and line, for a row that is none."""
    return _each(path, read_task)


def task_row(task: Task) -> dict[str, Any]:
    """A task as plain values; what a task need not have is left out where it has none."""
    row: dict[str, Any] = {
        "id": task.id,
        "domain": task.domain,
        "level": task.level,
        "question": task.question,
        "answer": task.answer,
        "kind": task.kind.value,
        "source": task.source,
        "split": task.split,
    }
    if task.solution is not None:
        row["solution"] = list(task.solution)
    if task.unit is not None:
        row["unit"] = task.unit
    if task.choices:
        row["choices"] = list(task.choices)
    if task.aliases:
        row["aliases"] = list(task.aliases)
    return row


def read_task(row: dict[str, Any]) -> Task:
    """The inverse of `task_row`. Raises ValueError, naming what is missing or wrong, for any other row."""
    return _told(_task, row, "task")


def _task(row: dict[str, Any]) -> Task:
    solution = row.get("solution")
    return Task(
        id=row["id"],
        domain=row["domain"],
        question=row["question"],
        answer=row["answer"],
        kind=Kind(row["kind"]),
        source=row["source"],
        split=row["split"],
        solution=None if solution is None else tuple(solution),
        level=row["level"],
        unit=row.get("unit"),
        choices=tuple(row.get("choices", ())),
        aliases=tuple(row.get("aliases", ())),
    )


_Row = TypeVar("_Row")


def _told(read: Callable[[dict[str, Any]], _Row], row: dict[str, Any], kind: str) -> _Row:
    try:
        return read(row)
    except KeyError as error:
        raise ValueError(f"this row is no {kind}: it has no {error}") from None
    except (TypeError, AttributeError, IndexError, ValueError) as error:
        raise ValueError(f"this row is no {kind}: {error}") from None


def _each(path: Path, read: Callable[[dict[str, Any]], _Row]) -> list[_Row]:
    found = []
    for number, row in enumerate(read_jsonl(path)[0], 1):
        try:
            found.append(read(row))
        except ValueError as error:
            raise RunError(f"{path}:{number}: {error}") from None
    return found


def _read(row: dict[str, Any]) -> Record:
    task, text, found = _task(row["task"]), row["text"], row["process"]
    trace = Trace(
        tuple(Step(text[start:end], number, start) for number, start, end in row["steps"]),
        row["answer"],
        tuple(Fault(f) for f in row["faults"]),
        row["lenient_answer"],
    )
    checks = tuple(
        Check(
            step=c["step"],
            claim=c["claim"],
            truth=Truth(c["truth"]),
            value=c["value"],
            span=(c["span"][0], c["span"][1]),
            reason=c["reason"],
        )
        for c in row["checks"]
    )
    flags = tuple(Flag(Finding(f["finding"]), f["step"], f["detail"]) for f in found["flags"])
    graded = Graded(
        task=task,
        completion=Completion(task.id, row["sample"], text, stop=Stop(row["stop"])),
        trace=trace,
        verdict=Verdict(row["verdict"]),
        lenient=Verdict(row["lenient"]),
        reason=row["reason"],
        checks=checks,
        process=Process(flags, found["score"], found["coverage"]),
    )
    parts = row["parts"]
    score = None if parts is None else Score(task.id, row["sample"], parts, row["total"])
    return Record(graded, score, row["tokens"], row.get("step"))
