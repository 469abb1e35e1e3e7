"""From a completion to a verdict: read once, answer compared, work checked. The only caller of these three.

Nothing here raises, whatever the text, and nothing takes long: what is examined is bounded.
"""

from everystep.core.trace import parse
from everystep.core.types import Check, Completion, Graded, Process, Reading, Task, Trace, Verdict
from everystep.verify.answers import same_answer
from everystep.verify.steps import verify


def grade(task: Task, completion: Completion) -> Graded:
    """A completion with everything that can be said about it.

    `verdict` grades the one answer block (MISSING without exactly one), `lenient` what a forgiving reader
    would take for the answer; `checks` and `process` are of the work, and do not depend on the gold answer.
    """
    trace = parse(completion.text, completion.stop)
    reading = _answer(task, trace.answer)
    lenient = reading if trace.lenient == trace.answer else _answer(task, trace.lenient)
    checks, process = verify(task.question, trace)
    return Graded(task, completion, trace, reading.verdict, lenient.verdict, reading.reason, checks, process)


def check(question: str, text: str) -> tuple[Trace, tuple[Check, ...], Process]:
    """Any text as a trace, with its claims checked against arithmetic and the question; no gold is needed."""
    trace = parse(text)
    checks, process = verify(question, trace)
    return trace, checks, process


def _answer(task: Task, answer: str | None) -> Reading:
    if answer is None:
        return Reading(Verdict.MISSING, None, "there is no answer")
    return same_answer(answer, task.answer, task.kind, unit=task.unit, choices=task.choices, aliases=task.aliases)
