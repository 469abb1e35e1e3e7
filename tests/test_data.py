"""Sources of tasks: a user's own files, hostile ones, the public data sets, and how rows become splits."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from everystep.core.recipe import FileSource, WorkedSource
from everystep.core.trace import gold, parse, render
from everystep.core.types import Completion, Kind, Task, Truth, task_id
from everystep.data import gsm8k, jsonl, svamp
from everystep.data.clean import Limits
from everystep.data.sources import SOURCES, share_out
from everystep.verify.grade import grade

DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
WIDE = Limits(10_000, 10_000, 1.0)


def _public(name: str) -> str:
    if not (DATA / name).is_dir():
        pytest.skip(f"the public data set {name} is not at {DATA}")
    return str(DATA / name)


def _task(i: int, question: str | None = None, source: str = "test", split: str = "train") -> Task:
    question = question or f"A box holds {i} pens. How many pens do 3 boxes hold?"
    answer = str(3 * i)
    solution = (f"3 * {i} = {answer} pens.", f"Therefore, {answer} pens.")
    return Task(task_id(source, question, answer), "math", question, answer, Kind.NUMBER, source, split, solution)


def _file(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


# --- files of the user's own ---------------------------------------------------------------------------

ROW = {"prompt": "What is 2 + 3?", "reasoning": "Step 1: 2 + 3 = 5.\nTherefore, 5.", "answer": "5"}


def test_a_row_with_everything(tmp_path: Path) -> None:
    row = {
        **ROW,
        "domain": "science",
        "level": 3,
        "kind": "quantity",
        "unit": "m",
        "aliases": ["five"],
        "choices": ["4", "5"],
        "split": "dev",
        "id": "a",
        "comment": "ignored",
    }
    task = jsonl.load(_file(tmp_path / "t.jsonl", row))[0]
    assert task == Task(
        task_id("jsonl", "What is 2 + 3?", "5"),
        "science",
        "What is 2 + 3?",
        "5",
        Kind.QUANTITY,
        "jsonl",
        "dev",
        ("2 + 3 = 5.", "Therefore, 5."),
        3,
        "m",
        ("4", "5"),
        ("five",),
    )
    assert parse(render(gold(task))) == gold(task)


@pytest.mark.parametrize(
    ("reasoning", "steps"),
    [
        ("Step 1: a\nStep 2: b", ("a", "b")),
        ("step 1. a\n\n  **Step 2:** b  \n", ("a", "b")),
        ("- Step 1: a\n- Step 2: b", ("a", "b")),
        ("a\r\nb\r\n", ("a", "b")),
        ("<reasoning>\nStep 1: a.\nTherefore, b.\n</reasoning>\n<answer>5</answer>", ("a.", "Therefore, b.")),
        ("<reasoning>Step 1: a. Step 2: b.</reasoning>", ("a.", "b.")),
        (None, None),
        ("Step 1:", None),
    ],
)
def test_reasoning_becomes_steps(tmp_path: Path, reasoning: str | None, steps: tuple[str, ...] | None) -> None:
    task = jsonl.load(_file(tmp_path / "t.jsonl", {**ROW, "reasoning": reasoning}))[0]
    assert task.solution == steps


@pytest.mark.parametrize(
    ("answer", "text", "kind"),
    [
        ("5", "5", Kind.NUMBER),
        (5, "5", Kind.NUMBER),
        (5.0, "5", Kind.NUMBER),
        (2.5, "2.5", Kind.NUMBER),
        ("-1,234.5", "-1,234.5", Kind.NUMBER),
        ("1/3", "1/3", Kind.FRACTION),
        ("12.5 %", "12.5 %", Kind.PERCENT),
        ("$4.20", "$4.20", Kind.MONEY),
        ("Yes", "Yes", Kind.BOOLEAN),
        ("the heart", "the heart", Kind.TEXT),
        ("5 apples", "5 apples", Kind.TEXT),
    ],
)
def test_kind_is_read_off_the_answer(tmp_path: Path, answer: object, text: str, kind: Kind) -> None:
    task = jsonl.load(_file(tmp_path / "t.jsonl", {"prompt": "q", "answer": answer}))[0]
    assert (task.answer, task.kind, task.solution, task.split) == (text, kind, None, "")


def test_marks_line_ends_and_blank_lines_of_other_systems_are_read(tmp_path: Path) -> None:
    line = json.dumps(ROW).encode()
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\r\n" + json.dumps({**ROW, "prompt": "é?"}).encode() + b"\r\n")
    tasks = jsonl.load(path)
    assert [t.question for t in tasks] == ["What is 2 + 3?", "é?"]


HOSTILE: list[tuple[bytes, str]] = [
    (b"", "holds no rows"),
    (b"\n\n", "holds no rows"),
    (b"not json", r":1: not valid JSON"),
    (b'{"prompt": "q", "answer": NaN}', r":1: not valid JSON \(NaN"),
    (b"[" * 100_000, r":1: not valid JSON"),
    (b'{"prompt": "q", "answer": ' + b"9" * 5000 + b"}", r":1: "),
    (b'["q", "5"]', r":1: must be one JSON object, is list"),
    (b"5", r":1: must be one JSON object, is int"),
    (b'{"prompt": "\xff\xfe", "answer": "5"}', r":1: not UTF-8 at byte 12"),
    (json.dumps(ROW).encode("utf-16"), r":1: not UTF-8|:1: not valid JSON"),
    (b'{"answer": "5"}', r':1: has no "prompt"'),
    (b'{"prompt": "q"}', r':1: has no "answer"'),
    (b'{"prompt": "q", "anwser": "5"}', r':1: unknown key "anwser"; did you mean "answer"'),
    (b'{"prompt": "q", "answer": "5", "aliasses": []}', r'did you mean "aliases"'),
    (b'{"prompt": 7, "answer": "5"}', r':1: "prompt" must be text, is int'),
    (b'{"prompt": null, "answer": "5"}', r':1: "prompt" must be text, is NoneType'),
    (b'{"prompt": ["q"], "answer": "5"}', r':1: "prompt" must be text, is list'),
    (b'{"prompt": " \\n ", "answer": "5"}', r':1: "prompt" is empty'),
    (b'{"prompt": "q", "answer": ""}', r':1: "answer" is empty'),
    (b'{"prompt": "q", "answer": true}', r':1: "answer" must be text, is bool'),
    (b'{"prompt": "q\\u0000", "answer": "5"}', r':1: "prompt" holds the control character U\+0000'),
    (b'{"prompt": "q", "answer": "5\\u001b"}', r':1: "answer" holds the control character U\+001B'),
    (b'{"prompt": "q\\ud800", "answer": "5"}', r':1: "prompt" holds half a surrogate pair'),
    (b'{"prompt": "a<end_of_turn>b", "answer": "5"}', r':1: "prompt" holds the control token <end_of_turn>'),
    (b'{"prompt": "q", "answer": "</answer>"}', r':1: "answer" holds the control token </answer>'),
    (
        b'{"prompt": "q", "answer": "5", "reasoning": "<eos>"}',
        r':1: "reasoning" holds the control token <eos>',
    ),
    (b'{"prompt": "' + b"q" * 1_000_000 + b'", "answer": "5"}', r':1: "prompt" has 1,000,000 characters'),
    (b'{"prompt": "q", "answer": "5", "level": "3"}', r':1: "level" must be a whole number'),
    (b'{"prompt": "q", "answer": "5", "level": -1}', r':1: "level" must be a whole number'),
    (b'{"prompt": "q", "answer": "5", "level": true}', r':1: "level" must be a whole number'),
    (b'{"prompt": "q", "answer": "5", "kind": "numbr"}', r":1: .*did you mean 'number'"),
    (b'{"prompt": "q", "answer": "5", "kind": 1}', r':1: "kind" 1 is not known'),
    (b'{"prompt": "q", "answer": "5", "kind": ["number"]}', r':1: "kind" .* is not known'),
    (b'{"prompt": "q", "answer": "5", "aliases": "five"}', r':1: "aliases" must be a list of texts, is str'),
    (b'{"prompt": "q", "answer": "5", "aliases": [5]}', r':1: "aliases" must be text, is int'),
    (b'{"prompt": "q", "answer": "5", "split": "valid"}', r':1: "split" must be one of train, dev, test'),
    (b'{"prompt": "q", "answer": "5", "split": ["test"]}', r':1: "split" must be one of'),
    (b'{"prompt": "q", "answer": "5", "domain": 5}', r':1: "domain" must be text'),
    (b'{"prompt": "q", "answer": "5", "reasoning": 5}', r':1: "reasoning" must be text'),
    (
        b'{"prompt": "q", "answer": "5", "id": 1}\n\n{"prompt": "r", "answer": "5", "id": 1}',
        r':3: "id" \'1\' is used already at .*:1',
    ),
]


@pytest.mark.parametrize(("content", "message"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_files_give_one_clear_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        jsonl.load(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert len(text) < len(str(path)) * 2 + 300


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        jsonl.load(tmp_path / "nothing.jsonl")
    with pytest.raises(ValueError, match="cannot be read"):
        jsonl.load(tmp_path)


# --- public sources ------------------------------------------------------------------------------------


def test_gsm8k_rows_become_steps() -> None:
    row = {
        "question": "How many?",
        "answer": "Sold 48/2 = <<48/2=24>>24 clips.\n\nAll: 48+24 = <<48+24=72>>72.\n#### 1,072",
    }
    task = gsm8k.task_of(row, "f:1", "train")
    assert task.solution == ("Sold 48/2 = 24 clips.", "All: 48+24 = 72.")
    assert (task.answer, task.kind, task.split) == ("1072", Kind.NUMBER, "train")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "q", "answer": "5"}, 'f:1: "answer" must end in a line "#### <number>"'),
        ({"question": "q", "answer": "work\n####  "}, 'f:1: "answer" must end'),
        ({"question": "q"}, 'f:1: "answer" must be text, is NoneType'),
        ({"question": 5, "answer": "#### 5"}, 'f:1: "question" must be text, is int'),
        ({"question": "q\0", "answer": "#### 5"}, "f:1: .*U.0000"),
        ({"question": "q" * 1_000_000, "answer": "#### 5"}, "f:1: .*1,000,000 characters"),
    ],
)
def test_gsm8k_refuses_foreign_rows(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gsm8k.task_of(row, "f:1", "train")


def test_gsm8k_files_and_their_splits(tmp_path: Path) -> None:
    row = {"question": "How many?", "answer": "1+1=2\n#### 2"}
    _file(tmp_path / "train.jsonl", row, {**row, "question": "Which?"})
    _file(tmp_path / "test.jsonl", row)
    assert Counter(t.split for t in gsm8k.load(str(tmp_path))) == {"train": 2, "test": 1}
    assert {t.split for t in gsm8k.load(str(tmp_path / "test.jsonl"))} == {"test"}
    assert {t.split for t in gsm8k.load(_file(tmp_path / "mine.jsonl", row))} == {""}
    with pytest.raises(ValueError, match="holds neither train"):
        gsm8k.load(str(_empty(tmp_path)))
    with pytest.raises(ValueError, match="cannot be read"):
        gsm8k.load(str(tmp_path / "gone.jsonl"))


def _empty(path: Path) -> Path:
    folder = path / "empty"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("load", [gsm8k.load, svamp.load])
def test_a_hub_that_cannot_be_reached_gives_one_line(
    load: Callable[[str | None], list[Task]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(ValueError, match=r"cannot be had from the hub \(\w+\); set data\.") as caught:
        load(None)
    assert "\n" not in str(caught.value)


def test_gsm8k_whole() -> None:
    tasks = gsm8k.load(_public("gsm8k"))
    assert Counter(t.split for t in tasks) == {"train": 7473, "test": 1319}
    assert len({t.id for t in tasks}) == 8792
    assert all(t.solution and t.answer.lstrip("-").isdigit() for t in tasks)
    assert not any("<<" in line or ">>" in line for t in tasks for line in t.solution or ())
    settings = FileSource(path=_public("gsm8k"), dev=200, test=300)
    splits = {s: SOURCES["gsm8k"](settings, s, 0) for s in ("train", "dev", "test")}
    assert {s: len(own) for s, own in splits.items()} == {"train": 7273, "dev": 200, "test": 300}
    ids = [t.id for own in splits.values() for t in own]
    assert len(ids) == len(set(ids))
    assert splits["dev"] == SOURCES["gsm8k"](settings, "dev", 99)


@pytest.mark.parametrize(
    ("equation", "steps", "value"),
    [
        ("( 76.0 - 25.0 )", ["76 - 25 = 51"], 51),
        ("( ( 12.0 - 15.0 ) + 14.0 )", ["12 - 15 = -3", "-3 + 14 = 11"], 11),
        ("8.0", ["The number asked for is 8."], 8),
        ("2 + 3 * 4", ["3 * 4 = 12", "2 + 12 = 14"], 14),
        ("10 - 2 - 3", ["10 - 2 = 8", "8 - 3 = 5"], 5),
        ("( 1.0 / 8.0 )", ["1 / 8 = 0.125"], Fraction(1, 8)),
        ("( 1.0 / 3.0 )", ["1 / 3 = 1/3"], Fraction(1, 3)),
        ("0.1 + 0.2", ["0.1 + 0.2 = 0.3"], Fraction(3, 10)),
    ],
)
def test_equations_become_steps(equation: str, steps: list[str], value: Fraction) -> None:
    assert svamp.solve(equation) == (steps, value)


@pytest.mark.parametrize(
    "equation",
    [
        "",
        "( 1",
        "1 )",
        "1 +",
        "* 2",
        "1 2",
        "x + 1",
        "1 ** 2",
        "2 ^ 9",
        "__import__('os')",
        "1 + " * 500 + "1",
        "1e9",
    ],
)
def test_equations_that_are_none_are_refused(equation: str) -> None:
    with pytest.raises(ValueError, match=r"equation"):
        svamp.solve(equation)


SVAMP_ROW = {
    "ID": "x",
    "Body": "Tom had 5 pens.",
    "Question": "How many?",
    "Equation": "( 5.0 - 2.0 )",
    "Answer": 3.0,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Answer": 4.0}, r"row 1: the equation '\( 5.0 - 2.0 \)' gives 3, \"Answer\" is 4.0"),
        ({"Answer": None}, "row 1: "),
        ({"Answer": "nan"}, "row 1: "),
        ({"Answer": [3]}, "row 1: "),
        ({"Equation": "( 5.0 / 0.0 )"}, "row 1: "),
        ({"Equation": None}, 'row 1: .*"Equation" must be text'),
        ({"Body": ""}, 'row 1: "Body" is empty'),
        ({"Question": "\0"}, "row 1: .*control character"),
        ({"Body": "b" * 1_000_000}, "row 1: .*1,000,000 characters"),
    ],
)
def test_svamp_refuses_foreign_rows(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "SVAMP.json"
    path.write_text(json.dumps([{**SVAMP_ROW, **change}]), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        svamp.load(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("{}", "must be a JSON list"),
        ("[]", "must be a JSON list"),
        ("[1]", "row 1: must be"),
    ],
)
def test_svamp_refuses_foreign_files(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "SVAMP.json").write_text(content, encoding="utf-8-sig")
    with pytest.raises(ValueError, match=message):
        svamp.load(str(tmp_path))
    with pytest.raises(ValueError, match="cannot be read"):
        svamp.load(str(tmp_path / "gone.json"))


def test_bodies_and_questions_are_joined() -> None:
    def joined(body: str, question: str) -> str:
        return svamp.task_of({**SVAMP_ROW, "Body": body, "Question": question}, "f:1").question

    assert joined("Tom had 5.", "How many?") == "Tom had 5. How many?"
    assert joined("Tom had 5", "How many?") == "Tom had 5. How many?"
    assert joined("Tom had 5. If he lost 2", "How many?") == "Tom had 5. If he lost 2, how many?"
    assert joined("Tom had 5. If he lost 2", "Tom has what?") == "Tom had 5. If he lost 2, Tom has what?"


def test_gold_law_over_svamp() -> None:
    tasks = svamp.load(_public("svamp"))
    assert len({t.id for t in tasks}) == len(tasks) == 1000
    assert not any(line.endswith(".0") or ".0 " in line for t in tasks for line in (t.answer, *(t.solution or ())))
    for task in tasks:
        graded = grade(task, Completion(task.id, 0, render(gold(task))))
        assert graded.contract, (task, graded.reason)
        assert not [c for c in graded.checks if c.truth is Truth.FALSE], task


def test_svamp_splits_and_its_one_erratum() -> None:
    settings = FileSource(path=_public("svamp"))
    splits = {s: SOURCES["svamp"](settings, s, 0) for s in ("train", "dev", "test")}
    sizes = {s: len(own) for s, own in splits.items()}
    assert sum(sizes.values()) == 1000
    assert abs(sizes["train"] - 800) < 40 and abs(sizes["dev"] - 100) < 30 and abs(sizes["test"] - 100) < 30
    assert all(t.split == s for s, own in splits.items() for t in own)
    rachel = [t for t in svamp.load(_public("svamp")) if "Thereafter 3 new apples" in t.question]
    assert [t.answer for t in rachel if "on the tree now" in t.question] == ["5"]


# --- splits ----------------------------------------------------------------------------------------------


def test_rows_keep_their_split_whatever_else_the_file_holds() -> None:
    tasks = [replace(_task(i), split="") for i in range(1, 401)]
    settings = FileSource(path="f")
    whole = {t.id: s for s in ("train", "dev", "test") for t in share_out(tasks, settings, s)}
    assert len(whole) == 400
    half = {t.id: s for s in ("train", "dev", "test") for t in share_out(tasks[::-2], settings, s)}
    assert all(whole[i] == s for i, s in half.items())


def test_dev_is_taken_out_of_train_and_never_out_of_test() -> None:
    tasks = [_task(i) for i in range(1, 301)] + [_task(i, split="test") for i in range(301, 351)]
    splits = {s: share_out(tasks, FileSource(path="f", dev=20), s) for s in ("train", "dev", "test")}
    assert {s: len(own) for s, own in splits.items()} == {"train": 280, "dev": 20, "test": 50}
    assert len(share_out(tasks, FileSource(path="f", dev=200), "dev")) == 30
    own = [*tasks, *(_task(i, split="dev") for i in range(401, 406))]
    assert len(share_out(own, FileSource(path="f", dev=20), "dev")) == 5
    assert len(share_out(own, FileSource(path="f", train=10), "train")) == 10


def test_a_split_that_is_empty_or_unknown_says_so() -> None:
    with pytest.raises(ValueError, match=r"test \(f\) has no tasks for the split 'test', only for dev, train"):
        share_out([_task(i) for i in range(1, 20)], FileSource(path="f"), "test")
    with pytest.raises(ValueError, match="split 'valid' does not exist; there are train, dev, test"):
        share_out([], FileSource(path="f"), "valid")
    with pytest.raises(ValueError, match=r"data\.jsonl\.path is not set"):
        SOURCES["jsonl"](FileSource(), "train", 0)


def test_our_own_generators_are_a_source_like_any_other() -> None:
    settings = WorkedSource(train=60, dev=20, test=20, levels=(1, 2))
    splits = {s: SOURCES["worked"](settings, s, 3) for s in ("train", "dev", "test")}
    assert {s: len(own) for s, own in splits.items()} == {"train": 60, "dev": 20, "test": 20}
    questions = [t.question for own in splits.values() for t in own]
    assert len(questions) == len(set(questions))
    assert {t.level for own in splits.values() for t in own} <= {1, 2}
    assert splits["train"] == SOURCES["worked"](settings, "train", 3)
