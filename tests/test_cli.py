"""The command line: exit codes, one-line errors, what it loads, and what it says while it works."""

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from everystep.cli import app as cli
from everystep.cli.process import WAS_INTERRUPTED
from everystep.core.files import RunError, read_json, write_json, write_jsonl
from everystep.core.record import read_tasks, task_row
from everystep.core.relay import add_session
from everystep.core.run import open_run
from everystep.show.screen import Screen
from fakes import FakeClock
from run_fixtures import RECIPE as FIXTURE
from run_fixtures import finished, self_made, tasks

VERBS = ("run", "pretrain", "eval", "grade", "check")


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def process(*arguments: str, code: str = "", given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = ["-c", code] if code else ["-m", "everystep"]
    return subprocess.run([sys.executable, *command, *arguments], capture_output=True, input=given, check=False)


# Starting


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ((), ("--help",)):
        code, out, err = called(capsys, *arguments)
        assert code == 0 and err == "" and all(f"  {verb} " in out for verb in VERBS)
    for verb in VERBS:
        code, out, _ = called(capsys, verb, "--help")
        assert code == 0 and "--debug" in out and "Usage: everystep " + verb in out


LOADED = """
import sys
from everystep.cli import app as cli
code = cli.main(sys.argv[1:])
heavy = {"jax", "tunix", "flax", "orbax", "transformers", "torch", "matplotlib"} & set(sys.modules)
sys.exit(f"loaded {sorted(heavy)}" if heavy else code)
"""


@pytest.mark.parametrize("verb", ["--help", "grade", "check"])
def test_light_verbs_load_nothing_heavy(tmp_path: Path, verb: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": 1, "prediction": "5", "gold": "5", "question": "", "trace": "2 + 3 = 5"}\n')
    done = process(*([verb] if verb == "--help" else [verb, str(file)]), code=LOADED)
    assert (done.returncode, done.stderr) == (0, b"")


# Errors

BAD = [
    (["frob"], "No such command 'frob'"),
    (["run"], "Missing argument 'RECIPE'"),
    (["run", "x.yaml", "--nope"], "No such option: --nope"),
    (["run", "none.yaml"], "recipe none.yaml: cannot be read (No such file or directory)"),
    (["pretrain", "none.yaml"], "recipe none.yaml: cannot be read"),
    (["grade", "none.jsonl"], "none.jsonl: No such file or directory"),
    (["check", "none.jsonl"], "none.jsonl: No such file or directory"),
    (["check", "."], ".: Is a directory"),
    (["grade", "x.jsonl", "--kind", "colour"], "--kind 'colour' is none of number, "),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_what_the_user_can_mend_is_one_line_and_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = called(capsys, *arguments)
    assert code == 2 and out == ""
    assert err.startswith("everystep: ") and said in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []  # and nothing was made


RECIPE = "name: x\nhours: 0.1\ndata: {worked: {}}\n"


def test_errors_in_recipes_and_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "x.yaml"
    recipe.write_text(RECIPE)
    code, _, err = called(capsys, "run", str(recipe), "grpo.stpes=4")
    assert code == 2 and "did you mean 'steps'?" in err
    code, _, err = called(capsys, "pretrain", str(recipe))
    assert code == 2 and "is for `everystep run`" in err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis").touch()
    code, _, err = called(capsys, "run", str(recipe), "--dir", str(tmp_path / "full"))
    assert code == 2 and "so it is no run" in err and err.count("\n") == 1


def test_debug_shows_where_an_error_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = called(capsys, "run", "none.yaml", "--debug")
    assert code == 2 and "Traceback" in err and err.splitlines()[-1].startswith("everystep: recipe none.yaml")


RAISE = """
import sys
from everystep.cli import app as cli
def broken():
    {what}
cli.app.command("broken")(broken)
sys.exit(cli.main(["broken"]))
"""


READ = "from everystep.core.files import read_json, Path; read_json(Path('x.json'))"


@pytest.mark.parametrize(
    ("what", "code", "said", "traced"),
    [
        ("raise KeyError('steps')", 1, "KeyError: 'steps'", True),
        ("raise RuntimeError('x')", 1, "RuntimeError: x", True),
        ("import json; json.loads('{')", 1, "JSONDecodeError", True),  # from a library: a defect of ours
        (READ, 2, "everystep: x.json: cannot be read", False),
        ("raise MemoryError", 2, "everystep: out of memory; choose smaller batches", False),
        ("raise RuntimeError('RESOURCE_EXHAUSTED: 5 GiB')", 2, "everystep: out of memory", False),
        ("raise KeyboardInterrupt", 130, "everystep: interrupted; the same command again resumes", False),
        ("open('/')", 2, "everystep: /: Is a directory", False),
    ],
)
def test_exit_codes(what: str, code: int, said: str, traced: bool) -> None:
    done = process(code=RAISE.format(what=what))
    err = done.stderr.decode()
    assert done.returncode == code and said in err
    assert ("Traceback" in err) == traced and (traced or err.count("\n") == 1)


def test_a_reader_that_goes_away_ends_it_without_a_word(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": 1, "prediction": "5", "gold": "6"}\n' * 20_000)
    with subprocess.Popen(
        [sys.executable, "-m", "everystep", "grade", str(file), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 0


# grade and check


def on_a_terminal(*arguments: str) -> str:
    """What a command that ends well prints on a terminal."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "everystep", *arguments]
    with subprocess.Popen(command, stdout=theirs, stdin=subprocess.DEVNULL) as running:
        os.close(theirs)
        out = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while more := os.read(ours, 4096):
                out += more
    os.close(ours)
    assert running.returncode == 0
    return out.decode(errors="replace")


def test_grade(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [
        {"id": 1, "prediction": "$1,200", "gold": "1200"},
        {"id": 2, "prediction": "5", "gold": "6"},
        {"id": 3},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + "nonsense\n\n")
    out = on_a_terminal("grade", str(file)).splitlines()
    assert out[-1] == "1 right, 2 unreadable, 1 wrong of 4"
    assert [json.loads(line)["id"] for line in out[:-1]] == [2, 3, None]
    code, out, err = called(capsys, "grade", str(file))  # no terminal: a line of JSON for each row
    assert called(capsys, "grade", str(file), "--json")[1] == out
    assert (
        code == 0
        and err == ""
        and [json.loads(line).get("verdict") for line in out.splitlines()]
        == [
            "right",
            "wrong",
            None,
            None,
        ]
    )


def test_grade_traces_from_standard_input() -> None:
    row = {"id": 1, "prediction": "<reasoning>x</reasoning><answer>5</answer>", "gold": "5"}
    done = process("grade", "-", "--text", "trace", given=json.dumps(row).encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout) == {"id": 1, "verdict": "right", "read": "5", "reason": "equal"}


def test_check_and_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, page = tmp_path / "rows.jsonl", tmp_path / "deep" / "page.html"
    row = {"id": "<b>", "question": "2 and 3?", "steps": ["2 + 3 = 5", "5 * 2 = 11"]}
    file.write_bytes(json.dumps(row).encode() + b"\n\xff\xfe\n")
    code, out, err = called(capsys, "check", str(file), "--html", str(page))
    assert code == 0 and err == "" and "✗ 10" in page.read_text() and "<b>" not in page.read_text()
    checked, bad = map(json.loads, out.splitlines())  # no terminal: lines of JSON
    assert checked["first_false"] == 2 and bad["line"] == 2 and "not JSON" in bad["error"]
    assert called(capsys, "check", str(file), "--json")[1] == out


def test_check_on_a_terminal_marks_the_claims(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"id": 1, "steps": ["2 + 3 = 5", "5 * 2 = 11"]}) + "\nnonsense\n")
    out = on_a_terminal("check", str(file))
    assert "✗ 10" in out and "line 2: not JSON" in out
    assert "2 claims checked, 1 false, first in step 2" in out


def test_grade_page_changes_no_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, page = tmp_path / "rows.jsonl", tmp_path / "page.html"
    rows = [{"id": 1, "prediction": "$1,200", "gold": "1200"}, {"id": 2, "prediction": "?", "gold": "6"}, {}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, err = called(capsys, "grade", str(file), "--json", "--html", str(page))
    assert code == 0 and err == ""
    assert [set(json.loads(line)) for line in out.splitlines()] == [
        {"id", "verdict", "read", "reason"},
        {"id", "verdict", "read", "reason"},
        {"id", "line", "error"},
    ]
    assert out == called(capsys, "grade", str(file), "--json")[1]
    assert "$1,200" in page.read_text() and "line 3" in page.read_text()


@pytest.mark.parametrize("verb", ["grade", "check"])
def test_no_text_stops_a_file(tmp_path: Path, verb: str) -> None:
    """Half characters, and bytes that are no UTF-8 on standard input too, spoil nothing but themselves."""
    row = {"id": "\ud800", "prediction": "\ud800 5", "gold": "5", "steps": ["\ud800 2 + 3 = 5"]}
    good = json.dumps(row).encode() + b"\n"
    done = process(verb, "-", "--json", given=good + b'\xff\xfe\n{"id": [1]}\n' + good)
    assert (done.returncode, done.stderr) == (0, b"")
    first, second, third, _ = map(json.loads, done.stdout.splitlines())
    assert first["id"] == "\ud800" and "error" not in first
    assert second["line"] == 2 and "not JSON" in second["error"] and third["id"] == [1]


ROW = {"id": 1, "prediction": "5 €", "gold": "5", "question": "2 and 3?", "steps": ["2 + 3 = 5"],
       "completion": "<reasoning>\nStep 1: 2 + 3 = 5.\n</reasoning>\n<answer>5</answer>"}  # fmt: skip
READERS = ("grade", "check", "score")


@pytest.mark.parametrize("verb", READERS)
@pytest.mark.parametrize("stdin", [False, True], ids=["file", "stdin"])
def test_a_byte_order_mark_costs_no_row(tmp_path: Path, verb: str, stdin: bool) -> None:
    content = b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\n"
    file = tmp_path / "rows.jsonl"
    file.write_bytes(content)
    done = process(verb, "-" if stdin else str(file), given=content)
    assert (done.returncode, done.stderr) == (0, b"")
    (row,) = map(json.loads, done.stdout.splitlines())
    assert row["id"] == 1 and "error" not in row


@pytest.mark.parametrize("verb", READERS)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ((json.dumps(ROW) + "\n").encode("utf-16"), "is UTF-16 text"),
        (gzip.compress(json.dumps(ROW).encode()), "is compressed (gzip)"),
        (b"PAR1\x15\x04\x15\x10", "is a Parquet file"),
        (b'{"id": 1}\n[]\n', "2 of 2 rows cannot be read"),
    ],
    ids=["utf-16", "gzip", "parquet", "other rows"],
)
def test_a_file_of_another_kind_is_one_line_and_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, content: bytes, said: str
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(content)
    code, _, err = called(capsys, verb, str(file))
    assert code == 2 and said in err and err.count("\n") == 1


@pytest.mark.parametrize("verb", READERS)
def test_a_number_that_is_none_leaves_the_output_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(ROW | {"id": float("nan")}) + "\n" + json.dumps(ROW | {"id": float("-inf")}) + "\n")
    code, out, _ = called(capsys, verb, str(file))
    assert code == 0

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    assert [json.loads(line, parse_constant=refuse)["id"] for line in out.splitlines()] == ["nan", "-inf"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("verb", ["check", "grade"])
def test_no_locale_ends_a_verb(tmp_path: Path, verb: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe gets UTF-8 whatever the locale is; a terminal that has no tick gets something else for it."""
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(ROW | {"id": "naïve", "steps": ["2 + 3 = 6 ✓"]}, ensure_ascii=False) + "\n")
    done = process(verb, str(file))
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout.decode())["id"] == "naïve"
    assert on_a_terminal(verb, str(file))


# Damaged runs

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "half": lambda good: good[: len(good) // 2],
    "list": lambda good: b"[]",
    "null": lambda good: b"null\n",
    "number": lambda good: b"1\n",
    "text": lambda good: b'"x"\n',
    "other keys": lambda good: b'{"a": 1}\n',
    "deep": lambda good: b"[" * 100_000,
    "bytes": lambda good: bytes(range(256)),
    "NaN": lambda good: b"NaN\n",
    "utf-16": lambda good: good.decode().encode("utf-16"),
    "mark": lambda good: b"\xef\xbb\xbf" + good,
}


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with finished(tmp_path_factory.mktemp("runs") / "one", n=4, steps=1) as run:
        self_made(run, n=4)
        write_json(run.data / "gold.json", read_json(run.evaluation_summary("test", "sft")))
        write_json(run.data / "dropped.json", {"worked/train": [{"reason": "near", "count": 1, "examples": ["a"]}]})
        write_jsonl(run.data / "test.jsonl", [task_row(t) for t in tasks(4)])
        add_session(run, {"commit": None})
    return run.root


@pytest.mark.parametrize(
    "damage", [d if d == "other keys" else pytest.param(d, marks=pytest.mark.slow) for d in DAMAGE]
)
def test_a_damaged_run_is_read_or_named_in_one_line(
    whole_run: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every file of a run, damaged in every way, under the verbs that look at runs and the one that goes on."""
    root = whole_run
    files = [p for p in sorted(root.rglob("*")) if p.suffix in (".json", ".jsonl")]
    assert len(files) > 20
    for file in files:
        good = file.read_bytes()
        file.write_bytes(DAMAGE[damage](good))
        code, _, err = called(capsys, "show", str(root))
        assert code in (0, 2) and err.count("\n") == (1 if code else 0), (file, err)
        assert not code or str(file) in err, (file, err)
        try:
            open_run(root, FIXTURE).close()
            tasks_known = read_tasks(root / "data" / "test.jsonl")
            assert len(tasks_known) <= 4
        except ValueError as error:
            assert str(file) in str(error) and "\n" not in str(error)
        file.write_bytes(good)
    assert called(capsys, "show", str(root))[0] == 0


# The screen


def screen(quiet: bool = False, terminal: bool = False) -> tuple[Screen, StringIO, FakeClock]:
    out, clock = StringIO(), FakeClock()
    console = Console(file=out, force_terminal=terminal, width=100, color_system=None)
    return Screen(quiet, console, lambda: clock.seconds), out, clock


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end() -> None:
    shown, out, clock = screen()
    with shown.progress("grpo", 40) as advance:
        for step in range(40):
            clock.seconds += 1.0
            advance(1, f"loss {step}")
    assert out.getvalue().splitlines() == [
        "grpo: 10/40  10s  1.0/s  30s left  loss 9",
        "grpo: 20/40  20s  1.0/s  20s left  loss 19",
        "grpo: 30/40  30s  1.0/s  10s left  loss 29",
        "grpo: 40/40  40s  1.0/s  loss 39",
    ]


def test_progress_of_unknown_length_and_none_at_all() -> None:
    shown, out, clock = screen()
    with shown.progress("reading") as advance:
        clock.seconds += 20
        advance(3)
        clock.seconds += 4
        advance(1)
    with shown.progress("nothing", 5):
        pass
    assert out.getvalue().splitlines() == [
        "reading: 3  20s  6.7 s each",
        "reading: 4  24s  6.0 s each",
        "nothing: 0/5  0s",
    ]


def test_text_is_shown_as_it_is() -> None:
    shown, out, _ = screen()
    shown.stage("sft [bold]")
    shown.say("[red]not markup[/red] " + "x" * 200)
    table = Table("stage", "n")
    table.add_row("base", "5")
    shown.table(table)
    lines = out.getvalue().splitlines()
    assert lines[0] == "== sft [bold]" and lines[1] == "[red]not markup[/red] " + "x" * 200
    assert "base" in out.getvalue()


def test_a_terminal_gets_a_bar_with_count_rate_and_note() -> None:
    shown, out, _ = screen(terminal=True)
    with shown.progress("sft [x]", 4) as advance:
        for _ in range(4):
            advance(1, "loss [1.5]")
    assert "sft [x]" in out.getvalue() and "4/4" in out.getvalue() and "loss [1.5]" in out.getvalue()


def test_quiet_is_silent() -> None:
    shown, out, clock = screen(quiet=True)
    shown.stage("sft")
    shown.say("text")
    shown.table("table")
    with shown.progress("grpo", 2) as advance:
        clock.seconds += 60
        advance()
    assert out.getvalue() == ""


def test_an_error_goes_through_progress() -> None:
    for terminal in (False, True):
        shown, _, _ = screen(terminal=terminal)
        with pytest.raises(RunError), shown.progress("sft", 2):
            raise RunError("x")


DEAF = """
import signal, sys, threading
from everystep.cli.process import end_when_interrupted
end_when_interrupted(0.5)
signal.signal(signal.SIGINT, lambda *_: None)
print("ready", flush=True)
threading.Event().wait(60)
print("ended by itself")
"""


def test_an_interrupted_process_is_gone_even_where_nothing_hears_the_signal() -> None:
    child = subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout and child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    finally:
        child.kill()
    assert (child.returncode, out, err) == (130, "", f"{WAS_INTERRUPTED}\n")
