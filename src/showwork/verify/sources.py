"""Where the numbers of a calculation come from: the question, an earlier result, a number word, a constant.

Only whether a number has a source; whether it is used rightly is not decided here.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from showwork.verify.arithmetic import NUM, OP, WORD, Number, Token, tokenize
from showwork.verify.numbers import NUMBER_WORDS

MAX_QUESTION = 8_000
CONSTANTS: frozenset[Number] = frozenset(
    {
        0,
        1,
        2,
        3,
        4,
        5,
        7,
        8,
        10,
        12,
        16,
        24,
        28,
        30,
        31,
        36,
        50,
        52,
        60,
        90,
        100,
        180,
        360,
        365,
        366,
        1000,
        3600,
        5280,
    }
    | {10**6, 10**9, Fraction(1, 2), Fraction(1, 4), Fraction(1, 10), Fraction(1, 100)}
)


@lru_cache(maxsize=2048)
def _question(text: str) -> tuple[frozenset[Number], tuple[tuple[Number, str], ...]]:
    """All values that a question offers, and the numbers it gives in digits."""
    offered: set[Number] = set()
    given: dict[Number, str] = {}
    tokens = tokenize(text[:MAX_QUESTION])
    for i, token in enumerate(tokens):
        if token.kind == NUM and token.value is not None:
            given.setdefault(token.value, token.text.strip())
            offered.update(forms(token.value))
            if (
                i > 1
                and tokens[i - 1].kind == OP
                and tokens[i - 1].text == "/"
                and tokens[i - 2].value
                and token.value
            ):
                offered.update(forms(Fraction(tokens[i - 2].value) / token.value))
        elif token.kind == WORD:
            word = token.text.lower()
            value = NUMBER_WORDS.get(word)
            if value is not None:
                offered.update(forms(value))
            elif word[0].isdigit():
                offered.add(int("".join(c for c in word if c.isdigit())[:9]))
    return frozenset(offered), tuple(given.items())


def forms(value: Number) -> set[Number]:
    """The values a number stands for: itself, its percent forms, its complement, its inverse."""
    out: set[Number] = {
        value,
        value * 100,
        Fraction(value) / 100,
        100 - value,
        100 + value,
        1 - value,
        1 + value,
    }
    out |= {1 - Fraction(value) / 100, 1 + Fraction(value) / 100}
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
            if token.kind == WORD:
                value = NUMBER_WORDS.get(token.text.lower())
                if value is not None:
                    self._said.add(value)

    def derive(self, value: Number) -> None:
        """A result, from which later steps may go on."""
        self._derived.add(value)

    def state(self, tokens: Sequence[Token]) -> None:
        """Algebra, whose numbers later steps may go on from although no claim was checked."""
        self._derived.update(t.value for t in tokens if t.kind == NUM and t.value is not None)

    def explain(self, token: Token, tokens: Sequence[Token], i: int) -> str | None:
        """The source of an operand in words, or None."""
        value = token.value
        assert value is not None
        if value in self._offered:
            self._used |= forms(value)
            return "question"
        if value in self._derived or any(
            f in self._derived for f in (value * 100, Fraction(value) / 100, 1 - value, 100 - value)
        ):
            return "earlier result"
        if value in self._said:
            return "number word"
        if value in CONSTANTS:
            return "constant"
        return None

    def unused(self) -> list[str]:
        """The numbers that the question gives in digits and no claim used."""
        return [text for value, text in self._given if value not in self._used]

    def used_share(self) -> float:
        """The share of the question's numbers that were used; 1 where it has none."""
        return 1 - len(self.unused()) / len(self._given) if self._given else 1.0
