"""A training that goes wrong, in whole runs in miniature: it is rolled back once, ends the second time, pauses."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from everystep.core.clock import Deadline
from everystep.core.files import read_jsonl
from everystep.core.recipe import load
from everystep.core.run import open_run
from everystep.core.types import Stopped
from everystep.pipeline import run_all
from everystep.show.screen import Screen
from everystep.train.session import Session
from model_fixtures import TUNIX
from test_stages import ROOT, SMALL, everystep

pytestmark = [*TUNIX, pytest.mark.slow]
# Five steps; any entropy breaks the bound, which can be told after three of them.
FIVE = [*SMALL, "grpo.steps=5", "grpo.eval_every=2", "grpo.micro_prompts=4", "watch.entropy.bound=100"]


def test_it_goes_back_with_half_the_rate_once_then_ends_with_the_best(tmp_path: Path) -> None:
    more = ["checkpoint.steps=2", "grpo.choose=last"]
    done = everystep("run", "recipes/tiny.yaml", *FIVE, *more, "--dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    info = json.loads((tmp_path / "grpo" / "done.json").read_text())
    # Saved after step 2; steps 1 to 3 break the bound, and so do 1, 2 and 3 again after going back to step 2.
    back = info["rolled_back"]
    assert back["step"] == 3 and back["to"] == 2 and back["name"] == "entropy"
    assert info["steps"] == 3 and info["kept"] == 2 and info["ended"].startswith("the entropy is")
    rows, gone = (
        {row["step"]: row for row in read_jsonl(tmp_path / "grpo" / name)[0]}
        for name in ("metrics.jsonl", "abandoned.jsonl")
    )
    assert list(rows) == list(gone) == [1, 2, 3] and rows[2] == gone[2]
    assert rows[3]["learning_rate"] == gone[3]["learning_rate"] / 2 > 0
    assert rows[3]["reward"] == gone[3]["reward"]  # the same step from the same policy, but for the rate
    said = " ".join(done.stderr.split())
    assert "back to step 2, with half the learning rate" in said and "grpo ends at step 3" in said
    page = (tmp_path / "report" / "index.html").read_text()
    assert "GRPO was rolled back from step 3 to step 2" in page and "GRPO ended at step 3" in page
    for stage in ("base", "sft", "grpo"):
        assert (tmp_path / "evaluate" / "test" / stage / "done.json").exists()


def test_before_the_first_checkpoint_it_goes_back_to_the_start(tmp_path: Path) -> None:
    """And what it decided there survives being left: the half rate is in the checkpoint."""
    recipe = load(ROOT / "recipes" / "tiny.yaml", FIVE)
    said = io.StringIO()
    screen = Screen(console=Console(file=said, width=500))

    def stop() -> str | None:
        return "asked" if "back to step 0" in said.getvalue() else None

    with open_run(tmp_path / "run", recipe) as run:
        with pytest.raises(Stopped):
            run_all(recipe, run, Session(Deadline(0, 1), stop, lambda: 0.0), screen)
        run_all(recipe, run, Session(Deadline(0, 1), now=lambda: 0.0), Screen(quiet=True))
        info = run.done("grpo")
        assert info is not None and info["rolled_back"]["to"] == 0 and info["ended"]
        rows, gone = read_jsonl(run.metrics("grpo"))[0], read_jsonl(run.abandoned("grpo"))[0]
        assert [r["learning_rate"] for r in rows] == [r["learning_rate"] / 2 for r in gone]


def test_a_pause_saves_the_step_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """As where a judge is silent: what is wrong can be mended from outside."""
    # Nothing is in form after so little SFT, so that every group is dead.
    pause = [*SMALL, "grpo.steps=5", "watch.dead.bound=2", "watch.dead.action=pause"]
    command = ("run", "recipes/tiny.yaml", *pause, "--dir", str(tmp_path), "--quiet")
    for step in (2, 3):
        done = everystep(*command)
        assert done.returncode == 75, done.stderr
        said = done.stderr.splitlines()[-1]
        assert "in the last 2 steps no group had" in said and f"step {step} of 5 is saved" in said
        assert len(read_jsonl(tmp_path / "grpo" / "metrics.jsonl")[0]) == step
