"""End a whole run by force, again and again, and see whether it still comes to the same end.

    python tests/chaos.py [--kills 20] [--seed 0] [--keep FOLDER]

A small run of every stage is made once without interruption; then again, ended with SIGKILL at random moments
(now and then with SIGTERM, which leaves in good order) and started with the same command each time. The
adapters, the summary, the metrics and the records must be the same bytes, but for the minutes.
"""

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STOPPED = 75
SMALL = [
    "data.worked.train=300",
    "data.worked.dev=24",
    "data.worked.test=48",
    "sft.traces=64",
    "sft.epochs=3",
    "sft.batch=16",
    "sft.eval_every=4",
    "grpo.steps=6",
    "grpo.prompts=4",
    "grpo.group=4",
    "grpo.micro_prompts=2",
    "grpo.max_tokens=64",
    "grpo.eval_every=2",
    "grpo.choose=best",
    "grpo.refill=true",
    "evaluate.max_tokens=64",
    "evaluate.batch=16",
    "checkpoint.steps=1",
]


def start(folder: Path, settings: Sequence[str] = SMALL) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "everystep", "run", "recipes/tiny.yaml", *settings]
    command += ["--dir", str(folder), "--quiet"]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """The process, which is not left running whatever happens."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def finish(folder: Path, settings: Sequence[str] = SMALL) -> float:
    """Run to the end; the seconds it took."""
    began = time.monotonic()
    with ended(start(folder, settings)) as process:
        _, said = process.communicate(timeout=1200)
    if process.returncode != 0:
        raise AssertionError(f"exit code {process.returncode}: {said[-2000:]}")
    return time.monotonic() - began


def interrupt(folder: Path, after: float, how: signal.Signals) -> int | None:
    """Start, and send the signal after so many seconds; the exit code, None where it was done before that."""
    with ended(start(folder)) as process:
        try:
            process.communicate(timeout=after)
            return None if process.returncode == 0 else process.returncode
        except subprocess.TimeoutExpired:
            process.send_signal(how)
            process.communicate(timeout=300)
            return process.returncode


def wait_for(
    folder: Path, pattern: str, how: signal.Signals, settings: Sequence[str] = SMALL, timeout: float = 900
) -> int:
    """Start, and send the signal as soon as a file of that pattern is there; the exit code."""
    end = time.monotonic() + timeout
    with ended(start(folder, settings)) as process:
        while process.poll() is None and time.monotonic() < end and not list(folder.glob(pattern)):
            time.sleep(0.02)
        process.send_signal(how)
        process.communicate(timeout=300)
        return process.returncode


def resume(folder: Path) -> float:
    """Leave a run in GRPO and start it again: the seconds until its first new step is logged, one without a
    look at dev."""
    wait_for(folder, "checkpoints/grpo/steps/step-00000002.*", signal.SIGKILL)
    log = folder / "grpo" / "metrics.jsonl"
    rows = log.read_text().splitlines(keepends=True)
    log.write_text("".join(rows[:2]))  # as the run itself will, but before its time is taken
    began = time.monotonic()
    with ended(start(folder)) as process:
        while process.poll() is None and time.monotonic() < began + 300 and not _step(log, 3):
            time.sleep(0.02)
    return time.monotonic() - began


def _step(log: Path, step: int) -> bool:
    try:
        return any(json.loads(line)["step"] == step for line in log.read_text().splitlines())
    except ValueError:  # half a line
        return False


def saving(folder: Path) -> tuple[float, float]:
    """What a checkpoint costs GRPO: seconds of the median step, and as a share of 30 minutes."""
    rows = [json.loads(line) for line in (folder / "grpo" / "seconds.jsonl").read_text().splitlines()]
    cost = statistics.median(row["checkpoint"] for row in rows[1:])
    return cost, cost / 1800


def traces(folder: Path) -> dict[str, Any]:
    """All that must be equal in two runs, by file."""
    summary = json.loads((folder / "evaluate" / "summary.json").read_text())
    summary.pop("minutes")
    out: dict[str, Any] = {"summary": summary}
    patterns = ("checkpoints/*/adapter.safetensors", "*/metrics.jsonl", "grpo/records/*", "data/*.jsonl")
    for pattern in (*patterns, "evaluate/*/*/records.jsonl"):
        for path in sorted(folder.glob(pattern)):
            out[path.relative_to(folder).as_posix()] = path.read_bytes()
    return out


def differences(a: Path, b: Path) -> list[str]:
    one, two = traces(a), traces(b)
    return sorted(k for k in one.keys() | two.keys() if one.get(k) != two.get(k))


def stage(folder: Path) -> str:
    """How far a run has come."""
    names = ("data", "evaluate/test/base", "sft", "evaluate/test/sft", "grpo", "evaluate/test/grpo")
    return next((n for n in names if not (folder / n / "done.json").exists()), "report")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--keep", type=Path, default=None)
    chosen = options.parse_args()
    rng = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as temporary:
        where = chosen.keep or Path(temporary)
        whole = where / "whole"
        seconds = finish(whole)
        cost, share = saving(whole)
        print(f"without interruption: {seconds:.0f} s; a checkpoint takes {cost:.3f} s of a step", flush=True)
        print(f"at one in 30 minutes that is {share:.4%} of the time", flush=True)
        print(f"from start to the first new step: {resume(where / 'resumed'):.1f} s", flush=True)
        kills, where_killed, sessions = 0, dict[str, int](), 0
        round_ = 0
        while kills < chosen.kills and round_ < 10 * chosen.kills:
            folder = where / f"broken-{sessions}"
            round_ += 1
            how = signal.SIGTERM if rng.random() < 0.2 else signal.SIGKILL
            code = interrupt(folder, rng.uniform(4, max(30, seconds / 3)), how)
            if code is None:  # came to its end: compare, and begin another
                found = differences(whole, folder)
                print(
                    f"run {sessions} is done after {kills} interruptions in all: {found or 'the same'}",
                    flush=True,
                )
                if found:
                    return 1
                sessions += 1
                continue
            if code not in (-how, STOPPED):
                print(f"exit code {code} after {how.name}", flush=True)
                return 1
            kills += 1
            where_killed[stage(folder)] = where_killed.get(stage(folder), 0) + 1
            print(f"{how.name} in {stage(folder)}", flush=True)
        finish(where / f"broken-{sessions}")
        found = differences(whole, where / f"broken-{sessions}")
        print(f"{kills} interruptions, by stage {where_killed}: {found or 'all runs ended the same'}")
        return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
