"""Where the numbers of a calculation come from: the question, an earlier result, a number word, a constant.

Only whether a number has a source; whether it is used rightly is not decided here.

>>> sources = Sources("Ann has 3 dozen eggs at 20% off.")
>>> [sources.explain(v) for v in (3, 12, Fraction(4, 5), 60, 17)]
['question', 'question', 'question', 'constant', None]
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from everystep.verify.markup import plain_text
from everystep.verify.numbers import NUMBER_WORDS, word_number
from everystep.verify.tokens import NUM, OP, SCALE, WORD, Number, Token, tokenize

MAX_QUESTION = 8_000
CONSTANTS: frozenset[Number] = frozenset(
    {0, 1, 2, 3, 4, 5, 7, 8, 10, 12, 16, 24, 28, 30, 31, 36, 50, 52, 60, 90, 100, 180, 360, 365, 366, 1000}
    | {3600, 5280, 10**6, 10**9, Fraction(1, 2), Fraction(1, 4), Fraction(1, 10), Fraction(1, 100)}
)
# Words that stand for numbers without being number words, by stem: coins, measures, days, shapes.
_IMPLIED: dict[str, tuple[Number, ...]] = {
    "quarter": (25, Fraction(1, 4)),
    "nickel": (5, Fraction(1, 20)),
    "dime": (10, Fraction(1, 10)),
    "penn": (1, Fraction(1, 100)),
    "cent": (Fraction(1, 100),),
    "gallon": (128, 16, 4, 8),
    "quart": (32, 4, 2),
    "pint": (16, 2),
    "cup": (8, 16),
    "ton": (2000,),
    "mile": (1760, 5280),
    "yard": (3, 36),
    "week": (7, 5, 2, 6, 48),
    "saturday": (6, 2, 5),
    "sunday": (6, 2, 5),
    "weekday": (5,),
    "weekend": (2, 5),
    "fortnight": (14,),
    "decade": (10,),
    "centur": (100,),
    "triang": (3,),
    "square": (4,),
    "hexagon": (6,),
    "pentagon": (5,),
    "cube": (6, 12),
    "dice": (6,),
    "die": (6,),
    "card": (52, 13),
    "month": (6, 12),
    "alphabet": (26,),
}
_STEM = re.compile("|".join(sorted(_IMPLIED, key=len, reverse=True)))


@lru_cache(maxsize=2048)
def _question(text: str) -> tuple[frozenset[Number], tuple[tuple[Number, str], ...]]:
    """All values that a question offers, and the numbers it gives in digits."""
    offered: set[Number] = set()
    given: dict[Number, str] = {}
    tokens = tokenize(plain_text(text[:MAX_QUESTION]).text)
    words: list[str] = []
    for i, token in enumerate(tokens):
        if token.kind == NUM and token.value is not None:
            given.setdefault(token.value, token.text.strip())
            offered.update(forms(token.value))
            scale = SCALE.get(token.text.split()[-1], 0)
            if scale:
                offered.update(forms(Fraction(token.value) / scale))  # later "in millions"
            if token.sign == "%":
                offered.update(forms(token.value * 100))
            if i > 1 and tokens[i - 1].kind == OP and tokens[i - 1].text == "/" and token.value:
                above = tokens[i - 2].value
                if above is not None:
                    offered.update(forms(Fraction(above) / token.value))
        elif token.kind == WORD:
            offered.update(_said(token.text))
            words.append(token.text.lower())
            continue
        _phrases(words, offered)
        words = []
    _phrases(words, offered)
    return frozenset(offered), tuple(given.items())


def _phrases(words: list[str], offered: set[Number]) -> None:
    """Numbers of several words: `one hundred forty-four`."""
    at = 0
    while at < len(words):
        found = word_number(words[at : at + 12]) if words[at].split("-")[0] in NUMBER_WORDS else None
        if found is None:
            at += 1
            continue
        offered.update(forms(found[0]))
        at += max(1, found[1])


@lru_cache(maxsize=16_384)
def _said(word: str) -> frozenset[Number]:
    """The values one word stands for: `half`, `2nd`, `10:30`, `nickels`."""
    word = word.lower()
    value = NUMBER_WORDS.get(word)
    if value is not None:
        return frozenset(forms(value))
    if word[0].isdigit():
        return frozenset(int(digits) for digits in re.findall(r"[0-9]{1,9}", word))
    implied = _STEM.match(word)
    return frozenset(_IMPLIED[implied.group()]) if implied else frozenset()


@lru_cache(maxsize=16_384)
def _stands_for(word: str) -> tuple[Number, ...]:
    """The values that a word of a step is a source of."""
    word = word.lower()
    value = NUMBER_WORDS.get(word)
    if value is not None:
        return (value,)
    implied = _STEM.match(word)
    return _IMPLIED[implied.group()] if implied else ()


def forms(value: Number) -> set[Number]:
    """The values a number stands for: itself, its percent forms, its complements, its inverse."""
    share = Fraction(value) / 100
    out: set[Number] = {value, value * 100, share, 100 - value, 100 + value, 1 - value, 1 + value}
    out |= {1 - share, 1 + share}
    if value:
        out.add(1 / Fraction(value))
    return out


class Sources:
    """The values a number may be taken from, growing as a trace is read."""

    __slots__ = ("_derived", "_given", "_offered", "_said", "_used")

    def __init__(self, question: str) -> None:
        self._offered, self._given = _question(question)
        self._derived: set[Number] = set()
        self._said: set[Number] = set()
        self._used: set[Number] = set()

    def enter(self, tokens: Sequence[Token]) -> None:
        """A new step: its number words are sources too."""
        for token in tokens:
            if token.kind == WORD and not token.text[0].isdigit():
                self._said.update(_stands_for(token.text))

    def derive(self, value: Number) -> None:
        """A result, from which later steps may go on."""
        self._derived.add(value)

    def state(self, tokens: Sequence[Token]) -> None:
        """Algebra, whose numbers later steps may go on from although no claim was checked."""
        self._derived.update(t.value for t in tokens if t.kind == NUM and t.value is not None)

    def explain(self, value: Number) -> str | None:
        """The source of an operand in words, or None."""
        if value in self._offered:
            self._used.add(value)
            return "question"
        share = Fraction(value) / 100
        if any(f in self._derived for f in (value, value * 100, share, 1 - value, 100 - value)):
            return "earlier result"
        if value in self._said:
            return "number word"
        if value in CONSTANTS:
            return "constant"
        return None

    def is_quotient(self, value: Number, divisor: Number | None) -> bool:
        """Whether a number is how often `divisor` goes into one of the question's, as in `11 * 7` for 83
        days."""
        if not divisor or divisor < 2 or type(value) is not int:
            return False
        return any(given // divisor == value for given, _ in self._given)

    def unused(self) -> list[str]:
        """The numbers that the question gives in digits and no claim used, in any of their forms."""
        return [text for value, text in self._given if not self._uses(value)]

    def _uses(self, value: Number) -> bool:
        return value in self._used or not self._used.isdisjoint(forms(value))

    def used_share(self) -> float:
        """The share of the question's numbers that were used; 1 where it has none."""
        return 1 - len(self.unused()) / len(self._given) if self._given else 1.0
