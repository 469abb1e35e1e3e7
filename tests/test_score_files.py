"""Whole files of completions: rows as groups, bad rows by line, and memory that does not grow with them."""

import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from everystep.core.record import record
from everystep.core.types import Completion, Fault, Kind, Task
from everystep.score import files
from everystep.score.files import read_groups, score_file
from everystep.score.groups import score_groups
from everystep.score.mix import Mix, read_mix
from everystep.verify.grade import grade

TEXT = "<reasoning>\nStep 1: 6 * 4 = 24 pens.\n</reasoning>\n<answer>{}</answer>"
MIX = Mix({"correctness": 1.0, "process": 0.2, "format": 0.2})


def row(answer: str = "24", **more: Any) -> dict[str, Any]:
    given = {"id": 1, "question": "6 pens a box, 4 boxes?", "gold": "24", "completion": TEXT.format(answer)}
    return given | more


def lines(*rows: Any) -> list[str]:
    return [r if isinstance(r, str) else json.dumps(r) for r in rows]


def scored(*rows: Any, mix: Mix = MIX) -> list[dict[str, Any]]:
    return list(score_file(lines(*rows), mix))


def test_rows_come_back_in_order_with_their_parts() -> None:
    out = scored(row(id="a", group="g"), row("25", id="b", group="g"), "", row("24", id="c"))
    assert [r["id"] for r in out] == ["a", "b", "c"]
    assert [r["total"] for r in out] == [1.2, 0.2, 1.2]
    assert out[1]["parts"] == {"correctness": 0.0, "process": 1.0, "format": 0.0}


def test_groups_are_scored_as_groups() -> None:
    mix = Mix({"confidence": 1.0})
    together = scored(*(row(a, group=1) for a in ("24", "25", "25", "25", "25")), mix=mix)
    assert [r["total"] for r in together] == pytest.approx([0, *[-(((4 / 6 - 0.5) / 0.5) ** 2)] * 4])
    alone = scored(*(row(a) for a in ("24", "25", "25")), mix=mix)
    assert [r["total"] for r in alone] == [None] * 3
    judged = [row(judged={"coherence": 0.5}, group=1), row("25", group=1, judged={"coherence": None})]
    assert [r["total"] for r in scored(*judged, mix=Mix({"judge/coherence": 1.0}))] == [None, None]


BAD = [
    ("{", "not JSON"),
    ("[1]", "not an object but list"),
    ("[" * 100_000, "not JSON"),
    ({}, "'question' is missing"),
    (row(completion=None), "'completion' must be text, not NoneType"),
    (row(gold=24), "'gold' must be text, not int"),
    (row(kind="frob"), "'frob' is not a valid Kind"),
    (row(choices="AB"), "'choices' must be a list of texts"),
    (row(group=1.5), "'group' must be text or a whole number, not float"),
    (row(group=True), "'group' must be text or a whole number, not bool"),
    (row(truncated=1), "'truncated' is true or false, not 1"),
    (row(tokens=-1), "'tokens' must be their number, not -1"),
    (row(logprobs=5), "'logprobs' must be a list"),
    (row(logprobs=["a"]), "'logprobs' must hold numbers"),
    (row(logprobs=[0.5]), "'logprobs' must hold numbers"),
    (row(logprobs=[float("nan")]), "'logprobs' must hold numbers"),
    (row(logprobs=[["x", -1.0]]), "do not make up the completion"),
    (row(judged=[1]), "'judged' must be an object"),
    (row(judged={"coherence": 2}), "a value is in [0, 1]"),
    (row(judged={"coherence": "5"}), "a value is a number in [0, 1] or null"),
    ({"task": {}, "id": 7}, "this row is no record"),
    ({"task": 5}, "this row is no record"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD, ids=range(len(BAD)))
def test_a_bad_row_is_named_by_its_line_and_the_rest_goes_on(bad: Any, reason: str) -> None:
    out = scored(row(), bad, row(id=3))
    assert [r.get("total") for r in out] == [1.2, None, 1.2]
    assert out[1]["line"] == 2 and reason in out[1]["error"] and "parts" not in out[1]


def test_a_bad_row_does_not_part_its_group() -> None:
    out = scored(row(group=1), row(group=1, gold=5), "{", row("25", group=1), mix=Mix({"confidence": 1.0}))
    assert ["error" in r for r in out] == [False, True, True, False]
    assert out[3]["total"] == 0.0  # known, so the two good ones were one group


def test_a_group_is_of_one_question_and_in_one_place() -> None:
    out = scored(row(group=1), row(group=1, question="And 5 boxes?"), row(group=2), row(group=1))
    assert "another question" in out[1]["error"] and "goes on after others" in out[3]["error"]


def test_a_group_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST", 4)
    sizes = [len(g.entries) for g in read_groups(lines(*[row(group=1)] * 6, *["{"] * 6, row()))]
    assert sizes == [4, 4, 4, 1]


def test_log_probabilities_in_three_forms() -> None:
    text = TEXT.format("25")
    low = text.index("25")
    pieces = [text[:low], "25", text[low + 2 :]]
    for given in (
        [[p, v] for p, v in zip([*pieces, "<end>"], (-0.1, -0.2, -0.1, -0.3), strict=True)],
        [{"token": p, "logprob": v} for p, v in zip(pieces, (-0.1, -0.2, -0.1), strict=True)],
    ):
        (group,) = read_groups(lines(row("25", logprobs=given)))
        made = group.graded[0].completion
        assert made.ends is not None and made.ends[:3] == (low, low + 2, len(text))
        assert len(made.tokens) == len(given)
    (group,) = read_groups(lines(row(logprobs=[-0.1] * 30)))
    assert group.graded[0].completion.ends is None and len(group.graded[0].completion.tokens) == 30


def test_truncated_rows_and_numbers_of_tokens() -> None:
    (group,) = read_groups(lines(row(truncated=True, tokens=12)))
    assert group.graded[0].trace.faults == (Fault.TRUNCATED,) and len(group.graded[0].completion.tokens) == 12


def test_records_are_read_as_they_were_scored() -> None:
    task = Task("t", "math", "6 pens a box, 4 boxes?", "24", Kind.NUMBER, "test", "test")
    made = [grade(task, Completion("t", i, TEXT.format(a), (1,) * 30)) for i, a in enumerate(("24", "25", "26"))]
    mix = read_mix("composite")
    expected = score_groups([made], mix)[0]
    out = scored(*(record(g, None, 4) for g in made), *(record(g, None, 5) for g in made), mix=mix)
    assert [r["total"] for r in out] == [s.total for s in expected] * 2
    assert len(list(read_groups(lines(*(record(g, None, i) for i in (1, 2) for g in made))))) == 2


def test_a_part_that_raises_names_the_line() -> None:
    def broken(graded: object) -> float:
        raise RuntimeError("no")

    mix = replace(Mix({"odd": 1.0}, parts={"odd": broken}))
    with pytest.raises(ValueError, match=r"line 3: reward part 'odd', task \w+, sample 0: raised RuntimeError: no"):
        scored("{", "", row(), mix=mix)


def test_memory_does_not_grow_with_the_file() -> None:
    mix = read_mix("composite")

    def many(n: int) -> Iterator[str]:
        for i in range(n):
            yield json.dumps(row(str(24 + i % 3), group=i // 4))

    def peak(n: int) -> int:
        tracemalloc.start()
        for _ in score_file(many(n), mix):
            pass
        _, high = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return high

    peak(100)
    assert peak(1000) < peak(200) + 300_000


def test_a_task_that_was_drawn_twice_in_a_step_is_two_groups() -> None:
    """As refills do it: the same task, its samples numbered from 0 again, next to each other or not."""

    def made(name: str, sample: int) -> dict[str, Any]:
        task = Task(name, "math", "6 pens a box, 4 boxes?", "24", Kind.NUMBER, "hand", "train")
        return record(grade(task, Completion(name, sample, TEXT.format(24))), None, 3)

    pair = [made("one", 0), made("one", 1)]
    groups = list(read_groups(lines(*pair, *pair, made("other", 0), *pair)))
    assert [len(g.entries) for g in groups] == [2, 2, 1, 2]
    assert all(entry.error is None for g in groups for entry in g.entries)
