"""Text to tokens: numbers with their values and places, operators, relations, brackets, words, marks.

What a number literal alone is worth as an answer is `numbers`; here everything around it matters too: `x` as
multiplication, percent and currency, ordinals, clock times, units with powers. Bounded and linear; never
raises.

>>> [(t.kind, t.text) for t in tokenize("$5/hour x 8")]
[('num', '$5'), ('op', '/'), ('word', 'hour'), ('op', '*'), ('num', '8')]
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from math import factorial
from typing import NamedTuple

from everystep.verify.markup import UPRIGHT
from everystep.verify.units import find_units

Number = int | Fraction

MAX_DIGITS = 40  # in one written number
MAX_POWER = 64
MAX_FACTORIAL = 100
MAX_TOKENS_READ = 2000  # of one text

NUM, OP, OPEN, CLOSE, REL, WORD, MARK = "num", "op", "(", ")", "rel", "word", "mark"
ODD = "odd"  # a function, a sign or a symbol that is not computed
VAR = "var"  # the sign of a word that is a letter of algebra


class Token(NamedTuple):
    """A piece of text: its kind, its normal form, its place, and for numbers the value (None: too long to
    read) and what was written with it (`%`, `$`, `€`, `£`, `¢`, `!`, or nothing). A tuple, because making
    one is most of the cost of reading a trace."""

    kind: str
    text: str
    start: int
    end: int
    value: Number | None = None
    sign: str = ""


_DIGITS = r"\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?:'\d{3})+(?!\d)|[1-9]\d?(?:,\d\d)+,\d{3}(?!\d)|\d+"
_PATTERN = re.compile(
    rf"""
    (?P<blank>\ +)
  | (?=[\d.\\$€£¢%URIEC¼½¾⅓⅔₹₺฿¥₫₩₽zر])
    (?P<currency>(?:\\?[$€£¢%₹₺฿¥₫₩₽]|zł|ريال|(?<![A-Za-z])(?:USD\s|R\$|Rs\.?|INR\s|EUR\s|CHF\s))\s?(?=\.?\d))?
    (?:
      (?P<clock>\d{{1,2}}:\d\d(?::\d\d)?(?![\d:])|0\d[0-5]\d(?![\d.,]))
    | (?P<spaced>\d{{1,3}}(?:\ 000)+(?![\d,.]\d|\d)
        |(?<![\d.,/*+=-])(?<![\d+*/=-]\ )\d{{1,3}}(?:\ \d{{3}})+(?=\s?[+*/×=÷−]|\s-\s)
        |(?:(?<=[$€£=+*/×−-])|(?<=[=+*/×−-]\ ))\d{{1,3}}(?:\ \d{{3}})+(?:\.\d+)?(?![\d,-]|\.\d))
    | (?P<mixed>(?P<whole>\d{{1,6}})(?:\ and\ |[ \u00a0]|(?=[¼½¾⅓⅔]))
        (?:(?P<upper>\d{{1,3}})/(?P<lower>\d{{1,3}})(?![\d./]|(?:st|nd|rd|th))|(?P<vulgar2>[¼½¾⅓⅔])))
    | (?P<vulgar>[¼½¾⅓⅔])
    | (?P<number>(?:{_DIGITS})(?:\.\d+)?|\.\d+)(?P<exponent>[eE][-+]?\d{{1,3}}(?![\w.]))?
    )
    (?P<broken>,\d+(?!,?\d))?
    (?P<scale>\s?(?:hundred|thousand|million|billion|trillion)\b(?!-)|[万萬亿億]|(?(currency)k\b(?!-)|(?!)))?
    (?P<suffix>(?:\.\.\.?|…)?\s?\\?%|(?:\s|-)per\s?cent\b|\\?\$(?!\s?\d)|\s?[€£¢₹₺฿¥₫₩₽](?!\d))?
    (?P<ordinal>(?:st|nd|rd|th)s?\b)?
    (?P<factorial>!(?!=\d)(?=\d|\s*(?:=(?!>)|[+*/×·÷^)\]}}≈≤≥;⇒(]|[-−<>]\s*\d)))?
  | (?P<times>(?<![A-Za-z])[xX](?=\s*[$€£¢]?\s?[\d.(¼½¾⅓⅔]|\s+[-−]\d|\ [A-Z]\w?\b(?!'))|\*(?!\*)|[×·•∙⋅✕✖])
  | (?![A-Za-z])(?:
    (?P<hyphen>(?<=\d)-[A-Za-z]{{2,}}(?:-[A-Za-z]+)*)
  | (?P<arrow>=>|->|→|⇒|--+)
  | (?P<rel>=(?:\s*=)*|≈|≅|≃|≠|!=(?!(?<=\d!=)\d)|<=|>=|≤|≥|<|>|~)
  | (?P<op>\*\*|\^|//|[-+−–—/÷∕⁄√])
  | (?P<open>[(\[{{⌊⌈])
  | (?P<close>[)\]}}⌋⌉])
  | (?P<odd>\ue000+(?:_\w+)?|(?<![\w)])!(?=\d)|[±∓∑∏∫∝∂∇∈∉⊂∪∩])
  | (?P<square>[²³])
    )
  | (?P<word>(?:sq|ft|lbs?|oz|kr|hrs?|mins?|yds?|gal|Mrs?|Ms|Dr)\.(?=\ ?[a-z\d(+*/=×-])
      |(?:was|because|is|equals|are|of|and|so|gives)(?=\d)
      |°[CF]?|[^\W\d][^\W\d_]+(?:-[^\W\d]\w+)+|[^\W\d]-[^\W\d_]{{3,}}|[^\W\d]\w*(?:['’&]\w*)*)
  | (?P<space>[^\S\n]+|(?:\n[ \t]{{0,8}}){{1,3}}&?(?=\s?[=≈])|&(?=\s?[=≈≤≥<>])
      |[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff`]+)
  | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_POWER_AFTER = re.compile(r"\s*[-−]?\s*[\d(]")
SCALE = {"hundred": 100, "thousand": 1000, "k": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
SCALE |= {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_VULGAR = {
    "¼": Fraction(1, 4),
    "½": Fraction(1, 2),
    "¾": Fraction(3, 4),
    "⅓": Fraction(1, 3),
    "⅔": Fraction(2, 3),
}
_RELATION = {"≅": "≈", "≃": "≈", "~": "≈", "≠": "!=", "≤": "<=", "≥": ">="}
_OPERATION = {"−": "-", "–": "-", "—": "-", "÷": "/", "∕": "/", "⁄": "/", "**": "^", "//": "//"}


def tokenize(text: str, limit: int = MAX_TOKENS_READ) -> list[Token]:
    """The tokens of a text, in order, with offsets into it. Blanks and invisible characters are left out; a
    line break is a mark.

    `x` between operands is multiplication; `%`, "percent" and currency signs are part of the number; a tight
    fraction after a spaced slash (`2 / 1/5`) and a mixed number (`3 1/2`) are one number; an ordinal (`2nd`)
    is a word; a hyphen that joins a number and a word (`5-day`) is no minus.
    """
    tokens: list[Token] = []
    add = tokens.append
    after_power = indexed = False
    for m in _PATTERN.finditer(text):
        kind = m.lastgroup
        if kind == "blank" or kind == "space":
            continue
        if len(tokens) >= limit:
            break
        start, end = m.span()
        if indexed:
            indexed = False
            if kind == "number" and end - start < 4:
                tokens[-1] = Token(WORD, tokens[-1].text + m.group(), tokens[-1].start, end)
                continue
        if after_power:
            after_power = False
            if kind == "number":
                continue  # the power of a unit: `m^2`
        if kind == "word":
            raw = m.group()
            if raw[0] >= "\u0370":
                add(_letter(raw, start, end))
            else:
                add(Token(WORD, raw, start, end))
        elif kind == "mark":
            add(Token(MARK, m.group(), start, end))
        elif kind == "op":
            raw = m.group()
            if raw == "**" and not (_operand_before(tokens) and _POWER_AFTER.match(text, end)):
                continue  # bold type, not a power
            if raw in "^**" and len(tokens) > 1 and tokens[-1].kind == WORD and _is_unit_place(tokens):
                after_power = True
                continue
            add(Token(OP, _OPERATION.get(raw, raw), start, end, None, raw if raw == "÷" else ""))
        elif kind == "rel":
            raw = m.group()
            add(Token(REL, "=" if raw[0] == "=" else _RELATION.get(raw, raw), start, end))
        elif kind == "times":
            raw = m.group()
            if raw in "xX" and not _operand_before(tokens):
                add(Token(WORD, raw, start, end))
                indexed = text[end : end + 1].isdigit()  # `x1`
            else:
                add(Token(OP, "*", start, end, None, raw if raw in "xX" else ""))
        elif kind == "open":
            add(Token(OPEN, "(", start, end, None, m.group()))
        elif kind == "close":
            add(Token(CLOSE, ")", start, end, None, m.group()))
        elif kind == "odd":
            add(Token(ODD, m.group(), start, end))
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
            raw = m.group()
            if kind == "number" and len(raw) < 10 and raw.isascii() and raw.isdigit():
                add(Token(NUM, raw, start, end, int(raw)))  # most numbers
            else:
                is_factorial = kind == "factorial"
                if is_factorial and tokens and tokens[-1].end == start and tokens[-1].text.endswith("!"):
                    add(Token(OP, "*", start, start))  # `3!2!`
                add(_factorial(m) if is_factorial else _number(m, tokens, text))
    return tokens


_OPENING_WORDS = """
let and so then or that when if thus hence get gives where for since therefore as because have given find
means us with assume suppose but solve value
"""
_OPENING = frozenset(_OPENING_WORDS.split())


def _letter(raw: str, start: int, end: int) -> Token:
    """A word that is not in Latin letters: of a formula, or a Greek letter, and so an unknown, or a word."""
    text = raw.translate(UPRIGHT)
    unknown = (
        text != raw
        or raw[1:2] == "_"
        or ("\u0370" <= raw[0] < "\u0400" and raw not in "ΩΜμ" and (len(raw) == 1 or raw[1] == "_"))
    )
    return Token(WORD, text, start, end, None, VAR if unknown else "")


def unknowns(tokens: Sequence[Token]) -> set[str]:
    """The single letters that stand as operands of their own somewhere in the text (`x = 3`, `2 + n`): letters
    of algebra wherever they occur."""
    found = set()
    for i, token in enumerate(tokens):
        if token.kind != WORD or len(token.text) != 1 or not "A" <= token.text <= "z" or token.text in "_I":
            continue
        before = tokens[i - 1].kind if i else MARK
        after = tokens[i + 1].kind if i + 1 < len(tokens) else MARK
        if token.text == "a" and not (before in (OP, OPEN, REL, MARK) and after in (OP, CLOSE, REL)):
            continue
        glued = before in (NUM, CLOSE) and tokens[i - 1].end == token.start
        coefficient = (
            glued and after in (OP, REL) and (token.text in "xyz" or (after == REL and not find_units(token.text)))
        )
        operand = before in (OP, REL, OPEN) and tokens[i - 1].text != "/" and after in (OP, REL, CLOSE, MARK)
        defined = after == REL and (before in (MARK, OPEN) or (i > 0 and tokens[i - 1].text.lower() in _OPENING))
        if coefficient or operand or defined:  # `7k = 21`, `2 + n`, `let x = 3`
            found.add(token.text)
    return found


def mark_unknowns(tokens: list[Token], letters: set[str]) -> None:
    """Sign the words that are letters of algebra; `C2` glued to a number (`4C2`) is not computed."""
    for i, token in enumerate(tokens):
        product = token.kind == OP and token.sign in letters and 0 < i < len(tokens) - 1
        if product and tokens[i - 1].end == token.start and tokens[i + 1].start == token.end:
            tokens[i] = token._replace(kind=ODD)  # `4x(3)` where x is an unknown elsewhere
        if token.kind != WORD or token.sign == VAR:
            continue
        text = token.text
        if text[1:2] == "_" and text[0].isalpha():
            tokens[i] = token._replace(sign=VAR)
        elif text in letters or text == "pi":
            spaced = i and tokens[i - 1].kind == NUM and tokens[i - 1].end < token.start
            if not (spaced and find_units(text)):  # `2 A` are amperes, `2A` is twice A
                tokens[i] = token._replace(sign=VAR)
        elif i and len(text) < 5 and tokens[i - 1].kind == NUM and tokens[i - 1].end == token.start:
            if text[0] in "CPcp" and text[1:].isdigit():
                tokens[i] = token._replace(kind=ODD)
            elif "_" in text:
                tokens[i] = token._replace(sign=VAR)


def _operand_before(tokens: Sequence[Token]) -> bool:
    """Whether an operand (with up to ten unit words after it) ends here."""
    for token in tokens[:-12:-1]:
        if token.kind in (NUM, CLOSE):
            return True
        if token.kind != WORD and token.text != "/":
            break
    if len(tokens) > 1 and tokens[-1].kind == WORD:
        return tokens[-2].kind in (OP, REL, OPEN)  # a name: `= price x 23`
    return False


def _is_unit_place(tokens: Sequence[Token]) -> bool:
    """Whether the last word stands where a unit does: after a number, or after a slash or word after one."""
    before = tokens[-2]
    if tokens[-1].sign == VAR or (len(tokens[-1].text) < 3 and not find_units(tokens[-1].text)):
        return False
    return before.kind == NUM or before.text == "/" or (before.kind == WORD and len(tokens[-1].text) > 1)


def _number(m: re.Match[str], tokens: list[Token], text: str) -> Token:
    """A number token from a match of the number alternative."""
    start, end = m.span()
    currency = m.group("currency")
    suffix = m.group("suffix")
    sign = currency.strip("\\ ")[:1] if currency else ""
    sign = sign if sign in "$€£¢%" else ""
    value: Number | None
    if m.group("clock"):
        return Token(WORD, m.group(), start, end)  # times of day are read, but not computed with
    if plain := m.group("number"):
        if len(plain) > MAX_DIGITS or (m.group("broken") and plain != "0"):
            value = None
        elif m.group("broken"):
            value = _decimal(f"0.{m.group('broken')[1:]}")  # a decimal comma
        else:
            digits = plain.replace(",", "").replace("'", "")
            value = int(digits) if digits.isascii() and digits.isdigit() else _decimal(digits)
            if (power := m.group("exponent")) and value is not None:
                value = _times_ten(value, int(power[1:]))
        if m.group("ordinal") and not (
            tokens and ((tokens[-1].text == "/" and tokens[-1].end == start) or tokens[-1].kind == REL)
        ):
            return Token(WORD, m.group(), start, end)
    elif spaced := m.group("spaced"):
        digits = spaced.replace(" ", "")
        value = None
        if len(digits) <= MAX_DIGITS and digits.isascii():
            value = _decimal(digits) if "." in digits else int(digits)
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
        if mark in "₹₺฿¥₫₩₽":
            pass
        elif mark in "%p":
            sign = "%"
            value = None if value is None else Fraction(value) / 100
        else:
            sign = mark
    if value is not None and type(value) is Fraction and value.denominator == 1:
        value = value.numerator
    return Token(NUM, m.group(), start, end, value, sign)


def _factorial(m: re.Match[str]) -> Token:
    """`5!` before an operator or relation as one number; elsewhere the sign is one of exclamation."""
    digits = m.group("number") or ""
    small = m.group() == f"{digits}!" and digits.isascii() and digits.isdigit() and len(digits) < 4
    value = factorial(int(digits)) if small and int(digits) <= MAX_FACTORIAL else None
    return Token(NUM, m.group(), m.start(), m.end(), value, "!")


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
