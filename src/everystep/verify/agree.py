"""Whether the two sides of a claim stand in the stated relation: exactly, rounded, in percent, across units.

Only the two sides count; nothing is known here of the question or of other steps.
"""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import factorial
from typing import NamedTuple

from everystep.verify.arithmetic import evaluate, show
from everystep.verify.claims import expression, shorter
from everystep.verify.measures import clash, matching, unit_text, units_of
from everystep.verify.reader import Side
from everystep.verify.tokens import MAX_FACTORIAL, NUM, OP, SCALE, WORD, Number, Token

_NAMED_REMAINDER = re.compile(
    r"\s*,?\s*(?:(?:with|and)\s+)?(?:(?:a|the)\s+)?(?:remainder(?:\s+(?:of|is))?\s|r)\s*(-?[0-9]{1,9})(?![\d/]|\.\d)"
)
_FLOAT_PLACES, _FLOAT_NOISE = 10, Fraction(1, 10**13)
_WRITTEN = re.compile(r"(?:Rs\.)?[^\d.]*((?:\d[\d,' ]*)?(?:\.\d+)?)[^\d/]*")
LOOSE = "cut, or rounded to whole things"
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
        return Agreement(None, "cannot be computed: a division by zero, or numbers out of bounds", lhs, rhs, right)
    if relation not in ("=", "≈"):
        found = _compare(tokens, left, relation, right, lhs, rhs)
        if not found.holds and (many := _exclaimed(right, rhs, tail)) is not None:
            found = _compare(tokens, left, relation, right, lhs, many)
        return found
    if not right.operators and abs(lhs - rhs) < 1 and (named := _remainders(tokens, left, rhs, tail)):
        wrong = f"the remainder is {show(named[0])}, not {show(named[1])}"
        right_one = named[0] == named[1]
        return Agreement(right_one, "with its remainder" if right_one else wrong, lhs, rhs, right)
    reason = _same(tokens, left, relation, right, lhs, rhs, names, tail)
    if reason == "exact" and (why := clash(tokens, left, right)):
        return Agreement(False, why[1], lhs if why[0] is None else why[0], rhs, right, True)
    near = relation == "=" and reason in ("rounded", "rounded to whole percent", "after unit conversion")
    if near and not _is_rounding(tokens, left, right, reason, lhs, rhs, names):
        reason = LOOSE
    if reason == "after unit conversion":
        return Agreement(True, reason, rhs, rhs, right)
    if reason:
        return Agreement(True, reason, lhs, rhs, right)
    cut = shorter(tokens, right)
    if cut is not None:
        value = evaluate(expression(tokens, cut, names), names)
        if value is not None and (reason := _same(tokens, left, relation, cut, lhs, value, names, tail)):
            return Agreement(True, reason, lhs, value, cut)
    told = _converted(tokens, left, right, names)
    if told is not None:
        return Agreement(False, f"it is {told[1]}, not {show(rhs)}", told[0], rhs, right)
    if right.operators and not left.operators:  # `15 is 30% of 60`
        return Agreement(False, f"it is {show(rhs)}, not {show(lhs)}", lhs, rhs, right)
    return Agreement(False, f"it is {show(lhs)}, not {show(rhs)}", lhs, rhs, right)


def _compare(tokens: Sequence[Token], left: Side, relation: str, right: Side, lhs: Number, rhs: Number) -> Agreement:
    a, b = lhs, rhs
    units = units_of(tokens, left), units_of(tokens, right)
    if all(len(u) == 1 for u in units):
        pair = matching(units[0][0], units[1][0])
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
    if lhs == _exclaimed(right, rhs, tail):
        return "a factorial"
    if rounds_to(lhs, rhs, tokens, right, relation) or rounds_to(rhs, lhs, tokens, left, relation):
        return "rounded"
    if any(t.sign == "%" for t in tokens[left.lo : right.hi]):
        bare_left = evaluate(expression(tokens, left, names), names, percent=1)
        bare_right = evaluate(expression(tokens, right, names), names, percent=1)
        if bare_left is not None and bare_right is not None:
            for a, b in ((bare_left, bare_right), (lhs, bare_right), (bare_left, rhs)):
                if a == b or rounds_to(a, b, tokens, right, relation, 1):
                    return "as a percentage"
        if (less := _less_percent(tokens, left)) is not None and (
            less == rhs or rounds_to(less, rhs, tokens, right, relation)
        ):
            return "the percentage of the number before it"
    stated = tokens[right.hi - 1]
    gap = min(abs(lhs - rhs), abs(Fraction(lhs) / 100 - rhs) if lhs > 1 else 1)
    if stated.sign == "%" and not right.operators and "." not in stated.text and gap <= Fraction(1, 200):
        return "rounded to whole percent"
    if _convertible(tokens, left, relation, right, names):
        return "after unit conversion"
    if _dozens(tokens, left, right, names):
        return "counting a dozen as 12"
    if _scaled(tokens, left, right, lhs, rhs):
        return "counted in " + tokens[right.hi - 1].text.split()[-1] + "s"
    if lhs == -rhs and left.lo > 0 and tokens[left.lo - 1].text == "-" and tokens[left.lo - 1].kind == OP:
        return "exact"  # `because - 18/-2 = 9`
    whole = right.operators == 0 and Fraction(rhs).denominator == 1 and Fraction(lhs).denominator != 1
    if whole and lhs > rhs == lhs // 1 and any(t.text == "/" for t in tokens[left.lo : left.hi]):
        after = tail[:80].lower()
        if any(word in after for word in _REMAINDER):
            return "the whole part, with a remainder"
    return ""


def _dozens(tokens: Sequence[Token], left: Side, right: Side, names: Mapping[str, Number]) -> bool:
    """Whether the sides are equal once dozens are counted: `1 dozen + 3 eggs = 15 eggs`."""
    sides = []
    for side in (left, right):
        part = list(tokens[side.lo : side.hi])
        for i, token in enumerate(part):
            at = side.lo + i + 1
            if (
                token.kind == NUM
                and token.value is not None
                and at < len(tokens)
                and tokens[at].text in ("dozen", "dozens")
            ):
                part[i] = token._replace(value=token.value * 12)
        sides.append(evaluate(expression(part, Side(0, len(part), side.operators, len(part)), names), names))
    return sides[0] is not None and sides[0] == sides[1]


def _less_percent(tokens: Sequence[Token], left: Side) -> Number | None:
    """`$20 - 20%` as a calculator has it: 20 % of the number before, added or taken away."""
    parts = [t for t in tokens[left.lo : left.hi] if t.kind != WORD]
    if len(parts) != 3 or parts[1].text not in "+-" or parts[2].sign != "%" or parts[0].sign == "%":
        return None
    whole, share = parts[0].value, parts[2].value
    if whole is None or share is None:
        return None
    return whole * (1 + share if parts[1].text == "+" else 1 - share)


def _remainders(tokens: Sequence[Token], left: Side, quotient: Number, tail: str) -> tuple[Number, Number] | None:
    """The remainder that a division of two numbers has with this quotient, and the one that is named right
    after it (`= 3 R 2`); None where none is."""
    parts = [t for t in tokens[left.lo : left.hi] if t.kind != WORD]
    sign = -1 if parts and parts[0].text == "-" else 1
    parts = parts[1:] if sign < 0 else parts
    named = _NAMED_REMAINDER.match(tail[:80].lower())
    if named is None or len(parts) != 3 or parts[1].text != "/":
        return None
    above, below = parts[0].value, parts[2].value
    return None if above is None or below is None else (sign * above - below * quotient, int(named.group(1)))


def _exclaimed(right: Side, value: Number, tail: str) -> Number | None:
    """The factorial, where the side may end in its sign: at the end of a sentence that may also be a sign of
    exclamation."""
    if tail[:1] != "!" or right.operators or value.denominator != 1 or not 0 <= value <= MAX_FACTORIAL:
        return None
    return factorial(int(value))


def _scaled(tokens: Sequence[Token], left: Side, right: Side, lhs: Number, rhs: Number) -> bool:
    """Whether the left side leaves out the scale of the right one: `2*10 = $20 million`."""
    scale = next((v for word, v in SCALE.items() if tokens[right.hi - 1].text.endswith(word)), 0)
    if not scale or lhs * scale != rhs:
        return False
    return not any(t.kind == NUM and t.text.endswith(tuple(SCALE)) for t in tokens[left.lo : left.hi])


def _is_rounding(
    tokens: Sequence[Token], left: Side, right: Side, reason: str, lhs: Number, rhs: Number, names: Mapping[str, Number]
) -> bool:
    """Whether the sides are equal, or one is the other rounded to its decimals: cut decimals, whole numbers and whole
    percents are no answer to what is not whole (the rule of `amounts`), and so no true claim."""
    if reason == "after unit conversion":
        goals = units_of(tokens, right) or units_of(tokens, left)
        for goal in goals[0]:
            a = _in_standard_units(tokens, left, goal.dimension, names)
            b = _in_standard_units(tokens, right, goal.dimension, names)
            if a == b or (a is not None and goal.factor and _has_decimals(tokens, right, a / goal.factor, rhs)):
                return True
        return not units_of(tokens, right) or (
            tokens[left.hi - 1].kind == NUM and _whole_units(tokens, left, right, lhs, rhs)
        )
    return _has_decimals(tokens, right, lhs, rhs) or _has_decimals(tokens, left, rhs, lhs)


def _whole_units(tokens: Sequence[Token], left: Side, right: Side, lhs: Number, rhs: Number) -> bool:
    """`30/60 hours = 30 minutes`: the unit belongs to the whole side."""
    pair = matching(unit_text(tokens, left.hi - 1), unit_text(tokens, right.hi - 1))
    if pair is None or pair[0].offset or pair[1].offset:
        return False
    return Fraction(lhs) * pair[0].factor == Fraction(rhs) * pair[1].factor


def _has_decimals(tokens: Sequence[Token], side: Side, exact: Number, stated: Number) -> bool:
    """Whether a side is a decimal number that is `exact` rounded."""
    token = tokens[side.hi - 1]
    _, point, part = token.text.partition(".")
    places = sum(c.isdigit() for c in part)
    if not point or not places:
        return False
    if places >= _FLOAT_PLACES and abs(exact - stated) <= abs(exact) * _FLOAT_NOISE:
        return True
    unit = Fraction(1, 10 ** min(places, 40)) * (Fraction(1, 100) if token.sign == "%" else 1)
    unit *= next((v for word, v in SCALE.items() if token.text.endswith(word)), 1)
    power = _power_of_ten(tokens[side.hi - 5 : side.hi] if side.hi - side.lo > 5 else tokens[side.lo + 1 : side.hi])
    if power is not None:
        return True
    return abs(exact - stated) * 2 <= unit


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
    power = _power_of_ten(tokens[lo + 1 : side.hi])
    if (side.hi - lo != 1 and power is None) or tokens[lo].kind != NUM:
        return False
    token = tokens[lo]
    written = _WRITTEN.fullmatch(token.text)
    if written is None:
        return False  # a fraction, an amount in two units
    whole, _, part = "".join(c for c in written.group(1) if c in "0123456789.").partition(".")
    unit = Fraction(1, 10 ** min(len(part), 40))
    if token.sign == "%":
        unit *= percent
    if scale := next((v for word, v in SCALE.items() if token.text.endswith(word)), 0):
        unit *= scale
    if power is not None:
        unit *= power
        return abs(exact - stated) <= unit / 2 and (relation == "≈" or bool(part))
    gap = abs(exact - stated)
    if relation == "≈":
        if not part and whole.endswith("0"):
            unit *= 10 ** (len(whole) - len(whole.rstrip("0")))
        # Decimals are rounded, or cut (1/3 is not ≈ 0.34).
        if gap <= unit / 2:
            return True
        return bool(part) and gap < unit and abs(stated) < abs(exact)
    if len(part) < 2 and len((whole + part).lstrip("0")) < 3:
        dots = [t.text for t in tokens[side.hi : side.hi + 2]]
        return (dots[:1] == ["…"] or dots == [".", "."]) and gap <= unit
    if len(part) >= _FLOAT_PLACES and gap <= abs(exact) * _FLOAT_NOISE:
        return True
    return gap <= unit / 2 or (len(part) >= 2 and gap < unit and abs(stated) < abs(exact))


def _power_of_ten(rest: Sequence[Token]) -> Fraction | None:
    """The power of `× 10^-7`, with which a number is written; None for anything else."""
    if len(rest) not in (4, 5) or [t.text for t in rest[:3]] != ["*", "10", "^"] or rest[-1].kind != NUM:
        return None
    value = rest[-1].value
    if type(value) is not int or value > 60 or (len(rest) == 5 and rest[3].text != "-"):
        return None
    return Fraction(10) ** (-value if len(rest) == 5 else value)


def _convertible(tokens: Sequence[Token], left: Side, relation: str, right: Side, names: Mapping[str, Number]) -> bool:
    """Whether the sides are the same amount in different units: `900 minutes = 15 hours`, `$1 / 2 = 50
    cents`."""
    right_units = units_of(tokens, right)
    left_units = units_of(tokens, left)
    if not left_units:
        return False
    if not right_units:  # `20 minutes + 2 hours = 20 + 120`
        value = evaluate(expression(tokens, right, names), names)
        for goal in {u[0].factor: u[0] for u in left_units}.values() if len(left_units) > 1 else ():
            a = _in_standard_units(tokens, left, goal.dimension, names)
            if a is not None and value is not None and a / goal.factor == value:
                return True
        return False
    value, stated = evaluate(expression(tokens, left, names), names), evaluate(expression(tokens, right, names), names)
    if len(left_units) == len(right_units) == 1 and tokens[left.hi - 1].kind == NUM and unit_text(tokens, left.hi - 1):
        product = any(t.text == "*" for t in tokens[left.lo : left.hi])
        if (
            value is not None
            and stated is not None
            and not product
            and _whole_units(tokens, left, right, value, stated)
        ):
            return True
    for goal in right_units[0]:
        a = _in_standard_units(tokens, left, goal.dimension, names)
        b = _in_standard_units(tokens, right, goal.dimension, names)
        if a is None or b is None:
            continue
        if a == b or (goal.factor and rounds_to(a / goal.factor, b / goal.factor, tokens, right, relation)):
            return True
    return False


def _converted(
    tokens: Sequence[Token], left: Side, right: Side, names: Mapping[str, Number]
) -> tuple[Number, str] | None:
    """The left side in the one unit of the right one, also as text (`26 cents`), where every number has a
    unit and the two are not written in the same."""
    right_units, left_units = units_of(tokens, right), units_of(tokens, left)
    if right.operators or len(right_units) != 1 or not left_units:
        return None
    pair = matching(left_units[0], right_units[0])
    if pair is None or pair[0].factor == pair[1].factor or pair[1].offset:
        return None
    numbers = [i for i in range(left.lo, left.hi) if tokens[i].kind == NUM]
    if len(numbers) != len(left_units) or any(t.text in "*/^" for t in tokens[left.lo : left.hi]):
        return None
    value = _in_standard_units(tokens, left, pair[1].dimension, names)
    if value is None:
        return None
    value = Fraction(value) / pair[1].factor
    return value, f"{show(value)} {pair[1].name}" + ("" if value == 1 else "s")


def _in_standard_units(
    tokens: Sequence[Token], side: Side, dimension: str, names: Mapping[str, Number]
) -> Number | None:
    """The value of a side with each number that has a table unit put into standard units, meanings of
    `dimension` first. Scales with an offset are converted only when they stand alone."""
    replaced: list[Token] = []
    for i in range(side.lo, side.hi):
        token = tokens[i]
        if token.kind == NUM and token.value is not None and (units := unit_text(tokens, i)):
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
