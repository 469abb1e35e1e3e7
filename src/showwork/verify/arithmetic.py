"""Exact arithmetic on written expressions: text to tokens with their places, tokens to a rational number.

Everything is bounded (digits, tokens, powers, size of results) and iterative, so no input is slow, nests too
deep or raises; what is out of bounds has the value None. Which tokens form a claim is decided in `claims`.

>>> evaluate(tokenize("(3 + 4) × 2"))
14
>>> evaluate(tokenize("$1,200.50 ÷ 2 1/2"))
Fraction(2401, 5)
>>> evaluate(tokenize("9**9**9**9")) is None
True
"""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import isqrt
from typing import NamedTuple

Number = int | Fraction

MAX_DIGITS = 40  # in one written number
MAX_BITS = 2048  # in a numerator or denominator of any result
MAX_TOKENS = 160  # in one expression
MAX_POWER = 64

NUM, OP, OPEN, CLOSE, REL, WORD, MARK = "num", "op", "(", ")", "rel", "word", "mark"


class Token(NamedTuple):
    """A piece of text: its kind, its normal form, its place, and for numbers the value (None: too long to
    read) and what was written with it (`%`, `$`, `€`, `£`, `¢`, or nothing). A tuple, because making one is
    most of the cost of reading a trace."""

    kind: str
    text: str
    start: int
    end: int
    value: Number | None = None
    sign: str = ""


_DIGITS = r"\d{1,3}(?:,\d{3})+(?!\d)|\d+"
_PATTERN = re.compile(
    rf"""
    (?P<currency>(?:\\?[$€£¢%]|USD\s)\s?(?=\.?\d))?
    (?:
      (?P<clock>\d{{1,2}}:\d\d(?::\d\d)?(?![\d:])|0\d[0-5]\d(?![\d.,]))
    | (?P<spaced>\d{{1,3}}(?:\ 000)+(?![\d,.]\d|\d)|(?:(?<=[$€£=+*/×−-])|(?<=[=+*/×−-]\ ))\d{{1,3}}(?:\ \d{{3}})+(?![\d,-]|\.\d))
    | (?P<mixed>(?P<whole>\d{{1,6}})(?:\ and\ |[ \u00a0]|(?=[¼½¾⅓⅔]))
        (?:(?P<upper>\d{{1,3}})/(?P<lower>\d{{1,3}})(?![\d./]|(?:st|nd|rd|th))|(?P<vulgar2>[¼½¾⅓⅔])))
    | (?P<vulgar>[¼½¾⅓⅔])
    | (?P<number>(?:{_DIGITS})(?:\.\d+)?|\.\d+)(?P<exponent>[eE][-+]?\d{{1,3}}(?![\w.]))?
    )
    (?P<broken>,\d+(?!,?\d))?
    (?P<scale>\s?(?:hundred|thousand|million|billion|trillion)\b(?!-)|(?(currency)k\b(?!-)|(?!)))?
    (?P<suffix>(?:\.\.\.?|…)?\s?\\?%|(?:\s|-)per\s?cent\b|\\?\$(?!\s?\d)|\s?[€£¢])?
    (?P<ordinal>(?:st|nd|rd|th)s?\b)?
  | (?P<times>(?<![A-Za-z])[xX](?=\s*[$€£¢]?\s?[\d.(¼½¾⅓⅔]|\s+[-−]\d)|\*(?!\*)|[×·∙⋅✕✖]|\\times\b|\\cdot\b)
  | (?P<hyphen>(?<=\d)-[A-Za-z]{{2,}}(?:-[A-Za-z]+)*)
  | (?P<arrow>=>|->|→|⇒|--+)
  | (?P<rel>=(?:\s*=)*|≈|≅|≃|≠|!=|<=|>=|≤|≥|\\le(?:q)?\b|\\ge(?:q)?\b|\\approx\b|<|>|~)
  | (?P<op>\*\*|\^|//|[-+−–—/÷∕⁄√]|\\div\b)
  | (?P<open>[(\[{{])
  | (?P<close>[)\]}}])
  | (?P<square>[²³])
  | (?P<word>(?:sq|ft|lbs?|oz|hrs?|mins?|yds?|gal|Mrs?|Ms|Dr)\.(?=\W)|[^\W\d_]{{3,}}(?=\d)
      |[^\W\d][^\W\d_]+(?:-[^\W\d]\w+)+|[^\W\d]-[^\W\d_]{{3,}}|[^\W\d]\w*(?:['’&]\w*)*)
  | (?P<space>[^\S\n]+|\\(?:left|right|text|mathrm|mathbf|[,;!])|[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\\`])
  | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_POWER_AFTER = re.compile(r"\s*[-−]?\s*[\d(]")
SCALE = {"hundred": 100, "thousand": 1000, "k": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_VULGAR = {
    "¼": Fraction(1, 4),
    "½": Fraction(1, 2),
    "¾": Fraction(3, 4),
    "⅓": Fraction(1, 3),
    "⅔": Fraction(2, 3),
}
_RELATION = {"≅": "≈", "≃": "≈", "~": "≈", "≠": "!=", "≤": "<=", "≥": ">="}
_RELATION |= {"\\le": "<=", "\\leq": "<=", "\\ge": ">=", "\\geq": ">=", "\\approx": "≈"}
_OPERATION = {"−": "-", "–": "-", "—": "-", "÷": "/", "∕": "/", "⁄": "/", "**": "^", "\\div": "/", "//": "/"}


def tokenize(text: str) -> list[Token]:
    """The tokens of a text, in order, with offsets into it. Blanks and invisible characters are left out; a line
    break is a mark.

    `x` between operands is multiplication; `%`, "percent" and currency signs are part of the number; a tight
    fraction after a spaced slash (`2 / 1/5`) and a mixed number (`3 1/2`) are one number; an ordinal (`2nd`)
    is a word; a hyphen that joins a number and a word (`5-day`) is no minus.
    """
    tokens: list[Token] = []
    add = tokens.append
    after_power = False
    for m in _PATTERN.finditer(text):
        kind = m.lastgroup
        if kind == "space":
            continue
        start, end = m.span()
        if after_power:
            after_power = False
            if kind == "number":
                continue  # the power of a unit: `m^2`
        if kind == "word":
            add(Token(WORD, m.group(), start, end))
        elif kind == "mark":
            add(Token(MARK, m.group(), start, end))
        elif kind == "op":
            raw = m.group()
            if raw == "**" and not (_operand_before(tokens) and _POWER_AFTER.match(text, end)):
                continue  # bold type, not a power
            if raw in "^**" and len(tokens) > 1 and tokens[-1].kind == WORD and _is_unit_place(tokens):
                after_power = True
                continue
            add(Token(OP, _OPERATION.get(raw, raw), start, end))
        elif kind == "rel":
            raw = m.group()
            add(Token(REL, "=" if raw[0] == "=" else _RELATION.get(raw, raw), start, end))
        elif kind == "times":
            raw = m.group()
            if raw in "xX" and not _operand_before(tokens):
                add(Token(WORD, raw, start, end))
            else:
                add(Token(OP, "*", start, end))
        elif kind == "open":
            add(Token(OPEN, "(", start, end))
        elif kind == "close":
            add(Token(CLOSE, ")", start, end))
        elif kind == "hyphen":
            add(Token(WORD, m.group()[1:], start, end))
        elif kind == "square":
            if len(tokens) > 1 and tokens[-1].kind == WORD and _is_unit_place(tokens):
                continue
            add(Token(OP, "^", start, start))
            add(Token(NUM, m.group(), start, end, 2 if m.group() == "²" else 3))
        elif kind == "arrow":
            add(Token(MARK, m.group(), start, end))
        else:
            add(_number(m, tokens, text))
    return tokens


def _operand_before(tokens: Sequence[Token]) -> bool:
    """Whether an operand (with up to ten unit words after it) ends here."""
    for token in tokens[:-12:-1]:
        if token.kind in (NUM, CLOSE):
            return True
        if token.kind != WORD and token.text != "/":
            return False
    return False


def _is_unit_place(tokens: Sequence[Token]) -> bool:
    """Whether the last word stands where a unit does: after a number, or after a slash or word after one."""
    before = tokens[-2]
    return before.kind == NUM or before.text == "/" or (before.kind == WORD and len(tokens[-1].text) > 1)


def _number(m: re.Match[str], tokens: list[Token], text: str) -> Token:
    """A number token from a match of the number alternative."""
    start, end = m.span()
    currency = m.group("currency")
    suffix = m.group("suffix")
    sign = currency.strip("\\ ")[:1] if currency else ""
    value: Number | None
    if m.group("clock"):
        return Token(WORD, m.group(), start, end)  # times of day are read, but not computed with
    if plain := m.group("number"):
        if len(plain) > MAX_DIGITS or (m.group("broken") and plain != "0"):
            value = None
        elif m.group("broken"):
            value = _decimal(f"0.{m.group('broken')[1:]}")  # a decimal comma
        else:
            digits = plain.replace(",", "")
            value = int(digits) if digits.isascii() and digits.isdigit() else _decimal(digits)
            if (power := m.group("exponent")) and value is not None:
                value = _times_ten(value, int(power[1:]))
        if m.group("ordinal") and not (
            tokens and (tokens[-1].text == "/" and tokens[-1].end == start or tokens[-1].kind == REL)
        ):
            return Token(WORD, m.group(), start, end)
    elif spaced := m.group("spaced"):
        digits = spaced.replace(" ", "")
        value = int(digits) if len(digits) <= MAX_DIGITS and digits.isascii() else None
    elif m.group("vulgar"):
        value = _VULGAR[m.group("vulgar")]
    else:
        value = _mixed(m)
    if value is not None and (scale := m.group("scale")):
        value *= SCALE[scale.strip()]
    if sign == "%" and value is not None:
        value = Fraction(value) / 100
    elif suffix:
        mark = suffix.strip("\\ -.…")[:1]
        if mark in "%p":
            sign = "%"
            value = None if value is None else Fraction(value) / 100
        else:
            sign = mark
    if value is not None and type(value) is Fraction and value.denominator == 1:
        value = value.numerator
    return Token(NUM, m.group(), start, end, value, sign)


def _decimal(digits: str) -> Fraction | None:
    whole, _, part = digits.partition(".")
    if not (whole + part).isascii():
        return None
    return Fraction(int(whole + part), 10 ** len(part))


def _times_ten(value: Number, power: int) -> Number | None:
    if abs(power) > MAX_POWER:
        return None
    return value * 10**power if power >= 0 else Fraction(value) / 10**-power


def _mixed(m: re.Match[str]) -> Number | None:
    whole = int(m.group("whole"))
    if m.group("vulgar2"):
        return whole + _VULGAR[m.group("vulgar2")]
    upper, lower = int(m.group("upper")), int(m.group("lower"))
    return whole + Fraction(upper, lower) if lower else None


_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "tight/": 3, "neg": 4, "^": 5, "√": 6}


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
    values: list[Number] = []
    operators: list[str] = []
    wants_operand = True
    previous: Token | None = None
    spaced_slash = False  # the last operator was `/` with space after it
    for i, token in enumerate(tokens):
        kind = token.kind
        if kind == NUM:
            if token.value is None or not wants_operand:
                return None
            value = token.value
            if token.sign == "%" and percent != _HUNDREDTH:
                value = value * 100 * percent
            values.append(value)
            wants_operand = False
        elif kind == WORD:
            if wants_operand:
                if names and token.text in names:
                    values.append(names[token.text])
                    wants_operand = False
                elif len(token.text) == 1 or previous is None:
                    return None  # an unknown; longer words after an operator are prose (`5 + another 3`)
            elif names and token.text in names and previous is not None and previous.end == token.start:
                if not _push("*", operators, values):
                    return None
                values.append(names[token.text])
        elif kind == OP:
            if token.text == "√":
                if not wants_operand and not _push("*", operators, values):
                    return None
                operators.append("√")
                wants_operand = True
            elif wants_operand:
                if token.text not in "+-" or (
                    previous is not None and previous.kind == OP and previous.text in "+-"
                ):
                    return None
                if token.text == "-":
                    operators.append("neg")
            else:
                name = token.text
                if name == "/" and i + 1 < len(tokens):
                    after = tokens[i + 1]
                    if after.kind == WORD and not (names and after.text in names):
                        previous = token  # `/box`: a unit
                        continue
                    if (
                        spaced_slash
                        and previous is not None
                        and previous.end == token.start == after.start - 1
                    ):
                        name = "tight/"
                    spaced_slash = after.start > token.end
                else:
                    spaced_slash = False
                if not _push(name, operators, values):
                    return None
                wants_operand = True
        elif kind == OPEN:
            if not wants_operand and not _push("*", operators, values):
                return None
            operators.append("(")
            wants_operand = True
        elif kind == CLOSE:
            if wants_operand:
                return None
            while operators and operators[-1] != "(":
                if not _apply(operators.pop(), values):
                    return None
            if not operators:
                return None
            operators.pop()
        else:
            return None
        previous = token
    if wants_operand:
        return None
    while operators:
        if operators[-1] == "(" or not _apply(operators.pop(), values):
            return None
    return _plain(values[0]) if len(values) == 1 else None


_HUNDREDTH = Fraction(1, 100)


def _plain(value: Number) -> Number:
    """An int where the value is integral: faster to go on with, and shorter to print."""
    return value.numerator if type(value) is Fraction and value.denominator == 1 else value


def _push(name: str, operators: list[str], values: list[Number]) -> bool:
    """Put a binary operator on the stack after applying those that bind at least as strongly."""
    level = _PRECEDENCE[name]
    while operators and operators[-1] != "(":
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
    else:
        result = Fraction(left) / right if right else None
    if result is None or max(result.numerator.bit_length(), result.denominator.bit_length()) > MAX_BITS:
        return False
    values.append(result)
    return True


def power(base: Number, exponent: Number) -> Number | None:
    """`base ** exponent`, exactly: whole exponents up to `MAX_POWER`, and the exponent 1/2 of perfect squares.

    >>> power(2, 10), power(Fraction(4, 9), Fraction(1, 2)), power(2, Fraction(1, 2)), power(0, -1)
    (1024, Fraction(2, 3), None, None)
    """
    if exponent == Fraction(1, 2):
        if base < 0:
            return None
        upper, lower = isqrt(base.numerator), isqrt(base.denominator)
        return (
            Fraction(upper, lower)
            if upper * upper == base.numerator and lower * lower == base.denominator
            else None
        )
    if exponent.denominator != 1 or abs(exponent) > MAX_POWER or (base == 0 and exponent < 0):
        return None
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits * abs(exponent) > MAX_BITS:
        return None
    whole = int(exponent)
    return base**whole if whole >= 0 else 1 / Fraction(base) ** -whole
