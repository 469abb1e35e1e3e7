"""Watch a long GRPO training from outside: does it hold more memory, files, disk with every step?

    python tests/endurance.py [--steps 2000] [--keep FOLDER]

The shipped tiny Gemma with very small steps, by the same command as always. Printed and judged: resident
memory, open files and the size of the run directory over the steps. Memory may grow by 20 MB after step 200.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMALL = [
    "hours=9",
    "data.worked.train=300",
    "data.worked.dev=24",
    "data.worked.test=24",
    "sft.traces=64",
    "sft.epochs=1",
    "grpo.prompts=2",
    "grpo.group=2",
    "grpo.micro_prompts=2",
    "grpo.max_tokens=32",
    "grpo.eval_every=100",  # so that all there is to compile is compiled before step 200
    "watch.dead.action=off",
    "evaluate.max_tokens=32",
    "checkpoint.steps=50",
]
GROWTH = 20.0  # MB that memory may grow by
FROM = 200  # the step from which on nothing may grow


def resident(process: int) -> float:
    """MB."""
    fields = Path(f"/proc/{process}/smaps_rollup").read_text().split("Rss:")[1].split()
    return int(fields[0]) / 1024


def open_files(process: int) -> int:
    return len(os.listdir(f"/proc/{process}/fd"))


def size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def steps_done(metrics: Path) -> int:
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--steps", type=int, default=2000)
    options.add_argument("--keep", type=Path, default=None)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (chosen.keep or Path(temporary)) / "run"
        command = [sys.executable, "-m", "everystep", "run", "recipes/tiny.yaml", *SMALL]
        command += [f"grpo.steps={chosen.steps}", "--dir", str(folder), "--quiet"]
        process = subprocess.Popen(command, cwd=ROOT)  # the command starts itself again in the same process
        seen: list[tuple[int, float, int, int]] = []
        try:
            while process.poll() is None:
                time.sleep(0.2)
                step = steps_done(folder / "grpo" / "metrics.jsonl")
                if step and step // 50 > (seen[-1][0] // 50 if seen else 0) and step < chosen.steps:
                    try:
                        row = (step, resident(process.pid), open_files(process.pid), size(folder))
                    except (FileNotFoundError, ProcessLookupError, IndexError):
                        continue  # it ended, or a file was renamed, while it was looked at
                    seen.append(row)
                    print(
                        "step {:5d}  {:7.1f} MB  {:3d} open files  {:10d} bytes on disk".format(*row),
                        flush=True,
                    )
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            print(f"exit code {process.returncode}")
            return 1
        done = json.loads((folder / "grpo" / "done.json").read_text())
        late = [row for row in seen if row[0] >= FROM]
        steps, files = [row[0] for row in late], {row[2] for row in late}
        # By a straight line: what is resident moves up and down by tens of MB as the system gives huge pages
        # and takes cold ones back, and a checkpoint that is being written lies on the disk twice.
        grown = statistics.linear_regression(steps, [row[1] for row in late]).slope * (steps[-1] - steps[0])
        halves = late[: len(late) // 2], late[len(late) // 2 :]
        disk = [statistics.linear_regression([r[0] for r in h], [r[3] for r in h]).slope for h in halves]
        low, high = min(row[1] for row in late), max(row[1] for row in late)
        print(
            f"{done['steps']} steps in {done['minutes']:.1f} min; from step {steps[0]} to {steps[-1]} memory "
            f"grew by {grown:.1f} MB (between {low:.0f} and {high:.0f}), open files were {min(files)} to "
            f"{max(files)}, {disk[0]:.0f} and then {disk[1]:.0f} bytes a step were written"
        )
        return int(grown > GROWTH or max(files) - min(files) > 2 or done["steps"] != chosen.steps)


if __name__ == "__main__":
    sys.exit(main())
