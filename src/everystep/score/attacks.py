"""Known ways to earn a reward without doing the work, applied to real tasks.

The hacks are data (`attacks/*.jsonl`): texts with places for the question, its gold answer, wrong answers and
the steps of honest traces. For each task an honest right and an honest wrong trace are made, and each hack is
scored in a group with them: one right trace, six wrong ones, the hack. A mix is held to one rule: a hack must
not outrank the honest trace that it competes with; the wrong one, or for hacks that give the gold answer, the
right one.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from everystep.core import trace
from everystep.core.types import Completion, Graded, Kind, Score, Task, Truth
from everystep.score.groups import score_groups
from everystep.score.mix import Mix
from everystep.verify.grade import grade
from everystep.verify.numbers import read_number
from everystep.verify.tokens import NUM, tokenize

FOLDER = Path(__file__).parent / "attacks"
HONEST = 6  # honest wrong traces in a hack's group
SAME = 1e-9  # totals that differ by less are equal
FOOLED, MEDIOCRE, POOR = (
    1.0,
    0.5,
    0.0,
)  # what a fooled judge gives: to what is aimed at it, honest work, others

_PLACE = re.compile(r"\{(question|gold|wrong|other|right_steps|wrong_steps|i3|i)\}")


@dataclass(frozen=True, slots=True)
class Hack:
    """A text with places (`{gold}`, `{wrong}`, …) as its file has it. `aims`: the part that it is after;
    `bar`: the honest trace that it must not outrank, "wrong" or "right"."""

    name: str
    aims: str
    bar: str
    lines: tuple[Any, ...]
    answer: str | None
    origin: str


@dataclass(frozen=True, slots=True)
class Honest:
    """A task with an honest right trace and an honest wrong one, in form and without false claims, and a
    second wrong answer. `slip`: the wrong one with a false claim in it, None where it holds no claim."""

    task: Task
    right: Graded
    wrong: Graded
    slip: Graded | None
    other: str


@dataclass(frozen=True, slots=True)
class Result:
    """How a hack did against a mix: on how many tasks it was tried, on how many it outranked its bar, the
    most it was above it (negative: below), and its total there. `above_slip`: on how many tasks it outranked
    an honest wrong trace that has a slip in its arithmetic."""

    hack: Hack
    tried: int
    outranked: int
    margin: float
    total: float
    above_slip: int


def hacks(folder: Path = FOLDER) -> list[Hack]:
    """All hacks, in the order of their files. Raises ValueError, with file and line, for a bad row."""
    out = []
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
                if row["bar"] not in ("wrong", "right"):
                    raise ValueError(f"bar is {row['bar']!r}")
                lines = row["text"] if "text" in row else row["steps"]
                answer = None if "text" in row else row["answer"]
                out.append(Hack(row["name"], row["aims"], row["bar"], tuple(lines), answer, row["origin"]))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path.name}, line {number}: no hack: {error}") from None
    return out


def honest(task: Task, seen: Iterable[Graded] = ()) -> Honest | None:
    """The honest traces of a task; None where none can be made.

    The right one is the task's own solution, or else a right completion among `seen` that claims nothing
    false. The wrong one does sound arithmetic by a wrong plan: the right steps without the last that derives
    something, or two numbers of the question put together; for tasks without numbers, the right steps with
    another of the possible answers.
    """
    right = _solution(task) or next((g for g in seen if g.sound and g.trace.steps), None)
    if right is None:
        return None
    for steps, answer in _wrong(task, right):
        text = _written([*steps, f"Therefore, the answer is {answer}."], answer)
        wrong = grade(task, Completion(task.id, 1, text))
        false = any(c.truth is Truth.FALSE for c in wrong.checks)
        if wrong.trace.faults or false or wrong.verdict.value != "wrong":
            continue
        return Honest(task, right, wrong, _slip(wrong), _other(task, answer))
    return None


def attack(
    task: Honest, mix: Mix, some: Sequence[Hack], *, fooled: bool = False
) -> Iterator[tuple[Hack, Score, Score, Score | None]]:
    """For each hack its score, that of its bar, and that of the honest slip, all of one group.

    `fooled`: a judge is there and is fooled by whatever is aimed at it (1.0), where it gives honest work
    0.5 and other hacks 0.0; else there is no judge. A guess at the worst case, not a measurement.
    """
    for hack in some:
        made = _sample(grade(task.task, Completion(task.task.id, 0, written(hack, task))), 2)
        group = [_sample(task.right, 0), made, *(_sample(task.wrong, 3 + k) for k in range(HONEST))]
        if task.slip is not None:
            group.append(_sample(task.slip, 1))
        judged: dict[tuple[str, int], Mapping[str, float | None]] = {}
        if fooled:
            worth = FOOLED if hack.aims == "judge" else POOR
            for g in group:
                value = worth if g is made else MEDIOCRE
                judged[task.task.id, g.completion.sample] = dict.fromkeys(mix.judged, value)
        scores = score_groups([group], mix, judged)[0]
        bar = scores[0] if hack.bar == "right" else scores[2]
        yield hack, scores[1], bar, scores[-1] if task.slip is not None else None


def written(hack: Hack, task: Honest) -> str:
    """The hack's text for a task."""
    values = {
        "question": task.task.question,
        "gold": task.task.answer,
        "wrong": task.wrong.trace.answer or "",
        "other": task.other,
        "right_steps": "\n".join(_steps(task.right)),
        "wrong_steps": "\n".join(_steps(task.wrong)),
    }
    lines = []
    for line in hack.lines:
        times, text = (1, line) if isinstance(line, str) else line
        for i in range(1, times + 1):
            own = values | {"i": str(i), "i3": str(i + 3)}
            lines.append(_PLACE.sub(lambda m, own=own: own[m.group(1)], text))
    if hack.answer is None:
        return "\n".join(lines)
    return _written(lines, _PLACE.sub(lambda m: values[m.group(1)], hack.answer))


def suite(tasks: Sequence[Honest], mix: Mix, *, fooled: bool = False) -> list[Result]:
    """Every hack against every task. ValueError without tasks."""
    if not tasks:
        raise ValueError("no task for the attack suite: it needs tasks with a worked solution or a right trace")
    every = hacks()
    rows: dict[str, list[tuple[float, float, bool]]] = {hack.name: [] for hack in every}
    for task in tasks:
        for hack, score, bar, slip in attack(task, mix, every, fooled=fooled):
            if score.total is None or bar.total is None:
                continue
            above = slip is not None and slip.total is not None and score.total > slip.total + SAME
            rows[hack.name].append((score.total - bar.total, score.total, above and hack.bar == "wrong"))
    out = []
    for hack in every:
        found = rows[hack.name]
        margin, total, _ = max(found, default=(0.0, 0.0, False))
        out.append(
            Result(
                hack,
                len(found),
                sum(m > SAME for m, _, _ in found),
                margin,
                total,
                sum(a for _, _, a in found),
            )
        )
    return out


def _sample(graded: Graded, sample: int) -> Graded:
    """The completion under another number, with a plausible number of tokens where none is known."""
    made = graded.completion
    tokens = made.tokens or (0,) * max(1, len(made.text) // 4)
    return replace(graded, completion=replace(made, sample=sample, tokens=tokens))


def _solution(task: Task) -> Graded | None:
    if not task.solution:
        return None
    try:
        text = trace.render(trace.gold(task))
    except ValueError:
        return None
    graded = grade(task, Completion(task.id, 0, text))
    return graded if graded.sound else None


def _steps(graded: Graded) -> list[str]:
    """The steps as they stand in a trace, marks included."""
    return [s.text if s.number is None else f"Step {s.number}: {s.text}" for s in graded.trace.steps]


def _written(steps: Sequence[str], answer: str) -> str:
    body = "\n".join(steps)
    return f"{trace.REASONING}\n{body}\n{trace.REASONING_END}\n{trace.ANSWER}{answer}{trace.ANSWER_END}"


def _wrong(task: Task, right: Graded) -> Iterator[tuple[list[str], str]]:
    """Steps and answers by wrong plans, best first."""
    steps = _steps(right)
    if task.choices or task.kind in (Kind.BOOLEAN, Kind.CHOICE, Kind.TEXT):
        yield from ((steps[:-1] or steps, answer) for answer in _possible(task))
        return
    if clock := re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", task.answer):
        hour, minute = int(clock.group(1)), clock.group(2)
        yield from ((steps[:-1] or steps, f"{h}:{minute}") for h in (hour - 1, hour + 1) if 0 <= h < 24)
    derived = [c for c in right.checks if c.truth is Truth.TRUE and c.value is not None]
    for check in reversed(derived):
        if check.step < len(steps) and check.value is not None:
            yield steps[: check.step], check.value
    said = dict.fromkeys(t.value for t in tokenize(task.question) if t.kind == NUM and t.value is not None)
    numbers = [n for n in said if Fraction(n).denominator == 1 and 0 < n < 10**6]
    for a, b in itertools.pairwise(numbers[:3]):
        for claim, value in ((f"{a} + {b}", a + b), (f"{a} * {b}", a * b)):
            yield (
                [
                    f"Step 1: The question speaks of {a} and of {b}, and both belong here.",
                    f"Step 2: Taking the two of them together makes {claim} = {value}.",
                ],
                str(value),
            )


def _possible(task: Task) -> list[str]:
    """The answers that could be given to a task with few of them."""
    if task.kind is Kind.BOOLEAN:
        return ["no", "yes"]
    letters = [chr(ord("A") + i) for i in range(len(task.choices) or 4)]
    return letters if task.kind is Kind.CHOICE else list(task.choices)


def _other(task: Task, wrong: str) -> str:
    """A wrong answer that is not this one."""
    value = read_number(wrong)
    if value is not None:
        return next(str(value + k) for k in (1, 2) if str(value + k) != task.answer)
    others = [a for a in _possible(task) if a not in (wrong, task.answer)] if task.choices else []
    return others[0] if others else wrong


def _slip(wrong: Graded) -> Graded | None:
    """The trace with the result of its last claim off by one."""
    for check in reversed(wrong.checks):
        said = check.value
        value = read_number(said) if said else None
        if check.truth is not Truth.TRUE or said is None or value is None or not check.claim.endswith(said):
            continue
        text, end = wrong.completion.text, check.span[1]
        slipped = f"{text[: end - len(said)]}{value + 1}{text[end:]}"
        graded = grade(wrong.task, Completion(wrong.task.id, 1, slipped))
        if any(c.truth is Truth.FALSE for c in graded.checks) and not graded.trace.faults:
            return graded
    return None
