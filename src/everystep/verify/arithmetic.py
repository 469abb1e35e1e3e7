"""Exact arithmetic on written expressions: the tokens of one expression to a rational number.

Everything is bounded (digits, tokens, powers, size of results) and iterative, so no input is slow, nests too
deep or raises; what is out of bounds has the value None. Which tokens form a claim is decided in `claims`.

>>> evaluate(tokenize("(3 + 4) × 2"))
14
>>> evaluate(tokenize("$1,200.50 ÷ 2 1/2"))
Fraction(2401, 5)
>>> evaluate(tokenize("9**9**9**9")) is None
True
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import isqrt

from everystep.verify.tokens import CLOSE, MAX_POWER, NUM, OP, OPEN, VAR, WORD, Number, Token, tokenize

__all__ = ["NUM", "OP", "Number", "Token", "evaluate", "power", "show", "tokenize"]

MAX_BITS = 2048  # in a numerator or denominator of any result
MAX_TOKENS = 160  # in one expression

_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "tight/": 3, "neg": 4, "^": 5, "√": 6}


def evaluate(
    tokens: Sequence[Token], names: Mapping[str, Number] | None = None, *, percent: Number = Fraction(1, 100)
) -> Number | None:
    """The value of one whole expression, exactly; None where it is malformed, has a name that `names` lacks,
    divides by zero or leaves the bounds. Words after an operand are units and do not count.

    `percent` is what a percent sign is worth: 1/100, or 1 for the habit of writing `100 - 20 = 80%`.

    >>> evaluate(tokenize("3 boxes x 12 pens/box"))
    36
    >>> evaluate(tokenize("20% * 50")), evaluate(tokenize("100% - 20%"), percent=1)
    (10, 80)
    >>> evaluate(tokenize("A + 3"), {"A": 14}), evaluate(tokenize("2 +")), evaluate(tokenize("1 / 0"))
    (17, None, None)
    """
    if not tokens or len(tokens) > MAX_TOKENS:
        return None
    items = _items(tokens, names or {}, percent)
    if items is None:
        return None
    values: list[Number] = []
    operators: list[str] = []
    for item in items:
        if not isinstance(item, str):
            values.append(item)
        elif item in _OPENERS or item in ("neg", "√"):
            operators.append(item)
        elif item != ")":
            if not _push(item, operators, values):
                return None
        else:
            while operators and operators[-1] not in _OPENERS:
                if not _apply(operators.pop(), values):
                    return None
            if not operators:
                return None
            if (opener := operators.pop()) != "(":
                values[-1] = values[-1] // 1 if opener == "⌊" else -(-values[-1] // 1)
    while operators:
        if operators[-1] in _OPENERS or not _apply(operators.pop(), values):
            return None
    return _plain(values[0]) if len(values) == 1 else None


def _items(tokens: Sequence[Token], names: Mapping[str, Number], percent: Number) -> list[Number | str] | None:
    """The values, operators and brackets of an expression, with the signs of implicit products and without its unit
    words; None where an operand is missing, has no value, or stands beside another."""
    items: list[Number | str] = []
    wants = True  # an operand is to come
    signed = False  # which has a sign already
    spaced = False  # the last operator was `/` with space after it
    for i, token in enumerate(tokens):
        kind, text = token.kind, token.text
        if kind == NUM:
            if token.value is None or not wants:
                return None
            items.append(token.value * 100 * percent if token.sign == "%" and percent != _HUNDREDTH else token.value)
            wants = False
        elif kind == WORD:
            glued = i > 0 and tokens[i - 1].end == token.start
            if text in names and (wants or token.sign == VAR or glued):
                items += [names[text]] if wants else ["*", names[text]]
                wants = False
            elif token.sign == VAR or (wants and (len(text) == 1 or i == 0)):
                return None  # an unknown; longer words after an operator are prose (`5 + another 3`)
        elif kind == OPEN:
            items += [_FLOORS.get(token.sign, "(")] if wants else ["*", _FLOORS.get(token.sign, "(")]
            wants, signed = True, False
        elif kind == CLOSE:
            if wants:
                return None
            items.append(")")
        elif kind != OP:
            return None
        elif text == "√":
            items += ["√"] if wants else ["*", "√"]
            wants = True
        elif wants:
            if text not in "+-" or signed:
                return None
            signed = True
            items += ["neg"] if text == "-" else []
        else:
            after = tokens[i + 1] if i + 1 < len(tokens) else None
            if text == "/" and after is not None and after.kind == WORD and after.text not in names:
                continue  # `/box`: a unit
            tight = spaced and text == "/" and after is not None and tokens[i - 1].end == token.start == after.start - 1
            spaced = text == "/" and after is not None and after.start > token.end
            items.append("tight/" if tight else text)
            wants, signed = True, False
    return None if wants else items


_HUNDREDTH = Fraction(1, 100)
_OPENERS = ("(", "⌊", "⌈")
_FLOORS = {"⌊": "⌊", "⌈": "⌈"}


def _plain(value: Number) -> Number:
    """An int where the value is integral: faster to go on with, and shorter to print."""
    return value.numerator if type(value) is Fraction and value.denominator == 1 else value


def _push(name: str, operators: list[str], values: list[Number]) -> bool:
    """Put a binary operator on the stack after applying those that bind at least as strongly."""
    level = _PRECEDENCE[name]
    while operators and operators[-1] not in _OPENERS:
        above = _PRECEDENCE[operators[-1]]
        if above < level or (above == level and name == "^"):
            break
        if not _apply(operators.pop(), values):
            return False
    operators.append(name)
    return True


def _apply(name: str, values: list[Number]) -> bool:
    """Replace the operands on top of the stack by the result; False where there is none within bounds."""
    if name == "neg":
        if not values:
            return False
        values[-1] = -values[-1]
        return True
    if name == "√":
        root = power(values[-1], Fraction(1, 2)) if values else None
        if root is None:
            return False
        values[-1] = root
        return True
    if len(values) < 2:
        return False
    right = values.pop()
    left = values.pop()
    result: Number | None
    if name == "+":
        result = left + right
    elif name == "-":
        result = left - right
    elif name == "*":
        result = left * right
    elif name == "^":
        result = power(left, right)
    elif name == "//":
        result = left // right if right else None
    else:
        result = Fraction(left) / right if right else None
    if result is None or max(result.numerator.bit_length(), result.denominator.bit_length()) > MAX_BITS:
        return False
    values.append(result)
    return True


def power(base: Number, exponent: Number) -> Number | None:
    """`base ** exponent`, exactly: whole exponents up to `MAX_POWER`, and the exponent 1/2 of perfect
    squares.

    >>> power(2, 10), power(Fraction(4, 9), Fraction(1, 2)), power(2, Fraction(1, 2)), power(0, -1)
    (1024, Fraction(2, 3), None, None)
    """
    if exponent == Fraction(1, 2):
        if base < 0:
            return None
        upper, lower = isqrt(base.numerator), isqrt(base.denominator)
        return Fraction(upper, lower) if upper * upper == base.numerator and lower * lower == base.denominator else None
    if exponent.denominator != 1 or abs(exponent) > MAX_POWER or (base == 0 and exponent < 0):
        return None
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits * abs(exponent) > MAX_BITS:
        return None
    whole = int(exponent)
    return base**whole if whole >= 0 else 1 / Fraction(base) ** -whole


def show(value: Number) -> str:
    """A value for reading: exact where a few decimals suffice, else to six significant digits after `≈`.

    >>> show(14), show(Fraction(5, 4)), show(Fraction(100, 3))
    ('14', '1.25', '≈33.3333')
    """
    value = Fraction(value)
    if value.numerator.bit_length() > 130:
        return "a number of over 39 digits" if value.denominator == 1 else "a number out of range"
    if value.denominator == 1:
        return str(value.numerator)
    for places in (1, 2, 3, 4, 6):
        scaled = value * 10**places
        if scaled.denominator == 1:
            sign = "-" if scaled < 0 else ""
            digits = str(abs(scaled.numerator)).rjust(places + 1, "0")
            return f"{sign}{digits[:-places]}.{digits[-places:]}"
    return f"≈{float(value):.6g}"
