"""Laws of the pretraining text: a function of seed and index, true, and free of what is tested later."""

import re
from fractions import Fraction
from functools import cache

import pytest

from everystep.core.types import Task
from everystep.data import worked
from everystep.data.corpus import document, tokenizer_lines

COUNT = 5_000
_CHAIN = re.compile(r"[0-9]+(?: [-+*/] [0-9]+)*(?: [=<>] [0-9]+(?: [-+*/] [0-9]+)*)+")


@cache
def documents() -> tuple[str, ...]:
    return tuple(document(3, i) for i in range(COUNT))


def value(expression: str) -> Fraction:
    """Products before sums, from left to right: arithmetic written out anew."""
    total, sign, product, operator = Fraction(0), 1, None, "*"
    for word in [*expression.split(), "+"]:
        if word in "+-":
            assert product is not None
            total += sign * product
            sign, product = (1 if word == "+" else -1), None
        elif word in "*/":
            operator = word
        elif product is None:
            product = Fraction(word)
        else:
            product = product * Fraction(word) if operator == "*" else product / Fraction(word)
    return total


def test_value_is_arithmetic() -> None:
    assert [value(e) for e in ("2 + 3 * 4", "20 - 6 / 2 - 1", "7", "2 * 3 / 4")] == [
        14,
        16,
        7,
        Fraction(3, 2),
    ]


def test_a_document_is_a_function_of_seed_and_index() -> None:
    assert [document(3, i) for i in (4999, 0, 17)] == [documents()[i] for i in (4999, 0, 17)]
    assert sum(document(4, i) == documents()[i] for i in range(200)) == 0
    assert len(set(documents())) > 0.95 * COUNT
    assert all(d.endswith("\n") and d.strip() for d in documents())


def test_the_tags_never_occur_and_their_pieces_do() -> None:
    text = "".join(documents()) + "".join(tokenizer_lines(3, documents=500))
    assert not re.search(r"</?\s*(?:reasoning|answer)\s*>", text, re.IGNORECASE)
    for piece in ("reasoning", "answer", "Step 1:", "Therefore", "<", ">", "</"):
        assert text.count(piece) > 50, piece


def test_no_question_of_another_split_occurs() -> None:
    """Every question of 4,000 tasks that are not for training is looked for in every document."""
    questions = {m.group(1) for d in documents() if (m := re.search(r"user\n(.*?)<end_of_turn>", d, re.DOTALL))}
    held = [t for s in (0, 3) for i in range(2_000) if (t := worked.task(s, i)).split != "train"]
    assert len(questions) > 2_000 and len(held) > 100
    assert not questions & {t.question for t in held}


def test_every_task_of_the_corpus_is_one_for_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of the other splits come up, and are passed over."""
    split: dict[str, str] = {}
    make = worked.task

    def seen(seed: int, index: int, levels: tuple[int, ...]) -> Task:
        task = make(seed, index, levels=levels)
        split[task.question] = task.split
        return task

    monkeypatch.setattr(worked, "task", seen)
    asked = [d.split("user\n")[1].split("<end_of_turn>")[0] for i in range(1_500) if "user\n" in (d := document(3, i))]
    assert len(asked) > 500 and {split[q] for q in asked} == {"train"}
    assert {"dev", "test"} < set(split.values())


def test_arithmetic_is_true() -> None:
    seen = 0
    for text in documents():
        if "<start_of_turn>" in text or not _CHAIN.match(text):
            continue
        for line in text.split("\n"):
            if "->" in line:
                before, after = (list(map(int, half.split(", "))) for half in line.split(" -> "))
                assert sorted(before) == after
                continue
            if not line:
                continue
            assert _CHAIN.fullmatch(line), line
            parts = re.split(r" ([=<>]) ", line)
            for left, sign, right in zip(parts[::2], parts[1::2], parts[2::2], strict=False):
                a, b = value(left), value(right)
                assert {"=": a == b, "<": a < b or a == b, ">": a > b or a == b}[sign], line
            seen += 1
    assert seen > 5_000
