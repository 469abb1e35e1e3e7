"""The text the tiny Gemma is pretrained on: documents as a pure function of (seed, index).

Like the web for a real model, in miniature: questions with bare answers at every level, worked answers in
several loose styles mostly at the low levels, bare arithmetic at every size, and markup and prose in which
the pieces of our tags occur in other uses (a LoRA cannot teach an embedding that was never trained). The
tags themselves never occur, nor a question of the dev or test split.
"""

import random

from everystep.data import worked
from everystep.data.worked.problem import factors, product, term

# Worked answers are plentiful at the low levels and scarce above; bare answers are there at every level.
_WORKED = (0.38, 0.36, 0.15, 0.06, 0.05)
_FACTS = (1, 1, 2, 3, 3)
_APART = 1_000_003  # a task of another split is replaced by one this much further on
_NOUNS = (
    *("apple", "book", "pen", "cup", "box", "coin", "card", "map", "key", "bag", "lamp"),
    *("rope", "shell", "stamp", "brick", "plate"),
)
_PLACES = ("shop", "school", "farm", "park", "station", "garden", "library", "market")
_TAGS = (
    *("list", "item", "name", "price", "note", "b", "i", "table", "row", "cell", "title"),
    *("text", "part", "page"),
)


def document(seed: int, index: int) -> str:
    """Document `index`: chat turns, arithmetic, markup or prose. Never empty; plain text with turn marks."""
    rng = random.Random(f"corpus {seed} {index}")
    kind = rng.random()
    if kind < 0.64:
        return _chat(rng, seed, index)
    if kind < 0.92:
        return "\n".join(_fact(rng) for _ in range(rng.randint(5, 9))) + "\n"
    if kind < 0.96:
        return _markup(rng)
    return _prose(rng)


def _chat(rng: random.Random, seed: int, index: int) -> str:
    shown = rng.random() < 0.7  # with its work
    (level,) = rng.choices(worked.LEVELS, _WORKED if shown else (1, 1, 1, 1, 1))
    for attempt in range(50):
        task = worked.task(seed, index + attempt * _APART, levels=(level,))
        if task.split == "train":
            break
    else:
        return _fact(rng) + "\n"
    steps = task.solution or ()
    style = rng.random()
    if not shown:
        reply = rng.choice((task.answer, f"The answer is {task.answer}."))
    elif style < 0.5:
        reply = " ".join(steps[:-1]) + f" The answer is {task.answer}."
    elif style < 0.9:
        reply = "\n".join(steps[:-1]) + f"\nThe answer is {task.answer}."
    else:
        reply = "\n".join(f"- {s}" for s in steps) + f"\nAnswer: {task.answer}"
    return f"<start_of_turn>user\n{task.question}<end_of_turn>\n<start_of_turn>model\n{reply}<end_of_turn>\n"


def _fact(rng: random.Random) -> str:
    """One true line of arithmetic, in the forms and sizes that worked steps use."""
    (level,) = rng.choices(worked.LEVELS, _FACTS)
    a, b, c = term(rng, level), term(rng, level), term(rng, level)
    big, small = factors(rng, level)
    match rng.randrange(14):
        case 0 | 1:
            return f"{a} + {b} = {a + b}"
        case 2 | 3:
            return f"{a + b} - {a} = {b}"
        case 4:
            return f"{a} + {b} + {c} = {a + b} + {c} = {a + b + c}"
        case 5 | 6:
            return product(*((big, small) if rng.random() < 0.8 else (small, big)))
        case 7 | 8:
            return f"{big * small} / {small} = {big}" if rng.random() < 0.8 else f"{big * small} / {big} = {small}"
        case 9:
            unit = rng.choice((7, 10, 12, 24, 60, 100, 1000))
            return f"{small * unit + b % unit} = {small * unit} + {b % unit}"
        case 10:
            return f"{max(a, b)} > {min(a, b)}" if rng.random() < 0.5 else f"{min(a, b)} < {max(a, b)}"
        case 11:
            total = a + b + c
            return f"{total} - {a} - {b} = {total - a} - {b} = {c}"
        case 12:
            unit = rng.choice((10, 60, 100, 1000))
            return product(big, unit) if rng.random() < 0.5 else f"{big * unit} / {unit} = {big}"
        case _:
            numbers = rng.sample((a, b, c, a + rng.randint(1, 9), b + rng.randint(1, 99)), rng.randint(3, 5))
            return ", ".join(map(str, numbers)) + " -> " + ", ".join(map(str, sorted(numbers)))


def _markup(rng: random.Random) -> str:
    outer, inner = rng.sample(_TAGS, 2)
    lines = [f"<{outer}>"]
    for _ in range(rng.randint(2, 5)):
        value = rng.choice(
            (str(rng.randint(1, 999)), rng.choice(_NOUNS), f"{rng.randint(1, 999)} {rng.choice(_NOUNS)}s")
        )
        lines.append(f"<{inner}>{value}</{inner}>")
    if rng.random() < 0.5:
        lines.append(f'<note about="{rng.choice(("reasoning", "answer", "work"))}">{rng.choice(_PLACES)}</note>')
    return "\n".join([*lines, f"</{outer}>"]) + "\n"


def _prose(rng: random.Random) -> str:
    noun, other, place = rng.choice(_NOUNS), rng.choice(_NOUNS), rng.choice(_PLACES)
    days = rng.randint(2, 9)
    pool = (
        f"Step 1: Go to the {place}. Step 2: Find the {noun}. Step 3: Bring it home.",
        f"Step 1: Take a {noun}.\nStep 2: Put it in the {other}.\n"
        f"Step 3: Close the {other}.\nStep 4: Wait {days} days.",
        f"The {place} was closed. Therefore, we had no {noun}.",
        f"It rained for {days} days. Therefore, the {place} was empty.",
        "Good reasoning comes before the answer.",
        "An answer without reasoning is a guess.",
        f"The answer to the letter came after {days} days.",
        f"Her reasoning was short, but the {noun} was there.",
        f"He wrote the answer on a {noun} and the reasoning on a {other}.",
    )
    return " ".join(rng.sample(pool, 3)) + "\n"


def tokenizer_lines(seed: int, documents: int = 20_000) -> list[str]:
    """The text the tokenizer is trained on: documents line by line, and the format's words (not its tags)
    often enough to become pieces."""
    lines = [line for i in range(documents) for line in document(seed, i).split("\n")]
    return lines + ["Step 1: reasoning", "Therefore, the answer", "Step 2: answer", "reasoning answer"] * 500
