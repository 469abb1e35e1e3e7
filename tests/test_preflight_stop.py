"""Preflight keeps to its budget, tells how far it is, and ends soon after a signal: real processes, real signals."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from everystep.core.interrupt import GRACE, STOPPED
from everystep.core.recipe import Recipe, load
from everystep.core.types import Completion, Kind, Prompt, Sampling, Task
from everystep.forecast import measure
from everystep.forecast.preflight import BUDGET_LEAST, BUDGET_MOST, budget_seconds
from everystep.model.io.load import TINY
from fakes import FakeClock
from model_fixtures import TUNIX

pytestmark = TUNIX
ROOT = Path(__file__).resolve().parents[1]
SOON = GRACE + 3.0  # for the process to be gone; the machine may be busy

BLOCKED = """
import hashlib, sys
from everystep.cli.process import asked_to_stop
from everystep.core.interrupt import droppable
from everystep.core.types import Stopped
stop = asked_to_stop()
try:
    with droppable(stop, "the work", grace=1.0):
        print("begun", flush=True)
        if sys.argv[1] == "deaf":
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # no Python code runs meanwhile
        while True:
            pass
except Stopped as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.parametrize(("work", "code"), [("python", 3), ("deaf", STOPPED)])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_work_that_may_be_dropped_is(work: str, code: int, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", BLOCKED, work], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code and time.monotonic() - began < 5
    assert f"asked to stop ({number.name}); the work is given up" in out + err


@dataclass(frozen=True)
class Slow:
    """A sampler that takes a second for each completion."""

    clock: FakeClock
    asked: list[int]

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Completion]]:
        self.asked.append(len(prompts))
        self.clock.advance(len(prompts) * n)
        return [[Completion(p.task_id, i, "?", (5, 1)) for i in range(n)] for p in prompts]


def recipe() -> Recipe:
    return load(ROOT / "recipes" / "tiny.yaml", ["grpo.prompts=4", "grpo.group=8"])


TASKS = [Task(str(i), "math", f"What is {i} + 1?", str(i + 1), Kind.NUMBER, "test", "train") for i in range(20)]


@pytest.mark.parametrize(
    ("seconds", "asked"),
    [
        (1_000.0, [1, 4, 4, 4, 4, 3]),  # all of them fit
        (100.0, [1, 4, 4]),  # 72 s; the next four would end at 104
        (0.0, [1, 4]),  # so few are asked whatever the budget
    ],
)
def test_the_budget_decides_how_much_is_sampled(seconds: float, asked: list[int]) -> None:
    clock = FakeClock()
    slow, told = Slow(clock, []), list[int]()
    found, pace = measure.samples(
        slow, TASKS, recipe(), 8, True, clock, until=clock() + seconds, advance=lambda n=1, note="": told.append(n)
    )
    assert slow.asked == asked and len(found.rates) == sum(asked) and pace == 1.0
    assert told == [8 * n for n in asked]


def test_the_budget_has_a_floor_and_a_cap() -> None:
    found = [budget_seconds(hours) for hours in (0.01, 1.0, 3.0, 9.0, 100.0)]
    assert found == sorted(found) and found[0] == BUDGET_LEAST and found[-1] == BUDGET_MOST
    assert found[2] == pytest.approx(0.05 * 3 * 3600)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("verb", ["preflight", "run"])
def test_preflight_ends_when_asked(tmp_path: Path, verb: str, number: signal.Signals) -> None:
    """The verb, and the preflight of a run: one that would sample for many minutes is gone within seconds."""
    more = ["--prompts", "2000"] if verb == "preflight" else ["--dir", str(tmp_path / "run")]
    many = [] if verb == "preflight" else ["grpo.prompts=1000", "grpo.group=64"]
    command = [sys.executable, "-m", "everystep", verb, "recipes/tiny.yaml", f"model.name={TINY}", *many, *more]
    with (tmp_path / "err").open("w") as err:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=err, cwd=ROOT, env=dict(os.environ))
    try:
        until = time.monotonic() + 400
        wanted = "preflight: sampling" if verb == "preflight" else "preflight: data, gold"
        while wanted not in (tmp_path / "err").read_text():
            assert process.poll() is None and time.monotonic() < until, (tmp_path / "err").read_text()
            time.sleep(0.2)
        time.sleep(1.0)  # into the work itself, or the compilation before it
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(timeout=60) == STOPPED
        assert time.monotonic() - began < SOON
    finally:
        process.kill()
    said = (tmp_path / "err").read_text()
    assert f"asked to stop ({number.name}); preflight is given up" in said and "Traceback" not in said
    assert not (tmp_path / "run" / "preflight.json").exists()
