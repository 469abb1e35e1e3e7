"""Reading number literals as exact fractions: any Unicode text to plain text, and plain text to values.

Number words are in `words.py` and are read here only where the whole text is one number. Nothing is
evaluated: `2 + 3` is not a number, `1/2` and `6.02 × 10^23` are. Every function is bounded (input length,
digits, exponent) and linear in its input.

Readings that need a decision:

- a comma before groups of exactly three digits groups (`1,234`); otherwise, before one, two, or more than
  three digits, or after a lone zero, it is a decimal comma (`1,23`, `0,500`);
- a point is a decimal point (`1.234` is not 1234), unless it occurs twice or a decimal comma follows
  (`1.234.567`, `1.234,50`);
- a glued `k` is a thousand (`3k`), because models write it for money; `3 k` and `3K` are not read.
"""

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from everystep.verify.words import NUMBER_WORDS, SCALES, word_number

__all__ = ["MAX_CHARS", "NUMBER_WORDS", "Literal", "literal_at", "plain", "read_number", "word_number"]

MAX_CHARS = 200
MAX_DIGITS = 60
MAX_EXPONENT = 300

_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_SUPERSCRIPT_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_VULGAR = re.compile("(\\d?)([¼½¾⅐-⅞↉])")
_SAME = str.maketrans(
    {c: "-" for c in "−‐‑‒–﹣－⁃"}
    | {c: "'" for c in "‘’′ʼ＇"}
    | {c: '"' for c in "“”″＂"}
    | {c: "·" for c in "⋅∙•‧"}
    | {"✕": "×", "✖": "×", "∗": "*", "∕": "/", "⁄": "/", "º": "°", "˚": "°", "٫": ".", "٬": ",", "—": " - "}
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def plain(text: str) -> str:
    """The text with its Unicode variety taken out: digits of all scripts, minus signs, quotes, spaces and
    full-width forms become ASCII, `1½` becomes `1 1/2`, `m²` becomes `m^2`; invisible characters go.

    Linear; cut long input first. Case, words and line breaks stay.

    >>> plain("−1½\\u200b m²"), plain("٤٢ ％")
    ('-1 1/2 m^2', '42 %')
    """
    if text.isascii():
        return _CONTROL.sub(" ", text)
    text = text.translate(_SAME)
    text = _VULGAR.sub(_vulgar, text)
    text = _SUPERSCRIPT_RUN.sub(lambda m: "^" + m.group().translate(_SUPERSCRIPT), text)
    text = unicodedata.normalize("NFKC", text)
    out = []
    for c in text:
        if c < "\x80":
            out.append(c)
            continue
        category = unicodedata.category(c)
        if category == "Nd":
            out.append(str(unicodedata.decimal(c)))
        elif category[0] == "Z":
            out.append(" ")
        elif category not in ("Cf", "Cs", "Co", "Cn", "Mn") or c == "\u0338":
            out.append(c)
    return _CONTROL.sub(" ", "".join(out).translate(_SAME))


def _vulgar(match: re.Match[str]) -> str:
    top, bottom = unicodedata.normalize("NFKC", match.group(2)).split("⁄")
    before = match.group(1)
    return f"{before} {top}/{bottom}" if before else f"{top}/{bottom}"


@dataclass(frozen=True, slots=True)
class Literal:
    """A number as written: its value (None where it is out of bounds, such as 1e999 or 5/0), the end of
    its text, its digits after the decimal point (negative for 6.02e23; None where it is no decimal: a
    fraction or a whole number with an exponent), its significant digits, and whether it is a fraction."""

    value: Fraction | None
    end: int
    places: int | None
    digits: int
    fraction: bool = False


# The shapes of a number, the more particular first. What follows may be neither a digit nor a separator
# with a digit, or part of a malformed number would be read as a whole one.
_STOP = r"(?!\d)(?![.,]\d)"
_BODY = re.compile(
    r"(?P<comma>\d{1,3}(?:,\d{3})+(?:\.\d+)?)" + _STOP
    + r"|(?P<lakh>[1-9]\d?(?:,\d\d)+,\d{3}(?:\.\d+)?)" + _STOP
    + r"|(?P<euro>[1-9]\d{0,2}(?:\.\d{3})+,\d+|[1-9]\d{0,2}(?:\.\d{3}){2,})" + _STOP
    + r"|(?P<gaps>[1-9]\d{0,2}(?: \d{3})+(?:[.,]\d+)?)" + _STOP + r"(?! ?\d)"
    r"|(?P<ticks>[1-9]\d{0,2}(?:'\d{3})+(?:\.\d+)?|[1-9]\d{0,2}(?:_\d{3})+(?:\.\d+)?)" + _STOP
    + r"|(?P<point>\d*\.\d+|\d+\.(?![\d.]))(?!\d)|(?P<decimal>\d+,\d+)" + _STOP + r"|(?P<whole>\d+)"
)  # fmt: skip
_EXPONENT = re.compile(r"[eE]([+-]?\d+)(?![\w.])")
_POWER_OF_TEN = re.compile(
    r"\s*(?:×|\*|x|X|·|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*(?:([+-]?\d+)|\(\s*([+-]?\d+)\s*\)|\{\s*([+-]?\d+)\s*\})"
)
_TEN = re.compile(r"10\s*(?:\^|\*\*)\s*(?:([+-]?\d+)|\(\s*([+-]?\d+)\s*\)|\{\s*([+-]?\d+)\s*\})(?!\d)")
_OVER = re.compile(r"\s*/\s*(\d[\d,]*)(?![\d/]|\.\d|\s*/\s*\d)")
_MIXED = re.compile(r"(?:[ -]|\s+and\s+|\s+&\s+)(\d+)\s?/\s?(\d+)(?![\d/]|[.,]\d)")


def repeating(whole: str, part: str, period: str) -> Fraction:
    """The value of a decimal whose last digits repeat.

    >>> repeating("0", "1", "6")
    Fraction(1, 6)
    """
    value = Fraction(int((whole or "0") + part), 10 ** len(part))
    return value + Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(part))


def literal_at(text: str, start: int = 0) -> Literal | None:
    """The longest unsigned number that begins exactly at `start` of plain text; None where none does.

    >>> literal_at("1,234.50 m").value, literal_at("3 1/2 cups").end, literal_at("5/0").value
    (Fraction(2469, 2), 5, None)
    """
    match = _TEN.match(text, start)
    if match:
        exponent = _bounded_exponent(match)
        value = None if exponent is None else Fraction(10) ** exponent
        return Literal(value, match.end(), None, 1)
    match = _BODY.match(text, start)
    if match is None:
        return None
    shape, body, end = match.lastgroup or "whole", match.group(), match.end()
    if shape == "comma" and body[0] == "0":
        if body.count(",") > 1 or "." in body:
            return Literal(None, end, None, 0)
        shape = "decimal" if body.startswith("0,") else "comma"
    number = _ascii(shape, body)
    whole, _, tail = number.partition(".")
    if len(whole.lstrip("0")) + len(tail) > MAX_DIGITS:
        return Literal(None, end, None, 0)
    value = Fraction(int((whole + tail) or "0"), 10 ** len(tail))
    places, digits = len(tail), len((whole + tail).lstrip("0")) or 1
    power = _EXPONENT.match(text, end) or _POWER_OF_TEN.match(text, end)
    if power:
        exponent = _bounded_exponent(power)
        if exponent is None:
            return Literal(None, power.end(), None, 0)
        value *= Fraction(10) ** exponent
        return Literal(value, power.end(), places - exponent if tail else None, digits)
    if tail or shape == "decimal":
        return Literal(value, end, places, digits)
    mixed = _MIXED.match(text, end)
    if mixed:
        top, bottom = mixed.group(1), mixed.group(2)
        if len(top) + len(bottom) <= MAX_DIGITS and 0 < int(top) < int(bottom):
            return Literal(value + Fraction(int(top), int(bottom)), mixed.end(), None, digits, True)
    over = _OVER.match(text, end)
    if over:
        bottom = over.group(1).rstrip(",").replace(",", "")
        end = over.start(1) + len(over.group(1).rstrip(","))
        if len(bottom) > MAX_DIGITS or int(bottom) == 0:
            return Literal(None, end, None, 0)
        return Literal(value / int(bottom), end, None, digits, True)
    return Literal(value, end, 0, digits)


def _ascii(shape: str, body: str) -> str:
    """The digits of a matched literal with a point for the decimal mark and no grouping."""
    if shape == "decimal":
        return body.replace(",", ".")
    if shape == "euro":
        return body.replace(".", "").replace(",", ".")
    if shape == "gaps":
        return body.replace(" ", "").replace(",", ".")
    return body.replace(",", "").replace("'", "").replace("_", "")


def _bounded_exponent(match: re.Match[str]) -> int | None:
    digits = next(g for g in match.groups() if g is not None)
    if len(digits) > 5 or abs(int(digits)) > MAX_EXPONENT:
        return None
    return int(digits)


_SCALED = re.compile(r"\s*([A-Za-z]+)(?:\s+(dozen|thousand|million|billion))?")
_AND_HALF = re.compile(r"\s+and\s+(?:a|one)\s+(half|third|quarter)\b", re.IGNORECASE)


def read_number(text: str) -> Fraction | None:
    """The value of a text that is one number and nothing else; None for everything else, never an error.

    >>> [str(read_number(t)) for t in ("1,234.5", "−3", "3 1/2", "1.234,50", "two and a half dozen", "2+3")]
    ['2469/2', '-3', '7/2', '2469/2', '30', 'None']
    """
    if len(text) > MAX_CHARS:
        return None
    text = plain(text).strip()
    if not text:
        return None
    sign = 1
    if text[0] in "+-":
        sign = -1 if text[0] == "-" else 1
        text = text[1:].lstrip()
    literal = literal_at(text)
    if literal is None:
        words = text.replace(",", " ").split()
        found = word_number(words)
        return sign * found[0] if found and found[1] == len(words) else None
    if literal.value is None:
        return None
    value, rest = sign * literal.value, text[literal.end :]
    half = _AND_HALF.match(rest)
    if half and literal.places == 0:
        value, rest = value + sign * NUMBER_WORDS[half.group(1).lower()], rest[half.end() :]
    if not rest or rest.isspace() or (rest == "." and literal.places == 0):
        return value
    if rest == "k":
        return value * 1000
    scale = _SCALED.fullmatch(rest)
    if scale is None:
        return None
    for word in scale.groups():
        if word is None:
            continue
        if word.lower() not in SCALES:
            return None
        value *= SCALES[word.lower()]
    return value
