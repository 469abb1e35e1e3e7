"""Numbers in English words: which words are numbers, and the longest number phrase at the start of a list.

Only values; digits are read in `numbers.py`, and whether a word means a number in its sentence ("the
one", "second") is for the caller to judge.
"""

from collections.abc import Sequence
from fractions import Fraction

_UNITS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ORDINALS = {
    "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10, "eleventh": 11, "twelfth": 12, "fifteenth": 15, "sixteenth": 16, "twentieth": 20,
    "hundredth": 100, "thousandth": 1000,
}  # fmt: skip

SMALL: dict[str, int] = {word: i for i, word in enumerate(_UNITS)}
TENS: dict[str, int] = {word: 20 + 10 * i for i, word in enumerate(_TENS)} | {"fourty": 40, "ninty": 90}
SCALES: dict[str, int] = {
    "hundred": 100,
    "hundreds": 100,
    "thousand": 1000,
    "thousands": 1000,
    "lakh": 10**5,
    "million": 10**6,
    "millions": 10**6,
    "crore": 10**7,
    "billion": 10**9,
    "billions": 10**9,
    "trillion": 10**12,
    "dozen": 12,
    "dozens": 12,
    "score": 20,
}
PARTS: dict[str, Fraction] = {"half": Fraction(1, 2), "halves": Fraction(1, 2)}
for _word, _bottom in _ORDINALS.items():
    PARTS[_word] = PARTS[_word + "s"] = Fraction(1, _bottom)
_TIMES = {
    "once": 1, "twice": 2, "thrice": 3, "double": 2, "doubled": 2, "doubles": 2, "triple": 3, "tripled": 3,
    "triples": 3, "treble": 3, "quadruple": 4, "quadrupled": 4, "quintuple": 5, "couple": 2, "pair": 2,
    "single": 1, "none": 0, "nil": 0, "nought": 0, "nothing": 0, "halved": 2,
}  # fmt: skip

NUMBER_WORDS: dict[str, Fraction] = (
    {w: Fraction(v) for w, v in SMALL.items()}
    | {w: Fraction(v) for w, v in TENS.items()}
    | {w: Fraction(v) for w, v in SCALES.items() if not w.endswith("s")}
    | PARTS
    | {w: Fraction(v) for w, v in _TIMES.items()}
)
_ALONE = {"once", "twice", "thrice", "double", "triple", "quadruple", "none", "nil", "nought", "nothing"}
_COUNTS = {"dozen": 12, "dozens": 12, "score": 20}
_HALVED = {"dozen", "million", "billion"}  # "a dozen and a half" is 18
_SIGNS = {"minus", "negative"}
_LONGEST = 30


def word_number(words: Sequence[str]) -> tuple[Fraction, int] | None:
    """The value of the longest number phrase at the start of `words`, and how many words it took.

    Hyphens may join words ("twenty-one"); case and surrounding punctuation must be gone. "a" counts only
    before a scale or a part ("a dozen", "a half"); an ordinal counts only after a numerator.

    >>> word_number("two and a half dozen eggs".split())
    (Fraction(30, 1), 5)
    >>> word_number(["three-quarters"]), word_number(["second"]), word_number("a cat".split())
    ((Fraction(3, 4), 1), None, None)
    """
    flat: list[str] = []
    owner: list[int] = []  # how many words are used up once this piece is
    for i, word in enumerate(words[:_LONGEST]):
        pieces = word.lower().split("-") if "-" in word else [word.lower()]
        for piece in pieces[:_LONGEST]:
            flat.append(piece)
            owner.append(i + 1 if piece is pieces[-1] else 0)
    at, sign = 0, 1
    if flat and flat[0] in _SIGNS:
        at, sign = 1, -1
    found = _phrase(flat, at)
    if found is None:
        return None
    value, end = found
    while end > 0 and owner[end - 1] == 0:  # the phrase stopped inside a hyphenated word
        return None
    return sign * value, owner[end - 1]


def _phrase(words: list[str], at: int) -> tuple[Fraction, int] | None:
    """whole [and part] [scale…] | part [of] [a] [scale] | multiplier."""
    if at < len(words) and words[at] in _ALONE:
        return NUMBER_WORDS[words[at]], at + 1
    part = _part(words, at)
    if part:
        value, end = part
        skip = end
        while skip < len(words) and skip < end + 2 and words[skip] in ("a", "of"):
            skip += 1
        if skip < len(words) and words[skip] in SCALES:
            return value * SCALES[words[skip]], skip + 1
        return part
    whole = _whole(words, at)
    if whole is None:
        return None
    value, end = Fraction(whole[0]), whole[1]
    if words[end : end + 1] == ["point"]:
        return _decimals(words, value, end)
    if words[end : end + 1] == ["and"]:
        part = _part(words, end + 1)
        if part:
            value, end = value + part[0], part[1]
    scales = SCALES if value.denominator > 1 else _COUNTS  # "two and a half million", "two dozen"
    while end < len(words) and words[end] in scales:
        value, end = value * SCALES[words[end]], end + 1
    more = words[end : end + 2]
    if words[end - 1] == "score" and len(more) == 2 and more[0] == "and" and more[1] in SMALL:
        return value + SMALL[more[1]], end + 2  # "four score and seven"
    if end > at and words[end - 1] in _HALVED and words[end : end + 3] == ["and", "a", "half"]:
        value, end = value + Fraction(SCALES[words[end - 1]], 2), end + 3
    return value, end


def _part(words: list[str], at: int) -> tuple[Fraction, int] | None:
    """half | quarter | (a | one | three …) part."""
    if words[at : at + 1] in (["half"], ["quarter"]):
        return PARTS[words[at]], at + 1
    if at + 1 >= len(words) or words[at + 1] not in PARTS:
        return None
    top = 1 if words[at] in ("a", "an") else SMALL.get(words[at])
    return (top * PARTS[words[at + 1]], at + 2) if top else None


def _whole(words: list[str], at: int) -> tuple[int, int] | None:
    """A whole number: groups below a thousand, each with its scale, the scales getting smaller."""
    total, group, end, start = 0, None, at, at
    while at < len(words):
        word = words[at]
        if word in ("a", "an") and at == start and words[at + 1 : at + 2] and words[at + 1] in SCALES:
            group = 1
        elif word in ("a",) and at == start and words[at + 1 : at + 2] == ["couple"]:
            return 2, at + 2
        elif word in SMALL and (group is None or (group % 100 == 0 and SMALL[word] > 0) or _fits_tens(group, word)):
            group = (group or 0) + SMALL[word]
        elif word in TENS and (group is None or group % 100 == 0):
            group = (group or 0) + TENS[word]
        elif word in ("hundred", "hundreds") and group is not None and 0 < group < 100:
            group *= 100
        elif word == "and" and group is not None and (group % 100 == 0 or total):
            at += 1
            if not words[at : at + 1] or (words[at] not in SMALL and words[at] not in TENS):
                break
            if words[at + 1 : at + 2] and words[at + 1] in PARTS:
                break
            continue
        elif word in SCALES and SCALES[word] >= 1000 and group is not None and (not total or SCALES[word] < total):
            total, group = total + group * SCALES[word], 0
        elif word == "dozen" and at == start:
            return 12, at + 1
        else:
            break
        at += 1
        end = at
    return None if end == start else (total + (group or 0), end)


def _fits_tens(group: int, word: str) -> bool:
    """Whether a word below ten can follow ("twenty" "one")."""
    return group % 100 >= 20 and group % 10 == 0 and 0 < SMALL[word] < 10


def _decimals(words: list[str], value: Fraction, end: int) -> tuple[Fraction, int]:
    """The digits after "point"; the phrase ends before it when none follow."""
    at, scale = end + 1, 10
    while at < len(words) and SMALL.get(words[at], 10) < 10:
        value, scale, at = value + Fraction(SMALL[words[at]], scale), scale * 10, at + 1
    if at == end + 1:
        return value, end
    while at < len(words) and words[at] in SCALES:
        value, at = value * SCALES[words[at]], at + 1
    return value, at
