"""Filters: which tasks are fit for use, how many were not, and why.

Every filter counts what it dropped; a run whose data loses more than the recipe allows is stopped, not
silently thinned. Likeness between splits is `data.near`'s business.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from everystep.core import trace
from everystep.core.types import Completion, Graded, Task, Truth
from everystep.data.jsonl import CONTROL_CHARACTER, CONTROL_TOKEN
from everystep.verify.grade import grade

EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Dropped:
    """What one filter took out: why, how many tasks, and a few of them ("id: detail")."""

    reason: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds in tokens for the rendered prompt and the rendered solution, and the share of the tasks that
    may be dropped in all."""

    prompt_tokens: int
    trace_tokens: int
    dropped: float


def clean(
    tasks: Sequence[Task], limits: Limits, count_tokens: Callable[[str], int], instruction: str = "none"
) -> tuple[list[Task], list[Dropped]]:
    """The tasks that pass every filter, in order, and what each filter dropped (those that dropped any).

    Filters, in this order; a task is counted by the first that takes it: empty question or answer, control
    tokens, the same question twice, gold that is not right for its own grader, prompt too long, solution
    too long. A solution with a fault or a false claim costs the task its solution, not its place: it is
    reported, not counted as dropped. Tasks of the test split are never dropped for length, since an
    evaluation that leaves out long questions measures something else. Raises ValueError if more than
    `limits.dropped` of the tasks were dropped, naming the filter that dropped most.
    """
    seen: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    kept: list[Task] = []
    for task in tasks:
        why = _plain_reason(task, seen)
        if why is None:
            task, why = _checked(task, found)
        if why is None and task.split != "test":
            why = _length_reason(task, limits, count_tokens, instruction)
        if why is None:
            kept.append(task)
        else:
            found.setdefault(why[0], []).append(f"{task.id}: {why[1]}")
    dropped = [Dropped(reason, len(rows), tuple(rows[:EXAMPLES])) for reason, rows in found.items()]
    lost = len(tasks) - len(kept)
    if lost > limits.dropped * len(tasks):
        worst = max((d for d in dropped if d.reason != SOLUTION), key=lambda d: d.count)
        source = tasks[0].source
        raise ValueError(
            f"{source}: filters dropped {lost} of {len(tasks)} tasks ({lost / len(tasks):.1%}), more than "
            f"data.max_dropped = {limits.dropped:g}; most by {worst.reason!r}: {worst.count}, "
            f"e.g. {worst.examples[0]}"
        )
    return kept, dropped


SOLUTION = "solution taken off: faulty or false"


def _plain_reason(task: Task, seen: dict[str, str]) -> tuple[str, str] | None:
    if not task.question.strip() or not task.answer.strip():
        return "empty question or answer", repr(task.question[:40])
    for text in (task.question, task.answer, *(task.solution or ())):
        token = CONTROL_TOKEN.search(text) or CONTROL_CHARACTER.search(text)
        if token:
            return "control token in the text", repr(token.group())
    key = " ".join(task.question.casefold().split())
    if key in seen:
        return "the same question twice", f"as {seen[key]}"
    seen[key] = task.id
    return None


def _checked(task: Task, found: dict[str, list[str]]) -> tuple[Task, tuple[str, str] | None]:
    """The task, without its solution if that is unsound, and why it cannot be used if its gold is."""
    graded = None
    if task.solution:
        graded, fault = _graded_solution(task)
        if fault is not None:
            found.setdefault(SOLUTION, []).append(f"{task.id}: {fault[:80]}")
            task, graded = replace(task, solution=None), None
    if graded is None:
        tags = f"{trace.REASONING}\n-\n{trace.REASONING_END}\n{trace.ANSWER}{task.answer}{trace.ANSWER_END}"
        graded = grade(task, Completion(task.id, 0, tags))
    if not graded.verdict.right:
        return task, ("gold is not right for its own grader", f"{task.answer[:40]!r} {graded.verdict.value}")
    return task, None


def _graded_solution(task: Task) -> tuple[Graded | None, str | None]:
    """The task's own solution as graded, and what is wrong with it."""
    try:
        graded = grade(task, Completion(task.id, 0, trace.render(trace.gold(task))))
    except ValueError as error:
        return None, str(error)
    false = next((c for c in graded.checks if c.truth is Truth.FALSE), None)
    if false is not None:
        return graded, f"claims {false.claim!r}"
    return graded, ", ".join(f.value for f in graded.trace.faults) or None


def _length_reason(
    task: Task, limits: Limits, count_tokens: Callable[[str], int], instruction: str
) -> tuple[str, str] | None:
    n = count_tokens(trace.prompt(task, instruction).text)
    if n > limits.prompt_tokens:
        return "prompt too long (data.max_prompt_tokens)", f"{n} tokens > {limits.prompt_tokens}"
    if task.solution:
        n = count_tokens(trace.render(trace.gold(task)))
        if n > limits.trace_tokens:
            return "solution too long (data.max_trace_tokens)", f"{n} tokens > {limits.trace_tokens}"
    return None
