"""The text the tiny Gemma is pretrained on: documents as a pure function of (seed, index).

Like the web for a real model, in miniature: questions with bare answers at every level, worked answers in
several loose styles at the low levels only, bare arithmetic at every size, and markup and prose in which
the pieces of our tags occur in other uses (a LoRA cannot teach an embedding that was never trained). The
tags themselves never occur, nor a question of the dev or test split.
"""

import random

from showwork.data import worked

WORKED_LEVELS = (1, 2)
_NOUNS = "apple book pen cup box coin card map key bag lamp rope shell stamp brick plate".split()
_PLACES = "shop school farm park station garden library market".split()
_TAGS = "list item name price note b i table row cell title text part page".split()


def document(seed: int, index: int) -> str:
    """Document `index`: chat turns, arithmetic, markup or prose. Never empty; plain text with turn marks."""
    rng = random.Random(f"corpus {seed} {index}")
    kind = rng.random()
    if kind < 0.62:
        return _chat(rng, seed, index)
    if kind < 0.90:
        return "\n".join(_fact(rng) for _ in range(rng.randint(5, 9))) + "\n"
    if kind < 0.95:
        return _markup(rng)
    return _prose(rng)


def _chat(rng: random.Random, seed: int, index: int) -> str:
    levels = WORKED_LEVELS if rng.random() < 0.55 else worked.LEVELS
    task = worked.task(seed, index, levels=levels)
    for attempt in range(1, 50):
        if task.split == "train":
            break
        task = worked.task(seed, index + attempt * 1_000_000_007, levels=levels)
    else:
        return _fact(rng) + "\n"
    steps = task.solution or ()
    style = rng.random()
    if task.level not in WORKED_LEVELS or style < 0.2:
        reply = rng.choice((task.answer, f"The answer is {task.answer}."))
    elif style < 0.6:
        reply = " ".join(steps[:-1]) + f" The answer is {task.answer}."
    elif style < 0.9:
        reply = "\n".join(steps[:-1]) + f"\nThe answer is {task.answer}."
    else:
        reply = "\n".join(f"- {s}" for s in steps) + f"\nAnswer: {task.answer}"
    return f"<start_of_turn>user\n{task.question}<end_of_turn>\n<start_of_turn>model\n{reply}<end_of_turn>\n"


def _number(rng: random.Random) -> int:
    return rng.randint(0, rng.choice((9, 20, 60, 150, 400, 999)))


def _fact(rng: random.Random) -> str:
    """One true line of arithmetic, in the forms that worked steps use."""
    a, b, c = _number(rng), _number(rng), _number(rng)
    match rng.randrange(12):
        case 0 | 1:
            return f"{a} + {b} = {a + b}"
        case 2 | 3:
            a, b = max(a, b), min(a, b)
            return f"{a} - {b} = {a - b}"
        case 4:
            return f"{a} + {b} + {c} = {a + b} + {c} = {a + b + c}"
        case 5 | 6:
            return product(rng.randint(2, rng.choice((9, 12, 30, 99, 300))), rng.randint(2, 12))
        case 7 | 8:
            quotient, divisor = rng.randint(1, rng.choice((9, 12, 30, 99, 300))), rng.randint(2, 12)
            return f"{quotient * divisor} / {divisor} = {quotient}"
        case 9:
            divisor = rng.choice((2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 24, 60))
            quotient, rest = rng.randint(0, 40), rng.randrange(divisor)
            return f"{quotient * divisor + rest} = {quotient} * {divisor} + {rest}"
        case 10:
            if a == b:
                return f"{a} = {b}"
            return f"{a} > {b}" if a > b else f"{a} < {b}"
        case _:
            numbers = [_number(rng) for _ in range(rng.randint(3, 5))]
            return ", ".join(map(str, numbers)) + " -> " + ", ".join(map(str, sorted(numbers)))


def product(a: int, b: int) -> str:
    """`24 * 7 = 140 + 28 = 168`: a product of a larger number by tens and ones."""
    tens, ones = a - a % 10, a % 10
    if tens and ones:
        return f"{a} * {b} = {tens * b} + {ones * b} = {a * b}"
    return f"{a} * {b} = {a * b}"


def _markup(rng: random.Random) -> str:
    outer, inner = rng.sample(_TAGS, 2)
    lines = [f"<{outer}>"]
    for _ in range(rng.randint(2, 5)):
        value = rng.choice((str(_number(rng)), rng.choice(_NOUNS), f"{_number(rng)} {rng.choice(_NOUNS)}s"))
        lines.append(f"<{inner}>{value}</{inner}>")
    if rng.random() < 0.5:
        lines.append(f'<note about="{rng.choice(("reasoning", "answer", "work"))}">{rng.choice(_PLACES)}</note>')
    return "\n".join([*lines, f"</{outer}>"]) + "\n"


def _prose(rng: random.Random) -> str:
    noun, other, place = rng.choice(_NOUNS), rng.choice(_NOUNS), rng.choice(_PLACES)
    days = rng.randint(2, 9)
    pool = (
        f"Step 1: Go to the {place}. Step 2: Find the {noun}. Step 3: Bring it home.",
        f"Step 1: Take a {noun}.\nStep 2: Put it in the {other}.\nStep 3: Close the {other}.\nStep 4: Wait {days} days.",
        f"The {place} was closed. Therefore, we had no {noun}.",
        f"It rained for {days} days. Therefore, the {place} was empty.",
        "Good reasoning comes before the answer.",
        "An answer without reasoning is a guess.",
        f"The answer to the letter came after {days} days.",
        f"Her reasoning was short, but the {noun} was there.",
        f"He wrote the answer on a {noun} and the reasoning on a {other}.",
    )
    return " ".join(rng.sample(pool, 3)) + "\n"
