"""Tokens and exact evaluation: values, places, and that no input is slow or raises."""

import ast
import operator
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.verify.arithmetic import MAX_BITS, evaluate, power
from everystep.verify.markup import plain_text
from everystep.verify.tokens import MAX_TOKENS_READ, NUM, OP, WORD, tokenize


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("2 - 3 - 4", -5),
        ("2^3^2", 512),
        ("-2^2", -4),
        ("(-2)^2", 4),
        ("2^-1", Fraction(1, 2)),
        ("4 - -2", 6),
        ("6 * -3", -18),
        ("1/3 + 1/6", Fraction(1, 2)),
        ("1/2(16)", 8),
        ("2(16)", 32),
        ("(2)(3)(4)", 24),
        ("500(.40)", 200),
        ("3 1/2 x 2", 7),
        ("1 and 1/4", Fraction(5, 4)),
        ("2½", Fraction(5, 2)),
        ("¾ × 8", 6),
        ("2/ 1/5", 10),
        ("2 / 1/5", 10),
        ("2 / 1 / 5", Fraction(2, 5)),
        ("48/2/2", 12),
        ("$1,200.50 - $0.50", 1200),
        ("$350 000 + $50 000", 400_000),
        ("20% * 50", 10),
        ("20 percent * 50", 10),
        ("100 * (1 - 20%)", 80),
        ("$5/hour * 8 hours", 40),
        ("3 boxes x 12 pens/box", 36),
        ("60 cans * 30 sq in / can", 1800),
        ("30m^2 + 5m²", 35),
        ("5²", 25),
        ("√49 + 1", 8),
        ("√(16/9)", Fraction(4, 3)),
        ("1.5e3 x 2", 3000),
        ("2 ** 3", 8),
        ("7 − 9", -2),
        ("7 – 9", -2),
        ("10 ÷ 4", Fraction(5, 2)),
        ("560//10", 56),
        ("$240k", 240_000),
        ("3 million", 3_000_000),
        ("[2 + 3] * {4}", 20),
        (r"\frac{1}{2} + \frac{3}{4}", Fraction(5, 4)),
        (r"6 \div \frac{1}{2}", 12),
        (r"3 \times 4 \cdot 2", 24),
        ("8 + Riley's 5", 13),
        ("½", Fraction(1, 2)),
        ("+5", 5),
    ],
)
def test_value(text: str, value: object) -> None:
    assert evaluate(tokenize(plain_text(text).text)) == value


@pytest.mark.parametrize(
    "text",
    ["", "+", "2 +", "* 2", "()", "(2", "2)", "2 3", "x", "2 + x", "1/0", "0^-1", "1 / (2 - 2)", "√2",
     "√(-4)", "9**9**9**9", "2^100", "10^60 ^ 2", "1e999", "7" * 60, "16,0000 / 10", "2 = 2", "- - - 3",
     "11:00 - 8:00", "2, 3", r"\frac{1}{", r"3\frac{1}{2}"],
)  # fmt: skip
def test_no_value(text: str) -> None:
    assert evaluate(tokenize(text)) is None


def test_names() -> None:
    assert evaluate(tokenize("A + 3"), {"A": 14}) == 17
    assert evaluate(tokenize("2A + b1"), {"A": 14, "b1": 2}) == 30
    assert evaluate(tokenize("A + B"), {"A": 14}) is None


def test_percent_may_be_read_as_bare() -> None:
    assert evaluate(tokenize("100% - 20%"), percent=1) == 80
    assert evaluate(tokenize("12.5%"), percent=1) == Fraction(25, 2)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("3x - 5", [NUM, WORD, OP, NUM]),  # an unknown, although a number follows
        ("3 x -5", [NUM, OP, OP, NUM]),
        ("Let x (the cost)", [WORD, WORD, "(", WORD, WORD, ")"]),
        ("x1 + x2", [WORD, OP, WORD]),
        ("= price x 23", ["rel", WORD, OP, NUM]),
        ("5-day trip", [NUM, WORD, WORD]),
        ("2nd place", [WORD, WORD]),
        ("= 4th", ["rel", NUM]),
        ("1/5th", [NUM, OP, NUM]),
        ("**14**", [NUM]),
        ("2 \u200b+\u202e 3", [NUM, OP, NUM]),
        ("at 7:30", [WORD, WORD]),
        ("0900 hours", [WORD, WORD]),
        ("a => b", [WORD, "mark", WORD]),
    ],
)
def test_kinds(text: str, kinds: list[str]) -> None:
    assert [t.kind for t in tokenize(text)] == kinds


@given(st.text(max_size=300))
def test_places(text: str) -> None:
    """Tokens lie in the text, in order, without overlap; nothing raises, with or without a value."""
    last = 0
    for token in tokenize(text):
        assert last <= token.start <= token.end <= len(text)
        last = token.end
    evaluate(tokenize(text))


@given(st.text(alphabet="0123456789+-*/^().,%$ xeE√²½{}[]\\frac=≈<>", max_size=120))
def test_any_expression_is_bounded(text: str) -> None:
    value = evaluate(tokenize(text))
    if value is not None:
        assert max(value.numerator.bit_length(), value.denominator.bit_length()) <= MAX_BITS + 200


OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
EXPRESSIONS = st.recursive(
    st.integers(0, 999).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=8,
)


def reference(text: str) -> Fraction | None:
    """The value by Python's own parser, in fractions."""

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            sign = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}[type(node.op)]
            return OPERATORS[sign](value(node.left), value(node.right))
        assert isinstance(node, ast.Constant) and isinstance(node.value, int)
        return Fraction(node.value)

    try:
        return value(ast.parse(text, mode="eval").body)
    except ZeroDivisionError:
        return None


@given(EXPRESSIONS)
def test_agrees_with_a_reference(text: str) -> None:
    assert evaluate(tokenize(text)) == reference(text)


@given(st.lists(st.tuples(st.sampled_from("+-*/"), st.integers(1, 99)), min_size=1, max_size=8))
def test_agrees_with_a_reference_without_brackets(parts: list[tuple[str, int]]) -> None:
    text = "7 " + " ".join(f"{sign} {n}" for sign, n in parts)
    assert evaluate(tokenize(text)) == reference(text)


def test_power_is_bounded() -> None:
    assert power(2, 64) == 2**64
    assert power(2, 65) is None
    assert power(10**40, 60) is None
    assert power(0, 0) == 1


@pytest.mark.parametrize(
    "text", ["9" * 10**6, "(" * 10**6, "1+" * 500_000, "9**" * 300_000, "\u202e" * 10**6, "1 1/2 " * 10**5]
)
def test_a_megabyte_is_read_in_part(text: str) -> None:
    begin = time.process_time()
    tokens = tokenize(text)
    evaluate(tokens)
    assert len(tokens) <= MAX_TOKENS_READ + 3
    assert time.process_time() - begin < 2.0
