"""One class for every completion, with its evidence; what changed; how sure, and what k samples are worth."""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.recipe import FileSource, WorkedSource
from everystep.core.record import read_record, record
from everystep.core.types import Completion, Graded, Kind, Stop, Task, Verdict
from everystep.data.sources import SOURCES
from everystep.evaluate.calibration import at_k, ballots, majority_at_k, pass_at_k, reliability
from everystep.evaluate.compare import gain, pairs
from everystep.evaluate.failures import Failure, Found, classify, frequencies, transitions
from everystep.evaluate.harness import gold_bound
from everystep.evaluate.stats import holm, wilson
from everystep.verify.grade import grade

SPEED = Task(
    "speed",
    "science",
    "A train goes 36 km and then 48 km in 2 hours. What is its average speed?",
    "42 km/h",
    Kind.QUANTITY,
    "hand",
    "test",
    ("Sum: 36 + 48 = 84 km.", "Speed: 84 / 2 = 42 km/h.", "Therefore, the speed is 42 km/h."),
    unit="km/h",
)
PENS = Task("pens", "math", "A box holds 6 pens. Ann buys 4 boxes and loses 3 pens. How many pens has she?",
            "21", Kind.NUMBER, "hand", "test")  # fmt: skip
MILK = Task("milk", "general", "17 cows give 23 litres each and 91 litres are sold. What is left?", "300",
            Kind.NUMBER, "hand", "test")  # fmt: skip
TIME = Task("time", "science", "A tap runs 2 hours. How many minutes is that?", "120 minutes", Kind.QUANTITY,
            "hand", "test", unit="minutes")  # fmt: skip
WHO = Task("who", "reasoning", "Ann is taller than Bo. Bo is taller than Cy. Who is tallest?", "Ann",
           Kind.TEXT, "hand", "test",
           ("Ann is taller than Bo.", "Bo is taller than Cy.", "Therefore, Ann is tallest."),
           choices=("Ann", "Bo", "Cy"))  # fmt: skip


def traced(work: str, answer: str) -> str:
    return f"<reasoning>\n{work}\n</reasoning>\n<answer>{answer}</answer>"


SAID = "Step {0}: the pens are all counted again in the same way."
CASES: list[tuple[str, Task, str, Stop, Failure, str]] = [
    # what it is, task, text, why it stopped, class, a word of the evidence
    ("gold", SPEED,
     traced("Step 1: 36 + 48 = 84 km.\nStep 2: 84 / 2 = 42 km/h.\nTherefore, it is 42 km/h.", "42 km/h"),
     Stop.END, Failure.RIGHT, "nothing false"),
    ("right by luck", SPEED, traced("Step 1: 36 + 48 = 85 km.\nStep 2: 85 / 2 = 42 km/h.", "42 km/h"),
     Stop.END, Failure.WRONG_TRACE, "36 + 48 = 85"),
    ("right answer, but the work says another", PENS,
     traced("Step 1: 6 * 4 = 24.\nStep 2: 24 + 3 = 27.", "21"),
     Stop.END, Failure.WRONG_TRACE, "not the last derived value"),
    ("a sum that is wrong", SPEED, traced("Step 1: 36 + 48 = 86 km.\nStep 2: 86 / 2 = 43 km/h.", "43 km/h"),
     Stop.END, Failure.CALCULATION, "it is 84"),
    ("a slip of arithmetic outweighs an unused number", PENS, traced("Step 1: 6 * 4 = 25.", "25"),
     Stop.END, Failure.CALCULATION, "it is 24"),
    ("wrong unit, right number", SPEED, traced("Step 1: 36 + 48 = 84.\nStep 2: 84 / 2 = 42.", "42 mph"),
     Stop.END, Failure.UNIT, "the unit is not"),
    ("minutes for hours", TIME, traced("Step 1: 2 * 1 = 2.", "2 minutes"),
     Stop.END, Failure.UNIT, "by a factor of 60"),
    ("hours called minutes in the work", TIME, traced("Step 1: 2 hours = 200 minutes.", "200 minutes"),
     Stop.END, Failure.UNIT, "2 hours is 120 minutes"),
    ("the work is right, the answer is not", PENS, traced("Step 1: 6 * 4 = 24.\nStep 2: 24 - 3 = 21.", "24"),
     Stop.END, Failure.WRONG_ANSWER, "comes to 21"),
    ("the last line is right, the answer is not", WHO,
     traced("Step 1: Ann is taller than Bo.\nStep 2: Bo is taller than Cy.\nSo the tallest is Ann.", "Bo"),
     Stop.END, Failure.WRONG_ANSWER, "ends with Ann"),
    ("a number out of nowhere", PENS,
     traced("Step 1: 6 * 4 = 24.\nStep 2: 24 - 3 = 21.\nStep 3: 21 + 17 = 38.", "38"),
     Stop.END, Failure.MISREAD, "17 has no source"),
    ("no work at all", PENS,
     traced("Step 1: It is clear.", "22"), Stop.END, Failure.PREMATURE, "nothing is worked out"),
    ("half of the work", MILK, traced("Step 1: 17 * 23 = 391.", "391"),
     Stop.END, Failure.PREMATURE, "91 of the question"),
    ("one calculation of two", SPEED, traced("Step 1: 36 + 48 = 84 km.", "84 km/h"),
     Stop.END, Failure.PREMATURE, "the solution has 2"),
    ("an answer that nothing leads to", PENS,
     traced("Step 1: 6 * 4 = 24.\nStep 2: 24 - 3 = 21.", "5").replace("21.", "21. 21 - 6 = 15."),
     Stop.END, Failure.PREMATURE, "not the last derived value"),
    ("too few steps of words", WHO, traced("Step 1: Bo is taller than Cy.", "Bo"),
     Stop.END, Failure.PREMATURE, "1 steps"),
    ("all steps, wrong plan", WHO,
     traced("Step 1: Ann is taller than Bo.\nStep 2: Bo is taller than Cy.\nStep 3: So the last wins.", "Cy"),
     Stop.END, Failure.WRONG_PLAN, "nothing claimed is false"),
    ("right sums, wrong plan", PENS, traced("Step 1: 6 * 4 = 24.\nStep 2: 24 + 3 = 27.", "27"),
     Stop.END, Failure.WRONG_PLAN, "different number"),
    ("says it again and again", PENS, traced("\n".join(SAID.format(i) for i in range(1, 6)), "22"),
     Stop.END, Failure.VERBOSE, "says again"),
    ("talks too long", PENS,
     traced("Step 1: " + " ".join(f"w{i}x" for i in range(200)) + " 6 * 4 = 24.", "24"),
     Stop.END, Failure.VERBOSE, "words of work"),
    ("cut", PENS, "<reasoning>\nStep 1: 6 * 4 =", Stop.LENGTH, Failure.TRUNCATED, "token limit"),
    ("cut because it loops", PENS, "<reasoning>\n" + "\n".join(SAID.format(i) for i in range(1, 9)),
     Stop.LENGTH, Failure.VERBOSE, "says again"),
    ("cut after a right answer", PENS,
     traced("Step 1: 6 * 4 = 24.", "21"), Stop.LENGTH, Failure.TRUNCATED, "limit"),
    ("no tags, but right", PENS, "It is 21.", Stop.END, Failure.CONTRACT, "the answer itself is right"),
    ("no tags, and wrong", PENS, "It is 22.", Stop.END, Failure.CONTRACT, "wrong too"),
    ("two answers", PENS,
     traced("Step 1: 6 * 4 = 24.", "21") + "<answer>22</answer>", Stop.END, Failure.CONTRACT, "repeated"),
    ("an empty answer", PENS, traced("Step 1: 6 * 4 = 24.", " "), Stop.END, Failure.CONTRACT, "empty"),
    ("an answer of nothing but invisible characters", PENS, traced("Step 1: 6 * 4 = 24.", "\u200b"),
     Stop.END, Failure.CONTRACT, ""),
    ("nothing", PENS, "", Stop.END, Failure.CONTRACT, "no reasoning"),
    ("a false claim, and no form", PENS, "6 * 4 = 25", Stop.END, Failure.CONTRACT, "no reasoning"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "text", "stop", "failure", "said"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_each_class_is_found_with_its_evidence(task: Task, text: str, stop: Stop, failure: Failure, said: str) -> None:
    graded = grade(task, Completion(task.id, 0, text, stop=stop))
    found = classify(graded)
    assert (found.failure, said in found.evidence) == (failure, True), found
    # What is read back from a record is classified as what was written.
    assert classify(read_record(record(graded)).graded) == found


def test_an_answer_that_no_rule_decides_is_a_class_of_its_own() -> None:
    task = Task("t", "general", "Why?", "inf", Kind.NUMBER, "hand", "test")
    graded = grade(task, Completion("t", 0, traced("Step 1: because.", "5")))
    assert graded.verdict is Verdict.UNGRADABLE and classify(graded).failure is Failure.UNDECIDED


def test_every_class_has_a_case() -> None:
    assert {c[4] for c in CASES} | {Failure.UNDECIDED} == set(Failure)


def test_gold_is_right_and_nothing_else() -> None:
    tasks = SOURCES["worked"](WorkedSource(train=10, dev=10, test=300), "test", 3)
    assert {classify(g).failure for g in gold_bound(tasks, "none")} == {Failure.RIGHT}


def test_gold_of_gsm8k_is_right_but_for_few(shared_data: Path) -> None:
    tasks = SOURCES["gsm8k"](FileSource(path=str(shared_data / "gsm8k")), "test", 0)
    found = [classify(g).failure for g in gold_bound(tasks, "none")]
    # True errata among them, and answers that the last written calculation does not come to.
    assert set(found) == {Failure.RIGHT, Failure.WRONG_TRACE} and len(found) == 1319
    assert 4 <= found.count(Failure.WRONG_TRACE) <= 20


PIECES = st.sampled_from(
    ["<reasoning>", "</reasoning>", "<answer>", "</answer>", "Step 1: ", "6 * 4 = 24", "6 * 4 = 25",
     "\n", "21",
     "24 - 3 = 21", "17", " hours", "minutes", "the pens are all counted in the same way. ",
     "9**9**9", "\u202e", "=",
     "Therefore, ", "%", "\x00", "1/0", "km/h"]
)  # fmt: skip
TEXTS = st.one_of(
    st.lists(PIECES, max_size=24).map("".join),
    st.builds(traced, st.lists(PIECES, max_size=12).map("".join), st.lists(PIECES, max_size=3).map("".join)),
    st.text(max_size=80),
)


@given(text=TEXTS, task=st.sampled_from([SPEED, PENS, TIME, WHO]), stop=st.sampled_from(Stop))
def test_classes_are_total_and_exclusive(text: str, task: Task, stop: Stop) -> None:
    graded = grade(task, Completion(task.id, 0, text, stop=stop))
    found = classify(graded)
    assert found.failure in Failure and found.evidence
    # The classes part the completions as the verdicts do: a class never contradicts the checker.
    assert (found.failure in (Failure.RIGHT, Failure.WRONG_TRACE)) == graded.contract
    if found.failure is Failure.RIGHT:
        assert graded.sound
    if found.failure is Failure.CALCULATION:
        assert any(c.truth == "false" for c in graded.checks)
    if found.failure is Failure.TRUNCATED:
        assert stop is Stop.LENGTH
    if not graded.trace.faults and stop is Stop.END and graded.verdict is Verdict.WRONG:
        assert found.failure not in (Failure.CONTRACT, Failure.TRUNCATED, Failure.UNDECIDED)
    if found.span is not None:
        begin, end = found.span
        assert 0 <= begin < end <= len(text)
    assert 0 <= found.step <= len(graded.trace.steps)


@given(st.lists(st.sampled_from(Failure), min_size=1, max_size=60))
def test_frequencies_are_of_everything(failures: list[Failure]) -> None:
    rows = frequencies([Found(f, "x") for f in failures])
    assert list(rows) == list(Failure) and sum(row["count"] for row in rows.values()) == len(failures)
    for row in rows.values():
        assert (row["low"], row["high"]) == wilson(int(row["count"]), len(failures))
        assert row["low"] <= row["share"] <= row["high"]


def said(text: str, task: Task = PENS, sample: int = 0) -> Graded:
    return grade(task, Completion(task.id, sample, text))


RIGHT = traced("Step 1: 6 * 4 = 24.\nStep 2: 24 - 3 = 21.", "21")
WRONG = traced("Step 1: 6 * 4 = 25.\nStep 2: 25 - 3 = 22.", "22")


def numbered(texts: Sequence[str]) -> list[Graded]:
    return [said(text, replace(PENS, id=f"pens{i}")) for i, text in enumerate(texts)]


def test_transitions_and_gain() -> None:
    before = numbered(["It is 21.", "It is 22.", RIGHT, RIGHT, WRONG, RIGHT])
    after = numbered([RIGHT, RIGHT, RIGHT, WRONG, WRONG, "It is 21."])
    sides = [{g.task.id: (g, classify(g)) for g in side} for side in (before, after)]
    found = transitions(sides[0], sides[1])
    assert found["totals"] == {"fixed": 2, "still right": 1, "broken": 2, "still wrong": 1}
    assert found["by_class"][Failure.CONTRACT] == {"fixed": 2, "broken": 1}
    assert found["by_class"][Failure.CALCULATION] == {"broken": 1, "still wrong": 1}
    assert found["moves"][Failure.RIGHT, Failure.CALCULATION] == 1 and found["moves"].total() == 6
    made = gain(before, after)
    assert (made.recovered, made.newly_right, made.form_lost, made.newly_wrong, made.n) == (1, 1, 1, 1, 6)
    assert made.share("recovered").value == 1 / 6
    with pytest.raises(ValueError, match="share none"):
        gain(before, [])


def test_pairs_are_of_shared_tasks_and_corrected() -> None:
    good, bad = numbered([RIGHT] * 12), numbered([WRONG] * 12)
    found = pairs({"a": bad, "b": good, "c": good[:10]})
    assert [(p.before, p.after, p.n) for p in found] == [("a", "b", 10), ("a", "c", 10), ("b", "c", 10)]
    assert [p.adjusted for p in found] == holm([p.p for p in found])
    assert [p.verdict for p in found] == ["b is better", "c is better", "cannot be told apart"]
    assert [(p.before, p.after) for p in pairs({"a": bad, "b": good, "c": good}, following=True)] == [
        ("a", "b"), ("b", "c"), ("a", "c"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="share no task"):
        pairs({"a": good, "b": [said(RIGHT, SPEED)]})


# Groups


def group(*texts: str) -> list[Graded]:
    return [said(text, sample=i) for i, text in enumerate(texts)]


def test_votes_are_for_equivalent_answers() -> None:
    some = group(
        RIGHT,
        traced("Step 1: 6 * 4 = 24.", "21.0"),
        WRONG,
        "no form",
        traced("Step 1: 1 + 1 = 2.", "22 pens"),
    )
    assert ballots(some) == [0, 0, 1, None, 1]
    assert majority_at_k(some, 5) == 0.5  # a tie is shared
    assert majority_at_k(some, 1) == pass_at_k(5, 2, 1)
    assert ballots(some[::-1]) == [1, None, 1, 0, 0]  # whatever comes first
    assert majority_at_k(group("no form", "none"), 2) == 0.0


@settings(max_examples=20)  # each of them is a few bootstraps
@given(st.lists(st.sampled_from([RIGHT, WRONG, "no form"]), min_size=2, max_size=6))
def test_at_one_sample_both_are_the_accuracy(texts: list[str]) -> None:
    some = group(*texts)
    share = sum(g.contract for g in some) / len(some)
    assert math.isclose(majority_at_k(some, 1), share) and math.isclose(
        pass_at_k(len(some), sum(g.contract for g in some), 1), share
    )
    curve = at_k([some])
    assert [row.k for row in curve] == sorted({1, 2, len(some)} | ({4} if len(some) >= 4 else set()))
    passed = [row.passed.value or 0.0 for row in curve]
    assert passed == sorted(passed) and passed[-1] == float(any(g.contract for g in some))
    for row in curve:
        assert (row.majority.value or 0.0) <= (row.passed.value or 0.0) + 1e-9


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_counts_subsets(numbers: tuple[int, int, int]) -> None:
    n, right, k = numbers
    subsets = list(combinations(range(n), k))
    hit = sum(any(i < right for i in some) for some in subsets)
    assert math.isclose(pass_at_k(n, right, k), float(Fraction(hit, len(subsets))), abs_tol=1e-12)


def test_large_groups_are_sampled() -> None:
    some = group(*([RIGHT] * 20 + [WRONG] * 12))
    assert 0.5 < majority_at_k(some, 16) <= 1.0


def test_reliability_says_what_confidence_is() -> None:
    groups = [group(RIGHT, RIGHT, RIGHT, WRONG), group(WRONG, WRONG, "no form", RIGHT)]
    found = reliability(groups)
    assert found is not None and found.measure == "share"
    assert (found.n, found.groups, found.left_out) == (7, 2, 1)
    assert sum(b.n for b in found.bins) == 7 and found.brier.value is not None and found.ece.value is not None
    # Leave-one-out shares, drawn towards one half: n of G with one more seen on each side is n / (G + 1).
    sure = [(3 / 5, 1)] * 3 + [(1 / 5, 0)] + [(2 / 5, 0)] * 2 + [(1 / 5, 1)]
    assert math.isclose(found.brier.value, sum((q - r) ** 2 for q, r in sure) / 7)
    by_bin = {round(b.confidence, 3): (b.n, b.right) for b in found.bins}
    assert by_bin == {0.2: (2, 0.5), 0.4: (2, 0.0), 0.6: (3, 1.0)}
    assert math.isclose(found.ece.value, (2 * 0.3 + 2 * 0.4 + 3 * 0.4) / 7)
    assert reliability([group("no form", "none")]) is None and reliability([]) is None


def test_reliability_prefers_the_tokens_of_the_answer() -> None:
    def with_logprobs(text: str, logprob: float, sample: int) -> Graded:
        ends = tuple(range(1, len(text) + 1))
        made = Completion("pens", sample, text, tuple(range(len(text))), (logprob,) * len(text), ends=ends)
        return grade(PENS, made)

    found = reliability([[with_logprobs(RIGHT, math.log(0.9), 0), with_logprobs(WRONG, math.log(0.5), 1)]])
    assert found is not None and found.measure == "tokens" and found.auroc == 1.0
    assert found.brier.value is not None and math.isclose(found.brier.value, (0.01 + 0.25) / 2)
