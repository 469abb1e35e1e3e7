"""How much of GSM8K's gold arithmetic is found, how much of it is called false, and where its numbers come
from.

    python bench/verify_gsm8k.py [--data ../shared/data/gsm8k] [--split train] [--show 20] [--errata]

The notes `<<48/2=24>>` are taken out of the text before it is read, and are what the claims found are held
against: an equation counts as recovered when a claim of the same line has its result and its left side's
value and numbers. Tune on train; test is for the final figure.
"""

import argparse
import json
import re
import statistics
import time
from collections import Counter
from pathlib import Path

from everystep.core.types import Check, Finding, Step, Trace, Truth
from everystep.verify.arithmetic import NUM, OP, evaluate, tokenize
from everystep.verify.steps import verify

NOTE = re.compile(r"<<(.*?)>>")


def solutions(path: Path) -> list[tuple[str, list[str], str]]:
    """(question, solution lines with notes, answer) of each row."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        body, _, answer = row["answer"].rpartition("####")
        rows.append((row["question"], [x for x in body.strip().split("\n") if x.strip()], answer.strip()))
    return rows


def gold_trace(lines: list[str], answer: str) -> Trace:
    """The trace of a gold solution: its lines without notes as steps."""
    return Trace(tuple(Step(NOTE.sub("", line).strip(), i + 1) for i, line in enumerate(lines)), answer)


def annotated(line: str) -> list[tuple[str, str]]:
    """The equations noted in a line, as (left, right); those without an operator say nothing and are left
    out."""
    found = []
    for note in NOTE.findall(line):
        left, _, right = note.rpartition("=")
        if sum(t.kind == OP for t in tokenize(left)) > (1 if left.startswith("-") else 0):
            found.append((left, right))
    return found


def recovered(left: str, right: str, checks: list[Check]) -> bool:
    """Whether one of the claims of the line is this equation: same numbers on the left, same result."""
    tokens = tokenize(left)
    value, result = evaluate(tokens), evaluate(tokenize(right))
    numbers = Counter(abs(t.value) for t in tokens if t.kind == NUM and t.value is not None)
    for check in checks:
        sides = re.split(r"=|≈|\bequals\b|\bis\b|\bare\b|\bmakes\b|\bgives\b", check.claim)
        a, b = tokenize(sides[0]), tokenize(sides[-1])
        for x, y in ((a, b), (b, a)):
            found = Counter(abs(t.value) for t in x if t.kind == NUM and t.value is not None)
            bare = Counter(abs(t.value * 100 if t.sign == "%" else t.value) for t in x if t.value is not None)
            ends = [t for t in y if t.kind == NUM]
            if not ends or ends[-1].value is None:
                continue
            end = abs(ends[-1].value)
            near = result is not None and end in (abs(result), abs(result) / 100, abs(result) * 100)
            if (numbers in (found, bare) or (check.truth is Truth.TRUE and value is not None and near)) and (
                near or value is None or check.truth is Truth.TRUE
            ):
                return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the step verifier on GSM8K.")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "gsm8k")
    parser.add_argument("--split", default="train")
    parser.add_argument("--show", type=int, default=0, help="print so many misses of each sort")
    parser.add_argument("--errata", action="store_true", help="print every claim called false")
    args = parser.parse_args()
    rows = solutions(args.data / f"{args.split}.jsonl")
    notes = got = claims = false = operands = invented = 0
    flagged: Counter[Finding] = Counter()
    hard = 0
    shown: Counter[str] = Counter()
    times = []

    def show(sort: str, *what: object) -> None:
        shown[sort] += 1
        if shown[sort] <= args.show or (args.errata and sort == "FALSE"):
            print(sort, *what, sep=" | ")

    for index, (question, lines, answer) in enumerate(rows):
        trace = gold_trace(lines, answer)
        begin = time.process_time()
        checks, process = verify(question, trace)
        times.append(time.process_time() - begin)
        by_step: dict[int, list[Check]] = {}
        for check in checks:
            by_step.setdefault(check.step, []).append(check)
        for number, line in enumerate(lines, 1):
            for left, right in annotated(line):
                notes += 1
                if recovered(left, right, by_step.get(number, [])):
                    got += 1
                else:
                    show("MISSED", index, f"{left}={right}", NOTE.sub("", line))
        claims += sum(c.truth is not Truth.UNKNOWN for c in checks)
        for check in checks:
            if check.truth is Truth.FALSE:
                false += 1
                show("FALSE", index, check.claim, check.reason, trace.steps[check.step - 1].text)
            elif check.truth is Truth.UNKNOWN:
                show("UNKNOWN", index, check.claim, check.reason)
        kinds = {f.finding for f in process.flags}
        flagged.update(kinds)
        hard += bool(kinds - {Finding.UNUSED})
        for flag in process.flags:
            if flag.finding is Finding.INVENTED:
                invented += 1
                show("INVENTED", index, flag.detail, trace.steps[flag.step - 1].text, question)
            elif flag.finding not in (Finding.UNUSED, Finding.FALSE_CLAIM):
                show(flag.finding.name, index, flag.detail, answer, [s.text for s in trace.steps])
        operands += sum(sum(t.kind == NUM for t in tokenize(c.claim.rsplit("=", 1)[0])) for c in checks)
    n = len(rows)
    print(f"{args.split}: {n} solutions, {notes} annotated equations")
    print(f"recovered            {got} = {got / notes:.2%}")
    print(f"claims checked       {claims} = {claims / n:.3f} a solution")
    print(f"called false         {false} = {false / claims:.3%}")
    print(f"operands with source {1 - invented / operands:.2%} of about {operands}")
    for finding in Finding:
        print(f"  {finding.value:14s} {flagged[finding]:5d} = {flagged[finding] / n:.2%}")
    print(f"any flag but unused  {hard} = {hard / n:.2%}")
    times.sort()
    middle, late = statistics.median(times) * 1e3, times[int(n * 0.99)] * 1e3
    print(f"CPU ms a trace: median {middle:.3f}, 99 % {late:.3f}, max {times[-1] * 1e3:.2f}")


if __name__ == "__main__":
    main()
