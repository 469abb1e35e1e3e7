"""Calculation errors put into worked solutions, and how many are found at their step.

    python bench/verify_injected.py [--gsm8k ../shared/data/gsm8k] [--aqua ../shared/data/traces/aqua.jsonl] [--show 5]

One result is changed, the steps after it stay as they were. Found means that `check` calls a claim of that
step false; a false claim anywhere else of that row is counted too. In GSM8K (train) any noted equation with
an operator can be hit, where its result stands behind its note. AQuA's rationales have no notes: there, any
number behind an `=` whose left side has digits and an operator: those that are plain arithmetic and true
before the change, the same in MathQA's spelling (lower case, blanks around every sign), and all of them.
"""

import argparse
import ast
import json
import operator
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from verify_gsm8k import NOTE, solutions

from everystep.verify.files import check_file

DATA = Path(__file__).parents[2] / "shared" / "data"
NOTED = re.compile(r"<<([^<>]*)=([^<>=]*)>>")
RESULT = re.compile(
    r"(?P<left>[^=≈<>⇒→\n]*)=\s*(?:Rs\.?|[$£€])?\s*"
    r"(?P<number>\d[\d,]*(?:\.\d+)?)(?![\d.]|\s*[-+*/×÷^(a-wyz]?\d)"
)
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


@dataclass(frozen=True)
class Injected:
    """A solution with one result changed: its question and steps, the 1-based step that is wrong now, and
    what was changed to what."""

    question: str
    steps: tuple[str, ...]
    step: int
    change: str


def value(text: str) -> Fraction | None:
    """The value of plain arithmetic, or None for anything else."""
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    for sign, ascii_sign in (
        ("×", "*"),
        ("∗", "*"),
        ("·", "*"),
        ("⋅", "*"),
        ("÷", "/"),
        ("−", "-"),
        ("–", "-"),
        ("$", ""),
    ):
        plain = plain.replace(sign, ascii_sign)
    plain = re.sub(r"(?<=[\d\s)])[xX](?=[\s\d(])", "*", plain).strip()
    if not re.fullmatch(r"[\d\s.()*/+-]+", plain) or "**" in plain or "//" in plain:
        return None
    try:
        return _value(ast.parse(plain, mode="eval").body)
    except (SyntaxError, ZeroDivisionError, RecursionError):
        return None


def _value(node: ast.expr) -> Fraction | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _value(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        a, b = _value(node.left), _value(node.right)
        return None if a is None or b is None else OPERATORS[type(node.op)](a, b)
    return None


def slip(number: str, rng: random.Random) -> str:
    """Another number, as a slip of the pen or of the head makes it: a digit, a carry, a zero, an exchange."""
    digits = [i for i, c in enumerate(number) if c.isdigit()]
    while True:
        kind = rng.choice(("digit", "digit", "carry", "zero", "exchange"))
        at = rng.choice(digits)
        if kind == "digit":
            other = number[:at] + str((int(number[at]) + rng.randint(1, 9)) % 10) + number[at + 1 :]
        elif kind == "carry" and number.isdigit():
            other = str(abs(int(number) + rng.choice((-10, -2, -1, 1, 2, 10, 100))))
        elif kind == "zero" and number.isdigit():
            other = number + "0"
        else:
            other = number[:at] + number[at + 1 : at + 2] + number[at] + number[at + 2 :]
        plain = other.replace(",", "")
        if not plain.startswith("0") and Fraction(plain) != Fraction(number.replace(",", "")):
            return other
        if plain.startswith("0") and "." in plain and Fraction(plain) not in (0, Fraction(number.replace(",", ""))):
            return other
        if len(digits) == 1 and kind == "exchange":
            continue


def into_gsm8k(path: Path, rng: random.Random) -> Iterator[Injected]:
    """One noted result changed in each solution that has one."""
    for question, lines, _ in solutions(path):
        places = []
        for i, line in enumerate(lines):
            for m in NOTED.finditer(line):
                left, right = m.groups()
                written = re.match(r"\d[\d,]*(?:\.\d+)?", line[m.end() :])
                if (
                    re.search(r"[\d)]\s*[-+*/]", left)
                    and written
                    and written.group().rstrip(",").replace(",", "") == right
                ):
                    places.append((i, m.end(), m.end() + len(written.group().rstrip(","))))
        if places:
            i, lo, hi = rng.choice(places)
            other = slip(lines[i][lo:hi], rng)
            hit = lines[i][:lo] + other + lines[i][hi:]
            steps = tuple(NOTE.sub("", x).strip() for x in [*lines[:i], hit, *lines[i + 1 :]])
            yield Injected(question, steps, i + 1, f"{lines[i][lo:hi]} to {other}")


def spaced(line: str) -> str:
    """A line as MathQA spells it."""
    return re.sub(r"\s*([^\w\s.,]|(?<!\d)[.,]|[.,](?!\d))\s*", r" \1 ", line.lower()).strip()


def into_aqua(path: Path, rng: random.Random, plain: bool, mathqa: bool) -> Iterator[Injected]:
    """One result changed in each rationale that has one; with `plain` only of true plain arithmetic."""
    for text in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(text)
        lines = [spaced(x) if mathqa else x for x in row["trace"].split("\n") if x.strip()]
        places = []
        for i, line in enumerate(lines):
            for m in RESULT.finditer(line):
                if not re.search(r"\d", m["left"]) or not re.search(r"[-+*/×÷∗]|\bx\b", m["left"].strip(" -*")):
                    continue
                left = re.search(r"[-\d\s.,()*/+×÷∗⋅−$xX]*$", m["left"])
                known = value(left.group()) if left else None
                if not plain or (known is not None and known == Fraction(m["number"].replace(",", ""))):
                    places.append((i, m.start("number"), m.end("number")))
        if places:
            i, lo, hi = rng.choice(places)
            other = slip(lines[i][lo:hi], rng)
            hit = lines[i][:lo] + other + lines[i][hi:]
            yield Injected(row["question"], (*lines[:i], hit, *lines[i + 1 :]), i + 1, f"{lines[i][lo:hi]} to {other}")


def report(name: str, given: list[Injected], show: int) -> None:
    """Print how many are found at their step, and `show` of those that are not."""
    rows = check_file(json.dumps({"id": 0, "question": x.question, "steps": x.steps}) for x in given)
    at = first = anywhere = shown = 0
    for injected, row in zip(given, rows, strict=True):
        false = [c["step"] for c in row["checks"] if c["truth"] == "false"]
        at += injected.step in false
        first += bool(false) and false[0] == injected.step
        anywhere += bool(false)
        if injected.step not in false and shown < show:
            shown += 1
            print(f"  not found ({injected.change}): {injected.steps[injected.step - 1]!r}")
    n = len(given)
    print(f"{name:36s} found {at} of {n} = {at / n:.1%}, as the first {first / n:.1%}, any FALSE {anywhere / n:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how many calculation errors are found at their step.")
    parser.add_argument("--gsm8k", type=Path, default=DATA / "gsm8k")
    parser.add_argument("--aqua", type=Path, default=DATA / "traces" / "aqua.jsonl")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--show", type=int, default=0)
    args = parser.parse_args()
    train = args.gsm8k / "train.jsonl"
    if train.is_file():
        report("GSM8K train", list(into_gsm8k(train, random.Random(args.seed))), args.show)
    else:
        print("GSM8K is not there: left out")
    if args.aqua.is_file():
        for name, plain, mathqa in (
            ("AQuA, plain true arithmetic", True, False),
            ("AQuA, the same in MathQA's spelling", True, True),
            ("AQuA, any result", False, False),
        ):
            seeds = (random.Random(args.seed + k) for k in range(4))
            report(name, [x for rng in seeds for x in into_aqua(args.aqua, rng, plain, mathqa)], args.show)
    else:
        print("AQuA is not there: left out")


if __name__ == "__main__":
    main()
