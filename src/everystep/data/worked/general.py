"""Everyday calculations: the calendar, the clock, shopping, cooking, reading, sorting."""

import random

from everystep.core.types import Kind
from everystep.data.worked.problem import DAYS, Problem, factors, part, people, product, term, thing

_MOST_DAYS = (20, 60, 100, 200, 400)
_MOST_MINUTES = (20, 60, 150, 300, 600)


def calendar(rng: random.Random, level: int) -> Problem:
    """The weekday in some days: what is left after full weeks decides."""
    day = rng.randrange(7)
    n = rng.randint((7, 12, 40, 90, 180)[level - 1], _MOST_DAYS[level - 1])
    weeks, left = divmod(n, 7)
    (name,) = people(rng, 1)
    question = rng.choice(
        (
            f"Today is {DAYS[day]}. What day is it in {n} days?",
            f"What day of the week is {n} days after {DAYS[day]}?",
            f"{name} leaves on {DAYS[day]} and comes back {n} days later. What day is that?",
        )
    )
    answer = DAYS[(day + n) % 7]
    steps = (
        f"Weeks: {product(weeks, 7)}.",
        f"Left: {n} - {weeks * 7} = {left}.",
        f"Therefore, {DAYS[day]} and {left} {'day' if left == 1 else 'days'} is {answer}.",
    )
    return Problem(question, steps, answer, Kind.TEXT, choices=DAYS, key=(DAYS[day], n))


def schedule(rng: random.Random, level: int) -> Problem:
    """When something ends, on a clock of 24 hours."""
    hour, minute = rng.randint(7, 13), rng.randrange(5, 60, 5)
    most = _MOST_MINUTES[level - 1]
    lasts = rng.randint(max(5, most // 3), most)
    what = rng.choice(("film", "train ride", "class", "game", "show"))
    question = rng.choice(
        (
            f"A {what} starts at {hour}:{minute:02d} and lasts {lasts} minutes. When does it end?",
            f"A {what} of {lasts} minutes begins at {hour}:{minute:02d}. At what time is it over?",
            f"It is {hour}:{minute:02d}. The {what} takes {lasts} minutes from now. What time is it then?",
        )
    )
    total = minute + lasts
    hours, rest = divmod(total, 60)
    end = f"{hour + hours}:{rest:02d}"
    steps = (
        f"Minutes: {minute} + {lasts} = {total} = {hours * 60} + {rest}.",
        f"Hours: {hour} + {hours * 60} / 60 = {hour} + {hours} = {hour + hours}.",
        f"Therefore, it ends at {end}.",
    )
    return Problem(question, steps, end, Kind.TIME, key=(hour, minute, lasts))


def sorting(rng: random.Random, level: int) -> Problem:
    """Four numbers in order; two of them are close."""
    (name,) = people(rng, 1)
    chosen = {term(rng, level)}
    near = next(iter(chosen)) + rng.randint(1, 2 + level)
    chosen.add(near)
    while len(chosen) < 4:
        chosen.add(term(rng, level))
    shuffled = sorted(chosen)
    rng.shuffle(shuffled)
    up = rng.random() < 0.5
    order = sorted(chosen, reverse=not up)
    sign, way = ("<", "smallest to largest") if up else (">", "largest to smallest")
    listed = ", ".join(map(str, shuffled))
    question = rng.choice(
        (
            f"Sort from {way}: {listed}.",
            f"Put the numbers {listed} in order from {way}.",
            f"{name} has cards with {listed}. What is their order from {way}?",
        )
    )
    answer = ", ".join(map(str, order))
    first, second, third, last = order
    steps = (
        f"First: {first} {sign} {second}.",
        f"Next: {second} {sign} {third}.",
        f"Last: {third} {sign} {last}.",
        f"Therefore, the order is {answer}.",
    )
    return Problem(question, steps, answer, Kind.LIST)


def change(rng: random.Random, level: int) -> Problem:
    """What comes back from a banknote."""
    (name,) = people(rng, 1)
    one, two = rng.sample(("lamp", "hat", "chair", "bag", "coat", "clock", "ball"), 2)
    a, b = term(rng, level), term(rng, level)
    note = next(n for n in (20, 50, 100, 200, 500, 1000, 2000) if n > a + b)
    question = rng.choice(
        (
            f"{name} buys a {one} for ${a} and a {two} for ${b} and pays with ${note}. "
            f"How much change does {name} get?",
            f"A {one} costs ${a} and a {two} costs ${b}. How much is left of ${note}?",
            f"{name} has ${note} and pays ${a} for a {one} and ${b} for a {two}. How much money is left?",
        )
    )
    left = note - a - b
    steps = (f"Cost: {a} + {b} = {a + b}.", f"Change: {note} - {a + b} = {left}.", f"Therefore, ${left} is left.")
    return Problem(question, steps, f"${left}", Kind.MONEY)


def recipe(rng: random.Random, level: int) -> Problem:
    """A recipe scaled to other mouths."""
    each, people_then = factors(rng, level)
    people_now = rng.choice([n for n in range(2, 10) if n != people_then])
    food = rng.choice(("flour", "sugar", "rice", "milk", "butter"))
    amount, result = each * people_now, each * people_then
    question = rng.choice(
        (
            f"A recipe for {people_now} people needs {amount} g of {food}. "
            f"How much {food} is needed for {people_then} people?",
            f"For {people_now} people a cook takes {amount} g of {food}. How much for {people_then} people?",
            f"{amount} g of {food} is enough for {people_now} people. How many g do {people_then} people need?",
        )
    )
    steps = (
        f"Each: {amount} / {people_now} = {each} g.",
        f"All: {product(each, people_then)} g.",
        f"Therefore, {result} g is needed.",
    )
    return Problem(question, steps, f"{result} g", Kind.QUANTITY, "g")


def counting(rng: random.Random, level: int) -> Problem:
    """Two kinds of packs, counted together."""
    what = thing(rng)
    big, small = factors(rng, level)
    more = term(rng, level)
    question = rng.choice(
        (
            f"There are {small} boxes with {big} {what} each and {more} single {what}. How many {what} are there?",
            f"How many {what} are in {small} bags of {big} and one bag of {more}?",
            f"A shop has {more} {what} on a table and {small} boxes of {big} {what}. How many {what} is that?",
        )
    )
    total = big * small + more
    steps = (
        f"Packed: {product(big, small)}.",
        f"Total: {big * small} + {more} = {total}.",
        f"Therefore, there are {total} {what}.",
    )
    return Problem(question, steps, str(total), Kind.NUMBER)


def reading(rng: random.Random, level: int) -> Problem:
    """Pages that are left of a book after some days."""
    (name,) = people(rng, 1)
    a_day, days = factors(rng, level)
    left = term(rng, level)
    pages = a_day * days + left
    question = rng.choice(
        (
            f"A book has {pages} pages. {name} reads {a_day} pages a day for {days} days. How many pages are left?",
            f"{name} reads {a_day} of {pages} pages a day. How many pages are left after {days} days?",
            f"For {days} days {name} reads {a_day} pages a day of a book with {pages} pages. How many are left?",
        )
    )
    steps = (
        f"Read: {product(a_day, days)}.",
        f"Left: {pages} - {a_day * days} = {left}.",
        f"Therefore, the number of pages is {left}.",
    )
    return Problem(question, steps, str(left), Kind.NUMBER)


def passengers(rng: random.Random, level: int) -> Problem:
    """People get off and on."""
    mover = rng.choice(("bus", "train", "boat"))
    start = term(rng, level)
    off = part(rng, level, start)
    on = term(rng, level)
    question = rng.choice(
        (
            f"A {mover} has {start} people. {off} get off and {on} get on. How many people are on the {mover}?",
            f"{start} people are on a {mover}. {off} leave and {on} come. How many are there now?",
            f"From {start} people on a {mover} {off} get off, then {on} get on. How many are there now?",
        )
    )
    end = start - off + on
    steps = (
        f"Stay: {start} - {off} = {start - off}.",
        f"Now: {start - off} + {on} = {end}.",
        f"Therefore, the number of people is {end}.",
    )
    return Problem(question, steps, str(end), Kind.NUMBER)
