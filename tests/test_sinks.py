"""Where metrics go: rows always, TensorBoard and Weights & Biases where the recipe says so."""

import importlib.util
import json
import math
import time
from pathlib import Path

import pytest

from everystep.core.recipe import load
from everystep.train.metrics import SINKS, metrics, require

ROOT = Path(__file__).resolve().parents[1]


def test_rows_hold_everything_and_no_sink_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "grpo" / "metrics.jsonl"
    with metrics(path) as log:
        log.log(1, {"kl": 0.5, "entropy": math.nan})
    assert [p.name for p in path.parent.iterdir()] == ["metrics.jsonl"]
    row = json.loads(path.read_text().replace("NaN", "null"))
    assert row["step"] == 1 and row["kl"] == 0.5


def test_tensorboard_gets_the_finite_numbers(tmp_path: Path) -> None:
    path = tmp_path / "sft" / "metrics.jsonl"
    with metrics(path, 2, ["tensorboard"]) as log:
        log.log(3, {"loss": 2.5, "gap": math.inf})
    (file,) = (path.parent / "tensorboard").iterdir()
    assert b"loss" in file.read_bytes() and b"gap" not in file.read_bytes()


def test_the_recipe_names_the_sinks() -> None:
    assert load(ROOT / "recipes/tiny.yaml").log == ("tensorboard",)
    assert load(ROOT / "recipes/tiny.yaml", ["log=[]"]).log == ()
    assert load(ROOT / "recipes/tiny.yaml", ["log=[tensorboard, wandb]"]).log == tuple(SINKS)
    with pytest.raises(ValueError, match="log"):
        load(ROOT / "recipes/tiny.yaml", ["log=[neptune]"])


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_a_sink_that_is_not_installed_is_said_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="log: wandb needs the package wandb; pip install wandb"):
        require(["tensorboard", "wandb"])


@pytest.mark.slow
def test_wandb_writes_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    path = tmp_path / "run" / "grpo" / "metrics.jsonl"
    for start in (0, 1):
        with metrics(path, start, ["wandb"]) as log:
            log.log(start + 1, {"kl": 0.25, "entropy": math.nan})
    end = time.monotonic() + 60  # another process writes them, and may be late on a busy machine
    runs = list((path.parent / "wandb").glob("offline-run-*/*.wandb"))
    while time.monotonic() < end and not all(b"0.25" in p.read_bytes() for p in runs):
        time.sleep(0.1)
    assert len(runs) == 2 and all(b"0.25" in p.read_bytes() for p in runs)
    assert not any(b"NaN" in p.read_bytes() for p in runs)
