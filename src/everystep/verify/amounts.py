"""Comparing amounts: rounding, percent, units and counted nouns."""

from fractions import Fraction

from everystep.verify.phrases import Amount
from everystep.verify.units import Unit, convert

_CLOSE = Fraction(1, 10**9)


def same_amount(answer: Amount, gold: Amount) -> tuple[bool, str]:
    """Whether two amounts are the same, and the reason in a few words.

    Where only one of them has a unit, the numbers are compared and the reason says so.
    """
    if answer.percent or gold.percent:
        return _percent(answer, gold)
    if answer.units and gold.units:
        return _with_units(answer, gold)
    if (answer.units and gold.noun) or (answer.noun and gold.units):
        return False, f"{_name(answer)} is not {_name(gold)}"
    if answer.noun and gold.noun and answer.noun != gold.noun:
        if answer.of == gold.noun or gold.of == answer.noun:
            return _pairs(answer, gold)
        return False, f"{answer.noun} is not {gold.noun}"
    if answer.per and gold.per and answer.per != gold.per:
        return False, f"per {answer.per} is not per {gold.per}"
    same = _same(answer.value, answer, gold.value, gold)
    if not same:
        return False, "different number"
    if (answer.units or answer.noun) and not (gold.units or gold.noun):
        return True, "same number; the gold names no unit"
    if (gold.units or gold.noun) and not (answer.units or answer.noun):
        return True, "same number; the unit is missing"
    return True, "equal" if answer.value == gold.value else "equal after rounding"


# One pair of these is one thing.
_SINGLE = frozenset({
    "pant", "pants", "trouser", "jean", "short", "scissor", "glass", "sunglass", "eyeglass", "goggle",
})  # fmt: skip


def _pairs(answer: Amount, gold: Amount) -> tuple[bool, str]:
    """Whether `3 pairs of socks` and `6 socks` are the same number of things."""
    a, b = (x.value * (2 if x.of and x.of not in _SINGLE else 1) for x in (answer, gold))
    return a == b, "equal, counting pairs" if a == b else "different number, counting pairs"


def _name(amount: Amount) -> str:
    return amount.units[0].name if amount.units else amount.noun or "a bare number"


def _percent(answer: Amount, gold: Amount) -> tuple[bool, str]:
    if answer.percent and gold.percent:
        same = _same(answer.value, answer, gold.value, gold)
        return same, "equal" if same else "different percentage"
    if (gold if answer.percent else answer).units or (gold if answer.percent else answer).noun:
        return False, "a percentage is not a quantity"
    if gold.percent:
        if _same(answer.value, answer, gold.value, gold):
            return True, "same number; the percent sign is missing"
        if _same(answer.value * 100, answer, gold.value, gold, Fraction(100)):
            return True, "the percentage as a fraction"
        return False, "different percentage"
    if _same(answer.value, answer, gold.value, gold):
        return True, "same number; the gold has no percent sign"
    if _same(answer.value / 100, answer, gold.value, gold, Fraction(1, 100)):
        return True, "the fraction as a percentage"
    return False, "different percentage"


def _with_units(answer: Amount, gold: Amount) -> tuple[bool, str]:
    shared: list[tuple[Unit, Unit]] = [(u, v) for u in answer.units for v in gold.units if u.dimension == v.dimension]
    if not shared:
        wide = [(u, v) for u in answer.units for v in gold.units if _money_rate(u, v)]
        if wide and _same(answer.value, answer, gold.value, gold):
            return True, "same number; the rate is named on one side only"
        return False, f"{answer.units[0].name} is not {gold.units[0].name}"
    # "25 degrees" is read in the gold's scale, where it names one.
    for u, v in [(u, v) for u, v in shared if u.name == v.name] or shared:
        if u.name == v.name or (u.factor == v.factor and u.offset == v.offset):
            same = _same(answer.value, answer, gold.value, gold)
        else:
            value = convert(gold.value, v, u)
            same = value is not None and _same(answer.value, answer, value, gold, converted=True)
        if same:
            return True, "equal" if u.factor == v.factor else f"equal after converting {v.name} to {u.name}"
    return False, "different value"


def _money_rate(u: Unit, v: Unit) -> bool:
    """Whether one is an amount of money and the other the same money per time."""
    a, b = u.dimension, v.dimension
    return (
        a.startswith("money:")
        and b.startswith("money:")
        and a.split("/")[0] == b.split("/")[0]
        and ("/" in a) != ("/" in b)
    )


def _same(
    value: Fraction,
    answer: Amount,
    target: Fraction,
    gold: Amount,
    scale: Fraction = Fraction(1),
    converted: bool = False,
) -> bool:
    """The numeric rule: equal; or float dust; or one is the correct rounding of the other, where it is
    written with two decimals or three significant digits. Whole golds are exact. `scale` is what the
    answer's number was multiplied by."""
    if value == target:
        return True
    if target == 0 or value == 0 or (value < 0) != (target < 0):
        return False
    whole = gold.value.denominator == 1 and (gold.step is None or gold.step < 1) and not converted and scale == 1
    if abs(value - target) <= _CLOSE * abs(target) and (not whole or value.denominator > 1):
        return True
    if whole:
        return False
    if answer.step is not None and (_places(answer) >= 2 or answer.digits >= 3):
        step = answer.step * scale
        if abs(value - target) * 2 <= step:
            return True
    if gold.step is not None and _places(gold) >= 2 and not converted:
        return abs(value - target) * 2 <= gold.step
    return False


def _places(amount: Amount) -> int:
    """Decimals as written (a step of 1/100 is two)."""
    if amount.step is None or amount.step >= 1:
        return 0
    return len(str(amount.step.denominator)) - 1
