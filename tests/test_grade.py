"""From text to verdict: the gold law on public data and on worked tasks, totality, files, pages."""

import io
import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from everystep.core.trace import MAX_CHARS, gold, render
from everystep.core.types import Completion, Fault, Kind, Stop, Task, Truth, Verdict, task_id
from everystep.data import worked
from everystep.show.checked import page, screen
from everystep.verify.files import check_file, grade_file
from everystep.verify.grade import check, grade

TASK = Task("t", "math", "There are 3 boxes of 12 pens at 20% off.", "36", Kind.NUMBER, "test", "test")
NOTE = re.compile(r"<<[^<>]*>>")

# Solutions of GSM8K whose text has a claim that is false as it is written; docs/verification.md says what is
# wrong in each.
ERRATA = {
    "train": {
        167, 168, 198, 224, 502, 716, 1253, 1817, 3002, 3205, 3334, 3409, 3411, 3859, 4691, 4973,
        5195, 5350, 5457, 5781, 6001, 6157, 6256, 6700, 6713, 6760, 6812, 6842, 7178, 7444,
    },
    "test": {410, 501, 598, 1024},
}  # fmt: skip
# Solutions with a true claim that is called false: what is left of the verifier's own errors.
MISREAD: dict[str, set[int]] = {"train": {2222, 3605}, "test": set()}


def completion(text: str, stop: Stop = Stop.END) -> Completion:
    return Completion("t", 0, text, stop=stop)


def trace(work: str, answer: str = "36") -> str:
    return f"<reasoning>\n{work}\n</reasoning>\n<answer>{answer}</answer>"


def gsm8k(path: Path, split: str) -> list[Task]:
    tasks = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        body, _, answer = row["answer"].rpartition("####")
        lines = tuple(NOTE.sub("", x).strip() for x in body.strip().split("\n") if x.strip())
        name = task_id("gsm8k", row["question"], answer.strip())
        tasks.append(Task(name, "math", row["question"], answer.strip(), Kind.NUMBER, "gsm8k", split, lines))
    return tasks


@pytest.mark.parametrize("split", ["train", "test"])
def test_gold_law_gsm8k(shared_data: Path, split: str) -> None:
    """Every gold solution, rendered and graded, is RIGHT, without a fault, and has no false claim beyond the
    errata. (Spans are those of the rendered text.)"""
    false: set[int] = set()
    for index, task in enumerate(gsm8k(shared_data / "gsm8k" / f"{split}.jsonl", split)):
        text = render(gold(task))
        graded = grade(task, completion(text))
        assert graded.verdict.right and graded.lenient.right, (index, graded.reason)
        assert graded.trace.faults == (), index
        for claim in graded.checks:
            assert text[slice(*claim.span)] == claim.claim
            if claim.truth is Truth.FALSE:
                false.add(index)
    assert false == ERRATA[split] | MISREAD[split]


def test_gold_law_worked() -> None:
    """Worked tasks: RIGHT, without a fault, every claim true, and every one has work that can be checked."""
    for index in range(400):
        task = worked.task(11, index)
        graded = grade(task, completion(render(gold(task))))
        assert graded.sound, (task.source, task.question)
        assert graded.process.score is not None and graded.process.score >= 0.9, (task.source, graded.process)
        assert all(c.truth is Truth.TRUE for c in graded.checks)


def test_verdicts() -> None:
    right = grade(TASK, completion(trace("3 * 12 = 36")))
    assert right.sound and right.contract and right.capable
    assert grade(TASK, completion(trace("3 * 12 = 36", "37"))).verdict is Verdict.WRONG
    slip = grade(TASK, completion(trace("3 * 12 = 37")))
    assert slip.contract and not slip.sound
    bare = grade(TASK, completion("3 * 12 = 36, so the answer is 36"))
    assert bare.verdict is Verdict.MISSING and bare.capable and not bare.contract
    cut = grade(TASK, completion("<reasoning>\n3 * 12 = 36", Stop.LENGTH))
    assert cut.verdict is Verdict.MISSING and Fault.TRUNCATED in cut.trace.faults


def test_a_completion_beyond_the_bound_is_cut() -> None:
    graded = grade(TASK, completion(trace("so " * MAX_CHARS)))
    assert graded.verdict is Verdict.MISSING and Fault.TRUNCATED in graded.trace.faults


MEGABYTE = 10**6
HOSTILE = {
    "tower": trace("9**9**9**9 = 5"),
    "digits": trace("9" * MEGABYTE),
    "digits on both sides": trace("9" * MEGABYTE + " = " + "9" * MEGABYTE),
    "digits alone": "9" * MEGABYTE,
    "digits as answer": trace("1 + 1 = 2", "9" * MEGABYTE),
    "nested brackets": trace("(" * 3000 + "1" + ")" * 3000 + " = 1"),
    "open brackets": trace("(" * MEGABYTE),
    "chain": trace("1 = " * 250_000),
    "sum": trace("1+" * 500_000 + "1 = 5"),
    "bidi": trace("\u202e2 + 2 = 5\u202c \u200b3\u200b+\u200b3 = 6"),
    "nul": trace("2 +\x00 2 = 4\x00"),
    "surrogate": trace("\ud800 2+2=4"),
    "opening tags": "<reasoning>" * 30_000,
    "closing tags": "</answer><answer>" * 50_000,
    "blank": trace(" " * MEGABYTE),
    "line breaks": trace("\n" * MEGABYTE),
    "units": trace(" ".join(f"{i} u{i} v{i} w{i} = {i} q{i}x z{i}," for i in range(600))),
    "steps": trace("\n".join(f"Step {i}: {i} + 1 = {i + 1}" for i in range(30_000))),
    "names": trace("\n".join(f"a{i} = {i} + 1 = {i + 1}" for i in range(2000))),
    "algebra": trace("\n".join(f"{i}x + 3 = {i * 5 + 3}" for i in range(1500)) + "\nx = 5"),
    "fractions": trace((" + ".join(f"1/{i}" for i in range(1_000_003, 1_000_060)) + " = 5;") * 20),
    "powers": trace("2^64 ^ 2 = 5; 10^64*10^64 = 3;" * 300),
    "remarks": trace(("5 " + "(a " * 50 + ")" * 50) * 50 + "= 5"),
    "conclusions": trace("Therefore. " * 90_000),
    "statements": "the answer is " * 70_000,
    "fracs": trace("\\frac{" * 20_000),
    "hyphens": trace("a-" * MEGABYTE),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_total(name: str) -> None:
    """Hostile text is graded like any other, in bounded time (the figures are in docs/verification.md)."""
    begin = time.process_time()
    graded = grade(TASK, completion(HOSTILE[name]))
    assert time.process_time() - begin < 2.0
    assert all(0 <= c.span[0] <= c.span[1] <= len(HOSTILE[name]) for c in graded.checks)


TAGS = ["<reasoning>", "</reasoning>", "<answer>", "</answer>", "\n", "Step 1:", "Therefore, "]
WORK = [
    "3", "12", "=", "+", "-", "*", "/", "^", "(", ")", "x", "A", "20%", "$5", "half of", "hours", "is", "≈",
    "<", "and", "\\frac{", "}", "√", "²", "½", "7:30", "2nd", "1e9", "per box", ".", ",", "\u202e", "\x00",
    "🙂",
]  # fmt: skip


@given(st.lists(st.sampled_from(TAGS + WORK), max_size=60), st.sampled_from([" ", ""]))
def test_no_arrangement_raises(parts: list[str], between: str) -> None:
    text = between.join(parts)
    graded = grade(TASK, completion(text))
    assert all(text[slice(*c.span)] == c.claim for c in graded.checks)
    assert graded.process.score is None or 0 <= graded.process.score <= 1
    assert 0 <= graded.process.coverage <= 1


@given(st.text(max_size=400), st.text(max_size=100))
def test_no_text_raises(text: str, question: str) -> None:
    check(question, text)
    check(question, trace(text))


def test_grade_file() -> None:
    lines = [
        '{"id": 1, "prediction": "36", "gold": "36"}',
        '{"id": "b", "prediction": "35", "gold": "36", "kind": "number"}',
        '{"id": 3, "prediction": "5 km", "gold": "5000", "unit": "m"}',
        "",
        "{not json",
        '{"id": 5, "gold": "36"}',
        '{"id": 6, "prediction": 36, "gold": "36"}',
        '{"id": 7, "prediction": "36", "gold": "36", "kind": "nonsense"}',
        "[1]",
        '{"id": 9, "prediction": "C", "gold": "C", "kind": "choice"}',
    ]
    rows = list(grade_file(lines))
    assert [r.get("verdict") for r in rows] == [
        "right",
        "wrong",
        "right",
        None,
        None,
        None,
        None,
        None,
        "right",
    ]
    assert [r["line"] for r in rows if "error" in r] == [5, 6, 7, 8, 9]
    assert [r["id"] for r in rows] == [1, "b", 3, None, 5, 6, 7, None, 9]
    whole = list(grade_file([json.dumps({"id": 1, "prediction": trace("3 * 12 = 36"), "gold": "36"})], text="trace"))
    assert whole[0]["verdict"] == "right"
    with pytest.raises(ValueError, match="'answer', 'trace' or 'any'"):
        list(grade_file(lines, text="nonsense"))


def test_the_answer_of_a_long_text_of_any_form() -> None:
    """Boxes, "the answer is", answer blocks, a thinking part: the last answer that is given counts."""
    cases = (Path(__file__).parent / "cases" / "long_answers.jsonl").read_text(encoding="utf-8").splitlines()
    given_rows = [json.loads(line) for line in cases]
    lines = [json.dumps({"id": i, "prediction": r["pred"], "gold": r["gold"]}) for i, r in enumerate(given_rows)]
    got = [row["verdict"] for row in grade_file(lines, text="any")]
    wrong = [(r["pred"], r["gold"], r["verdict"], v) for r, v in zip(given_rows, got, strict=True)]
    assert [w for w in wrong if w[3] not in w[2].split(" or ")] == []


def test_check_file() -> None:
    lines = [
        json.dumps(
            {
                "id": 1,
                "question": "3 and 12",
                "trace": trace("Step 1: 3 * 12 = 36\nStep 2: 36 + 3 = 40", "40"),
            }
        ),
        json.dumps({"id": 2, "question": "3 and 12", "steps": ["3 * 12 = 36", "36 + 12 = 48"]}),
        '{"id": 3, "question": "?"}',
        '{"id": 4, "question": "?", "steps": "no list"}',
        '{"id": 5, "question": "?", "steps": []}',
        "nonsense",
    ]
    first, second, *bad = list(check_file(lines))
    assert first["first_false"] == 2 and first["score"] == 0.0
    assert second["first_false"] is None and second["score"] == pytest.approx(1.0)
    for row in (first, second):
        assert all(row["text"][slice(*c["span"])] == c["claim"] for c in row["checks"])
    assert [(r["id"], r["line"]) for r in bad] == [(3, 3), (4, 4), (5, 5), (None, 6)]
    json.dumps([first, second, *bad])


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('{"id": 1, "prediction": "5", "gold": "5"', "not JSON: Expecting ',' delimiter at character 41"),
        ("[1, 2]", "not an object but list"),
        ('{"id": 1, "prediction": 5, "gold": "5"}', "'prediction' must be text, not int"),
        ('{"id": 1, "prediction": "5"}', "'gold' is missing"),
        ('{"prediction": "5", "gold": "5", "kind": "numbr"}', "'kind' 'numbr' is none of number, quantity, "),
        ('{"prediction": "5", "gold": "B", "choices": "ab"}', "'choices' must be a list of texts"),
    ],
)
def test_a_row_that_cannot_be_read_says_why(line: str, error: str) -> None:
    good = '{"id": 2, "prediction": "5", "gold": "5"}'
    first, bad, last = grade_file([f"\ufeff{good}\r\n", line, good])  # with the byte order mark of a file
    assert first["verdict"] == last["verdict"] == "right"
    assert bad["line"] == 2 and bad["error"].startswith(error)


ROWS = [
    {"id": "<b>", "question": "<script>alert(1)</script> 3 & 12",
     "steps": ["3 * 12 = 37 <img src=x>", "\u202e3 + 12 = 15"]},
    {"id": 2, "question": "", "steps": ["A = (3 + 4) * 2 = 7 * 3 = 21"]},
    {"id": 3},
]  # fmt: skip


def test_page_is_safe_and_says_all() -> None:
    text = page(check_file(json.dumps(r) for r in ROWS))
    assert "<script" not in text and "<img" not in text and "\u202e" not in text
    assert "default-src 'none'" in text and "http:" not in text and "https:" not in text
    assert "✗ 36" in text and "✗ 14" in text and "it is 36, not 37" in text
    assert text.count('tabindex="0"') == text.count('role="tooltip"') > 0
    assert "line 3" in text and "prefers-color-scheme" in text


def test_screen_marks_without_colour() -> None:
    console = Console(record=True, width=100, color_system=None, file=io.StringIO())
    for row in check_file(json.dumps(r) for r in ROWS):
        console.print(screen(row))
    text = console.export_text()
    assert "3 * 12 = 37 [✗ 36]" in text
    assert "(3 + 4) * 2 = 7 * 3 [✗ 14] = 21 [✓]" in text
    assert "line 3: " in text and "\u202e" not in text
