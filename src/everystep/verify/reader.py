"""One expression around a relation: where it begins and ends among unit words, remarks and prose.

The relation and what becomes of its two sides is for `claims`.
"""

from collections.abc import Container, Sequence
from typing import NamedTuple

from everystep.verify.spoken import ROUGH, SAID
from everystep.verify.tokens import CLOSE, MARK, NUM, ODD, OP, OPEN, REL, VAR, WORD, Token
from everystep.verify.units import find_units

MAX_UNIT_WORDS = 12  # between a number and the operator after it
MAX_LEADING_WORDS = 4  # between an operator and the number after it: `8 + Riley's 5`


class Side(NamedTuple):
    """One side of a claim: the half-open token range of the expression, how many operators it has, the end of
    the unit words after it, and whether its extent is uncertain (part of it may be prose, or algebra): a
    claim with an uncertain side counts only when it holds."""

    lo: int
    hi: int
    operators: int
    tail: int
    soft: bool = False


_FILLERS = ROUGH | {"only", "just", "exactly", "a", "total", "of", "to", "an"}
# Words that end a phrase: a number before them is no operand of what follows.
_CONNECTIVES = {
    "and", "or", "then", "so", "because", "therefore", "thus", "hence", "since", "if", "but", "equals",
    "means", "remainder", "mod",
}  # fmt: skip
# Words that may end one: `3 who got off + 2`.
_DOUBTFUL = {
    "that", "which", "who", "is", "are", "was", "were", "we", "he", "she", "they", "it", "gives", "has",
    "have", "had", "when", "where", "while", "leaves", "got", "get", "gets", "need", "needs", "leaving",
    "meaning", "giving", "will", "would", "contain", "contains", "costs", "cost",
}  # fmt: skip
# Single letters that, after a number, are unknowns of algebra rather than units.
_UNKNOWNS = frozenset("xyznbkpqrtuwdefijoXYZBDEGHIMOPQRSTU")
_LABELS = {
    "day", "week", "month", "year", "hour", "number", "grade", "level", "page", "round", "step", "part",
    "game", "size", "lesson", "weeks",
}  # fmt: skip


def operators(tokens: Sequence[Token], lo: int, hi: int) -> int:
    """The operators of an expression, with those of implicit multiplication and without a leading sign."""
    return sum(
        tokens[i].kind == OP or (tokens[i].kind == OPEN and tokens[i - 1].kind in (NUM, CLOSE))
        for i in range(lo + 1, hi)
    )


def _opens(word: str) -> bool:
    """Whether a word before a name leaves the name standing alone."""
    word = word.lower()
    return word in _CONNECTIVES or word in _DOUBTFUL or word in ("let", "now")


def is_label(tokens: Sequence[Token], colon: int) -> bool:
    """Whether a colon ends a label (`Step 4: 12`, `Divide by $0.05: $3`, `Day 4:2(5 + 1)`) and is not the sign of a
    ratio (`3:4`, `20 : 60`)."""
    if colon < 1 or colon + 1 >= len(tokens):
        return True
    before, sign, after = tokens[colon - 1 : colon + 2]
    tight = before.end == sign.start
    if tight != (sign.end == after.start):
        return tight
    return tight and colon > 1 and tokens[colon - 2].text.lower() in _LABELS


class Reader:
    """Reads expressions around relations of one token list, whose brackets are matched once."""

    __slots__ = ("names", "pairs", "prose", "tokens")

    def __init__(self, tokens: Sequence[Token], names: Container[str]) -> None:
        self.tokens = tokens
        self.names = names
        self.pairs: dict[int, int] = {}
        self.prose: dict[int, bool] = {}  # by the index of the closing bracket
        stack: list[int] = []
        for i, token in enumerate(tokens):
            if token.kind == OPEN:
                stack.append(i)
            elif token.kind == CLOSE and stack:
                j = stack.pop()
                self.pairs[i], self.pairs[j] = j, i

    def defined(self, r: int, bound: int) -> str | None:
        """The name that the relation at `r` defines, if what stands before it is one: `A = …`, `so total =
        …`."""
        tokens = self.tokens
        if r - 1 < bound or tokens[r - 1].kind != WORD:
            return None
        name = tokens[r - 1].text
        if r - 2 >= bound:
            before = tokens[r - 2]
            if before.kind in (OP, NUM, CLOSE, OPEN):
                return None
            if before.kind == WORD and len(name) > 1 and not _opens(before.text):
                return None
            if before.kind == WORD and (name in ("a", "I") or (len(before.text) == 1 and before.text not in "aI")):
                return None
        return name

    def named(self, i: int) -> str | None:
        """The symbol that stands alone at `i`, as in `20 = A`."""
        tokens = self.tokens
        if i >= len(tokens) or tokens[i].kind != WORD or len(tokens[i].text) > 1:
            return None
        return None if i + 1 < len(tokens) and tokens[i + 1].kind != MARK else tokens[i].text

    def left(self, r: int, bound: int) -> Side | None:
        """The longest expression that ends just before the relation at `r`; None where there is none, or
        where it goes on into algebra."""
        tokens, names = self.tokens, self.names
        p: int | None = r - 1
        start: int | None = None
        end = r
        soft = False
        while p is not None and p >= bound:
            operand, q, words, wordy = self._operand_to(p, bound)
            soft = soft or wordy
            if operand is None:
                if start is None or tokens[p + 1].text != "-" or words < 2 or tokens[p + 1].end == tokens[p + 2].start:
                    return None
                soft = True  # a dash after prose, most likely
                break
            if start is None:
                end = q + 1
                if end < r and tokens[end].text in names and tokens[end].start == tokens[q].end:
                    end += 1  # `3x`
            further = self._before(operand, bound)
            if further is None:
                return None
            start, p, skipped = further
            soft = soft or skipped
        if start is None:
            return None
        if start == bound and bound and tokens[bound - 1].kind in (NUM, CLOSE):
            soft = True  # what stands before was read as another side
        return Side(start, end, operators(tokens, start, end), r, soft or self._is_doubtful(start, bound))

    def _operand_to(self, p: int, bound: int) -> tuple[int | None, int, int, bool]:
        """Where the operand begins that ends, with its unit words, at `p`, or None; where its words begin, how many
        they are and whether they leave doubt."""
        tokens, names = self.tokens, self.names
        if tokens[p].sign == VAR and tokens[p].text in names:
            return p, p, 0, False
        q, words, wordy = self._back_over_words(p, bound)
        operand: int | None = None
        if q >= bound and tokens[q].kind == NUM:
            operand = q
        elif q >= bound and tokens[q].kind == CLOSE:
            operand = self.pairs.get(q)
            if operand is not None and operand < bound:
                operand = None
        if (operand is None or words == 1) and tokens[p].text in names and self._is_free(p, bound):
            return p, p, 0, False
        return operand, q, words, wordy

    def _before(self, start: int, bound: int) -> tuple[int, int | None, bool] | None:
        """What stands before an operand that begins at `start`: where it begins with its sign, where another operand
        ends that belongs to it, or None, and whether words were skipped; None for algebra."""
        tokens, names = self.tokens, self.names
        before = start - 1
        if before >= bound and tokens[before].text == "√":
            start = before
            before -= 1
        if before < bound:
            return start, None, False
        token = tokens[before]
        tight = token.end == tokens[start].start
        if token.kind == OP:
            ahead = tokens[before - 1] if before - 1 >= bound else None
            if ahead is not None and ahead.kind in (NUM, CLOSE, WORD):
                if ahead.kind == WORD and _is_sign(tokens, before) and not self._ends_operand(before - 1, bound):
                    return before, None, False  # `is -5`
                return start, before - 1, False
            if token.text in "+-" and tight:
                return before, before - 2 if ahead is not None and ahead.kind == OP else None, False
            return None if token.text in "*/^" else (start, None, False)
        first = tokens[start]
        joins = (first.kind == OPEN and (token.kind == CLOSE or tight)) or (
            tight and (first.text == "√" or first.sign == VAR)
        )
        if (token.kind in (NUM, CLOSE) and joins) or (token.sign == VAR and token.text in names):
            return start, before, False  # `3(4 + 5)`, `ab`, `x(3 + 4)`
        if self.is_unknown_part(before) or (token.kind == CLOSE and tight):
            return None  # `sin 30 = …`, `2x (3 + 4) = …`
        if token.kind == WORD:
            if tight or (token.text in names and len(token.text) == 1):
                return None
            skipped = self._back_to_operator(before, bound)
            if skipped is not None and self._ends_operand(skipped - 1, bound):
                return start, skipped - 1, True
        return start, None, False

    def right(self, j: int) -> Side | None:
        """The expression that begins at `j`, just after a relation; None where there is none or it is
        algebra."""
        tokens, names, n = self.tokens, self.names, len(self.tokens)
        p = j
        while p < n and tokens[p].kind == WORD and tokens[p].text in _FILLERS and tokens[p].text not in names:
            p += 1
        start = p
        soft = False
        while True:
            while p < n and tokens[p].kind == OP and tokens[p].text in "+-√":
                p += 1
            if p >= n:
                return None
            token = tokens[p]
            if token.kind == OPEN:
                close = self.pairs.get(p)
                if close is None or self.is_prose(close):
                    return None
                p = close + 1
            elif token.kind == NUM or (token.kind == WORD and token.text in names):
                p += 1
            else:
                return None
            end = p
            while p < n and tokens[p].kind == WORD and tokens[p].text in names:
                if tokens[p].sign != VAR and tokens[p].start != tokens[p - 1].end:
                    break
                p += 1
                end = p
            tight = p < n and tokens[p].start == tokens[p - 1].end
            if p < n and tokens[p].kind == OPEN and p in self.pairs and not self.is_prose(self.pairs[p]):
                if tight or tokens[p - 1].kind == CLOSE:
                    continue
                soft = True  # `12 (3 + 9)`: a product, or said in another way
            if p < n and (self.is_unknown_part(p) or (tight and tokens[p].kind == NUM)):
                return None
            p, words, wordy = self._over_words(p)
            if p < n and tokens[p].kind == OP:
                after = p + 1
                while after < n and tokens[after].kind == OP and tokens[after].text in "+-√":
                    after += 1
                if after < n and (tokens[after].kind in (NUM, OPEN) or tokens[after].text in names):
                    soft = soft or wordy
                    p += 1
                    continue
                if after < n and (self.is_unknown_part(after) or tokens[p].text not in "-+"):
                    return None  # `= 5 + x`, `= 2 * sin 30`
                if not words and tokens[p].text != "-":
                    return None
            if wordy and words == 1:
                soft = True
            tail = p if p < n and tokens[p].kind == REL else end
            return Side(start, end, operators(tokens, start, end), tail, soft)

    def _back_over_words(self, p: int, bound: int) -> tuple[int, int, bool]:
        """Back from `p` over the words of a unit, and remarks in brackets: where that ends, how many words,
        and whether they leave doubt (an unknown, or more words than a unit has)."""
        tokens = self.tokens
        q, words, doubt = p, 0, False
        while q >= bound and words < MAX_UNIT_WORDS:
            token = tokens[q]
            if token.kind == WORD:
                if token.text in _CONNECTIVES or token.sign == VAR:
                    break
                words += 1
                doubt = doubt or token.text in _DOUBTFUL or self._is_unknown(q)
            elif self._is_unit_slash(q):
                pass
            elif token.kind == CLOSE and q in self.pairs and self.is_prose(q) and self.pairs[q] > bound:
                q = self.pairs[q]
                words += 1
                doubt = doubt or tokens[q - 1].end == tokens[q].start  # `5(X + 2)`, likely
            else:
                break
            q -= 1
        return q, words, doubt or words > 6

    def _over_words(self, p: int) -> tuple[int, int, bool]:
        """Forward from `p` over the words of a unit, as `_back_over_words`."""
        tokens, n = self.tokens, len(self.tokens)
        words, doubt = 0, False
        while p < n and words < MAX_UNIT_WORDS:
            token = tokens[p]
            if token.kind == WORD and token.text not in _CONNECTIVES and token.sign != VAR:
                words += 1
                doubt = doubt or token.text in _DOUBTFUL or self._is_unknown(p)
            elif self._is_unit_slash(p):
                pass
            elif token.kind == OPEN and p in self.pairs and self.is_prose(self.pairs[p]):
                only_words = all(
                    t.kind == WORD and (len(t.text) > 1 or not t.text.isascii()) for t in tokens[p + 1 : self.pairs[p]]
                )
                doubt = doubt or (tokens[p - 1].end == token.start and not only_words)
                p = self.pairs[p]
                words += 1
            else:
                break
            p += 1
        return p, words, doubt or words > 6

    def is_unknown_part(self, i: int) -> bool:
        """Whether what stands at `i` is an unknown without a value, or cannot be computed."""
        token = self.tokens[i]
        return token.kind == ODD or (token.kind == WORD and token.sign == VAR and token.text not in self.names)

    def _is_unknown(self, i: int) -> bool:
        """Whether the word at `i`, in the place of a unit, looks like an unknown of algebra."""
        word = self.tokens[i].text
        if len(word) > 2 or not word.isascii():
            return False
        if len(word) == 2:
            return word[1].isdigit() and not (word[0] in "rR" and self.tokens[i - 1].kind == NUM)
        if word in self.names or word in _UNKNOWNS:
            # `17 / 5 = 3 R 2`: a remainder
            return word not in "Rr" or [t.kind for t in self.tokens[i - 1 : i + 2 : 2]] != [NUM, NUM]
        # `3C = 24`, `2m + 5 = 9`: a letter glued to a number is a unit only where several numbers have it
        if i == 0 or self.tokens[i - 1].end != self.tokens[i].start or not word.isalpha():
            return False
        if i > 1 and self.tokens[i - 1].text == "/" and find_units(f"{self.tokens[i - 2].text}/{word}"):
            return False  # `60 km/h`
        if word.isupper():
            return True
        glued = sum(
            t.text == word and self.tokens[k].kind == NUM and self.tokens[k].end == t.start
            for k, t in enumerate(self.tokens[1:])
        )
        return glued < max(2, sum(t.text == word for t in self.tokens))

    def _is_unit_slash(self, i: int) -> bool:
        """Whether the token is the slash of a unit such as `/hour`."""
        tokens = self.tokens
        if tokens[i].kind != OP or tokens[i].text != "/" or i + 1 >= len(tokens):
            return False
        after = tokens[i + 1]
        return after.kind == WORD and after.sign != VAR and after.text not in self.names and after.text not in _UNKNOWNS

    def is_prose(self, close: int) -> bool:
        """Whether brackets hold a remark rather than an expression: no operand, a word where an operand
        should be, or a mark or relation."""
        known = self.prose.get(close)
        if known is not None:
            return known
        tokens, lo = self.tokens, self.pairs[close]
        has_operand = prose = False
        if close - lo > 60:  # not looked at closely
            has_operand, prose = True, tokens[lo + 1].kind not in (NUM, OPEN, OP)
        else:
            for i in range(lo + 1, close):
                kind = tokens[i].kind
                if kind in (MARK, REL):
                    prose = True
                elif self.is_unknown_part(i):
                    has_operand, prose = True, False
                    break
                elif kind == NUM or (kind == WORD and tokens[i].text in self.names):
                    has_operand = True
                elif kind == WORD and tokens[i - 1].kind in (OPEN, OP) and not self._is_unit_slash(i - 1):
                    prose = True
        self.prose[close] = result = prose or not has_operand
        return result

    def _ends_operand(self, p: int, bound: int) -> bool:
        """Whether an operand, with unit words, ends at `p`."""
        if p < bound:
            return False
        q, _, _ = self._back_over_words(p, bound)
        return (q >= bound and self.tokens[q].kind in (NUM, CLOSE)) or self.tokens[p].text in self.names

    def _is_free(self, p: int, bound: int) -> bool:
        """Whether the name at `p` stands as an operand of its own, not at the end of a phrase or glued to a
        number."""
        if p - 1 < bound:
            return True
        before = self.tokens[p - 1]
        if before.kind == NUM:
            return False
        return not (before.kind == WORD and len(self.tokens[p].text) > 1 and not _opens(before.text))

    def _back_to_operator(self, p: int, bound: int) -> int | None:
        """The operator that the words ending at `p` follow, when they are few: `8 + Riley's 5`."""
        tokens = self.tokens
        for q in range(p, max(bound - 1, p - MAX_LEADING_WORDS - 1), -1):
            if tokens[q].kind == OP and q < p + 1:
                return q if tokens[q].text in "+-*" and tokens[q].sign != SAID else None
            if tokens[q].kind != WORD or tokens[q].text in self.names or len(tokens[q].text) == 1:
                return None
        return None

    def _is_doubtful(self, start: int, bound: int) -> bool:
        """Whether what stands before an expression suggests that it begins earlier: an operator whose other
        operand was not understood, an open bracket, a stray separator, a label such as `day`."""
        if start - 1 < bound:
            return False
        tokens = self.tokens
        before = tokens[start - 1]
        ahead = tokens[start - 2] if start - 2 >= bound else None
        if before.kind == OPEN:
            return ahead is not None and ahead.kind in (OP, NUM)
        if before.kind in (OP, NUM):
            return True
        if before.kind == MARK:
            if ahead is None or (before.text == ":" and is_label(tokens, start - 1)):
                return False
            return ahead.kind == OP or (before.text in ",:&" and ahead.kind == NUM)
        if before.kind == WORD:
            if before.text.lower() in _LABELS:
                return True
            back = start - 2
            while back >= bound and start - back < 5 and tokens[back].kind == WORD:
                back -= 1
            return back >= bound and tokens[back].kind == OP and tokens[back].text != "-" and start - back < 5
        return False


def _is_sign(tokens: Sequence[Token], i: int) -> bool:
    """Whether the minus at `i` is a sign by its spacing: apart from what is before, tight to what follows."""
    return (
        tokens[i].text == "-"
        and i + 1 < len(tokens)
        and tokens[i].end == tokens[i + 1].start
        and i > 0
        and tokens[i - 1].end < tokens[i].start
    )
