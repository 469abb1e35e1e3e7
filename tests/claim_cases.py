"""The case tables of `check` and the newer ones of `grade`, kind by kind: what passes of each.

    python tests/claim_cases.py [--half open] [--show]

prints how many rows of each kind pass. A row of `cases/steps/KIND.jsonl` says what a text claims and whether
each claim holds: it has the `steps` of a trace and `claims`, each as [left, right, truth]. The text
left + right stands in the steps, and of the claims that `check` finds there,

- "true": one is TRUE and none FALSE;
- "false": one is FALSE;
- "not true": none is TRUE;
- "any": nothing is asked.

Whatever the row, no claim elsewhere may be FALSE. A row with `missed` is known to fail. Rows whose `half` is
"held" are for the final figure: do not read them while changing the verifier.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from everystep.verify.files import check_file, grade_file

CASES = Path(__file__).parent / "cases" / "steps"
TABLES = ("latex", "prose", "amounts", "approximations", "markup", "languages", "traces", "science", "tex_style")

Row = dict[str, Any]


def rows() -> list[Row]:
    """Every row of the tables, with its number in its table as `id`."""
    found = []
    for name in TABLES:
        lines = (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        found += [json.loads(line) | {"id": f"{name} {i}"} for i, line in enumerate(lines, 1)]
    return found


def places(row: Row) -> Iterator[tuple[int, int, int, str]]:
    """Where each claim of a row starts, where its right side starts, where it ends, and its truth; the
    offsets are those of the steps joined by line breaks. Claims stand in the order of the text."""
    text, at = "\n".join(row["steps"]), 0
    for left, right, truth in row["claims"]:
        lo = text.index(left + right, at)
        at = lo + len(left)
        yield lo, at, at + len(right), truth


def fault(row: Row) -> str | None:
    """What is wrong with what `check` says of a row, or None."""
    (result,) = check_file([json.dumps({"id": 0, "question": row.get("question", ""), "steps": row["steps"]})])
    found = [(c["span"], c["truth"], c["claim"]) for c in result["checks"]]
    allowed = set()
    for lo, middle, hi, truth in places(row):
        here = {i for i, ((a, b), _, _) in enumerate(found) if a < max(middle, lo + 1) and middle < b and a < hi}
        truths = {found[i][1] for i in here}
        if truth in ("false", "not true", "any"):
            allowed |= here
        claim = "\n".join(row["steps"])[lo:hi]
        if truth == "false" and "false" not in truths:
            return f"{claim!r} is not called false"
        if truth == "not true" and "true" in truths:
            return f"{claim!r} is called true"
        if truth == "true" and "true" not in truths:
            return f"{claim!r} is not called true"
        if truth == "true" and "false" in truths:
            return f"{claim!r} is called false"
    wrong = [claim for i, (_, truth, claim) in enumerate(found) if truth == "false" and i not in allowed]
    return f"{wrong[0]!r} is called false" if wrong else None


def answers() -> list[Row]:
    """Every row of the answer forms, and of the long texts with `text` "any"."""
    found = []
    for name, text in (("answers/forms", "answer"), ("long_answers", "any")):
        lines = (CASES.parent / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        for i, line in enumerate(lines, 1):
            row = json.loads(line)
            found.append(row | {"id": f"{name} {i}", "kind": f"answers: {row['trap']}", "text": text})
    return found


def answer_fault(row: Row) -> str | None:
    """What is wrong with how `grade` reads a row, or None."""
    line = json.dumps({"id": 0, "prediction": row["pred"], "gold": row["gold"]})
    try:
        (result,) = grade_file([line], text=row["text"])
    except ValueError as error:
        return str(error)
    fits = result["verdict"] in row["verdict"].split(" or ")
    return None if fits else f"{result['verdict']}, not {row['verdict']}, for {row['gold']!r}: {result['reason']}"


def main() -> None:
    parser = argparse.ArgumentParser(description="How many rows of the case tables pass, kind by kind.")
    parser.add_argument("--half", choices=("open", "held"), help="only this half")
    parser.add_argument("--show", action="store_true", help="print what fails (of the open half only)")
    args = parser.parse_args()
    passed: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for row in rows() + answers():
        if args.half and row["half"] != args.half:
            continue
        wrong = fault(row) if "steps" in row else answer_fault(row)
        count = passed[row["kind"]]
        at = 0 if row["half"] == "open" else 2
        count[at] += wrong is None
        count[at + 1] += 1
        if wrong and args.show and row["half"] == "open":
            text = " | ".join(row["steps"]) if "steps" in row else row["pred"]
            print(f"{row['id']} [{row['kind']}] {wrong}: {text!r}")
    print("| kind | open | held |\n|---|---:|---:|")
    for kind, (a, b, c, d) in passed.items():
        print(f"| {kind} | {a} of {b} | {c} of {d} |")
    total = [sum(x) for x in zip(*passed.values(), strict=True)]
    print(f"| all | {total[0]} of {total[1]} | {total[2]} of {total[3]} |")


if __name__ == "__main__":
    main()
