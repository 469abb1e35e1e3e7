"""A whole run by its command: every stage on the shipped tiny Gemma, in miniature, and what it leaves."""

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import chaos
from everystep.cli.app import main
from everystep.core.files import read_jsonl
from everystep.core.record import read_record

ROOT = Path(__file__).resolve().parents[1]
SMALL = [
    "data.worked.train=300",
    "data.worked.dev=24",
    "data.worked.test=48",
    "sft.traces=64",
    "sft.epochs=1",
    "sft.batch=32",
    "sft.eval_every=1",
    "grpo.steps=2",
    "grpo.prompts=4",
    "grpo.group=4",
    "grpo.max_tokens=64",
    "grpo.eval_every=2",
    "grpo.refill=true",
    "evaluate.max_tokens=64",
]
# With steps and batches enough to be ended between them.
WHOLE = [*SMALL, "sft.epochs=2", "grpo.steps=3", "evaluate.batch=16", "checkpoint.steps=1", "export=[peft]"]


def everystep(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "everystep", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=280)


def digest(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    where = tmp_path_factory.mktemp("runs") / "small"
    command = ("run", "recipes/tiny.yaml", *WHOLE, "--dir", str(where), "--json", "--quiet")
    done = everystep(*command)
    assert done.returncode == 0, done.stderr
    return where, json.loads(done.stdout)


def test_the_summary_has_what_was_promised(finished: tuple[Path, dict[str, Any]]) -> None:
    where, summary = finished
    assert json.loads((where / "evaluate" / "summary.json").read_text()) == summary
    assert set(summary) == {"stages", "paired", "gold", "minutes", "seed", "recipe_hash"}
    assert list(summary["stages"]) == ["base", "sft", "grpo"]
    for stage in summary["stages"].values():
        assert stage["n"] == 48
        for rate in ("contract", "capability", "sound", "format"):
            assert 0 <= stage[rate]["low"] <= stage[rate]["value"] <= stage[rate]["high"] <= 1
        assert set(stage["by_domain"]) == {"math", "science", "reasoning", "general"}
        assert set(stage["by_level"]) == {"1", "2", "3", "4", "5"}
        assert {"trace", "composite", "truncated"} <= set(stage)
    assert {"p", "gained", "lost"} <= set(summary["paired"]["sft_vs_base"])
    assert set(summary["paired"]) == {"sft_vs_base", "grpo_vs_sft"}
    assert summary["gold"]["contract"]["value"] == summary["gold"]["sound"]["value"] == 1.0
    assert summary["seed"] == 0 and len(summary["recipe_hash"]) == 16
    assert all(minutes is not None and minutes >= 0 for minutes in summary["minutes"].values())


def test_the_last_policy_is_exported(finished: tuple[Path, dict[str, Any]]) -> None:
    where, _ = finished
    said = json.loads((where / "export" / "done.json").read_text())
    assert said == {"stage": "grpo", "formats": ["peft"]}
    assert (where / "export" / "grpo" / "peft" / "adapter_model.safetensors").is_file()


def test_every_completion_is_kept_graded_and_scored(finished: tuple[Path, dict[str, Any]]) -> None:
    where, _ = finished
    for step in (1, 2, 3):
        rows, torn = read_jsonl(where / "grpo" / "records" / f"step-{step:06d}.jsonl")
        assert torn is None and len(rows) == 16
        for row in rows:
            read = read_record(row)
            assert read.score is not None and set(read.score.parts) == {"correctness", "process", "format"}
            assert 1 <= read.tokens <= 64
            assert read.graded.task.solution is None and read.graded.task.split == "train"
    for stage in ("base", "sft", "grpo"):
        rows, _ = read_jsonl(where / "evaluate" / "test" / stage / "records.jsonl")
        assert len({row["task"]["id"] for row in rows}) == 48


def test_metrics_and_provenance(finished: tuple[Path, dict[str, Any]]) -> None:
    where, _ = finished
    sft, _ = read_jsonl(where / "sft" / "metrics.jsonl")
    assert [row["step"] for row in sft] == [1, 2, 3, 4] and all(row["dev_loss"] > 0 for row in sft)
    grpo, _ = read_jsonl(where / "grpo" / "metrics.jsonl")
    assert [row["step"] for row in grpo] == [1, 2, 3]
    assert abs(grpo[0]["kl"]) < 1e-6 and grpo[0]["disagreement"] < 1e-3 and "dev/contract" in grpo[1]
    assert {"dead_groups", "live", "reward", "reward/correctness", "entropy", "tokens"} <= set(grpo[0])
    origin = json.loads((where / "provenance.json").read_text())
    assert set(origin["data"]) == {"train_worked", "sft", "dev", "test"} and origin["packages"]["jax"]
    assert list((where / "grpo" / "tensorboard").iterdir())


def test_splits_do_not_overlap_and_sft_sees_low_levels_only(finished: tuple[Path, dict[str, Any]]) -> None:
    where, _ = finished
    rows = {n: read_jsonl(where / "data" / f"{n}.jsonl")[0] for n in ("train_worked", "sft", "dev", "test")}
    questions = {name: {row["question"] for row in some} for name, some in rows.items()}
    assert not questions["train_worked"] & (questions["dev"] | questions["test"])
    assert not questions["dev"] & questions["test"]
    assert {row["level"] for row in rows["sft"]} == {1, 2} and len(rows["sft"]) == 64
    assert not any("solution" in row for row in rows["train_worked"])


def test_a_run_that_is_ended_in_its_stages_ends_the_same(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Killed in SFT, asked to stop in an evaluation, killed in GRPO. Twenty times at random: `make chaos`."""
    where, broken = finished[0], tmp_path / "broken"
    for files, how, code in (
        ("checkpoints/sft/steps/step-00000002.*", signal.SIGKILL, -signal.SIGKILL),
        ("evaluate/test/sft/partial.jsonl", signal.SIGTERM, chaos.STOPPED),
        ("checkpoints/grpo/steps/step-00000001.*", signal.SIGKILL, -signal.SIGKILL),
    ):
        assert chaos.wait_for(broken, files, how, WHOLE) == code
    assert chaos.stage(broken) == "grpo"
    chaos.finish(broken, WHOLE)
    assert chaos.differences(where, broken) == []
    assert len(chaos.traces(where)) > 12


def test_the_same_command_again_changes_nothing(finished: tuple[Path, dict[str, Any]]) -> None:
    where, summary = finished
    before = digest(where)
    done = everystep("run", "recipes/tiny.yaml", *WHOLE, "--dir", str(where), "--json", "--quiet")
    assert done.returncode == 0 and json.loads(done.stdout) == summary
    assert digest(where) == before


def test_another_recipe_in_the_directory_is_refused(finished: tuple[Path, dict[str, Any]]) -> None:
    where, _ = finished
    before = digest(where)
    done = everystep("run", "recipes/tiny.yaml", *WHOLE, "seed=1", "--dir", str(where))
    assert done.returncode == 2 and "belongs to another recipe: seed is 0 there and 1 here" in done.stderr
    assert done.stderr.count("\n") == 1 and digest(where) == before


def test_eval_of_a_run_gives_the_run_s_own_numbers(finished: tuple[Path, dict[str, Any]]) -> None:
    where, summary = finished
    done = everystep("eval", str(where), "--stage", "grpo", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == summary["stages"]["grpo"]


def test_eval_of_a_file_of_completions(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    where, summary = finished
    rows, _ = read_jsonl(where / "evaluate" / "test" / "sft" / "records.jsonl")
    file = tmp_path / "completions.jsonl"
    lines = [
        json.dumps({"id": r["task"]["id"], "completion": r["text"], "truncated": r["stop"] == "length"}) for r in rows
    ]
    file.write_text("\n".join(lines))
    done = everystep("eval", str(file), "--data", str(where / "data" / "test.jsonl"), "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    for rate in ("contract", "capability", "sound", "format", "truncated"):
        assert json.loads(done.stdout)[rate] == summary["stages"]["sft"][rate]


@pytest.mark.slow
def test_pretraining_leaves_a_model_that_can_be_used(tmp_path: Path) -> None:
    where = tmp_path / "base"
    small = ["pretrain.steps=3", "pretrain.batch=2", "pretrain.length=32", "pretrain.vocabulary=512"]
    done = everystep("pretrain", "recipes/tiny_base.yaml", *small, "--dir", str(where), "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tokens"] == 3 * 2 * 32
    done = everystep("eval", str(where / "export"), "--json", "--quiet", "--data", str(_three_tasks(tmp_path)))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n"] == 3


def _three_tasks(folder: Path) -> Path:
    file = folder / "tasks.jsonl"
    file.write_text(
        "\n".join(
            json.dumps({"prompt": f"What is {n} + 1?", "reasoning": f"{n} + 1 = {n + 1}", "answer": f"{n + 1}"})
            for n in (1, 2, 3)
        )
    )
    return file


BAD = [
    (["model.name=nowhere"], "model 'nowhere': not a folder"),
    (["data.worked=null"], "names no source"),
    (["data.worked=null", "data.gsm8k.path=nowhere"], "nowhere"),
    (["data.worked.generators=[frob]"], "no generator 'frob'"),
    (["reward={parts: {corectness: 1}}"], "did you mean 'correctness'?"),
    (["grpo.setps=3"], "did you mean 'steps'?"),
    (["grpo.group=1"], "grpo.group"),
    (["sft.learning_rate=fast"], "sft.learning_rate"),
    (["model.prompt=polite"], "polite"),
    (["data.worked.test=100000000"], "different train tasks"),
]


@pytest.fixture
def signals() -> Iterator[None]:
    """A command in this process leaves no handler of its own."""
    held = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in held.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("overrides", "words"), BAD, ids=[" ".join(o) for o, _ in BAD])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_bad_input_is_one_line_and_exit_code_2(
    overrides: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    signals: None,
) -> None:
    if overrides == ["data.worked.test=100000000"]:
        overrides = ["data.worked.generators=[calendar]", "data.worked.levels=[1]", "data.worked.test=5000"]
    monkeypatch.chdir(ROOT)
    code = main(["run", "recipes/tiny.yaml", *overrides, "--dir", str(tmp_path / "run"), "--quiet"])
    said = capsys.readouterr().err
    assert code == 2, said
    assert words in said and said.count("\n") == 1 and "Traceback" not in said
    assert not (tmp_path / "run" / "data" / "done.json").exists()


@pytest.mark.slow
def test_a_real_model_is_looked_at_first_and_red_stops_the_run(tmp_path: Path) -> None:
    """The tiny model's files in a folder are a real model. The directory stays free for a mended recipe."""
    assets = ROOT / "src" / "everystep" / "model" / "assets" / "tiny"
    command = ("run", "recipes/tiny.yaml", *SMALL, "--dir", str(tmp_path), f"model.name={assets}")
    red = everystep(*command, "grpo.max_tokens=4", "evaluate.max_tokens=4")
    assert red.returncode == 2, red.stderr
    said = " ".join(red.stderr.split())
    assert "checks are red; first completion length:" in said and "--accept preflight" in said
    assert not (tmp_path / "data").exists() and (tmp_path / "preflight.json").exists()
    mended = everystep(*command, "grpo.max_tokens=128", "evaluate.max_tokens=128", "sft.traces=32", "grpo.steps=1")
    assert mended.returncode == 0, mended.stderr
    assert json.loads((tmp_path / "preflight" / "done.json").read_text())["light"] in ("green", "amber")
