"""Laws of carrying a run on: the copy is the run, the source is not touched, and sessions are counted."""

import os
from pathlib import Path

import pytest

from everystep.core.files import RunError, write_json
from everystep.core.recipe import load
from everystep.core.relay import add_session, carry_on, sessions
from everystep.core.run import open_run

RECIPE = load("recipes/tiny.yaml")


def a_run(root: Path) -> Path:
    with open_run(root, RECIPE, "name: tiny\n") as run:
        write_json(run.data / "more.json", {"a": 1})
        write_json(run.checkpoints("sft") / "steps" / "x.json", [1, 2])
        (run.data / ".half.json.partial").write_text("{")
        add_session(run, {"commit": "1"})
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_the_copy_is_the_run_without_what_is_half_done(tmp_path: Path) -> None:
    source = a_run(tmp_path / "a")
    before = contents(source)
    assert carry_on(source, tmp_path / "deep" / "b")
    copied = contents(tmp_path / "deep" / "b")
    assert copied == {k: v for k, v in before.items() if "partial" not in k and k != ".lock"}
    assert contents(source) == before
    with open_run(tmp_path / "deep" / "b", RECIPE) as run:
        add_session(run, {"commit": "2"})
        assert [(row["session"], row["commit"]) for row in sessions(run)] == [(1, "1"), (2, "2")]
    assert not carry_on(source, tmp_path / "deep" / "b")  # given again: the copy goes on
    with open_run(tmp_path / "deep" / "b", RECIPE) as run:
        assert len(sessions(run)) == 2


def test_a_read_only_source_gives_a_copy_that_can_be_written(tmp_path: Path) -> None:
    source = a_run(tmp_path / "a")
    for path in [*source.rglob("*"), source]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert carry_on(source, tmp_path / "b")
        for path in (tmp_path / "b").rglob("*"):
            assert os.stat(path).st_mode & 0o200
        with open_run(tmp_path / "b", RECIPE) as run:
            write_json(run.data / "gold.json", {"a": 2})
    finally:
        for path in [source, *source.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_what_cannot_be_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    source = a_run(tmp_path / "a")
    with pytest.raises(RunError, match="no run is here"):
        carry_on(tmp_path / "nothing", tmp_path / "b")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    with pytest.raises(RunError, match="holds files but no run"):
        carry_on(source, tmp_path / "full")
    assert not (tmp_path / "b").exists() and (tmp_path / "full" / "x").read_text() == "mine"
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        carry_on(source, tmp_path / "file" / "b")
    (tmp_path / "empty").mkdir()
    assert carry_on(source, tmp_path / "empty")
