"""Reward parts and group scores: the case file, and the laws of order, refusal and padding."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from everystep.core.trace import parse
from everystep.core.types import (
    Check,
    Completion,
    Fault,
    Graded,
    Kind,
    Process,
    Score,
    Stop,
    Task,
    Trace,
    Truth,
    Verdict,
    task_id,
)
from everystep.score.groups import score_groups, spread
from everystep.score.mix import Mix
from everystep.score.rewards import PARTS, expects_claims, total
from everystep.verify.grade import grade

WEIGHTS = {"correctness": 1.0, "process": 0.2, "format": 0.2}
MIX = Mix(WEIGHTS)
CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "cases" / "rewards.jsonl").read_text(encoding="utf-8").splitlines()
]


def _make(question: str, answer: str, kind: Kind, solution: tuple[str, ...] | None, domain: str = "math") -> Task:
    return Task(task_id("test", question, answer), domain, question, answer, kind, "test", "test", solution)


TASKS = {
    "rolls": _make(
        "A baker has 12 trays with 3 rolls each and sells 10 rolls. How many rolls are left?",
        "26",
        Kind.NUMBER,
        ("12 * 3 = 36 rolls.", "36 - 10 = 26 rolls.", "Therefore, 26 rolls are left."),
    ),
    "pens": _make("A box holds 6 pens. How many pens do 4 boxes hold?", "24", Kind.NUMBER, None),
    "cats": _make(
        "All cats are animals. Tom is a cat. Is Tom an animal?",
        "yes",
        Kind.BOOLEAN,
        ("All cats are animals.", "Tom is a cat.", "Therefore, yes."),
        "logic",
    ),
}


def _graded(case: dict[str, Any], sample: int = 0) -> Graded:
    task = TASKS[case["task"]]
    return grade(task, Completion(task.id, sample, case["text"], stop=Stop(case.get("stop", "end"))))


def _scores(graded: list[Graded]) -> list[Score]:
    return score_groups([graded], MIX)[0]


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_every_case_earns_what_it_should(case: dict[str, Any]) -> None:
    graded = _graded(case)
    assert {name: PARTS[name](graded) for name in case["parts"]} == case["parts"]


def test_the_case_file_is_wide_enough() -> None:
    assert len(CASES) >= 60
    assert len({c["name"] for c in CASES}) == len(CASES)


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_refusal_each_part_accepts_and_refuses(name: str) -> None:
    values = [c["parts"][name] for c in CASES if c["parts"][name] is not None]
    low, high = min(values), max(values)
    assert low < high
    assert values.count(low) >= 5
    assert values.count(high) >= 5


def test_order_right_over_wrong_over_malformed_in_the_case_file() -> None:
    for key in TASKS:
        graded = [_graded(c, i) for i, c in enumerate(CASES) if c["task"] == key]
        totals: dict[str, list[float]] = {"right": [], "wrong": [], "malformed": []}
        for g, score in zip(graded, _scores(graded), strict=True):
            assert score.total is not None
            rank = "malformed" if g.trace.faults else "right" if g.verdict.right else "wrong"
            totals[rank].append(score.total)
        if key == "pens":
            assert min(totals["right"]) > max(totals["wrong"])
        else:
            assert min(totals["right"]) > max(totals["wrong"]) >= min(totals["wrong"]) > max(totals["malformed"])


def _shape(verdict: Verdict, faults: tuple[Fault, ...], truths: tuple[Truth, ...], counted: bool) -> Graded:
    """A Graded by hand: whatever verification could give, whether or not a text is known for it."""
    task = TASKS["rolls"]
    checks = tuple(Check(1, "6 * 2 = 12", t, "12", (0, 9), "") for t in truths)
    process = Process((), 0.5 if counted else None, 0.0)
    trace = Trace((), "26", faults)
    return Graded(task, Completion(task.id, 0, ""), trace, verdict, verdict, "", checks, process)


def test_order_by_enumeration() -> None:
    """Every verdict, every fault (and some pairs), every make-up of claims, under weights in which
    correctness outweighs arithmetic."""
    truths = [t for n in range(4) for t in itertools.product(Truth, repeat=n)]
    faults = [(), *((f,) for f in Fault), *itertools.combinations(Fault, 2), tuple(Fault)]
    for weights in (
        WEIGHTS,
        {"correctness": 1.0, "process": 0.5, "format": 0.01},
        {"correctness": 2.0, "format": 1.0},
    ):
        totals: dict[int, list[float]] = {0: [], 1: [], 2: []}
        for verdict in (Verdict.RIGHT, Verdict.WRONG, Verdict.MISSING):
            for fault, truth, counted in itertools.product(faults, truths, (True, False)):
                rank = 0 if fault else 2 if verdict.right else 1
                score = score_groups([[_shape(verdict, fault, truth, counted)]], Mix(weights))[0][0]
                assert score.total is not None
                totals[rank].append(score.total)
        assert min(totals[2]) > max(totals[1]) > max(totals[0])
        assert min(totals[1]) > max(totals[0])


def test_order_same_shape_differs_by_the_answer_alone() -> None:
    texts = [c["text"] for c in CASES if c["task"] == "rolls" and c["parts"]["correctness"] == 1.0]
    assert len(texts) >= 10
    for text in texts:
        answer = parse(text).answer
        assert answer is not None
        wrong = text.replace(f"<answer>{answer}</answer>", "<answer>27</answer>")
        right, other = _scores([_graded({"task": "rolls", "text": t}) for t in (text, wrong)])
        assert right.total is not None and other.total is not None
        assert right.total > other.total


def test_empty_text_is_among_the_lowest() -> None:
    for key in TASKS:
        scores = _scores([_graded({"task": key, "text": ""}), *(_graded(c) for c in CASES if c["task"] == key)])
        assert scores[0].total == min(s.total for s in scores if s.total is not None)


PADDING = ("1 = 1.", "0 = 0.", "26 = 26.", "5 + 0 = 5.", "7 * 1 = 7.", "1 = 1, 2 = 2, 3 = 3.")


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_padding_and_repetition_never_raise_a_score(case: dict[str, Any]) -> None:
    before = _scores([_graded(case)])[0]
    graded = _graded(case)
    repeats = [c.claim for c in graded.checks][:3]
    for extra in (*PADDING, *repeats):
        for text in _inserted(case["text"], extra):
            after = _scores([_graded({**case, "text": text})])[0]
            assert before.total is not None and after.total is not None
            assert after.total <= before.total + 1e-9, (extra, text)
            for name, value in after.parts.items():
                old = before.parts[name]
                assert (value is None) == (old is None)
                assert value is None or old is None or value <= old, (name, extra, text)


def _inserted(text: str, extra: str) -> list[str]:
    """The text with a further step at the start and at the end of its reasoning; nothing without one."""
    out = []
    if "<reasoning>\n" in text:
        out.append(text.replace("<reasoning>\n", f"<reasoning>\n{extra}\n", 1))
        out.append(text.replace("<reasoning>\n", f"<reasoning>\nStep 1: {extra}\n", 1))
    if "\n</reasoning>" in text:
        out.append(text.replace("\n</reasoning>", f"\nStep 9: {extra}\n</reasoning>", 1))
    return out


def test_expectation_of_claims_comes_from_the_task() -> None:
    assert [expects_claims(TASKS[key]) for key in ("rolls", "pens", "cats")] == [True, True, False]


def test_a_part_that_is_none_is_left_out_for_the_whole_group() -> None:
    right = _shape(Verdict.RIGHT, (), (Truth.TRUE,), True)
    unknown = _shape(Verdict.UNGRADABLE, (), (), False)
    scores = score_groups([[right, unknown], [right]], MIX)
    assert [s.parts["correctness"] for s in scores[0]] == [None, None]
    assert [s.total for s in scores[0]] == [0.2, 0.0]
    assert [s.total for s in scores[1]] == [1.2]
    for score in itertools.chain(*scores):
        assert score.total == total(score.parts, WEIGHTS)
    stats = spread(scores[0])
    assert stats.coverage == {"correctness": 0.0, "process": 1.0, "format": 1.0}
    assert spread(scores[1]).coverage["correctness"] == 1.0


def test_a_malformed_completion_is_0_even_where_its_answer_cannot_be_graded() -> None:
    assert PARTS["correctness"](_shape(Verdict.UNGRADABLE, (Fault.OUTSIDE,), (), False)) == 0.0


def test_totals_unknown_where_nothing_is_known() -> None:
    scores = score_groups([[_shape(Verdict.UNGRADABLE, (), (), False)]], Mix({"correctness": 1.0}))[0]
    assert scores[0].total is None
    stats = spread(scores)
    assert (stats.mean, stats.std, stats.dead) == (None, None, True)


def test_a_reward_that_raises_stops_and_names_itself() -> None:
    def broken(graded: Graded) -> float | None:
        return 1.0 / len(graded.completion.text)

    task = TASKS["rolls"]
    group = [grade(task, Completion(task.id, i, text)) for i, text in enumerate(("a", ""))]
    with pytest.raises(ValueError, match=rf"'broken', task {task.id}, sample 1: raised ZeroDivisionError"):
        score_groups([group], Mix({"broken": 1.0}, parts={"broken": broken}))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_stops(value: float) -> None:
    with pytest.raises(ValueError, match=r"'odd'.*finite"):
        mix = Mix({"odd": 1.0}, parts={"odd": lambda graded: value})
        score_groups([[_shape(Verdict.RIGHT, (), (), False)]], mix)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"corectness": 1.0}, "did you mean 'correctness'"),
        ({"zzz": 1.0}, "there are confidence, correctness, format, length, process, repetition, structure"),
        ({"correctness": math.nan}, "finite"),
        ({"correctness": 0.0}, "no reward part has a weight"),
        ({}, "no reward part has a weight"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mix(weights)


def test_a_group_is_of_one_task() -> None:
    mixed = [_shape(Verdict.RIGHT, (), (), False)]
    mixed.append(replace(mixed[0], task=TASKS["pens"]))
    with pytest.raises(ValueError, match="one task"):
        score_groups([mixed], MIX)


def test_spread_by_hand() -> None:
    scores = [Score("t", i, {"correctness": t}, t) for i, t in enumerate((1.0, 0.0, 0.0, 1.0))]
    stats = spread(scores)
    assert (stats.mean, stats.std, stats.dead) == (0.5, 0.5, False)
    assert spread(scores[:1]).dead
    assert spread([scores[0], scores[3]]).dead
    with pytest.raises(ValueError, match="without completions"):
        spread([])


def test_total_is_a_weighted_sum_of_what_is_known() -> None:
    assert total({"a": 1.0, "b": -1.0}, {"a": 1.0, "b": 0.2}) == 0.8
    assert total({"a": None, "b": -1.0}, {"a": 1.0, "b": 0.2}) == -0.2
    assert total({"a": None}, {"a": 1.0}) is None
    assert total({}, {"a": 1.0}) is None
