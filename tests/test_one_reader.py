"""The law of one reader: an equality that the answer reader accepts is never FALSE as a claim, and one that it refuses
for its value is never TRUE; over a generated grammar of amounts."""

import json
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.types import Verdict
from everystep.verify.answers import same_answer
from everystep.verify.files import check_file

SMALL = {
    "minutes": ("hours", 60),
    "inches": ("feet", 12),
    "cm": ("m", 100),
    "g": ("kg", 1000),
    "cents": ("dollars", 100),
}
_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
ONES = _ONES.split()
TENS = {20: "twenty", 30: "thirty", 40: "forty", 50: "fifty", 60: "sixty", 70: "seventy", 80: "eighty", 90: "ninety"}


def words(n: int) -> str:
    if n < len(ONES):
        return ONES[n]
    if n < 100 and n // 10 * 10 in TENS:
        return TENS[n // 10 * 10] + (f"-{ONES[n % 10]}" if n % 10 else "")
    return str(n)


@st.composite
def written(draw: st.DrawFn, value: Fraction, unit: str, formula: bool) -> str:
    """An amount of `value` in `unit` in one of the ways to write it: grouped, as a decimal, a fraction, a mixed
    number, with its sign of money, in the bigger unit, or in two units."""
    ways = []
    whole, part = divmod(value, 1)
    if value.denominator == 1:
        ways += [f"{int(value)}", f"{int(value):,}"]
        if unit in SMALL and value >= SMALL[unit][1]:
            big, ratio = SMALL[unit]
            high, low = divmod(int(value), ratio)
            forms = [f"{int(value)} {unit}", f"{int(value):,} {unit}"]
            if not low:
                forms.append(f"{high} {big}")
            elif ratio < 100:
                forms.append(f"{high} {big} {low} {unit}")
            return draw(st.sampled_from(forms))
    else:
        top, bottom = value.numerator, value.denominator
        ways.append(rf"\frac{{{top}}}{{{bottom}}}" if formula else f"{top}/{bottom}")
        if whole:
            rest = (part.numerator, part.denominator)
            ways.append((r"%d\frac{%d}{%d}" if formula else "%d %d/%d") % (int(whole), *rest))
        ways.append(f"{float(value):.2f}")
        if 100 % bottom:
            ways += [str(int(value * 100) / 100), f"{float(value):.3f}", f"{float(value):.1f}", str(round(value))]
    number = draw(st.sampled_from(ways))
    return f"${number}" if unit == "$" else f"{number} {unit}".strip()


@st.composite
def equalities(draw: st.DrawFn) -> tuple[str, str, str]:
    """A calculation, a stated result, and the true result as a gold answer."""
    formula = draw(st.booleans())
    unit = draw(st.sampled_from(["", "", "$", "apples", *SMALL]))
    a, b = (Fraction(draw(st.integers(1, 400)), draw(st.sampled_from([1, 1, 1, 2, 4]))) for _ in "ab")
    op = draw(st.sampled_from("+-*/"))
    if op == "-" and b >= a:
        a, b = b + 1, a
    value = a + b if op == "+" else a - b if op == "-" else a * int(b + 1) if op == "*" else a / int(b + 1)
    second = draw(written(b, unit, formula)) if op in "+-" else str(int(b + 1))
    if op == "*" and draw(st.booleans()) and value == a * int(b + 1) and b < 15:
        left = (
            f"{draw(written(a, unit, formula))} times {words(int(b + 1))}" if int(b + 1) > 1 else f"{a} * {int(b + 1)}"
        )
        unit = unit if int(b + 1) > 1 else ""
    else:
        left = f"{draw(written(a, unit, formula))} {draw(st.sampled_from([op, {'*': '×'}.get(op, op)]))} {second}"
    off = draw(st.sampled_from([Fraction(0)] * 3 + [Fraction(1), Fraction(-1), value * 9, value]))
    stated = value + off if value + off > 0 else value + 7
    gold = f"{value.numerator}/{value.denominator}" if value.denominator > 1 else str(value.numerator)
    gold = f"${float(value)}" if unit == "$" else f"{gold} {unit}".strip()
    return left, draw(written(stated, unit, formula)), gold


@settings(max_examples=600, deadline=None)
@given(equalities())
def test_answers_and_claims_agree(case: tuple[str, str, str]) -> None:
    left, right, gold = case
    reading = same_answer(right, gold)
    (row,) = check_file([json.dumps({"id": 0, "question": "", "steps": [f"{left} = {right}"]})])
    truths = {c["truth"] for c in row["checks"]}
    if reading.verdict is Verdict.RIGHT:
        assert "false" not in truths
    elif reading.reason in ("different number", "different value"):
        assert "true" not in truths
    assert truths or "\\frac" in left + right or "/" in left + right
