"""What went wrong with a completion: exactly one class for each, with the evidence, by rules alone.

The rules read `Graded` and never the text. They are tried in the order of `classify`, so what is certain (a
text that was cut, a claim that is false) is named before what is likely (a step that is missing), and a wrong
plan is what remains when nothing else is found. Counting, intervals and what changed between stages are here
too; how it is shown is `show/`'s business.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

from everystep.core.trace import parse
from everystep.core.types import Check, Fault, Finding, Flag, Graded, Kind, Step, Stop, Task, Trace, Truth, Verdict
from everystep.evaluate.stats import wilson
from everystep.score.structure import looping, statements
from everystep.verify.answers import same_answer
from everystep.verify.candidates import offered
from everystep.verify.kinds import NUMERIC
from everystep.verify.latex import unwrap
from everystep.verify.phrases import Amount, amounts_in
from everystep.verify.steps import verify
from everystep.verify.units import find_units

WORDY = 134  # words of work: 99 of 100 solutions of GSM8K have no more
WORDIER = 3  # and so many times the task's own solution, where that is known
UNUSED = 0.3  # from this share of the question's numbers on, something was left out
# What one unit is of another: times, inches, thousandths and hundredths, m/s and km/h, miles.
FACTORS = (7, 12, 24, 60, 100, 1000, 3600, Fraction(36, 10), Fraction(1609344, 1_000_000))


class Failure(StrEnum):
    """The classes. Two are of answers that are right in form; the last is of answers no rule can decide."""

    RIGHT = "right"
    WRONG_TRACE = "right answer from a wrong trace"
    CALCULATION = "calculation error"
    UNIT = "unit confusion"
    VERBOSE = "verbose or looping"
    WRONG_ANSWER = "right trace but wrong answer"
    MISREAD = "misread or invented quantity"
    PREMATURE = "premature conclusion or missing step"
    WRONG_PLAN = "wrong plan"
    TRUNCATED = "truncated"
    CONTRACT = "contract broken"
    UNDECIDED = "cannot be graded"


@dataclass(frozen=True, slots=True)
class Found:
    """The class of one completion and its evidence: in words, the step (1-based; 0: the whole), and where it
    stands in the text (half-open offsets), or None."""

    failure: Failure
    evidence: str
    step: int = 0
    span: tuple[int, int] | None = None


def classify(graded: Graded) -> Found:
    """The one class of a completion. Total: every `Graded` has one.

    The first rule that holds decides. A looping text that was cut is looping: that is why it was cut. A claim
    that is false comes before everything that is only likely. `RIGHT` and `WRONG_TRACE` are exactly the
    completions with `Graded.contract`.
    """
    if graded.contract:
        return _of_right(graded)
    if graded.completion.stop is Stop.LENGTH or Fault.TRUNCATED in graded.trace.faults:
        again = _again(graded)
        return again or Found(Failure.TRUNCATED, "the token limit cut it")
    if graded.trace.faults or graded.trace.answer is None or graded.verdict is Verdict.MISSING:
        faults = ", ".join(f.value.replace("_", " ") for f in graded.trace.faults) or graded.reason
        known = {Verdict.RIGHT: "; the answer itself is right", Verdict.WRONG: "; the answer is wrong too"}
        return Found(Failure.CONTRACT, faults + known.get(graded.lenient, ""))
    if graded.verdict is Verdict.UNGRADABLE:
        return Found(Failure.UNDECIDED, graded.reason, 0, _answer_span(graded))
    return (
        _false_claim(graded)
        or _unit(graded)
        or _again(graded)
        or _wordy(graded)
        or _slip(graded)
        or _invented(graded)
        or _missing(graded)
        or Found(Failure.WRONG_PLAN, f"nothing claimed is false; {graded.reason}", 0, _answer_span(graded))
    )


def frequencies(found: Sequence[Found]) -> dict[Failure, dict[str, float | int]]:
    """For each class the count, its share of all and the 95 % Wilson interval of that; every class is there,
    in the order of `Failure`. Raises ValueError without any completion."""
    counts = Counter(f.failure for f in found)
    rows: dict[Failure, dict[str, float | int]] = {}
    for failure in Failure:
        low, high = wilson(counts[failure], len(found))
        rows[failure] = {
            "count": counts[failure],
            "share": counts[failure] / len(found),
            "low": low,
            "high": high,
        }
    return rows


def transition(before: Graded, after: Graded) -> str:
    """What became of one task between two stages, by `Graded.contract`: "fixed", "broken", "still wrong",
    "still right"."""
    return {
        (False, True): "fixed",
        (True, False): "broken",
        (False, False): "still wrong",
        (True, True): "still right",
    }[before.contract, after.contract]


def transitions(
    before: Mapping[str, tuple[Graded, Found]], after: Mapping[str, tuple[Graded, Found]]
) -> dict[str, Any]:
    """What training changed between two stages, over the tasks (by id) that both have.

    `totals` counts the four outcomes of `transition`; `by_class` counts them by the class before (for broken
    tasks: the class after, since before they were right); `moves` counts (class before, class after).
    """
    totals: Counter[str] = Counter()
    by_class: dict[Failure, Counter[str]] = {f: Counter() for f in Failure}
    moves: Counter[tuple[Failure, Failure]] = Counter()
    for key in sorted(before.keys() & after.keys()):
        (first, was), (second, now) = before[key], after[key]
        outcome = transition(first, second)
        totals[outcome] += 1
        by_class[now.failure if outcome == "broken" else was.failure][outcome] += 1
        moves[was.failure, now.failure] += 1
    return {"totals": totals, "by_class": by_class, "moves": moves}


# The rules, in the order in which they are tried


def _of_right(graded: Graded) -> Found:
    false = _first_false(graded)
    if false is not None:
        return Found(Failure.WRONG_TRACE, f"{false.claim}: {false.reason}", false.step, false.span)
    for flag in graded.process.flags:
        if flag.finding in (Finding.CONTRADICTION, Finding.NOT_FOLLOWING, Finding.UNIT):
            return Found(Failure.WRONG_TRACE, flag.detail, flag.step, _step_span(graded, flag.step))
    return Found(Failure.RIGHT, "right in form, and nothing false on the way")


def _false_claim(graded: Graded) -> Found | None:
    false = _first_false(graded)
    if false is None:
        return None
    said = f"{false.claim}: {false.reason}"
    unit = _converts(false) or any(
        f.finding is Finding.UNIT and f.step == false.step and f.detail == said for f in _flags(graded)
    )
    return Found(Failure.UNIT if unit else Failure.CALCULATION, said, false.step, false.span)


def _unit(graded: Graded) -> Found | None:
    flag = next((f for f in _flags(graded) if f.finding is Finding.UNIT), None)
    if flag is not None:
        return Found(Failure.UNIT, flag.detail, flag.step, _step_span(graded, flag.step))
    task, answer = graded.task, graded.trace.answer
    if task.kind not in NUMERIC or answer is None:
        return None
    given, gold = _amount(answer, None), _amount(task.answer, task.unit)
    if given is None or gold is None:
        return None
    why = _other_unit(given, gold, task.kind)
    return None if why is None else Found(Failure.UNIT, why, 0, _answer_span(graded))


def _other_unit(given: Amount, gold: Amount, kind: Kind) -> str | None:
    """Why an answer looks like the gold one in another unit, or None."""
    if given.value == gold.value and (given.units or given.noun or given.percent):
        return f"the number is right, the unit is not: {given.text.strip()} for {gold.text.strip()}"
    measured = gold.units or gold.percent or kind in (Kind.MONEY, Kind.PERCENT)
    if not measured or not given.value or not gold.value:
        return None
    ratio = Fraction(given.value) / Fraction(gold.value)
    for factor in FACTORS:
        if ratio in (factor, 1 / Fraction(factor)):
            how = "too large" if ratio > 1 else "too small"
            return f"{given.text.strip()} for {gold.text.strip()}: {how} by a factor of {float(factor):g}"
    return None


def _again(graded: Graded) -> Found | None:
    if not looping(graded):
        return None
    seen: set[tuple[str, ...]] = set()
    for said in statements(graded):
        if said.words in seen and len(said.words) >= 4:
            return Found(Failure.VERBOSE, f"says again: {' '.join(said.words)[:120]}")
        seen.add(said.words)
    return Found(Failure.VERBOSE, "its runs of words repeat")


def _wordy(graded: Graded) -> Found | None:
    words = sum(len(s.text.split()) for s in graded.trace.steps)
    own = sum(len(s.split()) for s in graded.task.solution or ())
    if words <= max(WORDY, WORDIER * own):
        return None
    return Found(Failure.VERBOSE, f"{words} words of work" + (f"; the solution has {own}" if own else ""))


def _slip(graded: Graded) -> Found | None:
    """The work comes to the gold answer, and another is given: its last value, or what its last line says, is
    right. Only where every number has a source."""
    task, answer = graded.task, str(graded.trace.answer)[:60]
    if any(f.finding is Finding.INVENTED for f in _flags(graded)):
        return None
    last = next((c for c in reversed(graded.checks) if c.truth is Truth.TRUE and c.value), None)
    if last is not None and last.value is not None and _is_gold(last.value, task):
        said = f"step {last.step} comes to {last.value}, the answer says {answer}"
        return Found(Failure.WRONG_ANSWER, said, last.step, last.span)
    line = graded.trace.steps[-1] if graded.trace.steps else None
    concluded = None if line is None else parse(line.text).lenient
    if concluded is not None and _is_gold(concluded, task):
        step = len(graded.trace.steps)
        said = f"the work ends with {concluded[:60]}, the answer says {answer}"
        return Found(Failure.WRONG_ANSWER, said, step, _step_span(graded, step))
    return None


def _is_gold(text: str, task: Task) -> bool:
    return same_answer(
        text, task.answer, task.kind, unit=task.unit, choices=task.choices, aliases=task.aliases
    ).verdict.right


def _invented(graded: Graded) -> Found | None:
    flag = next((f for f in _flags(graded) if f.finding is Finding.INVENTED), None)
    if flag is None:
        return None
    return Found(Failure.MISREAD, f"{flag.detail} in the question", flag.step, _step_span(graded, flag.step))


def _missing(graded: Graded) -> Found | None:
    flags, task = _flags(graded), graded.task
    worked = sum(c.truth is not Truth.UNKNOWN for c in graded.checks)
    at = _answer_span(graded)
    if task.kind in NUMERIC and any(f.finding is Finding.NO_STEP for f in flags):
        return Found(Failure.PREMATURE, "nothing is worked out before the answer", 0, at)
    flag = next((f for f in flags if f.finding is Finding.NOT_FOLLOWING), None)
    if flag is not None:
        return Found(Failure.PREMATURE, flag.detail, 0, at)
    if task.solution:
        due = _due(task)
        if worked < due:
            return Found(Failure.PREMATURE, f"{worked} calculations; the solution has {due}", 0, at)
        if not due and len(graded.trace.steps) < len(task.solution):
            said = f"{len(graded.trace.steps)} steps; the solution has {len(task.solution)}"
            return Found(Failure.PREMATURE, said, 0, at)
        return None
    unused = [f for f in flags if f.finding is Finding.UNUSED]
    # The question's numbers are those that are used by something and those that are not.
    if unused and len(unused) >= UNUSED * _numbers(task.question):
        return Found(Failure.PREMATURE, "; ".join(f.detail for f in unused[:3]), 0, at)
    return None


# What the rules look at


def _first_false(graded: Graded) -> Check | None:
    return min((c for c in graded.checks if c.truth is Truth.FALSE), key=lambda c: c.span, default=None)


def _flags(graded: Graded) -> tuple[Flag, ...]:
    return graded.process.flags


def _converts(check: Check) -> bool:
    """Whether a claim only says what one measure is in another: `2 hours = 200 minutes`."""
    plain = not any(c in "+-−*/×÷·^" for c in check.claim)
    return plain and any(a.units for a in amounts_in(check.claim) or ())


def _amount(text: str, unit: str | None) -> Amount | None:
    """The one amount in a text, if it is one; with the unit it was given beside the text."""
    found = offered(unwrap(text)).amounts
    if len(found) != 1:
        return None
    one = found[0]
    if unit and not one.units and not one.noun:
        return Amount(one.value, one.text, one.start, one.end, units=find_units(unit), percent=one.percent)
    return one


def _due(task: Task) -> int:
    """How many claims of the task's own solution can be checked."""
    at, steps = 0, []
    for text in task.solution or ():
        steps.append(Step(text, None, at))
        at += len(text) + 1
    return len(verify(task.question, Trace(tuple(steps), task.answer))[0])


def _numbers(question: str) -> int:
    """How many different numbers a question gives: all of them are unused by a trace without work."""
    return max(1, sum(f.finding is Finding.UNUSED for f in verify(question, Trace((), None))[1].flags))


def _step_span(graded: Graded, step: int) -> tuple[int, int] | None:
    if not 1 <= step <= len(graded.trace.steps):
        return None
    one = graded.trace.steps[step - 1]
    return one.start, one.start + len(one.text)


def _answer_span(graded: Graded) -> tuple[int, int] | None:
    """Where the answer stands: in a text that keeps the form, its last occurrence is the answer itself."""
    answer = graded.trace.answer
    at = -1 if not answer else graded.completion.text.rfind(answer)
    return None if answer is None or at < 0 else (at, at + len(answer))
