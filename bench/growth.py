"""How our rollout and GRPO step grow with prompts, group size, length and devices.

    python bench/growth.py [RUN] [--only prompts,devices] [--repeats 5] [--json FILE]

RUN is a finished run of recipes/tiny.yaml, as in `bench/speed.py`, whose contender "everystep" does the work
here too. One thing changes in each series, from 16 prompts of 8 completions of at most 128 tokens on one
device: `prompts`; `group`, where prompts times completions stays 128; `length`, where every row runs to the
end; and `devices`, which are virtual ones of the CPU (XLA makes them), so that they share its cores: what
the series shows is what spreading costs, not what it gains. Repeats follow one another, since nothing is
compared with another program. Printed are medians of seconds, the least and the most, and completion tokens
a second.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contenders.worker import Spec
from speed import Case, Contender, exported, spec

from everystep.core.run import Run, read_run

KINDS = ("rollout", "grpo")
ROWS, GROUP, LENGTH = 128, 8, 128
SERIES: dict[str, tuple[int, ...]] = {
    "prompts": (4, 8, 16, 32, 64),
    "group": (2, 4, 8, 16, 32),
    "length": (32, 64, 128, 256),
    "devices": (1, 2, 4, 8),
}


def work(run: Run, folder: Path, kind: str, series: str, value: int) -> Spec:
    """The spec of one point of a series."""
    group = value if series == "group" else GROUP
    prompts = value if series == "prompts" else ROWS // group
    whole = spec(run, folder, Case(kind, worst=series == "length"), prompts)
    return whole | {  # pyright: ignore[reportReturnType]
        "group": group,
        "max_tokens": value if series == "length" else LENGTH,
        "micro": min(prompts, max(1, 32 // group)) * group,
    }


def points(names: list[str]) -> Iterator[tuple[str, str, int]]:
    for series in names:
        for kind in KINDS:
            for value in SERIES[series]:
                yield series, kind, value


def measured(given: Spec, devices: int, repeats: int, scratch: Path) -> list[Any]:
    file = scratch / "spec.json"
    file.write_text(json.dumps(given))
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    contender = Contender("everystep", file, scratch / "log", {"XLA_FLAGS": flags.strip()})
    try:
        return [contender.go() for _ in range(repeats)]
    finally:
        contender.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/tiny"))
    parser.add_argument("--only", help="series, comma-separated")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores; {given.repeats} repeats", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        checkpoint, run = exported(given.run, scratch), read_run(given.run)
        for series, kind, value in points(given.only.split(",") if given.only else list(SERIES)):
            devices = value if series == "devices" else 1
            done = measured(work(run, checkpoint, kind, series, value), devices, given.repeats, scratch)
            seconds = [one["seconds"] for one in done]
            rate = statistics.median(one["tokens"] / one["seconds"] for one in done)
            print(
                f"{series:8} {value:4} {kind:8} {statistics.median(seconds):7.2f} s "
                f"({min(seconds):.2f} to {max(seconds):.2f})  {done[0]['rows']:5} rows  {rate:7.0f} tokens/s",
                flush=True,
            )
            rows.append({"series": series, "value": value, "kind": kind, "repeats": done})
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
