"""CPU time of `grade` on hostile texts: the slowest ten; a median over the bound is a failure.

    python bench/verify_hostile.py [--repeats 5] [--bound 20]

The texts are those of tests/test_grade.py, and more of the same kind: a megabyte of digits, nested brackets,
power towers, direction marks and zero-width characters, every order of the four tags, NULs. Times are CPU
milliseconds of one call, after one call that does not count.
"""

import argparse
import itertools
import os
import platform
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from everystep.verify.grade import grade  # noqa: E402
from test_grade import HOSTILE, TASK, completion, trace  # noqa: E402

TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
MORE = {
    "tower as answer": trace("1 + 1 = 2", "9**9**9**9"),
    "towers": trace("9**9**9**9 = 5; " * 2000),
    "digits, with points": trace("9." * 500_000 + " = 5"),
    "digits, with commas": trace("999," * 250_000 + "999 = 5"),
    "numbers": trace(" ".join(str(i) for i in range(150_000))),
    "nested brackets as answer": trace("1 + 1 = 2", "(" * 3000 + "36" + ")" * 3000),
    "nested braces": trace("\\frac{" * 3000 + "1" + "}{2}" * 3000 + " = 1"),
    "roots": trace("√" * 3000 + "4 = 2"),
    "signs": trace("-" * 30_000 + "4 = 4"),
    "equals signs": trace("=" * 30_000),
    "false claims": trace("2 + 2 = 5. " * 3000),
    "percents": trace("20% of " * 5000 + "50 is 10"),
    "direction marks": trace("\u202e2\u2066 + \u20692\u200f = \u061c5\u202c " * 2000),
    "zero width": trace("\u200b".join("3 * 12 = 36") * 2000),
    "zero width in the tags": "\u200b".join(trace("3 * 12 = 36")),
    "combining marks": trace("5" + "\u0301" * 30_000 + " = 5"),
    "nuls": "\x00" * 10**6,
    "nuls between": trace("\x00".join("3 * 12 = 36 ") * 2000),
    "dates": trace("7:30 + 0:45 = 8:15, 1/2/2020 - 2/3/2021 = 5 " * 700),
    "every digit there is": trace("٣ * ١٢ = ٣٦; ३ * १२ = ३६; ３＊１２＝３６; " * 700),
    "long steps": trace("\n".join("so " * 400 + f"{i} + {i} = {2 * i}" for i in range(60))),
    "one open tag a line": "<reasoning>\n" * 30_000,
    "less-than signs": "<" * 10**6,
}
for many in (1, 700):
    for order in itertools.permutations(range(4)):
        MORE[f"tags {''.join(map(str, order))} x {many}"] = " 3 * 12 = 36 ".join(TAGS[i] for i in order) * many


def main() -> int:
    parser = argparse.ArgumentParser(description="Time grade() on hostile texts.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bound", type=float, default=20.0, help="of a median, in CPU milliseconds")
    args = parser.parse_args()
    times: dict[str, list[float]] = {}
    for name, text in (HOSTILE | MORE).items():
        grade(TASK, completion(text))
        times[name] = []
        for _ in range(args.repeats):
            begin = time.process_time()
            grade(TASK, completion(text))
            times[name].append(1e3 * (time.process_time() - begin))
    print(f"{len(times)} texts, {args.repeats} times each; Python {platform.python_version()}, ", end="")
    print(f"{os.cpu_count()} CPUs, {platform.machine()}\n")
    print("| text | CPU ms: least | median |\n|---|---|---|")
    slowest = sorted(times, key=lambda name: -statistics.median(times[name]))
    for name in slowest[:10]:
        print(f"| {name} | {min(times[name]):.1f} | {statistics.median(times[name]):.1f} |")
    over = [name for name in slowest if statistics.median(times[name]) > args.bound]
    if over:
        print(f"\nover {args.bound:g} ms: {', '.join(over)}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
