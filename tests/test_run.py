"""The run directory: a crash loses nothing, two cannot write it at once, another recipe cannot touch it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core import trace
from everystep.core.clock import Deadline
from everystep.core.files import (
    RunError,
    append_jsonl,
    read_json,
    read_jsonl,
    rewind,
    to_json,
    write_bytes,
    write_json,
    write_jsonl,
    write_text,
)
from everystep.core.provenance import code, provenance, without_places
from everystep.core.recipe import EXTENDED, FREE, Recipe, flat, identity, resolve, resumable, validate
from everystep.core.record import read_record, read_task, record, task_row
from everystep.core.run import open_run, read_run
from everystep.core.types import (
    Check,
    Completion,
    Finding,
    Flag,
    Graded,
    Kind,
    Process,
    Score,
    Stop,
    Task,
    Truth,
    Verdict,
    task_id,
)
from fakes import FakeClock

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "everystep"


def recipe(**changes: object) -> Recipe:
    return validate({"name": "x", "data": {"worked": {"train": 10}}, **changes}, "test")


def everything(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


# Opening


def test_a_run_is_created_and_resumed(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "run"
    with open_run(root, recipe(), "name: x  # as given\n") as run:
        assert run.recipe_given.read_text() == "name: x  # as given\n"
        assert read_json(run.recipe_resolved) == resolve(recipe())
        assert run.done("sft") is None
        run.mark_done("sft", {"steps": 3})
    before = everything(root)
    with open_run(root, recipe(), "name: x  # another comment\n") as run:
        assert run.done("sft") == {"steps": 3}
        assert run == read_run(root)
    after = everything(root)
    assert {k: v for k, v in before.items() if k != ".lock"} == {k: v for k, v in after.items() if k != ".lock"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"grpo": {"steps": 90}}, "grpo.steps is 80 there and 90 here; make it longer with --accept steps, or give"),
        ({"grpo": {"steps": 70}}, "grpo.steps is 80 there and 70 here; give another --dir"),
        ({"name": "y"}, "name is 'x' there and 'y' here"),
        ({"data": {"worked": {"train": 11}}}, "data.worked.train is 10 there and 11 here"),
        ({"data": {"gsm8k": {}, "worked": None}}, "data.worked"),
        (
            {"reward": {"parts": {"correctness": 1.0}}},
            "reward.preset is 'verified' there and None here",
        ),
        ({"sft": {"traces": 1, "epochs": 1, "batch": 1, "warmup": 0}}, "(and 1 more)"),
    ],
)
def test_another_recipe_is_refused_and_nothing_is_touched(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    with open_run(tmp_path / "run", recipe()) as run:
        append_jsonl(run.metrics("sft"), [{"step": 1}])
    before, listed = everything(tmp_path), sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError) as caught:
        open_run(tmp_path / "run", recipe(**changes))
    assert said in str(caught.value) and "--dir" in str(caught.value) and "\n" not in str(caught.value)
    assert (everything(tmp_path), sorted(tmp_path.rglob("*"))) == (before, listed)


@pytest.mark.parametrize(
    "changes",
    [
        {"hours": 1.5, "log": [], "export": ["peft"]},
        {"evaluate": {"batch": 3}, "grpo": {"micro_prompts": 2}, "checkpoint": {"steps": 5}},
        {"sft": {"self_made": {"batch": 8}}},
    ],
)
def test_what_leaves_the_result_alone_may_change_and_is_noted(tmp_path: Path, changes: dict[str, object]) -> None:
    with open_run(tmp_path, recipe(), "name: x") as run:
        run.mark_done("sft")
    with open_run(tmp_path, recipe(**changes), "name: x  # changed") as run:
        assert run.recipe() == recipe(**changes) != recipe()
        assert run.recipe_given.read_text() == "name: x  # changed" and run.done("sft") is not None
    assert resumable(recipe(**changes)) == resumable(recipe()) and identity(recipe(**changes)) != identity(recipe())


def test_a_longer_grpo_goes_on_where_the_user_says_so(tmp_path: Path) -> None:
    stages = ("sft", "evaluate/test/sft", "grpo", "evaluate/test/grpo", "export", "report")
    with open_run(tmp_path, recipe()) as run:
        for stage in stages:
            run.mark_done(stage)
    longer = recipe(grpo={"steps": 90})
    assert resumable(longer) == resumable(recipe())
    with open_run(tmp_path, longer, accept=frozenset({"steps"})) as run:
        assert [s for s in stages if run.done(s) is not None] == ["sft", "evaluate/test/sft"]
        assert run.recipe().grpo.steps == 90
    with pytest.raises(RunError, match="seed is 0 there and 1 here; give another --dir"):
        open_run(tmp_path, recipe(seed=1, grpo={"steps": 90}), accept=frozenset({"steps"}))


def test_every_key_that_may_change_is_a_key() -> None:
    """A key that was renamed would silently be one that makes another run."""
    judge = {"judge": {"model": "tiny"}}
    keys = flat(resolve(recipe(**judge)))
    for key in FREE | EXTENDED:
        assert any(k == key or k.startswith(f"{key}.") for k in keys), key


def test_a_run_of_the_old_name_is_read_and_not_gone_on_with(tmp_path: Path) -> None:
    with open_run(tmp_path, recipe()) as run:
        write_json(run.provenance, {"showwork": "0.1.0", "data": {}, "command": ["showwork", "run"]})
        write_json(run.root / "legs.jsonl", {"leg": 1, "showwork": "0.1.0"})
    before = everything(tmp_path)
    with pytest.raises(RunError, match="was made by showwork; it can be looked at, not gone on with; give another"):
        open_run(tmp_path, recipe())
    assert everything(tmp_path) == before
    assert read_run(tmp_path).recipe() == recipe()


def test_a_folder_that_is_no_run_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match=r"holds files but no recipe\.json"):
        open_run(tmp_path, recipe())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(RunError, match="is a file"):
        open_run(tmp_path / "thesis.tex", recipe())
    with pytest.raises(RunError, match="no run is here"):
        read_run(tmp_path)
    with pytest.raises(RunError, match="cannot be written"):
        open_run(tmp_path / "thesis.tex" / "run", recipe())


def test_a_creation_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("1\n")
    (tmp_path / ".recipe.json.partial").write_text('{"na')
    with open_run(tmp_path, recipe()) as run:
        assert read_json(run.recipe_resolved) == resolve(recipe())


def test_a_run_that_has_left_nothing_takes_a_mended_recipe(tmp_path: Path) -> None:
    open_run(tmp_path / "run", recipe()).close()
    with open_run(tmp_path / "run", recipe(seed=7), "seed: 7") as run:
        assert read_json(run.recipe_resolved) == resolve(recipe(seed=7))
        assert run.recipe_given.read_text() == "seed: 7"
        append_jsonl(run.sessions, [{"session": 1}])
        run.mark_done("preflight", {"minutes": 1.0})  # of a recipe that then failed before any stage was done
    with open_run(tmp_path / "run", recipe(seed=8)) as run:
        assert run.recipe() == recipe(seed=8)
        assert not run.sessions.exists() and run.done("preflight") is None


DAMAGE = ["", "{", "[]", "null", "1", '"x"', '{"a": 1}', "[" * 100_000, "\ufeff{}", "NaN"]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda d: repr(d[:8]))
def test_a_damaged_recipe_is_said_and_kept(tmp_path: Path, damage: str) -> None:
    (tmp_path / "recipe.json").write_text(damage)
    for opening in (lambda: open_run(tmp_path, recipe()), lambda: read_run(tmp_path)):
        with pytest.raises(ValueError, match=r"^[^\n]*recipe\.json: [^\n]*$"):
            opening()
    assert (tmp_path / "recipe.json").read_text() == damage


# Two at once

HOLD = """
import sys, time
from everystep.core.recipe import validate
from everystep.core.run import open_run
run = open_run(sys.argv[1], validate({"name": "x", "data": {"worked": {"train": 10}}}, "test"))
print("open", flush=True)
time.sleep(60)
"""


def test_two_processes_cannot_write_one_run_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    root = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(root)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "open\n"
        with pytest.raises(RunError, match=rf"another process \({other.pid}\) is writing this run"):
            open_run(root, recipe())
        assert read_run(root).recipe_resolved.exists()  # reading needs no lock
        other.send_signal(signal.SIGKILL)
        other.wait()
    with open_run(root, recipe()) as run, pytest.raises(RunError, match=str(os.getpid())):
        open_run(run.root, recipe())
    run.close()
    open_run(root, recipe()).close()


# Writing


def test_a_write_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(RunError, match="cannot be written as JSON"):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]
    write_bytes(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"


WRITE = """
import sys
from pathlib import Path
from everystep.core.files import write_text
path, n = Path(sys.argv[1]), 0
write_text(path, "0" * 1_000_000)
print("ready", flush=True)
while True:
    n += 1
    write_text(path, str(n % 10) * 1_000_000)
"""


def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for wait in (0.0, 0.013, 0.05):
        with subprocess.Popen([sys.executable, "-c", WRITE, str(path)], stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None and other.stdout.readline() == "ready\n"
            time.sleep(wait)
            other.kill()
            other.wait()
        text = path.read_text()
        assert len(text) == 1_000_000 and len(set(text)) == 1


ROWS = [{"step": 1, "loss": 2.5}, {"step": 2, "text": "é\n\u2028 = 5"}, {"step": 3}]


def test_a_torn_last_line_is_reported_and_then_repaired(tmp_path: Path) -> None:
    """However many bytes a crash has cut off, no whole row is lost and the next append gives a clean file."""
    path = tmp_path / "a.jsonl"
    append_jsonl(path, ROWS)
    whole = path.read_bytes()
    for cut in range(1, len(whole) + 1):
        path.write_bytes(whole[:-cut])
        lines = whole[:-cut].split(b"\n")
        rows, torn = read_jsonl(path)
        if whole[-cut:].startswith(b"\n"):  # only the line end of the last row is missing
            assert (rows, torn) == (ROWS[: len(lines)], None)
        else:
            assert rows == ROWS[: len(lines) - 1]
            assert torn is None if not lines[-1] else torn is not None and f":{len(lines)}:" in torn
        append_jsonl(path, [{"step": 9}])
        assert read_jsonl(path) == ([*rows, {"step": 9}], None)


def test_a_torn_line_longer_than_a_block_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    append_jsonl(path, [{"a": 1}])
    with open(path, "ab") as file:
        file.write(b'{"text": "' + b"x" * 300_000)
    append_jsonl(path, [{"a": 2}])
    assert read_jsonl(path) == ([{"a": 1}, {"a": 2}], None)


def test_damage_elsewhere_is_an_error_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a"\n{"a": 3}\n')
    with pytest.raises(RunError, match=r"a\.jsonl:2: is not valid JSON"):
        read_jsonl(path)
    path.write_bytes(b'{"a": 1}\n\xff\xfe\n')
    with pytest.raises(RunError, match=r"a\.jsonl:2:"):
        read_jsonl(path)
    with pytest.raises(RunError, match="cannot be read"):
        read_jsonl(tmp_path / "none.jsonl")


def test_rewind(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert rewind(path, 5) == 0
    append_jsonl(path, [{"step": n} for n in range(1, 8)])
    assert rewind(path, 5) == 2
    assert rewind(path, 5) == 0
    with open(path, "a") as file:
        file.write('{"st')
    assert rewind(path, 5) == 0
    assert read_jsonl(path) == ([{"step": n} for n in range(1, 6)], None)


def test_text_that_is_no_unicode_can_be_written(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a", [{"text": "a\ud800b"}])
    assert read_jsonl(tmp_path / "a") == ([{"text": "a?b"}], None)
    write_text(tmp_path / "b", "\udfff")
    assert (tmp_path / "b").read_bytes() == b"?"


def test_to_json() -> None:
    assert to_json({"a": np.float32(0.5), "b": np.arange(3), "c": np.float64("nan"), 4: (Stop.END, None)}) == {
        "a": 0.5,
        "b": [0, 1, 2],
        "c": "nan",
        "4": ["end", None],
    }
    assert to_json([float("inf"), -float("inf"), True, {"b", "a"}, Path("a/b")]) == [
        "inf",
        "-inf",
        True,
        ["a", "b"],
        "a/b",
    ]
    assert to_json(Flag(Finding.UNIT, 2, "x")) == {"finding": "unit", "step": 2, "detail": "x"}
    for refused in (object(), b"x", Flag, {"a": {1j}}):
        with pytest.raises(RunError):
            to_json(refused)


# Places


def test_every_place_is_inside_the_run(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", recipe())
    for path in (
        run.data, run.export, run.report_page, run.provenance, run.summary, run.metrics("sft"),
        run.checkpoints("grpo"), run.records(7), run.evaluation("test", "sft"),
        run.evaluation_records("test", "sft"), run.evaluation_summary("test", "sft"),
    ):  # fmt: skip
        assert path.is_relative_to(run.root)
    for name in ("", "..", "../x", "/x", "a/../b", "a//b", "a b", ".hidden", "a/", "x\x00"):
        with pytest.raises(RunError, match="is no name of a stage"):
            run.folder(name)
    run.close()


def test_evaluations_and_record_files_are_listed(tmp_path: Path) -> None:
    with open_run(tmp_path, recipe()) as run:
        assert run.evaluations() == [] and run.record_files() == []
        run.mark_done("evaluate/test/sft")
        run.mark_done("evaluate/test/base")
        write_json(run.evaluation_summary("gsm8k", "base"), {})  # begun, not done
        for step in (10, 2):
            write_jsonl(run.records(step), [])
        assert run.evaluations() == [("test", "base"), ("test", "sft")]
        assert [p.name for p in run.record_files()] == ["step-000002.jsonl", "step-000010.jsonl"]


# Records

TEXT = "<reasoning>\nStep 1: 2 + 3 = 6.\nTherefore, it is 6.\n</reasoning>\n<answer>6</answer>"


def graded(text: str = TEXT, stop: Stop = Stop.END) -> Graded:
    task = Task(
        task_id("test", "What is 2 + 3?", "5"),
        "arithmetic", "What is 2 + 3?", "5", Kind.QUANTITY, "test", "dev",
        ("2 + 3 = 5.",), 2, "apples", ("a", "b"), ("five",),
    )  # fmt: skip
    check = Check(1, "2 + 3 = 6", Truth.FALSE, "5", (21, 30), "2 + 3 is 5")
    return Graded(
        task,
        Completion(task.id, 3, text, (5, 6, 7), (-0.1, -0.2, -0.3), stop),
        trace.parse(text, stop),
        Verdict.WRONG,
        Verdict.UNGRADABLE,
        "6 is not 5",
        (check,),
        Process((Flag(Finding.FALSE_CLAIM, 1, "2 + 3 is 5"),), 0.5, 1.0),
    )


def test_a_record_holds_what_pages_need() -> None:
    score = Score("t", 3, {"correctness": 0.0, "judge": None}, 0.0)
    row = record(graded(), score, step=7)
    assert row["task"]["question"] == "What is 2 + 3?" and row["task"]["solution"] == ["2 + 3 = 5."]
    assert (row["step"], row["sample"], row["tokens"], row["stop"]) == (7, 3, 3, "end")
    assert (row["verdict"], row["lenient"], row["answer"], row["faults"]) == ("wrong", "ungradable", "6", [])
    assert row["checks"][0]["truth"] == "false" and row["process"]["flags"][0]["finding"] == "false_claim"
    assert (row["parts"], row["total"]) == ({"correctness": 0.0, "judge": None}, 0.0)
    assert "step" not in record(graded()) and record(graded())["parts"] is None


@given(
    st.text() | st.lists(st.sampled_from([TEXT, "<answer>", "Step 1: ", "\n", "5", "\x00"])).map("".join),
    st.sampled_from(Stop),
)
def test_records_round_trip_through_json(text: str, stop: Stop) -> None:
    before = graded(text, stop)
    score = Score(before.task.id, 3, {"correctness": 0.0, "judge": None}, None)
    back = read_record(json.loads(json.dumps(to_json(record(before, score, 1)))))
    completion = replace(before.completion, tokens=(), logprobs=None)
    assert back.graded == replace(before, completion=completion)
    assert back.graded.trace.lenient == before.trace.lenient
    assert [s.start for s in back.graded.trace.steps] == [s.start for s in before.trace.steps]
    assert (back.score, back.tokens, back.step) == (score, 3, 1)


def test_a_small_task_round_trips_without_what_it_has_not() -> None:
    task = Task("i", "d", "q", "a", Kind.TEXT, "s", "")
    assert set(task_row(task)) == {"id", "domain", "level", "question", "answer", "kind", "source", "split"}
    assert read_task(task_row(task)) == task
    assert read_task(task_row(graded().task)) == graded().task
    assert read_task(task_row(replace(task, solution=()))) == replace(task, solution=())


@pytest.mark.parametrize(
    "change",
    [
        {"task": None},
        {"text": 5},
        {"verdict": "great"},
        {"steps": [[1, 2]]},
        {"checks": [{}]},
        {"process": []},
    ],
)
def test_a_row_that_is_no_record_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no record"):
        read_record({**record(graded()), **change})
    for key in ("task", "verdict", "parts", "steps"):
        with pytest.raises(ValueError, match=key):
            read_record({k: v for k, v in record(graded()).items() if k != key})


# Provenance


ROOMS = {
    **dict.fromkeys(["core", "verify", "data", "score", "model", "train", "evaluate", "pipeline.py"], True),
    **dict.fromkeys(["show", "ship", "cli", "forecast", "__init__.py", "__main__.py"], False),
}


def test_a_resume_asks_for_the_code_that_decides_and_for_no_other(tmp_path: Path) -> None:
    """A file of every room changed in a copy of the package: what changes the identity is what can change a number."""
    package = tmp_path / "everystep"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    same = code(package)
    assert {p.name for p in package.iterdir()} - {"py.typed"} == ROOMS.keys()
    for room, decides in ROOMS.items():
        at = package / room
        for file in [at] if at.is_file() else [p for s in ("*.py", "*.yaml") for p in sorted(at.rglob(s))[-1:]]:
            before = file.read_bytes()
            file.write_bytes(before + b"\n# another line\n")
            assert (code(package) != same) is decides, file
            file.write_bytes(before)
    (package / "core" / "new.py").write_text("")
    assert code(package) != same
    assert code() == code(PACKAGE)


def test_provenance_names_no_person_machine_or_place() -> None:
    found = provenance(
        "cpu x2", {"gsm8k": "00ff"}, ["/srv/x/bin/everystep", "run", "recipes/tiny.yaml", "--dir=~/runs"]
    )
    assert found["command"] == ["everystep", "run", "recipes/tiny.yaml", "--dir=runs"]
    assert found["device"] == "cpu x2" and found["data"] == {"gsm8k": "00ff"}
    assert found["packages"]["jax"] and found["python"].startswith("3.")
    assert json.loads(json.dumps(found)) == found
    # Names of packages and versions are public; of the rest, all words are known.
    del found["packages"]
    assert set(found) == {"everystep", "commit", "changes", "python", "system", "device", "data", "command"}
    assert all(re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", v) for k in ("commit", "changes") if (v := found[k]))
    assert found["system"] == f"{os.uname().sysname} {os.uname().machine}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a/b/c", "c"),
        ("/a/b/c/", "c"),
        ("x=/a/b", "x=b"),
        ("a/b", "a/b"),
        ("../a/b", "../a/b"),
        ("1/2", "1/2"),
        ("--path=/a,/b/c", "--path=a,c"),
        ("'/a/b c'", "'b c'"),
        ("grpo.steps=40", "grpo.steps=40"),
        ("", ""),
    ],
)
def test_without_places(text: str, expected: str) -> None:
    assert without_places(text) == expected


# The clock


def test_a_deadline_counts_down_to_the_reserve() -> None:
    clock = FakeClock(500.0)
    deadline = Deadline(started=clock.seconds, hours=2, reserved=30)
    assert deadline.left(clock.seconds) == 5400 and not deadline.must_stop(clock.seconds)
    clock.seconds += 5000
    assert deadline.fits(clock.seconds, 400) and not deadline.fits(clock.seconds, 400.1)
    clock.seconds += 400
    assert deadline.must_stop(clock.seconds) and deadline.left(clock.seconds) == 0
    assert not deadline.fits(clock.seconds, 0)
    clock.seconds += 1e9
    assert deadline.left(clock.seconds) == 0
    assert Deadline(0, 1, 90).must_stop(0)  # all of it is reserved


@pytest.mark.parametrize(("hours", "reserved"), [(0, 1), (-1, 1), (float("nan"), 1), (1, -1), (1, float("nan"))])
def test_a_deadline_that_makes_no_sense(hours: float, reserved: float) -> None:
    with pytest.raises(ValueError):
        Deadline(0, hours, reserved)
