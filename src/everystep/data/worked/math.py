"""Arithmetic word problems and plain calculations of school mathematics."""

import random

from everystep.core.types import Kind
from everystep.data.worked.problem import Problem, factors, part, people, product, term, thing


def gain_loss(rng: random.Random, level: int) -> Problem:
    """Some, then more, then fewer."""
    (name,), what = people(rng, 1), thing(rng)
    a, b = term(rng, level), term(rng, level)
    c = part(rng, level, a + b)
    question = rng.choice(
        (
            f"{name} has {a} {what}, finds {b} more and gives away {c}. How many {what} does {name} have now?",
            f"{name} had {a} {what}. {name} bought {b} {what} and lost {c}. How many are left?",
            f"A box holds {a} {what}. {name} puts in {b} and takes out {c}. How many {what} are in the box?",
            f"There are {a} {what} in a shop. {b} more arrive and {c} are sold. How many are left?",
        )
    )
    left = a + b - c
    steps = (
        f"Sum: {a} + {b} = {a + b}.",
        f"Left: {a + b} - {c} = {left}.",
        f"Therefore, the number of {what} is {left}.",
    )
    return Problem(question, steps, str(left), Kind.NUMBER)


def purchase(rng: random.Random, level: int) -> Problem:
    """Several of one thing at a price, and one more item."""
    (name,), what = people(rng, 1), thing(rng)
    big, small = factors(rng, level)
    extra = term(rng, level)
    item = rng.choice(("bag", "lamp", "hat", "coat", "chair"))
    question = rng.choice(
        (
            f"{name} buys {big} {what} at ${small} each and a {item} for ${extra}. What is the total cost?",
            f"{what.capitalize()} cost ${small} each. {name} buys {big} of them and a {item} for ${extra}. "
            f"How much does {name} pay?",
            f"A {item} costs ${extra} and {what} cost ${small} each. How much are the {item} and {big} {what}?",
        )
    )
    cost, total = big * small, big * small + extra
    steps = (
        f"Cost: {product(big, small)}.",
        f"Total: {cost} + {extra} = {total}.",
        f"Therefore, the total is ${total}.",
    )
    return Problem(question, steps, f"${total}", Kind.MONEY)


def percent(rng: random.Random, level: int) -> Problem:
    """A multiple of 10 percent of a multiple of 10."""
    (name,), what = people(rng, 1), thing(rng)
    tenth, tens = factors(rng, min(level, 4))
    tenth += 60 * (level == 5)
    amount, rate = tenth * 10, tens * 10
    question = rng.choice(
        (
            f"What is {rate} percent of {amount}?",
            f"{name} has {amount} {what} and sells {rate} percent of them. How many does {name} sell?",
            f"A shop has {amount} {what}. {rate} percent of the {what} are new. How many are new?",
            f"{rate} percent of {amount} {what} are old. How many {what} are old?",
        )
    )
    result = tenth * tens
    steps = (
        f"Product: {product(amount, rate)}.",
        f"Part: {amount * rate} / 100 = {result}.",
        f"Therefore, the result is {result}.",
    )
    return Problem(question, steps, str(result), Kind.NUMBER)


def equation(rng: random.Random, level: int) -> Problem:
    """`a * x + b = c` with a natural solution."""
    x, a = factors(rng, level)
    b = term(rng, level)
    c = a * x + b
    question = rng.choice(
        (
            f"Solve {a} * x + {b} = {c} for x.",
            f"{a} times a number plus {b} is {c}. What is the number?",
            f"Find x with {a} * x + {b} = {c}.",
            f"What is x if {a} * x + {b} = {c}?",
        )
    )
    steps = (f"Subtract: {c} - {b} = {a * x}.", f"Divide: {a * x} / {a} = {x}.", f"Therefore, the number is {x}.")
    return Problem(question, steps, str(x), Kind.NUMBER)


def perimeter(rng: random.Random, level: int) -> Problem:
    """The way around a rectangle."""
    unit = rng.choice(("m", "cm"))
    place = rng.choice(("garden", "field", "room", "park") if unit == "m" else ("card", "book", "box", "table"))
    a, b = term(rng, level), term(rng, level)
    question = rng.choice(
        (
            f"A {place} is {a} {unit} long and {b} {unit} wide. What is its perimeter?",
            f"Find the perimeter of a {place} with sides of {a} {unit} and {b} {unit}.",
            f"A line goes once around a {place} of {a} {unit} by {b} {unit}. How long is the line?",
        )
    )
    half, whole = a + b, 2 * (a + b)
    steps = (
        f"Two sides: {a} + {b} = {half} {unit}.",
        f"Perimeter: {half} + {half} = {whole} {unit}.",
        f"Therefore, it is {whole} {unit}.",
    )
    return Problem(question, steps, f"{whole} {unit}", Kind.QUANTITY, unit)


def rows(rng: random.Random, level: int) -> Problem:
    """Rows of equal length, some places of them missing."""
    what = thing(rng)
    big, small = factors(rng, level)
    gone = part(rng, level, big * small)
    question = rng.choice(
        (
            f"There are {small} rows of {big} {what}. {gone} {what} are broken. How many are good?",
            f"A shop puts {big} {what} in each of {small} boxes and sells {gone} {what}. How many are left?",
            f"{small} bags hold {big} {what} each. {gone} {what} are taken out. How many {what} are left?",
        )
    )
    left = big * small - gone
    steps = (
        f"All: {product(big, small)}.",
        f"Left: {big * small} - {gone} = {left}.",
        f"Therefore, the number of {what} is {left}.",
    )
    return Problem(question, steps, str(left), Kind.NUMBER)


def average(rng: random.Random, level: int) -> Problem:
    """The mean of three numbers, a whole number by construction."""
    (name,), what = people(rng, 1), thing(rng)
    a, b, c = (term(rng, min(level, 4)) + 150 * (level == 5) for _ in range(3))
    c += -(a + b + c) % 3
    mean = (a + b + c) // 3
    question = rng.choice(
        (
            f"What is the average of {a}, {b} and {c}?",
            f"{name} sold {a}, {b} and {c} {what} on three days. What is the average for a day?",
            f"Three boxes hold {a}, {b} and {c} {what}. How many {what} are in a box on average?",
        )
    )
    steps = (
        f"Sum: {a} + {b} + {c} = {a + b} + {c} = {a + b + c}.",
        f"Average: {a + b + c} / 3 = {mean}.",
        f"Therefore, the average is {mean}.",
    )
    return Problem(question, steps, str(mean), Kind.NUMBER)


def sharing(rng: random.Random, level: int) -> Problem:
    """Things shared equally after some were set aside."""
    (name,), what = people(rng, 1), thing(rng)
    each, friends = factors(rng, level)
    kept = term(rng, level)
    whole = each * friends + kept
    question = rng.choice(
        (
            f"{name} has {whole} {what}, keeps {kept} and shares the rest among {friends} friends. "
            f"How many does each friend get?",
            f"There are {whole} {what}. {kept} are old, the rest go into {friends} equal bags. "
            f"How many {what} are in each bag?",
            f"{name} eats {kept} of {whole} nuts and puts the rest into {friends} equal rows. "
            f"How many nuts are in a row?",
        )
    )
    steps = (
        f"Rest: {whole} - {kept} = {each * friends}.",
        f"Each: {each * friends} / {friends} = {each}.",
        f"Therefore, each gets {each}.",
    )
    return Problem(question, steps, str(each), Kind.NUMBER)


def fraction(rng: random.Random, level: int) -> Problem:
    """A proper fraction of an amount that its denominator divides."""
    (name,), what = people(rng, 1), thing(rng)
    one, below = factors(rng, level)
    below = max(below, 3)
    above = rng.randint(2, below - 1)
    amount = one * below
    question = rng.choice(
        (
            f"What is {above}/{below} of {amount}?",
            f"{name} has {amount} {what} and gives away {above}/{below} of them. How many {what} are given away?",
            f"{above}/{below} of {amount} {what} are red. How many {what} are red?",
        )
    )
    result = one * above
    steps = (
        f"One part: {amount} / {below} = {one}.",
        f"All parts: {product(one, above)}.",
        f"Therefore, the result is {result}.",
    )
    return Problem(question, steps, str(result), Kind.NUMBER)
