"""Answer graders side by side on the adversarial answer cases: right, false positives, false negatives, time.

    python bench/graders.py [--cases tests/cases/answers | ../shared/cases] [--every 1] [--only everystep …]

The graders are ours, Math-Verify (with both sides in `\\boxed{}` and without), and the graders and reward
functions that come with Tunix: `math_utils` (what `math_rewards` is made of), and the reward functions of
its GSM8K recipe, whose full reward counts as "right". Each gets the content of the answer block, in the
form that it asks for. Each runs in a process of its own and is stopped when one call takes over 20 seconds,
which counts as "wrong" and is reported. Cases whose verdict is neither right nor wrong are left out, since
only ours has others.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Grader = Callable[[Row], bool]
PATIENCE = 20.0  # seconds a call


def ours() -> Grader:
    from everystep.core.types import Kind
    from everystep.verify.answers import same_answer

    def grade(row: Row) -> bool:
        kind = Kind(row["kind"]) if row.get("kind") else None
        choices, aliases = tuple(row.get("choices", ())), tuple(row.get("aliases", ()))
        found = same_answer(row["pred"], row["gold"], kind, unit=row.get("unit"), choices=choices, aliases=aliases)
        return found.verdict.right

    return grade


def math_verify(boxed: bool) -> Grader:
    from math_verify import parse, verify

    def grade(row: Row) -> bool:
        gold, pred = (f"\\boxed{{{row[k]}}}" if boxed else row[k] for k in ("gold", "pred"))
        return bool(verify(parse(gold, parsing_timeout=0), parse(pred, parsing_timeout=0), timeout_seconds=0))

    return grade


def tunix_math_utils() -> Grader:
    from tunix.utils import math_utils

    def grade(row: Row) -> bool:
        pred, gold = row["pred"], row["gold"]
        return math_utils.grade_answer_mathd(pred, gold) or math_utils.grade_answer_sympy(pred, gold)

    return grade


def tunix_gsm8k(name: str, full: float) -> Grader:
    from tunix.cli.reward_fn import gsm8k

    function = getattr(gsm8k, name)

    def grade(row: Row) -> bool:
        text = f"<reasoning>so</reasoning>\n<answer>{row['pred']}</answer>"
        return function([""], [text], [row["gold"]], question=[""])[0] >= full

    return grade


GRADERS: dict[str, Callable[[], Grader]] = {
    "everystep": ours,
    "math-verify": lambda: math_verify(False),
    "math-verify, boxed": lambda: math_verify(True),
    "tunix math_utils": tunix_math_utils,
    "tunix gsm8k check_answer": lambda: tunix_gsm8k("check_answer", 1.5),
    "tunix gsm8k check_numbers": lambda: tunix_gsm8k("check_numbers", 1.5),
}


def work(name: str, rows: Any, results: Any) -> None:
    """In the child: grade what comes, and answer (right, seconds)."""
    grader = GRADERS[name]()
    results.put(None)  # ready: imports do not count
    while (row := rows.get()) is not None:
        begin = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                right = grader(row)
            except Exception:  # a grader that fails on a case has not found it right
                right = False
        results.put((right, time.process_time() - begin))


def measure(name: str, cases: list[Row]) -> str:
    """One grader over all cases, as a line of the table."""
    context = multiprocessing.get_context("spawn")
    process = None
    right = false_positives = false_negatives = hung = 0
    times = []
    rows = results = None
    for case in cases:
        if process is None:
            rows, results = context.Queue(), context.Queue()
            process = context.Process(target=work, args=(name, rows, results))
            process.start()
            results.get(timeout=300)
        assert rows is not None and results is not None
        rows.put(case)
        try:
            found, seconds = results.get(timeout=PATIENCE)
            times.append(seconds)
        except queue.Empty:
            process.kill()
            process, found = None, False
            hung += 1
        wanted = case["verdict"] == "right"
        right += found == wanted
        false_positives += found and not wanted
        false_negatives += wanted and not found
    if process is not None and rows is not None:
        rows.put(None)
        process.join()
    each = 1e3 * sum(times) / max(1, len(times))
    share = right / len(cases)
    return f"| {name} | {right} ({share:.1%}) | {false_positives} | {false_negatives} | {each:.2f} | {hung} |"


def _case(row: Row) -> Row:
    """A row in the form of ours; the cases that the project was given have `ref` and `match`."""
    if "match" not in row:
        return row
    return {"pred": row["pred"], "gold": row["ref"], "verdict": "right" if row["match"] else "wrong"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare answer graders.")
    parser.add_argument("--cases", type=Path, default=Path(__file__).parents[1] / "tests" / "cases" / "answers")
    parser.add_argument("--every", type=int, default=1, help="take only every n-th case")
    parser.add_argument("--only", nargs="*", default=list(GRADERS))
    args = parser.parse_args()
    cases = []
    for path in sorted(args.cases.glob("*.jsonl")):
        cases += [_case(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    cases = [c for c in cases if c["verdict"] in ("right", "wrong")][:: args.every]
    print(f"{len(cases)} cases, {sum(c['verdict'] == 'right' for c in cases)} of them right\n")
    print("| grader | agrees | false positives | false negatives | CPU ms a call | hung |")
    print("|---|---|---|---|---|---|")
    for name in args.only:
        print(measure(name, cases), flush=True)


if __name__ == "__main__":
    main()
