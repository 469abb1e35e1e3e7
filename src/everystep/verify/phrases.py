"""Finding the amounts in a short text: numbers with their sign, currency, unit, percent sign or counted noun,
and which of them the text offers as its answer.

Works on plain text (`latex.unwrap`). Knows nothing of gold answers: comparing is done in `amounts.py`.
"""

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from everystep.verify.nouns import GENERIC, noun_at, singular
from everystep.verify.numbers import literal_at
from everystep.verify.units import Unit, convert, find_units
from everystep.verify.words import NUMBER_WORDS, SCALES, word_number

_MAX_AMOUNTS = 12


@dataclass(frozen=True, slots=True)
class Amount:
    """A number as written. `step` is the weight of its last written decimal digit (None where it has no
    decimals) and `digits` its significant digits: what it takes to judge rounding. `units` are the possible
    meanings of its unit; `noun` is the counted thing (singular), `per` an unknown "per …" that follows;
    `of` what a number of pairs is made of (singular)."""

    value: Fraction
    text: str
    start: int
    end: int
    step: Fraction | None = None
    digits: int = 1
    units: tuple[Unit, ...] = ()
    noun: str | None = None
    percent: bool = False
    per: str | None = None
    of: str | None = None
    words: bool = False
    fraction: bool = False


@dataclass(frozen=True, slots=True)
class Offered:
    """The amounts a text offers as its answer, or the reason why it offers none."""

    amounts: tuple[Amount, ...]
    problem: str | None = None


_CURRENCY = re.compile(
    r"(?:US\s?\$|USD|EUR|GBP|INR|CAD|AUD|JPY|CNY|RMB|CHF|KRW|BRL|MXN|Rs\.?|[CAR]A?\$|[$€£¥₹₩₽])\s*", re.ASCII
)
_START = re.compile(r"[A-Za-z]+|[$€£¥₹₩₽]|\d|\.\d")
_WORD = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")
_GLUED_SCALE = re.compile(r"(k|K|mn|mm|m|M|MM|bn|b|B|tn|T)(?![\w^/·°'-])")
_SCALE_WORD = re.compile(r"\s*-?(hundred|thousand|lakh|million|crore|billion|trillion|dozen|score)s?\b(?!-)", re.I)
_AND_PART = re.compile(r"\s+and\s+(?:(?:a|one)\s+(half|third|quarter|fourth)|(half|three[ -]quarters))\b", re.I)
_PERCENT = re.compile(r"\s*(?:%|percent\b|per\s?cent\b|pct\b\.?|percentage\b)(?:\s*-?\s*points?\b)?", re.I)
_OUT_OF = re.compile(r"\s+out\s+of\s+(?:every\s+)?(\d{1,9})\b(?![.,/]\d)", re.I)
_MINUS = re.compile(r"(?<![^\W_])(?:minus|negative)\s+$", re.I)
_ORDINAL = re.compile(r"(?:st|nd|rd|th)\b")
_UNIT_WORD = re.compile(r"[^\s,;()=<>≤≥≈!?|:]+(?:\([^\s()]{1,12}\))?")
_MORE = re.compile(
    r"\s*(?:more|extra|additional|full|whole|total|complete|consecutive|straight|long|short|different|entire|"
    r"other|new|remaining|exactly|US|U\.S\.|American|unique|possible|equal|of)\s+",
)
_PER = re.compile(
    r"\s*(?:(?:per|/|for\s+each|for\s+every)\s*(?:an?\s+)?([^\W\d_]+)|(?:an?|each|every)\s+"
    r"(second|minute|hour|day|week|month|year|mile|pound|ounce|gallon|person|dozen)\b|(each|apiece)\b)",
    re.I,
)
_GLUED_UNIT = re.compile(r"[A-Za-z]+(?=\d+\s*[A-Za-z])")
_DURATION = re.compile(r"(\d{1,3}):([0-5]\d)(?::([0-5]\d))?\s*(hours?|hrs?|h|minutes?|mins?)\b", re.I)
_CLOCK = re.compile(r"\s*(?:[ap]\.\s?m\b\.?|[ap]m\b|o'clock\b)", re.I)
_PAIR_OF = re.compile(r"\s+of\s+(?:[^\W\d_]+\s+){0,2}?([^\W\d_]{3,})(?=\s*(?:[.,;!]|$))")
_INTO = re.compile(r"\s+(?:of\s+)?(?:an?|the|one)\s+")


def amounts_in(text: str) -> list[Amount] | None:
    """All amounts in the text, in order; None where something begins like a number and is none (`1e999`,
    `5/0`, `42abc`)."""
    found: list[Amount] = []
    at = 0
    while len(found) < _MAX_AMOUNTS:
        match = _START.search(text, at)
        if match is None:
            break
        start = match.start()
        if match.group()[0].isalpha() and text[start].isascii() is False:
            at = match.end()
            continue
        if match.group()[0].isalpha() and not _CURRENCY.match(text, start):
            amount = _in_words(text, start)
            if amount is None:
                word = _WORD.match(text, start)
                at = max(match.end(), word.end() if word else 0)
                while at < len(text) and text[at].isdigit():  # CO2, x1: a name, not a number
                    at += 1
                continue
        else:
            amount = _in_digits(text, start)
            if amount is None:
                return None
            if amount.end == start:  # a currency sign without a number
                at = match.end()
                continue
        found.append(amount)
        at = amount.end
    return _sums(text, found)


def _in_digits(text: str, start: int) -> Amount | None:
    """The amount whose number is written in digits; None for a malformed one, an empty one for no number."""
    at, units = start, ()
    sign, first = _sign(text, start)
    if first < start and text[max(0, first - 1) : first] in ("+", "-"):
        return None  # --7
    currency = _CURRENCY.match(text, start)
    if currency:
        units = find_units(currency.group().strip())
        at = currency.end()
        if text[at : at + 1] in ("-", "+") and text[at + 1 : at + 2].isdigit():
            sign, at = (-sign if text[at] == "-" else sign), at + 1
    if not units and (clock := _DURATION.match(text, at)):
        hours = clock.group(4)[0].lower() == "h"
        big, small = (
            find_units("hours" if hours else "minutes")[0],
            int(clock.group(2)) + Fraction(clock.group(3) or 0) / 60,
        )
        value = sign * (int(clock.group(1)) + Fraction(small) / 60)
        return Amount(value, text[first : clock.end()], first, clock.end(), units=(big,))
    literal = literal_at(text, at)
    if literal is None:
        return Amount(Fraction(0), "", start, start)
    if literal.value is None:
        return None
    value, end, places, words = literal.value, literal.end, literal.places, False
    scale = Fraction(1)
    glued = _GLUED_SCALE.match(text, end)
    if glued and (currency or glued.group() in ("k", "M", "bn", "mn", "B")) and not _unit_first(glued.group(), units):
        letter = glued.group().lower()
        scale = Fraction({"k": 10**3, "b": 10**9, "bn": 10**9, "t": 10**12, "tn": 10**12}.get(letter, 10**6))
        end = glued.end()
    part = _AND_PART.match(text, end)
    if part and places == 0:
        value += (
            Fraction(3, 4)
            if part.group(2) and part.group(2) != "half"
            else NUMBER_WORDS[(part.group(1) or part.group(2)).lower()]
        )
        end, places = part.end(), None
    if (of := _OUT_OF.match(text, end)) and not currency and int(of.group(1)):
        ratio = Amount(sign * value / int(of.group(1)), "", first, of.end(), fraction=True)
        return replace(ratio, text=text[first : of.end()])
    while word := _SCALE_WORD.match(text, end):
        scale, end, words = scale * SCALES[word.group(1).lower()], word.end(), True
    step = Fraction(10) ** -places * scale if places else None  # 0: a whole number
    amount = Amount(
        sign * value * scale,
        "",
        first,
        end,
        step,
        literal.digits,
        units,
        words=words,
        fraction=literal.fraction,
    )
    if ordinal := _ORDINAL.match(text, end):
        return replace(amount, end=ordinal.end(), text=text[first : ordinal.end()])
    into = _INTO.match(text, end) if literal.fraction else None
    if into and _unit_at(text, into.end() - 1)[0]:  # "3/4 of a cup"
        end = into.end() - 1
        amount = replace(amount, end=end)
    amount = _with_unit(text, amount)
    following = text[amount.end : amount.end + 1]
    if amount.end == end and (following.isalpha() or following == "_"):
        return None  # letters glued to the digits that are no unit: 42abc, 0x2A, 5x
    return replace(amount, text=text[first : amount.end])


def _unit_first(letter: str, units: tuple[Unit, ...]) -> bool:
    return not units and letter not in ("k", "M", "bn", "mn", "B")


def _sign(text: str, start: int) -> tuple[int, int]:
    """The sign before a number, and where it begins. A dash glued to what is before it joins words."""
    spoken = _MINUS.search(text, max(0, start - 12), start)
    if spoken:
        return -1, spoken.start()
    at = start - 1
    gap = False
    while at >= 0 and text[at] == " ":
        at, gap = at - 1, True
    if at < 0 or text[at] not in "+-":
        return 1, start
    before = text[:at].rstrip()
    if gap and before:  # "5 - 3", "is - 3": an operator or a dash between words
        return 1, start
    if at > 0 and (text[at - 1].isalnum() or text[at - 1] in ")]%\"'"):
        return 1, start
    return (-1 if text[at] == "-" else 1), at


def _in_words(text: str, start: int) -> Amount | None:
    """The amount whose number is written in words ("two and a half dozen", "half an hour", "an hour")."""
    words: list[tuple[str, int]] = []
    at = start
    while len(words) < 12:
        match = _WORD.match(text, at)
        if match is None:
            break
        words.append((match.group().lower(), match.end()))
        at = match.end()
        if text[at : at + 1] not in (" ", "-"):
            break
        at += 1
    if not words:
        return None
    found = word_number([w for w, _ in words])
    before = text[:start].rstrip().rsplit(None, 1)[-1:] if start else []
    if found is None:
        if words[0][0] in ("a", "an") and len(words) > 1 and len(words[1][0]) > 2:
            amount = _with_unit(text, Amount(Fraction(1), "", start, words[0][1], words=True))
            if amount.units and not amount.percent:
                return replace(amount, text=text[start : amount.end])
        return None
    value, taken = found
    end = words[taken - 1][1]
    if words[0][0] == "one" and taken == 1:
        previous = before[0].lower() if before else ""
        following = words[1][0] if len(words) > 1 else ""
        if previous in ("this", "that", "the", "which", "no", "any", "only", "each") or following in (
            "of",
            "who",
            "that",
        ):
            return None
    if words[0][0] in ("nothing", "none", "nil") and len(words) > taken and words[taken][0] in ("of", "but", "in"):
        return None
    amount = Amount(value, "", start, end, words=True, fraction=value.denominator > 1)
    into = _INTO.match(text, end)
    if into and value.denominator > 1:
        inner = _with_unit(text, replace(amount, end=into.end() - 1))
        if inner.units:
            return replace(inner, text=text[start : inner.end])
    amount = _with_unit(text, amount)
    return replace(amount, text=text[start : amount.end])


def _with_unit(text: str, amount: Amount) -> Amount:
    """The amount with the percent sign, unit or counted noun that follows it."""
    end = amount.end
    percent = _PERCENT.match(text, end)
    if percent:
        return replace(amount, percent=True, end=percent.end())
    clock = _CLOCK.match(text, end)
    if clock and not amount.units:
        return replace(amount, noun="o'clock", end=clock.end())
    at = end
    if text[at : at + 1] == "-" and text[at + 1 : at + 2].isalpha():
        at += 1
    more = _MORE.match(text, at)
    while more:
        at = more.end() - 1
        more = _MORE.match(text, at)
    units, stop = _unit_at(text, at)
    if units:
        same = amount.units and any(u.dimension == v.dimension for u in units for v in amount.units)
        if not amount.units or same:
            amount = replace(amount, units=units if not amount.units else amount.units, end=stop)
        half = _AND_PART.match(text, amount.end)
        if half and half.group(1):
            part = NUMBER_WORDS[half.group(1).lower()]
            amount = replace(amount, value=amount.value + part, end=half.end())
    elif not amount.units:
        noun, stop = noun_at(text, at)
        if noun:
            amount = replace(amount, noun=None if noun in GENERIC else noun, end=stop)
            if noun == "pair" and (of := _PAIR_OF.match(text, stop)):
                amount = replace(amount, of=singular(of.group(1)), end=of.end())
    per = _PER.match(text, amount.end)
    if per:
        stop = per.end()
        below = per.group(1) or per.group(2)
        of = singular(below) if below else None
        joined = _rate(amount.units, below) if below else ()
        amount = replace(amount, units=joined, end=stop) if joined else replace(amount, per=of, end=stop)
    return amount


def _rate(units: tuple[Unit, ...], below: str) -> tuple[Unit, ...]:
    """`$60 per hour`, where the currency stands before the number. Money only: other rates are read whole."""
    if not units or not units[0].dimension.startswith("money:") or "/" in units[0].dimension:
        return ()
    divisors = find_units(below)
    return tuple(
        Unit(f"{u.name}/{below}", f"{u.dimension}/{v.dimension}", u.factor / v.factor)
        for u in units
        for v in divisors[:1]
    )


def _unit_at(text: str, start: int) -> tuple[tuple[Unit, ...], int]:
    """The longest unit that begins at `start` (after spaces), and its end."""
    at = start
    while text[at : at + 1] == " ":
        at += 1
    if at >= len(text):
        return (), start
    if text[at] in "'\"":
        return find_units(text[at]), at + 1
    ends: list[int] = []
    pos = at
    for _ in range(6):
        match = _UNIT_WORD.match(text, pos)
        if match is None:
            break
        ends.append(match.end())
        pos = match.end()
        while text[pos : pos + 1] == " ":
            pos += 1
        if pos == match.end() or text[pos : pos + 1].isdigit():
            break
    for i in range(len(ends) - 1, -1, -1):
        end = ends[i]
        piece = text[at:end]
        for candidate in (piece, piece.rstrip(".\"'*"), piece.rstrip(".,*")):
            if not candidate:
                continue
            units = find_units(candidate)
            if units and _is_unit_here(candidate, text, at, at + len(candidate)):
                return units, at + len(candidate)
    letters = _GLUED_UNIT.match(text, at)  # 1h30m
    units = find_units(letters.group()) if letters else ()
    return (units, letters.end()) if letters and units else ((), start)


def _is_unit_here(candidate: str, text: str, start: int, end: int) -> bool:
    """Words that are a unit only where nothing else can be meant: "5 in", but not "5 in total"."""
    if candidate in ("in", "p", "a", "A", "us", "am", "pm", "as", "at", "are", "u", "no"):
        rest = text[end:].lstrip()
        if candidate in ("am", "pm", "as", "at", "are", "a", "no"):
            return False
        return not rest or not (rest[0].isalpha() or rest[0] == "(")
    return True


_JOINT = re.compile(r"\.?\s*(?:,|and|&|,\s*and)?\s*")


def _sums(text: str, found: list[Amount]) -> list[Amount]:
    """Join "1 hour 30 minutes", "5 feet 2 inches", "$5 and 25 cents" into one amount each."""
    out: list[Amount] = []
    for amount in found:
        last = out[-1] if out else None
        if last and last.units and amount.units and _JOINT.fullmatch(text, last.end, amount.start):
            joined = _joined(last, amount)
            if joined:
                out[-1] = replace(joined, text=text[last.start : amount.end])
                continue
        if last and "'" in last.text[-1:] and last.end == amount.start and amount.value < 12 and not amount.units:
            out[-1] = replace(last, value=last.value + amount.value / 12, end=amount.end, step=None)  # 5'11
            continue
        out.append(amount)
    return out


def _joined(big: Amount, small: Amount) -> Amount | None:
    for u in big.units:
        for v in small.units:
            if u.dimension != v.dimension or v.factor >= u.factor or u.offset or v.offset:
                continue
            part = convert(small.value, v, u)
            if part is None or not 0 <= part < 1 or big.value.denominator > 1:
                continue
            value = big.value + (part if big.value >= 0 else -part)
            return replace(big, value=value, end=small.end, units=(u,), step=None, words=big.words or small.words)
    return None
