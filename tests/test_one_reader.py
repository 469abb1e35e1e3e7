"""Answers and claims are read by one reader: what `grade` accepts as equal, `check` never calls false."""

import itertools
import json
from fractions import Fraction

import pytest

from everystep.core.types import Verdict
from everystep.verify.answers import same_answer
from everystep.verify.files import check_file

# Amounts of one sort, as people and models write them, with the value in the sort's smallest unit.
AMOUNTS: dict[str, list[tuple[str, Fraction]]] = {
    "number": [
        ("1200", Fraction(1200)),
        ("1,200", Fraction(1200)),
        ("1200.0", Fraction(1200)),
        ("1{,}200", Fraction(1200)),
        ("1,\\!200", Fraction(1200)),
        ("one thousand two hundred", Fraction(1200)),
        ("１２００", Fraction(1200)),
        ("1.2 thousand", Fraction(1200)),
        ("1.2 \\times 10^3", Fraction(1200)),
        ("\\frac{2400}{2}", Fraction(1200)),
        ("120", Fraction(120)),
        ("12", Fraction(12)),
        ("1.2", Fraction(6, 5)),
        ("1 1/5", Fraction(6, 5)),
        ("1\\frac{1}{5}", Fraction(6, 5)),
        ("6/5", Fraction(6, 5)),
        ("\\frac{6}{5}", Fraction(6, 5)),
        ("-12", Fraction(-12)),
        ("−12", Fraction(-12)),
        ("0.5", Fraction(1, 2)),
        ("½", Fraction(1, 2)),
        ("one half", Fraction(1, 2)),
        ("0.\\overline{3}", Fraction(1, 3)),
        ("1/3", Fraction(1, 3)),
        ("one third", Fraction(1, 3)),
    ],
    "time": [
        ("150 minutes", Fraction(150)),
        ("2.5 hours", Fraction(150)),
        ("2 hours 30 minutes", Fraction(150)),
        ("2 hours and 30 minutes", Fraction(150)),
        ("2 h 30 min", Fraction(150)),
        ("2 1/2 hours", Fraction(150)),
        ("9000 seconds", Fraction(150)),
        ("two and a half hours", Fraction(150)),
        ("2 hours", Fraction(120)),
        ("120 minutes", Fraction(120)),
        ("2 hours 3 minutes", Fraction(123)),
        ("30 minutes", Fraction(30)),
        ("half an hour", Fraction(30)),
        ("1 day", Fraction(1440)),
        ("24 hours", Fraction(1440)),
    ],
    "length": [
        ("5 feet 2 inches", Fraction(62)),
        ("62 inches", Fraction(62)),
        ("5 ft 2 in", Fraction(62)),
        ("5 feet", Fraction(60)),
        ("60 inches", Fraction(60)),
        ("52 inches", Fraction(52)),
        ("2 yards", Fraction(72)),
        ("6 feet", Fraction(72)),
    ],
    "mass": [
        ("2 kg 500 g", Fraction(2500)),
        ("2.5 kg", Fraction(2500)),
        ("2500 g", Fraction(2500)),
        ("2,500 grams", Fraction(2500)),
        ("2 kg", Fraction(2000)),
        ("2 kilograms", Fraction(2000)),
        ("25 kg", Fraction(25000)),
        ("500 g", Fraction(500)),
        ("half a kilogram", Fraction(500)),
    ],
    "money": [
        ("$3.50", Fraction(350)),
        ("3.50 dollars", Fraction(350)),
        ("350 cents", Fraction(350)),
        ("3 dollars 50 cents", Fraction(350)),
        ("\\$3.50", Fraction(350)),
        ("$3.5", Fraction(350)),
        ("$35", Fraction(3500)),
        ("$3", Fraction(300)),
        ("300 cents", Fraction(300)),
        ("three dollars", Fraction(300)),
        ("50 cents", Fraction(50)),
        ("$0.50", Fraction(50)),
        ("$.50", Fraction(50)),
    ],
    "count": [
        ("2 dozen eggs", Fraction(24)),
        ("24 eggs", Fraction(24)),
        ("two dozen eggs", Fraction(24)),
        ("twenty-four eggs", Fraction(24)),
        ("2 eggs", Fraction(2)),
        ("1 dozen eggs", Fraction(12)),
        ("a dozen eggs", Fraction(12)),
        ("12 eggs", Fraction(12)),
        ("twelve eggs", Fraction(12)),
        ("half a dozen eggs", Fraction(6)),
        ("6 eggs", Fraction(6)),
    ],
    "share": [
        ("25%", Fraction(1, 4)),
        ("25 percent", Fraction(1, 4)),
        ("25\\%", Fraction(1, 4)),
        ("0.25", Fraction(1, 4)),
        ("1/4", Fraction(1, 4)),
        ("50%", Fraction(1, 2)),
        ("0.5", Fraction(1, 2)),
        ("2.5%", Fraction(1, 40)),
    ],
}
PAIRS = [(a, b) for amounts in AMOUNTS.values() for a, b in itertools.permutations(amounts, 2)]


def claims(text: str) -> set[str]:
    """The truths of what a text claims."""
    (row,) = check_file([json.dumps({"id": 0, "question": "", "steps": [text]})])
    return {c["truth"] for c in row["checks"]}


def broken(template: str) -> list[tuple[str, str, str]]:
    """The pairs of amounts whose claim and whose comparison as answers disagree."""
    found = []
    for (left, x), (right, y) in PAIRS:
        text = template.format(left, right)
        truths = claims(text)
        verdict = same_answer(left, right).verdict
        if verdict is Verdict.RIGHT and "false" in truths:
            found.append((text, "accepted as an answer", "false"))
        if x != y and "true" in truths:
            found.append((text, "another value", "true"))
    return found


@pytest.mark.parametrize("template", ["{} = {}", "So {} = {}.", "$x = {} = {}$", "**{} = {}**"])
def test_what_is_accepted_as_an_answer_is_never_a_false_claim(template: str) -> None:
    """Nor is an equality of different values ever a true one."""
    assert broken(template) == []


@pytest.mark.parametrize("sort", AMOUNTS)
def test_equal_amounts_are_equal_answers_and_others_are_not(sort: str) -> None:
    wrong = []
    for (left, x), (right, y) in itertools.permutations(AMOUNTS[sort], 2):
        verdict = same_answer(left, right).verdict
        if (x == y) != (verdict is Verdict.RIGHT):
            wrong.append((left, right, verdict.value))
    assert wrong == []


@pytest.mark.parametrize("sort", [s for s in AMOUNTS if s != "share"])
def test_sums_of_amounts_are_judged_by_their_value(sort: str) -> None:
    """An amount added to itself is twice the amount, in whatever form; no other amount is."""
    missed = []
    for (left, x), (right, y) in itertools.product(AMOUNTS[sort], repeat=2):
        truths = claims(f"{left} + {right} - {right} = {left}")
        if "false" in truths:
            missed.append((left, right, "false"))
        truths = claims(f"{left} + {left} = {right}")
        if ("false" if x + x == y else "true") in truths:
            missed.append((left, right, "twice"))
    assert missed == []
