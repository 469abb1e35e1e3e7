"""Comparing, ordering and undoing: the calculation is small, what to calculate is the question."""

import random

from everystep.core.types import Kind
from everystep.data.worked.problem import COLORS, Problem, part, people, term, thing


def ordering(rng: random.Random, level: int) -> Problem:
    """Three people compared in a chain; who has the most, or the fewest?"""
    a, b, c = people(rng, 3)
    what = thing(rng)
    x = y = z = 0
    p = q = 0
    up = then_up = True
    while min(x, y, z) <= 0 or len({x, y, z}) < 3:
        x, p, q = term(rng, level), term(rng, level), term(rng, level)
        up, then_up = rng.random() < 0.5, rng.random() < 0.5
        y = x + p if up else x - p
        z = y + q if then_up else y - q
    most = rng.random() < 0.5
    facts = (
        f"{a} has {x} {what}. {b} has {p} {'more' if up else 'fewer'} than {a}. "
        f"{c} has {q} {'more' if then_up else 'fewer'} than {b}."
    )
    values = {a: x, b: y, c: z}
    steps = [f"{b}: {x} {'+' if up else '-'} {p} = {y}.", f"{c}: {y} {'+' if then_up else '-'} {q} = {z}."]
    ranked = sorted(values, key=lambda n: -values[n])
    who = ranked[0] if most else ranked[-1]
    asked = "most" if most else "fewest"
    question = rng.choice(
        (
            f"{facts} Who has the {asked} {what}?",
            f"{facts} Who has the {asked}?",
            f"{facts} Which of the three has the {asked} {what}?",
        )
    )
    first, second = (ranked[0], ranked[1]) if most else (ranked[1], ranked[2])
    steps += [f"Compare: {values[first]} > {values[second]}.", f"Therefore, {who} has the {asked}."]
    return Problem(question, tuple(steps), who, Kind.TEXT, choices=(a, b, c))


def compare(rng: random.Random, level: int) -> Problem:
    """Which of two sums is larger? They are close, so that a glance does not tell."""
    a, b = people(rng, 2)
    what = thing(rng)
    one, two = rng.sample(COLORS, 2)
    p, q, r = term(rng, level), term(rng, level), term(rng, level)
    gap = rng.choice((-1, 1)) * rng.randint(1, max(2, (p + q) // 8))
    r = min(r, p + q + gap - 1)
    s = p + q + gap - r
    question = rng.choice(
        (
            f"{a} has {p} {one} and {q} {two} {what}. {b} has {r} {one} and {s} {two} {what}. Who has more {what}?",
            f"{a} found {p} {what} and then {q}. {b} found {r} {what} and then {s}. Who found more?",
            f"{a} read {p} pages and {q} pages. {b} read {r} pages and {s} pages. Who read more?",
        )
    )
    who, high, low = (a, p + q, r + s) if p + q > r + s else (b, r + s, p + q)
    steps = (
        f"{a}: {p} + {q} = {p + q}.",
        f"{b}: {r} + {s} = {r + s}.",
        f"Compare: {high} > {low}.",
        f"Therefore, {who} has more.",
    )
    return Problem(question, steps, who, Kind.TEXT, choices=(a, b))


def sequence(rng: random.Random, level: int) -> Problem:
    """The next term of an arithmetic sequence of three."""
    start, gap = term(rng, level), term(rng, max(1, level - 1))
    a, b, c = (start + i * gap for i in range(3))
    question = rng.choice(
        (
            f"What comes next: {a}, {b}, {c}?",
            f"Find the next number of {a}, {b}, {c}.",
            f"The numbers {a}, {b}, {c} grow by the same amount. What is the next number?",
        )
    )
    steps = (f"Gap: {b} - {a} = {gap}.", f"Next: {c} + {gap} = {c + gap}.", f"Therefore, the next number is {c + gap}.")
    return Problem(question, steps, str(c + gap), Kind.NUMBER)


def ages(rng: random.Random, level: int) -> Problem:
    """The age of an older thing in some years."""
    young, old = rng.sample(("tree", "house", "bridge", "tower", "castle", "wall"), 2)
    a, b, c = term(rng, level), term(rng, level), term(rng, level)
    question = rng.choice(
        (
            f"A {young} is {a} years old. A {old} is {b} years older. How old will the {old} be in {c} years?",
            f"The {old} is {b} years older than the {young}, which is {a}. How old is the {old} in {c} years?",
            f"In {c} years, how old is a {old} that is {b} years older than a {young} of {a} years?",
        )
    )
    end = a + b + c
    steps = (f"Now: {a} + {b} = {a + b}.", f"Then: {a + b} + {c} = {end}.", f"Therefore, the {old} will be {end}.")
    return Problem(question, steps, str(end), Kind.NUMBER)


def truth(rng: random.Random, level: int) -> Problem:
    """Is a sum greater (or less) than a number near it?"""
    a, b = term(rng, level), term(rng, level)
    bound = max(1, a + b + rng.choice((-1, 1)) * rng.randint(1, max(2, (a + b) // 8)))
    word, holds = rng.choice((("greater", a + b > bound), ("less", a + b < bound)))
    question = rng.choice(
        (
            f"Is {a} + {b} {word} than {bound}? Answer yes or no.",
            f"True or not: the sum of {a} and {b} is {word} than {bound}. Answer yes or no.",
            f"Is the sum of {a} and {b} {word} than {bound}?",
        )
    )
    answer = "yes" if holds else "no"
    sign = ">" if a + b > bound else "<"
    steps = (f"Sum: {a} + {b} = {a + b}.", f"Compare: {a + b} {sign} {bound}.", f"Therefore, the answer is {answer}.")
    return Problem(question, steps, answer, Kind.BOOLEAN)


def undo(rng: random.Random, level: int) -> Problem:
    """Find the number that somebody started from."""
    (name,) = people(rng, 1)
    start, a = term(rng, level), term(rng, level)
    b = part(rng, level, start + a)
    end = start + a - b
    question = rng.choice(
        (
            f"{name} thinks of a number, adds {a} and takes away {b}. The result is {end}. What is the number?",
            f"Add {a} to a number, subtract {b}, and you get {end}. Find the number.",
            f"{name} had some coins, found {a}, lost {b} and has {end} now. How many did {name} have at first?",
        )
    )
    steps = (
        f"Before: {end} + {b} = {end + b}.",
        f"Start: {end + b} - {a} = {start}.",
        f"Therefore, the number is {start}.",
    )
    return Problem(question, steps, str(start), Kind.NUMBER)


def together(rng: random.Random, level: int) -> Problem:
    """From a total and one share to the difference of the shares."""
    a, b = people(rng, 2)
    what = thing(rng)
    less, more = sorted((term(rng, level), term(rng, level)))
    more += less == more
    total = less + more
    question = rng.choice(
        (
            f"{a} and {b} have {total} {what} together. {a} has {less}. How many more does {b} have than {a}?",
            f"Of {total} {what}, {a} owns {less} and {b} owns the rest. How many more does {b} own than {a}?",
            f"{a} has {less} of {total} {what} and {b} has the others. By how many does {b} have more?",
        )
    )
    gap = more - less
    steps = (f"{b}: {total} - {less} = {more}.", f"More: {more} - {less} = {gap}.", f"Therefore, {b} has {gap} more.")
    return Problem(question, steps, str(gap), Kind.NUMBER)


def choice(rng: random.Random, level: int) -> Problem:
    """Multiple choice: which of three numbers is the sum?"""
    a, b, c = term(rng, level), term(rng, level), term(rng, level)
    total = a + b + c
    wrong = rng.sample([n for n in (total - 10, total - 1, total + 1, total + 2, total + 10) if n > 0], 2)
    options = [total, *wrong]
    rng.shuffle(options)
    listed = " ".join(f"{letter}) {n}" for letter, n in zip("ABC", options, strict=True))
    question = rng.choice(
        (
            f"What is {a} + {b} + {c}? {listed}.",
            f"Which is the sum of {a}, {b} and {c}? {listed}.",
            f"Add {a}, {b} and {c}. Which one is it? {listed}.",
        )
    )
    letter = "ABC"[options.index(total)]
    steps = (f"Sum: {a} + {b} = {a + b}.", f"Total: {a + b} + {c} = {total}.", f"Therefore, the answer is {letter}.")
    choices = tuple(map(str, options))
    return Problem(question, steps, letter, Kind.CHOICE, choices=choices, key=tuple(sorted((a, b, c))))
