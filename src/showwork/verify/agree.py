"""Whether the two sides of a claim stand in the stated relation: exactly, rounded, in percent, across units.

Only the two sides count; nothing is known here of the question or of other steps.
"""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from showwork.verify.arithmetic import evaluate
from showwork.verify.claims import expression, shorter
from showwork.verify.reader import Side
from showwork.verify.tokens import NUM, OP, SCALE, WORD, Number, Token
from showwork.verify.units import Unit, find_units

_QUARTER = (Unit("quarter", "money:usd", Fraction(1, 4)),)  # the coin; the table has no word for it
_SIGNS = {"$": "$", "€": "€", "£": "£", "¢": "¢"}
_NAMED_REMAINDER = re.compile(
    r"\s*,?\s*(?:(?:with|and)\s+)?(?:(?:a|the)\s+)?(?:remainder(?:\s+(?:of|is))?|r)\s+([0-9]{1,9})(?![\d/]|\.\d)"
)
_REMAINDER = ("remain", "left", "full", "whole", "complet", "remainder")


class Agreement(NamedTuple):
    """The verdict on a claim: whether it holds (None: cannot be computed), the reason, both values, and the
    right side as it was taken (it may have been cut before spoken words). `unit`: the numbers agree and the
    units do not."""

    holds: bool | None
    reason: str
    left: Number | None
    right: Number | None
    side: Side
    unit: bool = False


def agree(
    tokens: Sequence[Token],
    left: Side,
    relation: str,
    right: Side,
    names: Mapping[str, Number],
    tail: str = "",
) -> Agreement:
    """Judge one claim. `tail` is the text after it in its step, where a remainder may be mentioned."""
    lhs = evaluate(expression(tokens, left, names), names)
    rhs = evaluate(expression(tokens, right, names), names)
    if lhs is None or rhs is None:
        return Agreement(
            None, "cannot be computed: a division by zero, or numbers out of bounds", lhs, rhs, right
        )
    if relation not in ("=", "≈"):
        return _compare(tokens, left, relation, right, lhs, rhs)
    reason = _same(tokens, left, relation, right, lhs, rhs, names, tail)
    if reason == "exact" and (clash := _clash(tokens, left, right)):
        return Agreement(False, clash, lhs, rhs, right, True)
    if reason:
        return Agreement(True, reason, lhs, rhs, right)
    cut = shorter(tokens, right)
    if cut is not None:
        value = evaluate(expression(tokens, cut, names), names)
        if value is not None and (reason := _same(tokens, left, relation, cut, lhs, value, names, tail)):
            return Agreement(True, reason, lhs, value, cut)
    return Agreement(False, f"it is {show(lhs)}, not {show(rhs)}", lhs, rhs, right)


def _compare(
    tokens: Sequence[Token], left: Side, relation: str, right: Side, lhs: Number, rhs: Number
) -> Agreement:
    a, b = lhs, rhs
    units = _units_of(tokens, left), _units_of(tokens, right)
    if all(len(u) == 1 for u in units):
        pair = _matching(units[0][0], units[1][0])
        if pair is not None:
            a = Fraction(lhs) * pair[0].factor + pair[0].offset
            b = Fraction(rhs) * pair[1].factor + pair[1].offset
    holds = {"<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b, "!=": a != b}[relation]
    reason = "as stated" if holds else f"{show(lhs)} {relation} {show(rhs)} does not hold"
    return Agreement(holds, reason, lhs, rhs, right)


def _same(
    tokens: Sequence[Token],
    left: Side,
    relation: str,
    right: Side,
    lhs: Number,
    rhs: Number,
    names: Mapping[str, Number],
    tail: str,
) -> str:
    """Why two sides are equal as written, or nothing."""
    if lhs == rhs:
        return "exact"
    if rounds_to(lhs, rhs, tokens, right, relation) or rounds_to(rhs, lhs, tokens, left, relation):
        return "rounded"
    if any(t.sign == "%" for t in tokens[left.lo : right.hi]):
        bare_left = evaluate(expression(tokens, left, names), names, percent=1)
        bare_right = evaluate(expression(tokens, right, names), names, percent=1)
        if bare_left is not None and bare_right is not None:
            for a, b in ((bare_left, bare_right), (lhs, bare_right), (bare_left, rhs)):
                if a == b or rounds_to(a, b, tokens, right, relation, 1):
                    return "as a percentage"
    if _convertible(tokens, left, relation, right, names):
        return "after unit conversion"
    if _scaled(tokens, left, right, lhs, rhs):
        return "counted in " + tokens[right.hi - 1].text.split()[-1] + "s"
    if lhs == -rhs and left.lo > 0 and tokens[left.lo - 1].text == "-" and tokens[left.lo - 1].kind == OP:
        return "exact"  # `because - 18/-2 = 9`
    whole = right.operators == 0 and Fraction(rhs).denominator == 1 and Fraction(lhs).denominator != 1
    if whole and lhs > rhs == lhs // 1 and any(t.text == "/" for t in tokens[left.lo : left.hi]):
        after = tail[:80].lower()
        if _is_wrong_remainder(tokens, left, rhs, after):
            return ""
        if any(word in after for word in _REMAINDER) or after.lstrip().startswith("r "):
            return "the whole part, with a remainder"
    return ""


def _is_wrong_remainder(tokens: Sequence[Token], left: Side, quotient: Number, after: str) -> bool:
    """Whether another remainder is named right after a division of two numbers than it has."""
    parts = [t for t in tokens[left.lo : left.hi] if t.kind != WORD]
    named = _NAMED_REMAINDER.match(after)
    if named is None or len(parts) != 3 or parts[1].text != "/":
        return False
    above, below = parts[0].value, parts[2].value
    return above is not None and below is not None and above - below * quotient != int(named.group(1))


def _scaled(tokens: Sequence[Token], left: Side, right: Side, lhs: Number, rhs: Number) -> bool:
    """Whether the left side leaves out the scale of the right one: `2*10 = $20 million`."""
    scale = next((v for word, v in SCALE.items() if tokens[right.hi - 1].text.endswith(word)), 0)
    if not scale or lhs * scale != rhs:
        return False
    return not any(t.kind == NUM and t.text.endswith(tuple(SCALE)) for t in tokens[left.lo : left.hi])


def rounds_to(
    exact: Number,
    stated: Number,
    tokens: Sequence[Token],
    side: Side,
    relation: str,
    percent: Number = Fraction(1, 100),
) -> bool:
    """Whether a side is one written number that is `exact` rounded to the places it is written with: for `=`
    with two decimals or three significant digits at least (or cut there), for `≈` with any."""
    lo = side.lo + (tokens[side.lo].text in ("-", "+"))
    if side.hi - lo != 1 or tokens[lo].kind != NUM:
        return False
    token = tokens[lo]
    digits = "".join(c for c in token.text if c in "0123456789.").rstrip(".")
    whole, _, part = digits.partition(".")
    unit = Fraction(1, 10 ** min(len(part), 40))
    if token.sign == "%":
        unit *= percent
    gap = abs(exact - stated)
    if relation == "≈":
        if not part and whole.endswith("0"):
            unit *= 10 ** (len(whole) - len(whole.rstrip("0")))
        # Two decimals and more are rounded, or cut: 1/3 is not ≈ 0.34.
        return gap <= unit / 2 or (gap <= unit and (len(part) < 2 or abs(stated) < abs(exact)))
    if len(part) < 2 and len((whole + part).lstrip("0")) < 3:
        return False
    return gap <= unit / 2 or (len(part) >= 2 and gap < unit and abs(stated) < abs(exact))


def _unit_text(tokens: Sequence[Token], i: int) -> tuple[Unit, ...]:
    """The meanings of the table unit written with the number at `i`: before it as a sign, or after it."""
    if tokens[i].sign in _SIGNS:
        return find_units(_SIGNS[tokens[i].sign])
    words: list[str] = []
    j, n = i + 1, len(tokens)
    while j < n and len(words) < 5:
        token = tokens[j]
        if token.kind == WORD:
            if token.text == "in" and words and words[-1] not in ("sq", "sq.", "square", "cubic", "cu"):
                break
            words.append(token.text)
        elif token.text == "/" and j + 1 < n and tokens[j + 1].kind == WORD:
            words.append("/")
        else:
            break
        j += 1
    if (
        words
        and words[0] in ("quarter", "quarters")
        and (len(words) == 1 or words[1] not in ("of", "mile", "hour"))
    ):
        return _QUARTER
    for count in range(len(words), 0, -1):
        if words[count - 1] != "/":
            found = find_units(" ".join(words[:count]))
            if found:
                return found
    return ()


def _units_of(tokens: Sequence[Token], side: Side) -> list[tuple[Unit, ...]]:
    """The table units on a side, one entry for each number that has one."""
    found = []
    for i in range(side.lo, side.hi):
        if tokens[i].kind == NUM and (units := _unit_text(tokens, i)):
            found.append(units)
    return found


def _matching(left: tuple[Unit, ...], right: tuple[Unit, ...]) -> tuple[Unit, Unit] | None:
    """Meanings of one dimension, or None."""
    for a in left:
        for b in right:
            if a.dimension == b.dimension:
                return a, b
    return None


def _convertible(
    tokens: Sequence[Token], left: Side, relation: str, right: Side, names: Mapping[str, Number]
) -> bool:
    """Whether the sides are the same amount in different units: `900 minutes = 15 hours`, `$1 / 2 = 50
    cents`."""
    right_units = _units_of(tokens, right)
    left_units = _units_of(tokens, left)
    if not right_units or not left_units:
        return False
    for goal in right_units[0]:
        a = _in_standard_units(tokens, left, goal.dimension, names)
        b = _in_standard_units(tokens, right, goal.dimension, names)
        if a is None or b is None:
            continue
        if a == b or (goal.factor and rounds_to(a / goal.factor, b / goal.factor, tokens, right, relation)):
            return True
    return False


def _in_standard_units(
    tokens: Sequence[Token], side: Side, dimension: str, names: Mapping[str, Number]
) -> Number | None:
    """The value of a side with each number that has a table unit put into standard units, meanings of
    `dimension` first. Scales with an offset are converted only when they stand alone."""
    replaced: list[Token] = []
    for i in range(side.lo, side.hi):
        token = tokens[i]
        if token.kind == NUM and token.value is not None and (units := _unit_text(tokens, i)):
            unit = next((u for u in units if u.dimension == dimension), units[0])
            value = Fraction(token.value) * unit.factor
            if unit.offset:
                if side.operators:
                    return None
                value += unit.offset
            token = token._replace(value=value)
        replaced.append(token)
    whole = Side(0, len(replaced), side.operators, len(replaced))
    return evaluate(expression(replaced, whole, names), names)


def _clash(tokens: Sequence[Token], left: Side, right: Side) -> str:
    """Why equal numbers are not equal amounts, where that is provable: both sides are sums in which every
    number has a table unit, and the amounts differ (`5 hours = 5 minutes`, `3 km + 2 km = 5 hours`)."""
    if (
        tokens[right.hi - 1].kind != NUM
        or right.operators
        or not any(t.kind == WORD for t in tokens[right.hi : right.hi + 1])
    ):
        return ""
    goal = _unit_text(tokens, right.hi - 1)
    if not goal:
        return ""
    units = []
    for i in range(left.lo, left.hi):
        token = tokens[i]
        if (
            token.kind == OP
            and token.text not in "+-"
            and not (token.text == "/" and tokens[i + 1].kind == WORD)
        ):
            return ""
        if token.kind == NUM:
            found = _unit_text(tokens, i)
            if not found:
                return ""
            units.append(found)
    if not units:
        return ""
    first = units[0]
    if any(_matching(first, u) is None for u in units):
        return ""
    pair = _matching(first, goal)
    if pair is None:
        return f"{first[0].name} cannot become {goal[0].name}"
    if pair[0].factor != pair[1].factor and all(u[0].name == first[0].name for u in units):
        return f"{pair[0].name} is not {pair[1].name}"
    return ""


def mixed(tokens: Sequence[Token], side: Side) -> str:
    """Two units of different dimension that a side adds or subtracts (`3 km + 2 h`), or nothing."""
    last: tuple[Unit, ...] | None = None
    for i in range(side.lo, side.hi):
        token = tokens[i]
        if token.kind == NUM:
            units = _unit_text(tokens, i)
            if not units:
                return ""
            if last is not None and _matching(last, units) is None:
                return f"{last[0].name} and {units[0].name} cannot be added"
            last = units
        elif token.kind == OP and token.text not in "+-":
            return ""
    return ""


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
