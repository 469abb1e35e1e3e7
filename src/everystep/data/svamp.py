"""SVAMP (Patel et al. 2021, MIT): varied one- and two-step word problems, from its JSON list or the hub.

The data has an equation, not a solution; the solution is made from it, one operation a step.
"""

import json
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from everystep.core.types import Kind, Task, task_id
from everystep.data.jsonl import hub_rows, text_of

HUB = "ChilleD/SVAMP"

# Rows whose printed answer is wrong, by ID: (what is printed, what is right). The task gets the right one.
ERRATA = {"chal-680": ("1", "5")}  # 4 apples, 2 picked, 3 grown: the row's own equation says 5

_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|[-+*/()])")


def load(path: str | None) -> list[Task]:
    """All tasks, with the split "" (the file has none; see `data.sources`), from SVAMP.json, from a folder
    that holds it, or from the hub without a path.

    Raises ValueError, one line, for a file that cannot be read, a row that is not of SVAMP's form (with
    file:row) and for a hub that cannot be reached.
    """
    if path is None:
        return [task_of(row, where) for _, where, row in hub_rows("svamp", HUB, None, "the file SVAMP.json")]
    place = Path(path)
    file = place / "SVAMP.json" if place.is_dir() else place
    try:
        rows = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"data.svamp.path: {file} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not valid JSON ({error})") from None
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{file}: must be a JSON list of rows, is {type(rows).__name__}")
    return [task_of(row, f"{file}:row {i}") for i, row in enumerate(rows, 1)]


def task_of(row: Any, where: str) -> Task:
    """One row as a task. Raises ValueError, naming `where`, for a row that is not of SVAMP's form or whose
    equation does not give its answer.
    """
    if not isinstance(row, dict):
        raise ValueError(f"{where}: must be an object, is {type(row).__name__}")
    body = text_of(row.get("Body"), "Body", where)
    question = text_of(row.get("Question"), "Question", where)
    text = _joined(body, question)
    try:
        steps, value = solve(text_of(row.get("Equation"), "Equation", where))
        gold = Fraction(str(row.get("Answer")))
        printed, right = ERRATA.get(str(row.get("ID")), (None, ""))
        gold = Fraction(right) if shown(gold) == printed else gold
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{where}: {error}") from None
    if value != gold:
        raise ValueError(f'{where}: the equation {row["Equation"]!r} gives {shown(value)}, "Answer" is {row["Answer"]}')
    answer = shown(gold)
    return Task(
        id=task_id("svamp", text, answer),
        domain="math",
        question=text,
        answer=answer,
        kind=Kind.NUMBER,
        source="svamp",
        split="",
        solution=(*steps, f"Therefore, the answer is {answer}."),
        level=min(len(steps), 2),
    )


def solve(equation: str) -> tuple[list[str], Fraction]:
    """The steps of an equation of numbers, + - * / and parentheses, and its value, exactly.

    Raises ValueError for anything else, ZeroDivisionError for a division by zero.

    >>> solve("( ( 12.0 - 15.0 ) + 14.0 )")
    (['12 - 15 = -3', '-3 + 14 = 11'], Fraction(11, 1))
    """
    tokens, at = [], 0
    while match := _TOKEN.match(equation, at):
        tokens.append(match.group(1))
        at = match.end()
    if equation[at:].strip() or not tokens or len(tokens) > 200:
        raise ValueError(f"the equation {equation[:60]!r} cannot be read")
    steps: list[str] = []
    value, end = _sum(tokens, 0, steps)
    if end != len(tokens):
        raise ValueError(f"the equation {equation[:60]!r} cannot be read")
    return steps or [f"The number asked for is {shown(value)}."], value


def shown(value: Fraction) -> str:
    """A number without a trailing ".0": as an integer, a finite decimal, or else a fraction.

    >>> shown(Fraction(51)), shown(Fraction(5, 2)), shown(Fraction(1, 3))
    ('51', '2.5', '1/3')
    """
    if value.denominator == 1:
        return str(value.numerator)
    decimals = next((d for d in range(1, 7) if (value * 10**d).denominator == 1), None)
    return f"{value.numerator}/{value.denominator}" if decimals is None else f"{float(value):.{decimals}f}"


def _sum(tokens: Sequence[str], at: int, steps: list[str]) -> tuple[Fraction, int]:
    value, at = _product(tokens, at, steps)
    while at < len(tokens) and tokens[at] in "+-":
        right, end = _product(tokens, at + 1, steps)
        value, at = _step(value, tokens[at], right, steps), end
    return value, at


def _product(tokens: Sequence[str], at: int, steps: list[str]) -> tuple[Fraction, int]:
    value, at = _atom(tokens, at, steps)
    while at < len(tokens) and tokens[at] in "*/":
        right, end = _atom(tokens, at + 1, steps)
        value, at = _step(value, tokens[at], right, steps), end
    return value, at


def _atom(tokens: Sequence[str], at: int, steps: list[str]) -> tuple[Fraction, int]:
    token = tokens[at] if at < len(tokens) else "its end"
    if token == "(":
        value, at = _sum(tokens, at + 1, steps)
        if at >= len(tokens) or tokens[at] != ")":
            raise ValueError("the equation has an open parenthesis")
        return value, at + 1
    if not token[0].isdigit():
        raise ValueError(f"the equation has {token!r} where a number is due")
    return Fraction(token), at + 1


def _step(left: Fraction, operation: str, right: Fraction, steps: list[str]) -> Fraction:
    value = {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: left / right,
    }[operation]()
    steps.append(f"{shown(left)} {operation} {shown(right)} = {shown(value)}")
    return value


def _joined(body: str, question: str) -> str:
    """Bodies end as they like: some stop within a sentence that the question is to end ("If he had 4 …")."""
    if body[-1] in ".,?!;:":
        return f"{body} {question}"
    if re.search(r"(?:^|[.!?]\s+)(?:If|When|After)\b[^.!?]*$", body):
        first = question.split()[0]
        begins = first.lower() if first in ("How", "What", "Which", "Did", "Does", "Are", "Is") else first
        return f"{body}, {begins}{question[len(first) :]}"
    return f"{body}. {question}"
