"""Filters and near-duplicates: what is dropped, that it is said, and what is never dropped."""

import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from everystep.core.types import Kind, Task, task_id
from everystep.data import gsm8k, svamp
from everystep.data.clean import Dropped, Limits, clean
from everystep.data.near import grams, near, without_near

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


def _words(text: str) -> int:
    return len(text.split())


def test_every_filter_says_what_it_dropped() -> None:
    good = [_task(i) for i in range(11, 31)]
    bad = {
        "empty question or answer": replace(_task(1), question="  "),
        "control token in the text": replace(_task(2), question="Say <end_of_turn> twice."),
        "the same question twice": replace(_task(11), id="again", question=good[0].question.upper()),
        "gold is not right for its own grader": replace(_task(3), answer="no number at all", solution=None),
        "prompt too long (data.max_prompt_tokens)": _task(4, "word " * 60),
        "solution too long (data.max_trace_tokens)": replace(_task(5), solution=(("so " * 200).strip(),)),
    }
    kept, dropped = clean([*good, *bad.values()], Limits(60, 100, 0.5), _words)
    assert kept == good
    assert {d.reason: d.count for d in dropped} == dict.fromkeys(bad, 1)
    for d in dropped:
        assert isinstance(d, Dropped)
        assert d.examples[0].startswith(bad[d.reason].id + ": ")


def test_a_false_solution_costs_the_solution_and_not_the_task() -> None:
    false = replace(_task(12), solution=("3 * 12 = 37 pens.", "Therefore, 36 pens."))
    broken = replace(_task(13), solution=("3 * 13 = 39 pens. Step 2: and Step 3: so.",))
    kept, dropped = clean([false, broken], Limits(99, 99, 0.0), _words)
    assert [t.solution for t in kept] == [None, None]
    assert [(d.reason, d.count) for d in dropped] == [("solution taken off: faulty or false", 2)]


def test_test_tasks_are_not_dropped_for_their_length() -> None:
    long = replace(_task(4, "How many pens do 3 boxes of 4 hold? " * 20), split="test")
    assert clean([long], Limits(10, 10, 0.0), _words) == ([long], [])
    with pytest.raises(ValueError, match="max_prompt_tokens"):
        clean([replace(long, split="train")], Limits(10, 10, 0.0), _words)


def test_too_many_dropped_stops_and_names_the_filter() -> None:
    tasks = [_task(i) for i in range(11, 31)] + [_task(99, "word " * 60 + str(i)) for i in range(5)]
    assert len(clean(tasks, Limits(50, 100, 0.2), _words)[0]) == 20
    with pytest.raises(ValueError, match=r"test: filters dropped 5 of 25 tasks \(20\.0%\), more than") as caught:
        clean(tasks, Limits(50, 100, 0.1), _words)
    assert "'prompt too long (data.max_prompt_tokens)': 5" in str(caught.value)
    assert clean([], WIDE, _words) == ([], [])


def test_public_data_passes_the_filters() -> None:
    tasks = svamp.load(_public("svamp"))
    kept, dropped = clean(tasks, WIDE, _words)
    assert (len(kept), dropped) == (1000, [])


# --- near-duplicates -------------------------------------------------------------------------------------

STORY = "Maria bought three red apples and five green pears at the market near her old school yesterday"


def test_near_finds_a_changed_word_and_not_a_changed_story() -> None:
    held = [_task(1, f"{STORY} for 7 dollars."), _task(2, "How far does a train go in 2 hours at 60 km/h?")]
    train = [
        _task(3, f"{STORY} for 7 dollars!"),
        _task(4, f"{STORY.replace('Maria', 'Paula')} for 7 dollars."),
        _task(5, "How far does a train go in 3 hours at 80 km/h?"),
        _task(6, "A box holds 6 pens."),
    ]
    pairs = near(train, held)
    assert [(p.train, p.held_out) for p in pairs] == [(train[0].id, held[0].id), (train[1].id, held[0].id)]
    assert pairs[0].likeness == 1.0
    assert 0.8 < pairs[1].likeness < 1.0
    kept, found = without_near(train, held)
    assert kept == train[2:]
    assert found == pairs


def test_near_agrees_with_the_definition() -> None:
    source = random.Random(1)
    words = ["a", "b", "c"]
    left = [_task(i, " ".join(source.choices(words, k=source.randint(1, 9)))) for i in range(1, 60)]
    right = [_task(i, " ".join(source.choices(words, k=source.randint(1, 9)))) for i in range(60, 120)]
    slow = set()
    for a in left:
        for b in right:
            x, y = grams(a.question), grams(b.question)
            if len(x & y) / len(x | y) >= 0.4:
                slow.add((a.id, b.id, len(x & y) / len(x | y)))
    assert slow
    assert {(p.train, p.held_out, p.likeness) for p in near(left, right, 0.4)} == slow


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5])
def test_near_refuses_a_threshold_that_says_nothing(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        near([], [], threshold)


def test_near_is_quick_on_gsm8k_and_finds_little() -> None:
    tasks = gsm8k.load(_public("gsm8k"))
    start = time.monotonic()
    train, test = ([t for t in tasks if t.split == s] for s in ("train", "test"))
    kept, pairs = without_near(train, test)
    assert time.monotonic() - start < 10
    assert len(pairs) == 2
    assert len(kept) == len(train) - 2
