"""Faults put into GSM8K gold solutions, and how many are noticed.

    python bench/verify_faults.py [--data ../shared/data/gsm8k] [--split train] [--show 5]

Each gold solution is rendered as a trace (its lines as steps, "Therefore, the answer is …", the answer
block), one fault is put in, and the trace is graded as a model's would be. Noticed means: any finding other
than UNUSED (a question may give numbers that are not needed). Faults:

- wrong result: the result of one noted equation is changed, everywhere in its line after the `=`;
- invented operand: one operand of one noted equation becomes a number from nowhere, and the result is made
right;
- dropped last step: the last line with a noted equation goes, and all after it; where what remains already
  ends in the answer (an equation of its last noted line has it as the result) nothing is missing that
  could be seen, so those are left out and counted;
- changed answer: the answer (and the conclusion) is another number;
- no steps: the reasoning is one sentence without a calculation.

Only equations whose text is found in the line as written can be changed; how many that are is printed.
"""

import argparse
import random
import re
from collections import Counter
from pathlib import Path

from verify_gsm8k import NOTE, solutions

from everystep.core.trace import gold, render
from everystep.core.types import Finding, Kind, Process, Task
from everystep.verify.arithmetic import evaluate, tokenize
from everystep.verify.grade import check

COUNTED = set(Finding) - {Finding.UNUSED}
LEFT_OUT: Counter[str] = Counter()
EQUATION = re.compile(r"<<([^<>]*)=([^<>=]*)>>")


def text_of(question: str, lines: list[str], answer: str) -> str:
    """The rendered trace of a solution."""
    plain = tuple(NOTE.sub("", line).strip() for line in lines)
    return render(gold(Task("-", "math", question, answer, Kind.NUMBER, "gsm8k", "-", plain)))


def flagged(process: Process) -> set[Finding]:
    """The findings that count."""
    return {f.finding for f in process.flags} & COUNTED


def noted(lines: list[str]) -> list[tuple[int, re.Match[str]]]:
    """The noted equations whose result follows the note as written, as (line, match)."""
    found = []
    for i, line in enumerate(lines):
        for m in EQUATION.finditer(line):
            left, right = m.groups()
            if re.search(r"\d\s*[-+*/(]", left) and re.match(re.escape(right) + r"(?![\d.,])", line[m.end() :]):
                found.append((i, m))
    return found


def wrong_result(lines: list[str], answer: str, rng: random.Random) -> tuple[list[str], str] | None:
    """One result replaced."""
    places = noted(lines)
    if not places:
        return None
    i, m = rng.choice(places)
    value = evaluate(tokenize(m.group(2)))
    if value is None:
        return None
    other = str(int(value) + rng.choice([1, 2, 3, 10, -1, 7]))
    end = m.end() + len(m.group(2))
    return [*lines[:i], lines[i][: m.end()] + other + lines[i][end:], *lines[i + 1 :]], answer


def invented_operand(lines: list[str], answer: str, rng: random.Random) -> tuple[list[str], str] | None:
    """One operand replaced by a number from nowhere, with the result made right."""
    places = []
    for i, m in noted(lines):
        left = m.group(1)
        shown = NOTE.sub("", lines[i][: m.start()]).rstrip("= $")
        tight = re.sub(r"\s", "", shown)
        if re.fullmatch(r"\d+(?:\.\d+)?(?:[-+*/]\d+(?:\.\d+)?)+", left) and tight.endswith(left):
            places.append((i, m))
    if not places:
        return None
    i, m = rng.choice(places)
    number = rng.choice(list(re.finditer(r"\d+(?:\.\d+)?", m.group(1))))
    stray = str(rng.choice([617, 433, 829, 271, 349]))
    left = m.group(1)[: number.start()] + stray + m.group(1)[number.end() :]
    value = evaluate(tokenize(left))
    if value is None:
        return None
    result = str(value) if isinstance(value, int) else f"{float(value):.4f}"
    body = lines[i][: m.start()]
    at = len(body) - len(body.rstrip("= $"))
    head = body[: len(body) - at]
    size, k = len(m.group(1)), len(head)
    while size:  # the equation's text, with whatever blanks it is written with
        k -= 1
        size -= not head[k].isspace()
    line = head[:k] + left + " = " + result + lines[i][m.end() + len(m.group(2)) :]
    return [*lines[:i], line, *lines[i + 1 :]], answer


def dropped_step(lines: list[str], answer: str, rng: random.Random) -> tuple[list[str], str] | None:
    """All from the last line with a noted equation on taken away, if something is left."""
    places = [i for i, line in enumerate(lines) if EQUATION.search(line)]
    if len(places) < 2:
        return None
    value = evaluate(tokenize(answer))
    for m in EQUATION.finditer(lines[places[-2]]):
        if evaluate(tokenize(m.group(2))) == value:
            LEFT_OUT["dropped last step"] += 1
            return None
    return lines[: places[-1]], answer


def changed_answer(lines: list[str], answer: str, rng: random.Random) -> tuple[list[str], str] | None:
    """Another answer, in the conclusion too."""
    value = evaluate(tokenize(answer))
    return None if value is None else (lines, str(int(value) + rng.choice([1, 2, 3, 5, 10, 11, -1])))


def no_steps(lines: list[str], answer: str, rng: random.Random) -> tuple[list[str], str] | None:
    """Words instead of work."""
    return ["We think about the question carefully and find the answer."], answer


FAULTS = {
    "wrong result": wrong_result,
    "invented operand": invented_operand,
    "dropped last step": dropped_step,
    "changed answer": changed_answer,
    "no steps": no_steps,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how many faults are noticed.")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "gsm8k")
    parser.add_argument("--split", default="train")
    parser.add_argument("--show", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(7)
    rows = solutions(args.data / f"{args.split}.jsonl")
    tried: Counter[str] = Counter()
    caught: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    untouched: Counter[Finding] = Counter()
    clean = 0
    for index, (question, lines, answer) in enumerate(rows):
        _, _, process = check(question, text_of(question, lines, answer))
        untouched.update(flagged(process))
        clean += not flagged(process)
        for name, fault in FAULTS.items():
            made = fault(lines, answer, rng)
            if made is None:
                continue
            tried[name] += 1
            text = text_of(question, *made)
            if flagged(check(question, text)[2]):
                caught[name] += 1
            else:
                shown[name] += 1
                if shown[name] <= args.show:
                    print(f"--- {name} {index} not noticed\n{text}")
    n = len(rows)
    print(f"{args.split}: {n} gold solutions, untouched and flagged: {n - clean} = {1 - clean / n:.2%}")
    print("  of which " + ", ".join(f"{f.value} {c / n:.2%}" for f, c in untouched.most_common()))
    for name in FAULTS:
        rest = f" ({LEFT_OUT[name]} left out)" if LEFT_OUT[name] else ""
        share = f"{caught[name]:5d} of {tried[name]:5d} = {caught[name] / tried[name]:.2%}"
        print(f"{name:18s} noticed {share}{rest}")


if __name__ == "__main__":
    main()
