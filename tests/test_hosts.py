"""Two processes train one run: one that is killed ends both with a clear line, and the same commands end in
what they would have ended in."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import chaos
from everystep.cli.process import STOPPED
from test_sharding import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def started(folder: Path) -> list[subprocess.Popen[str]]:
    """Both processes; only the first has the folder."""
    port, both = free_port(), []
    for i, where in enumerate((folder, folder.with_name(f"{folder.name}-other"))):
        command = [sys.executable, "-m", "everystep", "run", "recipes/tiny.yaml", *chaos.SMALL]
        command += ["--dir", str(where), "--quiet", "--hosts", f"{i}/2@127.0.0.1:{port}"]
        flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
        both.append(
            subprocess.Popen(command, cwd=chaos.ROOT, env=os.environ | flags, stderr=subprocess.PIPE, text=True)
        )
    return both


def ended(both: list[subprocess.Popen[str]], timeout: float = 900) -> list[str]:
    try:
        return [process.communicate(timeout=timeout)[1] for process in both]
    finally:
        for process in both:
            process.kill()


def wait_for(process: subprocess.Popen[str], folder: Path, pattern: str) -> None:
    end = time.monotonic() + 900
    while process.poll() is None and not list(folder.glob(pattern)) and time.monotonic() < end:
        time.sleep(0.05)


def test_a_killed_process_ends_both_and_the_same_commands_go_on(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    both = started(whole)
    said = ended(both)
    assert [p.returncode for p in both] == [0, 0], said
    assert not (tmp_path / "whole-other").exists()

    both = started(broken)
    wait_for(both[0], broken, "checkpoints/grpo/steps/step-00000003.*")
    both[1].send_signal(signal.SIGKILL)
    said = ended(both, 300)
    assert both[0].returncode == STOPPED, said[0]
    assert "another process of this run has ended" in said[0] and "Traceback" not in said[0]

    both = started(broken)
    said = ended(both)
    assert [p.returncode for p in both] == [0, 0], said
    assert chaos.differences(whole, broken) == []


def test_a_wish_to_stop_reaches_all(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    both = started(folder)
    end = time.monotonic() + 900
    while both[0].poll() is None and not list(folder.glob("checkpoints/sft/steps/*")) and time.monotonic() < end:
        time.sleep(0.05)
    both[1].send_signal(signal.SIGTERM)
    said = ended(both, 300)
    assert [p.returncode for p in both] == [STOPPED, STOPPED], said
    assert "another process was asked to stop" in said[0] and "asked to stop (SIGTERM)" in said[1]


@pytest.mark.parametrize("place", ["2/2@127.0.0.1:9", "0/2", "auto/2@x:1", "0/2@127.0.0.1", "0/2@a b:1"])
def test_a_place_that_makes_no_sense_is_one_line(tmp_path: Path, place: str) -> None:
    command = [sys.executable, "-m", "everystep", "run", "recipes/tiny.yaml", "--hosts", place]
    command += ["--dir", str(tmp_path / "run")]
    done = subprocess.run(command, cwd=chaos.ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "INDEX/COUNT@HOST:PORT" in done.stderr
    assert not (tmp_path / "run").exists()
