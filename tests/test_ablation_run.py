"""A whole ablation of the shipped tiny Gemma in miniature: ended by force, gone on with, one change failing;
and that a run which shares its SFT is the run that does its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from everystep.core.relay import sessions
from everystep.evaluate.changes import arms, jobs, read_ablation
from everystep.evaluate.results import Place

ROOT = Path(__file__).resolve().parents[1]
FILE = f"""
name: mini
base: {ROOT / "recipes" / "tiny.yaml"}
common:
  - data.worked.train=200
  - data.worked.dev=24
  - data.worked.test=24
  - sft.traces=64
  - sft.epochs=2
  - sft.batch=16
  - grpo.steps=2
  - grpo.prompts=4
  - grpo.group=4
  - grpo.micro_prompts=2
  - grpo.max_tokens=64
  - grpo.eval_every=2
  - evaluate.max_tokens=64
  - checkpoint.steps=1
seeds: [0, 1]
equal: completions
families:
  mini:
    question: Does anything change?
    reference: whole
    tested: [contract, format]
    changes:
      no_sft: {{set: [grpo.start=base]}}
      only_sft: {{stage: sft}}
      broken: {{set: ["reward={{parts: {{judge/step_clarity: 1}}}}"]}}
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "everystep", *arguments]


def called(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=1500)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_miniature_ablation_survives_kills_and_a_change_that_fails(tmp_path: Path) -> None:
    file, out = tmp_path / "mini.yaml", tmp_path / "out"
    file.write_text(FILE)
    ablate = ["ablate", str(file), "--dir", str(out), "--quiet"]
    own, place = arms(read_ablation(file), file), Place(out)
    shared, whole = jobs(own)[:2]

    # Killed in the shared SFT, with everything it began; then asked to stop in GRPO.
    killed(ablate, place.run(shared).checkpoints("sft") / "steps", signal.SIGKILL, everything=True)
    assert killed(ablate, place.run(whole).checkpoints("grpo") / "steps", signal.SIGTERM) == 75
    assert all(row["change"] == "only_sft" for row in place.rows())
    done = called(*ablate, "--json")
    assert done.returncode == 1, done.stderr[-2000:]  # one change has failed

    found = json.loads(done.stdout)[0]
    assert [s["change"] for s in found["sides"]] == ["whole", "no_sft", "only_sft", "broken"]
    rows = place.rows()
    assert len(rows) == 8 and len({(r["change"], r["seed"]) for r in rows}) == 8
    failed = [r for r in rows if r["status"] == "failed"]
    assert {r["change"] for r in failed} == {"broken"}
    assert all("the reward needs a judge, and the recipe has no section judge" in r["error"] for r in failed)
    assert "Traceback" not in done.stderr

    # What was shared was done once, and says so.
    run = place.run(whole)
    assert len([session for session in sessions(place.run(shared))]) == 2  # before the kill and after it
    assert run.done("sft") == {**(place.run(shared).done("sft") or {}), "from": shared.label}
    assert run.adapter("sft").read_bytes() == place.run(shared).adapter("sft").read_bytes()
    assert sessions(run)[0]["shares"] == shared.label

    # GRPO without SFT has no such stage anywhere, and everything copes with that.
    no_sft = place.run(next(a.job for a in own if a.change == "no_sft" and a.seed == 0))
    summary = json.loads(no_sft.summary.read_text())
    assert list(summary["stages"]) == ["base", "grpo"] and list(summary["paired"]) == ["grpo_vs_base"]
    assert called("report", str(no_sft.root)).returncode == 0

    # A run that shares is the run that does all itself.
    straight = tmp_path / "straight"
    alone = called("run", str(run.recipe_given), "--dir", str(straight), "--quiet")
    assert alone.returncode == 0, alone.stderr[-2000:]
    for path in (run.adapter("grpo"), run.metrics("grpo"), *run.record_files()):
        assert path.read_bytes() == (straight / path.relative_to(run.root)).read_bytes(), path.name
    for stage in ("base", "sft", "grpo"):
        path = run.evaluation_records("test", stage)
        assert path.read_bytes() == (straight / path.relative_to(run.root)).read_bytes(), stage

    # Again: nothing is done, and the tables are the same bytes.
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file() and p.name != ".lock"}
    assert called(*ablate).returncode == 1
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file() and p.name != ".lock"} == before


def killed(arguments: list[str], folder: Path, how: signal.Signals, everything: bool = False) -> int:
    """Start, and send the signal as soon as a checkpoint is in the folder; the exit code."""
    process = subprocess.Popen(
        command(*arguments), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 1500
        while process.poll() is None and time.monotonic() < end and not list(folder.glob("step-*")):
            time.sleep(0.02)
        (os.killpg if everything else os.kill)(process.pid, how)
        return process.wait(600)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
