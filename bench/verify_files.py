"""Rows a second through `everystep grade -` and `everystep check -`: real processes between pipes.

    python bench/verify_files.py [--rows 10000] [--data ../shared/data/gsm8k]

The rows are gold solutions of GSM8K (train, from the start, again where there are too few), rendered as
traces; without that data, our own worked tasks. `grade` gets answers, and whole traces with `--text trace`;
all with `--json`, so that every row is written. CPU time is user and system time of the process, with its
start; wall time depends on what else the machine does.
"""

import argparse
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

from everystep.core.trace import gold, render
from everystep.core.types import Kind, Task
from everystep.data import worked


def tasks(data: Path, count: int) -> tuple[str, list[Task]]:
    """What the tasks are, and as many as asked for."""
    file = data / "train.jsonl"
    if not file.is_file():
        return "worked tasks", [worked.task(11, i) for i in range(count)]
    from verify_gsm8k import NOTE, solutions

    found = []
    for question, lines, answer in solutions(file):
        plain = tuple(NOTE.sub("", line).strip() for line in lines)
        found.append(Task("-", "math", question, answer, Kind.NUMBER, "gsm8k", "-", plain))
    return "gold solutions of GSM8K", list(itertools.islice(itertools.cycle(found), count))


def measure(arguments: list[str], given: str, rows: int) -> str:
    """One process over all rows, as a line of the table."""
    command = [sys.executable, "-m", "everystep", *arguments, "-", "--json"]
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, input=given, capture_output=True, text=True, encoding="utf-8", check=True)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    written = [json.loads(line) for line in done.stdout.rstrip("\n").split("\n")]
    if len(written) != rows or any("error" in row for row in written):
        raise SystemExit(f"{len(written)} rows came back, or some with an error")
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    name = "everystep " + " ".join(arguments)
    return f"| `{name} -` | {cpu:.2f} | {rows / cpu:,.0f} | {wall:.2f} | {rows / wall:,.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure rows a second.")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "gsm8k")
    args = parser.parse_args()
    what, given = tasks(args.data, args.rows)
    traces = [render(gold(task)) for task in given]
    answers = [{"id": i, "prediction": t.answer, "gold": t.answer} for i, t in enumerate(given)]
    wholes = [{"id": i, "prediction": x, "gold": t.answer} for i, (t, x) in enumerate(zip(given, traces, strict=True))]
    checks = [{"id": i, "question": t.question, "trace": x} for i, (t, x) in enumerate(zip(given, traces, strict=True))]
    python, machine = platform.python_version(), platform.machine()
    print(f"{args.rows} rows of {what}; Python {python}, {os.cpu_count()} CPUs, {machine}\n")
    print("| command | CPU s | rows a CPU second | wall s | rows a second |\n|---|---|---|---|---|")
    for arguments, rows in (
        (["grade"], answers),
        (["grade", "--text", "trace"], wholes),
        (["check"], checks),
    ):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        print(measure(arguments, text, args.rows), flush=True)


if __name__ == "__main__":
    main()
