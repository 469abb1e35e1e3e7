"""Laws of the worked tasks: every claim true, one calculation in one split, levels that grow only in size."""

import random
import re
from collections import Counter, defaultdict
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import pairwise

import pytest

from everystep.core import trace
from everystep.core.types import Completion, Finding, Kind, Task, Truth
from everystep.data import worked
from everystep.data.worked.problem import DAYS, NAMES
from everystep.verify.grade import grade

EXPRESSION = r"-?\d+(?: [-+*/] \d+)*"
STEP = re.compile(rf"(?:[A-Z][a-z]+(?: [a-z]+)?: )({EXPRESSION}(?: [=<>] {EXPRESSION})+)(?: [A-Za-z/]+)?\.")

PINNED = (
    "worked/gain_loss",
    "Finn had 7 tickets. Finn bought 17 tickets and lost 16. How many are left?",
    "8",
)


@cache
def sample() -> tuple[Task, ...]:
    """20,000 tasks, every generator at every level."""
    return tuple(worked.task(11, i) for i in range(20_000))


def value(expression: str) -> Fraction:
    """A plain expression's value: products first, then sums; independent of the package's own arithmetic."""
    assert re.fullmatch(EXPRESSION, expression), expression
    tokens = expression.split(" ")
    terms, signs = [Fraction(int(tokens[0]))], [1]
    for sign, number in zip(tokens[1::2], tokens[2::2], strict=True):
        if sign in "+-":
            terms.append(Fraction(int(number)))
            signs.append(1 if sign == "+" else -1)
        else:
            terms[-1] = terms[-1] * int(number) if sign == "*" else terms[-1] / int(number)
    return sum((s * t for s, t in zip(signs, terms, strict=True)), Fraction(0))


def claim(step: str) -> str:
    """The one claim of a step."""
    match = STEP.fullmatch(step)
    assert match, step
    return match.group(1)


def links(text: str) -> list[tuple[Fraction, str, Fraction]]:
    """The relations of a claim: left value, sign, right value."""
    pieces = re.split(r" ([=<>]) ", text)
    values = [value(p) for p in pieces[::2]]
    return [(a, sign, b) for (a, b), sign in zip(pairwise(values), pieces[1::2], strict=True)]


def size(task: Task) -> int:
    """The largest number that the task's own calculation meets."""
    return max(int(n) for n in re.findall(r"\d+", f"{task.question} {task.solution}"))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [("7", 7), ("-7", -7), ("2 + 3 * 4", 14), ("8 + 60 / 60", 9), ("20 - 5 - 5", 10), ("1 / 3 * 3", 1)],
)
def test_checker_of_this_file(expression: str, expected: int) -> None:
    assert value(expression) == expected


def test_every_claim_is_true() -> None:
    for task in sample():
        assert task.solution is not None
        *steps, conclusion = task.solution
        for step in steps:
            for left, sign, right in links(claim(step)):
                assert {"=": left == right, "<": left < right, ">": left > right}[sign], (step, task)
        assert conclusion.startswith("Therefore, ") and conclusion.endswith("."), task
        assert re.search(rf"(?<![\w.]){re.escape(task.answer)}(?!\w)", conclusion), task


def test_the_answer_is_the_last_value_derived() -> None:
    for task in sample():
        if task.kind in (Kind.NUMBER, Kind.QUANTITY, Kind.MONEY):
            assert task.solution is not None
            number = re.match(r"\$?(-?\d+)", task.answer)
            assert number and links(claim(task.solution[-2]))[-1][2] == int(number.group(1)), task


def test_round_trip() -> None:
    for task in sample():
        gold = trace.gold(task)
        assert trace.parse(trace.render(gold)) == gold
        assert not gold.faults


def test_gold_law() -> None:
    for task in sample()[:2500]:
        graded = grade(task, Completion(task.id, 0, trace.render(trace.gold(task))))
        assert graded.verdict.right, (task, graded.reason)
        assert graded.lenient.right, (task, graded.reason)
        assert not graded.trace.faults, task
        assert len(graded.checks) >= len(task.solution or ()) - 1, task
        assert [c for c in graded.checks if c.truth is not Truth.TRUE] == [], task
        # INVENTED and UNUSED are hints about where numbers come from and go; these would be errors.
        assert not {f.finding for f in graded.process.flags} - {Finding.INVENTED, Finding.UNUSED}, task


def test_a_wrong_answer_is_wrong() -> None:
    for task in sample()[:330]:
        if task.kind in (Kind.NUMBER, Kind.QUANTITY, Kind.MONEY):
            gold = trace.render(trace.gold(task))
            wrong = re.sub(r"(<answer>\$?)(-?\d+)", lambda m: m.group(1) + str(int(m.group(2)) + 1), gold)
            assert not grade(task, Completion(task.id, 0, wrong)).verdict.right, task


def test_a_miscalculated_step_is_found() -> None:
    for i, task in enumerate(sample()[:330]):
        assert task.solution is not None
        *steps, conclusion = task.solution
        at = i % len(steps)
        if "=" in steps[at]:
            steps[at] = re.sub(r"(\d+)(?=( [A-Za-z/]+)?\.$)", lambda m: str(int(m.group(1)) + 3), steps[at])
            wrong = trace.render(trace.gold(replace(task, solution=(*steps, conclusion))))
            graded = grade(task, Completion(task.id, 0, wrong))
            assert Truth.FALSE in {c.truth for c in graded.checks}, (task, steps[at])
            assert not graded.sound


@pytest.mark.parametrize("name", worked.GENERATORS)
def test_levels_move_the_numbers_only(name: str) -> None:
    def drawn(level: int) -> list[Task]:
        return [worked.task(3, i, names=[name], levels=[level]) for i in range(150)]

    by_level = {level: drawn(level) for level in worked.LEVELS}
    means = [sum(map(size, by_level[level])) / 150 for level in worked.LEVELS]
    assert all(low * 1.2 < high for low, high in pairwise(means)), means
    assert len({len(t.solution or ()) for ts in by_level.values() for t in ts}) == 1
    assert all(t.level == level for level, ts in by_level.items() for t in ts)


def test_bounds_that_the_tiny_model_relies_on() -> None:
    words = set()
    for task in sample():
        work = " ".join(task.solution or ())
        assert task.question.isascii() and work.isascii()
        assert task.question.endswith(("?", ".")), task.question
        assert len(task.question.split()) <= 40 and len(work.split()) <= 45
        assert 3 <= len(task.solution or ()) <= 4
        words |= set(re.findall(r"[A-Za-z]+", f"{task.question} {work} {task.answer}"))
    assert len(words) <= 600


def test_enough_generators_in_every_domain() -> None:
    count = Counter(domain for domain, _ in worked.GENERATORS.values())
    assert set(count) == {"math", "science", "reasoning", "general"}
    assert min(count.values()) >= 4 and sum(count.values()) >= 18
    for task in sample()[:200]:
        assert worked.GENERATORS[task.source.removeprefix("worked/")][0] == task.domain


def test_one_calculation_one_split() -> None:
    """Wordings, names and nouns differ; the claims without their words are the calculation."""
    splits = defaultdict(set)
    questions = defaultdict(set)
    for task in sample():
        assert task.solution is not None
        days = tuple(d for d in DAYS if d in task.question)
        splits[task.source, tuple(claim(s) for s in task.solution[:-1]), days].add(task.split)
        questions[task.split].add(task.question)
    assert all(len(found) == 1 for found in splits.values())
    assert len(splits) < len(sample())  # some calculations did come back in other words
    assert sum(map(len, questions.values())) == len(set().union(*questions.values()))
    share = Counter(task.split for task in sample())
    assert 0.77 < share["train"] / len(sample()) < 0.83
    assert min(share["dev"], share["test"]) / len(sample()) > 0.08


def test_the_order_of_the_numbers_does_not_move_a_split() -> None:
    def problem(question: str) -> worked.Problem:
        return worked.Problem(question, (), "84", Kind.NUMBER)

    for a in range(30):
        one = worked.split_of("rows", problem(f"{a} rows of 7 cups. How many?"))
        assert one == worked.split_of("rows", problem(f"How many balls are 7 times {a}?"))


def test_a_task_is_a_function_of_seed_and_index() -> None:
    for i in (0, 1, 77, 12_345):
        assert worked.task(5, i) == worked.task(5, i)
    assert worked.task(5, 3) != worked.task(6, 3)
    state = random.getstate()
    worked.task(5, 3)
    assert random.getstate() == state


def test_this_task_stays_what_it_is() -> None:
    """A change of the generators or of the seeding changes every data set; it must not go unnoticed."""
    task = worked.task(0, 0)
    assert (task.source, task.question, task.answer) == PINNED


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_tasks_are_distinct_balanced_and_of_the_split(split: str) -> None:
    found = worked.tasks(split, 990, 4)
    assert len({t.question for t in found}) == len({t.id for t in found}) == 990
    assert {t.split for t in found} == {split}
    cells = Counter((t.source, t.level) for t in found)
    assert len(cells) == 5 * len(worked.GENERATORS) and max(cells.values()) <= 7
    assert Counter(t.source for t in found[: len(worked.GENERATORS)]) == Counter(
        f"worked/{name}" for name in worked.GENERATORS
    )
    assert found[:100] == worked.tasks(split, 100, 4)
    assert found[:100] != worked.tasks(split, 100, 5)


def test_a_small_space_gives_its_places_to_others_and_then_says_so() -> None:
    found = worked.tasks("test", 700, 1, names=["calendar", "change"], levels=[1])
    assert Counter(t.source for t in found)["worked/change"] > 350
    with pytest.raises(ValueError, match=r"only \d+ different dev tasks of the 5000 asked for.*calendar"):
        worked.tasks("dev", 5000, 1, names=["calendar"], levels=[1])


@pytest.mark.parametrize(
    ("split", "names", "levels", "message"),
    [
        ("valid", [], [1], "no split 'valid'"),
        ("train", ["poetry"], [1], "no generator 'poetry'"),
        ("train", [], [6], "levels"),
        ("train", [], [], "levels"),
    ],
)
def test_errors_say_what_is_wrong(split: str, names: list[str], levels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        worked.tasks(split, 1, 0, names=names, levels=levels)


@pytest.mark.parametrize(("name", "options"), [("truth", ("yes", "no")), ("choice", tuple("ABC")), ("calendar", DAYS)])
def test_guessing_does_not_pay(name: str, options: tuple[str, ...]) -> None:
    count = Counter(worked.task(2, i, names=[name]).answer for i in range(1000))
    assert set(count) == set(options)
    assert max(count.values()) < 1.35 * 1000 / len(options)


def test_the_one_asked_for_stands_anywhere() -> None:
    """The place of the name in the question does not give the answer away."""
    for name, n in (("ordering", 3), ("compare", 2)):
        places = Counter()
        for i in range(900):
            task = worked.task(8, i, names=[name])
            told = [n for n in re.findall(r"[A-Z][a-z]+", task.question) if n in NAMES]
            places[list(dict.fromkeys(told)).index(task.answer)] += 1
        assert len(places) == n and max(places.values()) < 1.5 * 900 / n, places


def test_choices_hold_the_answer_once() -> None:
    for i in range(200):
        task = worked.task(9, i, names=["choice"])
        assert len(set(task.choices)) == 3
        assert task.solution is not None
        right = task.choices["ABC".index(task.answer)]
        assert claim(task.solution[-2]).endswith(f"= {right}")
