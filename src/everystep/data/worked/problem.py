"""What the generators share: the Problem they return, the closed word lists, and numbers by level.

A level moves the magnitude of the numbers and nothing else: sentences and the number of steps stay the
same, so that a harder level asks for one more digit and not for a longer argument.
"""

import random
from dataclasses import dataclass

from everystep.core.types import Kind

NAMES = ("Ann", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo", "Ida", "Jon", "Kim", "Leo")
THINGS = (
    *("apples", "balls", "books", "cards", "coins", "cookies", "cups", "eggs", "flowers", "keys"),
    *("marbles", "nuts", "pens", "plums", "shells", "spoons", "stamps", "stones", "tickets", "toys"),
)
COLORS = ("red", "blue", "green", "white")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

# Inclusive ranges of an additive operand, by level. Neighbours overlap a little at most.
_TERMS = {1: (2, 20), 2: (12, 60), 3: (40, 150), 4: (100, 400), 5: (250, 999)}
# Inclusive ranges of the larger and of the smaller factor, by level.
_FACTORS = {
    1: ((2, 9), (2, 9)),
    2: ((4, 12), (3, 9)),
    3: ((11, 30), (2, 9)),
    4: ((21, 99), (3, 9)),
    5: ((101, 300), (2, 9)),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with its worked steps and its answer.

    `steps` are short sentences with one arithmetic claim each, the last one the conclusion, beginning with
    "Therefore, ". `key` is the defining content where that is not just the numbers of the question.
    """

    question: str
    steps: tuple[str, ...]
    answer: str
    kind: Kind
    unit: str | None = None
    choices: tuple[str, ...] = ()
    key: tuple[int | str, ...] = ()


def term(rng: random.Random, level: int) -> int:
    """An operand of a sum or a difference."""
    return rng.randint(*_TERMS[level])


def part(rng: random.Random, level: int, whole: int) -> int:
    """An operand of the level that can be taken from `whole` and leaves at least 1."""
    low, high = _TERMS[level]
    return rng.randint(min(low, whole - 1), min(high, whole - 1))


def factors(rng: random.Random, level: int) -> tuple[int, int]:
    """The two operands of a product, the larger one first by range; the second has one digit.

    >>> factors(random.Random(0), 4)
    (70, 9)
    """
    big, small = _FACTORS[level]
    return rng.randint(*big), rng.randint(*small)


def product(big: int, small: int) -> str:
    """A product written out by the places of its first operand.

    >>> product(24, 7), product(6, 7), product(203, 4)
    ('24 * 7 = 140 + 28 = 168', '6 * 7 = 42', '203 * 4 = 800 + 12 = 812')
    """
    digits = str(big)
    places = [int(d) * 10 ** (len(digits) - i - 1) * small for i, d in enumerate(digits) if d != "0"]
    middle = f" = {' + '.join(map(str, places))}" if len(places) > 1 else ""
    return f"{big} * {small}{middle} = {big * small}"


def people(rng: random.Random, n: int) -> list[str]:
    """`n` different names."""
    return rng.sample(NAMES, n)


def thing(rng: random.Random) -> str:
    """A plural noun for things that can be counted, bought and given away."""
    return rng.choice(THINGS)
