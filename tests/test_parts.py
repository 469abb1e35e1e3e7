"""The reward parts one by one: hard cases, and the laws of bounds, refusal and padding for each of them."""

import itertools
import math
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.types import Completion, Graded, Kind, Stop, Task, task_id
from everystep.score.confidence import answer_probability, confidence, equivalent, how_sure
from everystep.score.groups import score_groups
from everystep.score.mix import Mix
from everystep.score.rewards import BOUNDS, PARTS, bounds, correctness, examined, length
from everystep.score.structure import content, counts, looping, needed, statements, structure
from everystep.verify.grade import grade

QUESTION = "A baker has 12 trays with 3 rolls each and sells 10 rolls. How many rolls are left at noon?"
TASK = Task(task_id("test", QUESTION, "26"), "math", QUESTION, "26", Kind.NUMBER, "test", "test")
SOLVED = replace(TASK, solution=("12 * 3 = 36 rolls.", "36 - 10 = 26 rolls.", "Therefore, 26 rolls are left."))
STEPS = ("Step 1: 12 * 3 = 36 rolls.", "Step 2: So 36 - 10 = 26 rolls.", "Therefore, 26 rolls are left.")


def text(*steps: str, answer: str = "26") -> str:
    return "<reasoning>\n" + "\n".join(steps) + f"\n</reasoning>\n<answer>{answer}</answer>"


def graded(*steps: str, answer: str = "26", task: Task = TASK, sample: int = 0, tokens: int | None = None) -> Graded:
    return of(text(*steps, answer=answer), task, sample, tokens)


def of(written: str, task: Task = TASK, sample: int = 0, tokens: int | None = None) -> Graded:
    count = len(written) // 3 + 1 if tokens is None else tokens
    return grade(task, Completion(task.id, sample, written, (7,) * count))


# Structure

GENERIC = (
    "Step 1: First, let us read the question carefully and note what is given.",
    "Step 2: Next, every one of those quantities deserves some closer attention.",
    "Step 3: Therefore, only a single value can possibly be correct here.",
)
SOMEONE = "Step 1: Someone reasons about nothing sooner than thusly here."
STRUCTURES: list[tuple[str, tuple[str, ...], float]] = [
    ("the honest trace lacks one step and one word of transition", STEPS, 0.8 * 2 / 3 + 0.1),
    ("three good sentences are whole, whatever they say", GENERIC, 1.0),
    ("the same without marks", tuple(s.partition(": ")[2] for s in GENERIC), 0.8),
    ("marks without steps", ("Step 1: Step 2: Step 3: Step 4:",), 0.0),
    ("marks on lines", ("Step 1:", "Step 2:", "Step 3:", "x"), 0.0),
    ("a mark before dots", ("Step 1: ...", SOMEONE.removeprefix("Step 1: ")), 0.2),
    ("`so` by itself", ("So so so so so so so, so.",) * 5, 0.0),
    ("a word of transition inside another", (SOMEONE,), 0.8 / 3),
    ("one in the middle", ("Step 1: We count all rolls and then some more of them.",), 0.8 / 3),
    ("one after a comma", ("Step 1: We count all rolls today, then some more of them.",), 0.8 / 3 + 0.1),
    ("salad", ("Step 1: Therefore, thus, hence, so, then, next.",) * 3, 0.8 / 3 + 0.1),
    ("short steps", ("Step 1: We add.", "Step 2: We subtract.", "Step 3: We are done."), 0.0),
    ("1 = 1", tuple(f"Step {i}: {i} = {i}." for i in range(1, 9)), 0.0),
    ("identities", ("Step 1: 5 + 0 = 5.", "Step 2: 7 * 1 = 7."), 0.0),
    ("a false claim in a short step", ("Step 1: 12 * 3 = 37.",), 0.0),
    ("a true claim in a short step", ("Step 1: 12 * 3 = 36.",), 0.8 / 3),
    ("a claim twice", ("Step 1: 12 * 3 = 36.", "Step 2: We know for certain that 12 * 3 = 36."), 0.8 / 3),
    ("question as a step", (f"Step 1: {QUESTION}",), 0.0),
    (
        "one sentence often",
        tuple(f"Step {i}: We put all of it together, part {i}." for i in range(9)),
        0.8 / 3,
    ),
    ("no steps at all", ("",), 0.0),
]


@pytest.mark.parametrize(("steps", "value"), [c[1:] for c in STRUCTURES], ids=[c[0] for c in STRUCTURES])
def test_structure(steps: tuple[str, ...], value: float) -> None:
    assert structure(graded(*steps)) == pytest.approx(value)


def test_structure_is_measured_against_the_tasks_own_solution() -> None:
    assert (needed(TASK), needed(SOLVED)) == (3, 2)
    assert structure(graded(*STEPS, task=SOLVED)) == pytest.approx(0.9)
    cats = replace(TASK, solution=("Tom is a cat.", "Therefore, yes."))
    assert needed(cats) == 0 and structure(graded(*GENERIC, task=cats)) is None
    long = replace(TASK, solution=tuple(f"{i} * {i + 3} = {i * (i + 3)}." for i in range(2, 30)))
    assert needed(long) == 8


def test_a_malformed_trace_has_no_structure_and_nothing_of_any_part() -> None:
    for written in (text(*GENERIC) + ".", text(*GENERIC).replace("</answer>", ""), "", "26"):
        g = of(written)
        found = {name: part(g) for name, part in PARTS.items() if name != "repetition"}
        assert found == {name: bounds(name).malformed[0] for name in found}
        assert confidence([graded(*STEPS), g])[1] == -1.0
    assert looping(of("again and again " * 40)) and not looping(of("again"))


def test_statements_are_lines_and_sentences() -> None:
    said = statements(graded("Step 1: We add; that is all. 3.5 is a number.", "So it goes."))
    assert [s.words[0] for s in said] == ["we", "that", "3.5", "so"]
    assert [s.marked for s in said] == [True, False, False, False]
    assert said[3].transition == "so"
    assert content(graded(*(f"Number {i} is a sentence with enough different words." for i in range(130)))).words == 0


def test_claims_of_substance() -> None:
    assert counts("12 * 3 = 36") and counts("2 + 2 = 4") and counts("6 * 6 = 36")
    assert not any(counts(c) for c in ("1 = 1", "5 + 0 = 5", "7 * 1 = 7", "36 = 36 rolls"))


# Repetition, length, process, correctness


def test_repetition() -> None:
    assert PARTS["repetition"](graded(*STEPS)) == 0.0
    assert looping(graded("We look at the numbers.", "And we look at the numbers.", "We look at the numbers."))
    assert looping(graded("again and again " * 40))
    assert looping(graded(*(f"we see that the rolls of the baker are many many {i}" for i in range(6))))
    assert not looping(graded(*(f"Step {i}: {i} + 3 = {i + 3}." for i in range(30))))
    assert not looping(graded("No. No. No. No."))


def test_length() -> None:
    whole = " ".join(f"word{chr(97 + i)}" for i in range(26))
    rich = (f"{whole}.", " ".join(f"other{chr(97 + i)}" for i in range(26)) + ".")
    assert length(graded(*rich, tokens=100)) == 1.0
    assert length(graded(*rich, tokens=768)) == 0.5
    assert length(graded(*rich, tokens=5000)) == 0.0
    assert length(graded(*rich, answer="27", tokens=100)) == 0.0
    assert length(graded(*rich, tokens=0)) is None
    assert length(graded(*rich, tokens=100), budget=50) == 0.0
    assert length(graded(f"{whole}.", tokens=100)) == pytest.approx(26 / 45)


def test_what_was_not_examined_is_not_sound() -> None:
    good = graded(*STEPS)
    assert examined(good) and PARTS["process"](good) == 1.0
    for filler in ("on and on and on it goes, 3 by 3 by 3.\n" * 400, "1 = 1. " * 130, "x " * 1200):
        hidden = graded("Step 1: 12 * 3 = 36.", filler, "Step 2: 2 + 2 = 5.")
        assert not hidden.trace.faults and not examined(hidden)
        assert PARTS["process"](hidden) == 0.0


@pytest.mark.parametrize(
    ("answer", "tolerance", "value"),
    [
        ("26.1", 0.0, 0.0),
        ("26.1", 0.01, 1.0),
        ("26.3", 0.01, 0.0),
        ("-26", 0.01, 0.0),
        ("26 or 26.1", 0.01, 0.0),
        ("inf", 0.5, 0.0),
        ("1e999", 0.5, 0.0),
        ("many", 0.5, 0.0),
        ("26", 0.5, 1.0),
    ],
)
def test_tolerance(answer: str, tolerance: float, value: float) -> None:
    assert correctness(graded(*STEPS, answer=answer), tolerance) == value


def test_tolerance_is_for_numbers_only() -> None:
    choice = replace(TASK, kind=Kind.CHOICE, answer="B", choices=("1", "2"))
    assert correctness(graded(*STEPS, answer="A", task=choice), 0.9) == 0.0


# Confidence


def group(*answers: str) -> list[Graded]:
    return [graded(*STEPS, answer=a, sample=i) for i, a in enumerate(answers)]


def test_confidence_by_the_share_of_the_group() -> None:
    values = confidence(group("26", "27", "27", "27.0", "twenty-seven", "27", "28"))
    q = 5 / 8
    assert values == pytest.approx([0.0, *[-(((q - 0.5) / 0.5) ** 2)] * 5, 0.0])
    assert how_sure(group("26", "27")) == pytest.approx([1 / 3, 1 / 3])
    assert confidence(group("27", "27", "27")) == [
        None,
        None,
        None,
    ]  # nobody is right: nothing to compare with
    assert confidence(group("26")) == [None]  # nobody else, no log-probabilities: unknown
    assert confidence([]) == []
    assert confidence([*group("26", "27"), of("27", sample=2)])[2] == -1.0


def test_equivalent_answers() -> None:
    assert equivalent(TASK, "27", " 27.0") and not equivalent(TASK, "27", "28")
    assert not equivalent(TASK, "27 or 28", "27")


def told(answer: str, logprob: float, sample: int) -> Graded:
    """A completion with log-probabilities by characters: `logprob` for the answer's, sure elsewhere."""
    written = text(*STEPS, answer=answer)
    low = written.index(answer, written.index("<answer>"))
    inside = range(low, low + len(answer))
    logprobs = (*(logprob if i in inside else -0.01 for i in range(len(written))), -9.0)
    ends = (*range(1, len(written) + 1), len(written))
    tokens = (5,) * len(logprobs)
    return grade(TASK, Completion(TASK.id, sample, written, tokens, logprobs, Stop.END, ends))


def test_confidence_by_the_tokens_of_the_answer() -> None:
    sure, unsure = told("27", math.log(0.9), 1), told("28", math.log(0.4), 2)
    assert answer_probability(sure) == pytest.approx(0.9)
    values = confidence([told("26", -0.1, 0), sure, unsure])
    assert values == pytest.approx([0.0, -0.64, 0.0])
    mixed = [told("26", -0.1, 0), sure, graded(*STEPS, answer="28", sample=2)]
    assert how_sure(mixed) == pytest.approx([0.25] * 3)  # one is not told: the share for all of them
    assert answer_probability(replace(sure, completion=replace(sure.completion, ends=None))) is None
    assert answer_probability(replace(sure, completion=replace(sure.completion, ends=(1, 2)))) is None


# Laws

LINES = (
    "12 * 3 = 36 rolls.",
    "So 12 * 3 = 36.",
    "Then 36 - 10 = 26",
    "36 - 10 = 26 rolls are left after the sale of today.",
    "12 * 3 = 46.",
    "First, the baker fills twelve trays with fresh rolls every morning.",
    "Because each tray holds three rolls, we multiply both of the numbers.",
    "The baker fills twelve trays with fresh rolls and rests afterwards.",
    "We think. We think again. So it goes on; then it ends.",
    "A baker has 12 trays with 3 rolls each and sells 10 rolls.",
    "Therefore, 26 rolls are left. Thus the answer is surely 26 for this question.",
    "x = 26",
    "1 = 1.",
    "26",
)
PADS = ("1 = 1.", "0 = 0.", "26 = 26.", "5 + 0 = 5.", "7 * 1 = 7.", "1 = 1, 2 = 2, 3 = 3.", "So.", "...", "")
MARKS = ("", "", "Step 1: ", "Step 2: ", "Step 3: ", "Step 9: ")
lines = st.lists(st.tuples(st.sampled_from(MARKS), st.sampled_from(LINES)).map("".join), min_size=1, max_size=7)
answers = st.sampled_from(("26", "27", "26 or 27", "about 26"))


def bare(line: str) -> str:
    return line.partition(": ")[2] if line.startswith("Step") else line


def padded(data: st.DataObject, have: list[str]) -> list[str]:
    """The lines with further ones among them that say nothing new: without substance, or said already."""
    out = list(have)
    for _ in range(data.draw(st.integers(1, 4))):
        pad = data.draw(st.sampled_from((*PADS, *map(bare, have))))
        mark = data.draw(st.sampled_from(MARKS)) if pad else ""  # a mark alone would mark the next line
        out.insert(data.draw(st.integers(0, len(out))), mark + pad)
    return out


@settings(max_examples=100)
@given(st.data(), lines, answers)
def test_padding_never_raises_a_part(data: st.DataObject, steps: list[str], answer: str) -> None:
    more = padded(data, steps)
    for task in (TASK, SOLVED):
        before, after = graded(*steps, answer=answer, task=task), graded(*more, answer=answer, task=task)
        if before.trace.faults:
            continue
        for name, part in PARTS.items():
            old, new = part(before), part(after)
            assert (old is None) == (new is None), name
            assert old is None or new is None or new <= old + 1e-9, (name, old, new)
        others = [graded(*STEPS, task=task, sample=1), graded(*STEPS, answer="27", task=task, sample=2)]
        old, new = (confidence([g, *others])[0] for g in (before, after))
        assert old is not None and new is not None and new <= old + 1e-9


@given(st.one_of(st.text(max_size=200), st.tuples(lines, answers).map(lambda t: text(*t[0], answer=t[1]))))
def test_every_value_lies_in_its_bounds(written: str) -> None:
    g = of(written)
    rank = "malformed" if g.trace.faults else "right" if g.verdict.right else "wrong"
    values = {name: part(g) for name, part in PARTS.items()}
    values["confidence"] = confidence([g, graded(*STEPS, sample=1)])[0]
    assert values.keys() == BOUNDS.keys()
    for name, value in values.items():
        low, high = getattr(bounds(name), rank)
        assert value is None or low <= value <= high, (name, rank, value)


REFUSAL = {
    "correctness": (graded(*STEPS), graded(*STEPS, answer="27")),
    "process": (graded(*STEPS), graded("Step 1: 12 * 3 = 37.", answer="27")),
    "structure": (graded(*GENERIC), graded("Step 1: Step 2:")),
    "format": (graded(*STEPS), of("26")),
    "repetition": (graded(*STEPS), graded("again and again " * 40)),
    "length": (graded(*GENERIC, tokens=60), graded(*GENERIC, tokens=6000)),
}


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_refusal_each_part_tells_good_from_bad(name: str) -> None:
    if name == "confidence":
        good, bad = (confidence([told("26", -0.1, 0), told("27", p, 1)])[1] for p in (-2.0, -0.01))
    else:
        good, bad = (PARTS[name](g) for g in REFUSAL[name])
    assert good is not None and bad is not None and good > bad


@given(st.permutations(range(6)))
def test_a_group_is_scored_alike_in_any_order(order: list[int]) -> None:
    mix = Mix({"correctness": 1, "structure": 1, "confidence": 1, "repetition": 1, "process": 1, "length": 1})
    rows = [graded(*s, answer=a) for s, a in itertools.product((STEPS, GENERIC), ("26", "27", "27.0"))]
    plain = [s.total for s in score_groups([rows], mix)[0]]
    assert [s.total for s in score_groups([[rows[i] for i in order]], mix)[0]] == [plain[i] for i in order]


HOSTILE = {
    "claims": " ".join(f"{i} + {i + 1} = {2 * i + 1}." for i in range(3, 2500)),
    "dots": ". " * 14_000,
    "a word": "so " * 9_000,
    "clauses": "Therefore, " * 2_500,
    "letters": "é𝟙 " * 9_000,
    "long sentences": "\n".join(" ".join(f"w{i}{j}" for j in range(40)) for i in range(110)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_takes_long(name: str) -> None:
    g = graded(HOSTILE[name][:29_000])
    began = time.process_time()
    score_groups([[g]], Mix(dict.fromkeys(BOUNDS, 1.0)))
    assert time.process_time() - began < 2.0
