"""What a report says of the SFT data that the model made itself, read from the run's `self/` alone: the
prompts that were tried, how far the completions came, what was kept and why the rest was not.

How that data is made is `selfmade`'s business; nothing is judged or rewritten again here.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everystep.core.files import read_json, read_jsonl
from everystep.core.record import read_record, read_task
from everystep.core.run import Run
from everystep.core.trace import gold, render
from everystep.core.types import Task

EXAMPLES = 4  # kept traces that are shown: the first of each domain
MAX_CHARS = 3_000  # of one text that are shown; its file has all of it
# How far completions came, and in which words.
WAYS = (
    ("sampled", "completions"),
    ("right", "right for a forgiving reader"),
    ("sound", "and no claim false, and work to check"),
    ("rewritten", "and rewritten into the form"),
    ("kept", "kept for SFT"),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """One kept trace: the task as SFT learns it, its text, and the completion it was made from as recorded
    (its text cut at `MAX_CHARS`), with the lines of their files (from 1)."""

    task: Task
    text: str
    number: int
    row: dict[str, Any]
    sample: int


@dataclass(frozen=True, slots=True)
class SelfMade:
    """The stage's own table; for each reason not to keep a completion how many it met and the first evidence
    there is; how many traces were kept by domain and level; examples. `settings`: the recipe's."""

    table: dict[str, Any]
    settings: dict[str, Any]
    reasons: list[tuple[str, int, str]]
    levels: list[str]
    domains: dict[str, dict[str, int]]
    examples: list[Kept]


def read_self_made(run: Run, recipe: dict[str, Any], remarks: list[str]) -> SelfMade | None:
    """What the run's `self/` says; None for a run that did not make its SFT data itself, or has not finished
    that. Raises ValueError, with the place, for files that are damaged or do not go together."""
    if run.done("self") is None:
        return None
    path = run.self_made("table")
    table = read_json(path)
    if missing := {"prompt", "prompts", "questions", "dropped", "levels", *(k for k, _ in WAYS)} - set(table):
        raise ValueError(f"{path}: is no table of self-made traces: it has no {sorted(missing)[0]!r}")
    outcomes = _rows(run.self_made("outcomes"), remarks)
    for number, row in outcomes:
        if not {"id", "why", "detail"} <= set(row):
            raise ValueError(f"{run.self_made('outcomes')}:{number}: this row is no outcome of a completion")
    tasks = [_task(run.self_made("traces"), i, row) for i, row in _rows(run.self_made("traces"), remarks)]
    # The kept outcomes, the traces and, by their lines, the samples are in one order.
    places = [(number, row["id"]) for number, row in outcomes if row["why"] is None]
    if [task.id for task in tasks] != [key for _, key in places]:
        raise ValueError(f"{run.self_made('traces')}: does not hold what {path.parent}/outcomes.jsonl keeps")
    evidence: dict[str, str] = {}
    for _, row in outcomes:
        if row["why"] is not None and row["detail"]:
            evidence.setdefault(row["why"], row["detail"])
    domains: dict[str, Counter[str]] = {}
    for task in tasks:
        domains.setdefault(task.domain, Counter())[_level(task)] += 1
    levels = sorted({_level(task) for task in tasks})
    return SelfMade(
        table=table,
        settings=(recipe.get("sft") or {}).get("self_made") or {},
        reasons=[(why, n, evidence.get(why, "")) for why, n in table["dropped"].items()],
        levels=levels,
        domains={d: {level: counts[level] for level in levels} for d, counts in sorted(domains.items())},
        examples=_examples(run, tasks, [number for number, _ in places], remarks),
    )


def _examples(run: Run, tasks: Sequence[Task], places: Sequence[int], remarks: list[str]) -> list[Kept]:
    """The first kept trace of each domain, beside the completion it was made from."""
    first = {task.domain: at for at, task in reversed(list(enumerate(tasks)))}
    path = run.self_made("samples")
    rows = dict(_rows(path, remarks)) if first else {}
    found = []
    for at in sorted(first.values())[:EXAMPLES]:
        task, sample = tasks[at], places[at]
        row = rows.get(sample)
        if row is None or read_record(row).graded.task.id != task.id:
            raise ValueError(f"{path}:{sample}: is not the completion that {task.id} was made from")
        try:
            text = render(gold(task))
        except ValueError as error:
            raise ValueError(f"{run.self_made('traces')}:{at + 1}: {error}") from None
        found.append(Kept(task, text, at + 1, row | {"text": row["text"][:MAX_CHARS]}, sample))
    return found


def _level(task: Task) -> str:
    return f"level {task.level}" if task.level else "no level"


def _task(path: Path, number: int, row: dict[str, Any]) -> Task:
    try:
        return read_task(row)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}:{number}: this row is no task: {error}") from None


def _rows(path: Path, remarks: list[str]) -> list[tuple[int, dict[str, Any]]]:
    """The rows of a file with their line numbers."""
    rows, torn = read_jsonl(path)
    if torn:
        remarks.append(torn)
    return list(enumerate(rows, 1))
