"""Where the claims of a text are: which tokens around `=`, `≈`, `<`, `is`… are its two sides.

A side is an expression with unit words in it; prose around it is left out, and algebra in unknowns is no
claim. Whether a claim holds is decided in `steps`.

>>> tokens = rewrite(tokenize("She has 3 boxes x 12 pens/box = 36 pens, and 20% of 50 is 10."))
>>> [(link.relation, span_text(tokens, link.left), span_text(tokens, link.right)) for link in links(tokens)]
[('=', '3 boxes * 12 pens / box', '36 pens'), ('=', '20% * 50', '10')]
"""

from collections.abc import Container, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from showwork.verify.arithmetic import CLOSE, MARK, NUM, OP, OPEN, REL, WORD, Token, tokenize
from showwork.verify.numbers import NUMBER_WORDS

__all__ = ["Link", "Side", "links", "rewrite", "span_text", "tokenize"]

MAX_UNIT_WORDS = 6
MAX_LINKS = 200  # in one step


class Side(NamedTuple):
    """One side of a claim: the half-open token range of the expression, how many operators it has, the end of
    the unit words after it, and whether its beginning is uncertain (it may be a part of prose)."""

    lo: int
    hi: int
    operators: int
    tail: int
    soft: bool = False


class Link(NamedTuple):
    """A claim between two neighbours. `first`: it opens a chain; `name`: what the chain defines, if anything;
    `spoken`: the relation is a word."""

    left: Side
    relation: str
    right: Side
    first: bool
    name: str | None
    spoken: bool = False


_TIMES = {"times": "*", "plus": "+", "minus": "-", "multiplied": "*", "divided": "/"}
_EQUALS = {"equals", "equal", "is", "are", "makes", "gives", "was", "were"}
_FILLERS = {
    "about",
    "approximately",
    "roughly",
    "around",
    "only",
    "just",
    "exactly",
    "a",
    "total",
    "of",
    "to",
}
_ROUGH = {"about", "approximately", "roughly", "around"}
_PARTITIVE = {
    "half",
    "third",
    "thirds",
    "quarter",
    "quarters",
    "fourth",
    "fourths",
    "fifth",
    "fifths",
    "tenth",
}
_MORE = {
    "more",
    "less",
    "fewer",
    "times",
    "of",
    "greater",
    "larger",
    "smaller",
    "older",
    "younger",
    "percent",
    "or",
}
# Single letters that are unknowns rather than units when they stand after a number.
_UNKNOWNS = frozenset("xyznbkpqrtuwdefijoXYZBDEGHIMOPQRSTU")


def span_text(tokens: Sequence[Token], side: Side) -> str:
    """The side's tokens in normal form, for reading."""
    return " ".join(t.text for t in tokens[side.lo : side.tail])


def rewrite(tokens: list[Token]) -> list[Token]:
    """The tokens with spoken arithmetic as operators and relations: `5 times 3 is 15`, `half of 48 equals 24`,
    `20% of 50 is 10`. A word stays a word wherever that reading is not safe."""
    if not any(t.kind == WORD and (t.text in _SPOKEN or t.text.lower() in _SPOKEN) for t in tokens):
        return tokens
    out: list[Token] = []
    i, n = 0, len(tokens)
    while i < n:
        token = tokens[i]
        if token.kind != WORD:
            out.append(token)
            i += 1
            continue
        word = token.text.lower()
        step = 1
        if word in _TIMES:
            by = word in ("multiplied", "divided")
            at = i + 2 if by and i + 1 < n and tokens[i + 1].text == "by" else i + 1
            if (by == (at == i + 2)) and at < n and tokens[at].kind in (NUM, OPEN) and _after_operand(out):
                token = Token(OP, _TIMES[word], token.start, tokens[at - 1].end)
                step = at - i
        elif word == "of" and out and i + 1 < n and tokens[i + 1].kind in (NUM, OPEN):
            if _is_share(out):
                token = Token(OP, "*", token.start, token.end)
        elif word in _PARTITIVE and i + 2 < n and tokens[i + 1].text == "of" and tokens[i + 2].kind == NUM:
            count = _count_before(out)
            if count is not None:
                start = token.start
                if out and out[-1].kind == WORD and out[-1].text.lower() in _COUNTS:
                    start = out.pop().start
                part = NUMBER_WORDS[word] * count
                out.append(Token(NUM, word, start, token.end, part))
                token = Token(OP, "*", tokens[i + 1].start, tokens[i + 1].end)
                step = 2
        elif word in ("twice", "double", "triple") and i + 1 < n and tokens[i + 1].kind == NUM:
            out.append(Token(NUM, word, token.start, token.end, int(NUMBER_WORDS[word])))
            token = Token(OP, "*", token.end, token.end)
        elif word in _EQUALS:
            at = i + 1
            if at + 1 < n and tokens[at].text == "equal" and tokens[at + 1].text == "to":
                at += 2
            elif word == "equal" and at < n and tokens[at].text == "to":
                at += 1
            rough = at < n and tokens[at].text in _ROUGH
            if (
                at + rough < n
                and tokens[at + rough].kind in (NUM, OP)
                and not _changes_meaning(tokens, at + rough)
            ):
                token = Token(REL, "is≈" if rough else "is", token.start, tokens[at - 1].end)
                step = at - i
        out.append(token)
        i += step
    return out


_COUNTS = {"a": 1, "one": 1, "two": 2, "three": 3, "four": 4}
_SPOKEN = set(_TIMES) | _EQUALS | _PARTITIVE | {"of", "twice", "double", "triple"}


def _count_before(out: Sequence[Token]) -> int | None:
    """How many parts: `two thirds` 2, `a third` and `third` 1; None where the word before makes it an ordinal."""
    if not out or out[-1].kind != WORD:
        return 1
    word = out[-1].text.lower()
    return None if word in ("the", "his", "her", "their", "another") else _COUNTS.get(word, 1)


def _is_share(out: Sequence[Token]) -> bool:
    """Whether what ends here is a percentage or fraction, so that a following "of" multiplies."""
    last = out[-1]
    if last.kind == CLOSE:
        return True
    if last.kind != NUM or last.value is None:
        return False
    if last.sign == "%" or (type(last.value) is Fraction and last.value < 1):
        return True
    return len(out) > 2 and out[-2].text == "/" and out[-3].kind == NUM and out[-2].end == last.start


def _changes_meaning(tokens: Sequence[Token], at: int) -> bool:
    """Whether the number at `at` goes on as in "is 5 more than…", so that it is not the whole right side."""
    return any(t.kind == WORD and t.text in _MORE for t in tokens[at + 1 : at + 4])


def _after_operand(tokens: Sequence[Token]) -> bool:
    """Whether an operand with its unit words ends here."""
    for token in tokens[: -MAX_UNIT_WORDS - 1 : -1]:
        if token.kind in (NUM, CLOSE):
            return True
        if token.kind != WORD:
            return False
    return False


def links(tokens: Sequence[Token], names: Container[str] = ()) -> Iterator[Link]:
    """The claims, in order: every relation with the expressions on its two sides, neighbours of a chain one by
    one. `names` may grow while this runs: a name defined by one claim can be used by the next.

    >>> [c.name for c in links(tokenize("A = 2 + 3 = 5"))]
    ['A', None]
    """
    pairs = _pairs(tokens)
    bound = found = 0
    for r, token in enumerate(tokens):
        if token.kind != REL or r < bound or found > MAX_LINKS:
            continue
        spoken = token.text.startswith("is")
        left = _left(tokens, r, bound, pairs, names)
        name = None
        if left is None and not spoken and token.text in ("=", "≈"):
            name = _defined(tokens, r, bound)
        first, at = True, r
        while True:
            right = _right(tokens, at + 1, pairs, names)
            if right is None:
                bound = max(bound, at + 1)
                break
            relation = tokens[at].text
            spoken = relation.startswith("is")
            relation = {"is": "=", "is≈": "≈"}.get(relation, relation)
            if left is None and name is not None:
                yield Link(Side(right.lo, right.lo, 0, right.lo), relation, right, first, name)
            elif left is not None and not (spoken and (not left.operators or right.operators)):
                yield Link(left, relation, right, first, None, spoken)
            found += 1
            bound = right.hi
            first, name, left = False, None, right
            if right.tail < len(tokens) and tokens[right.tail].kind == REL and found <= MAX_LINKS:
                at = right.tail
                continue
            break


def _pairs(tokens: Sequence[Token]) -> dict[int, int]:
    """Matching brackets, both ways."""
    pairs: dict[int, int] = {}
    stack: list[int] = []
    for i, token in enumerate(tokens):
        if token.kind == OPEN:
            stack.append(i)
        elif token.kind == CLOSE and stack:
            j = stack.pop()
            pairs[i], pairs[j] = j, i
    return pairs


def _defined(tokens: Sequence[Token], r: int, bound: int) -> str | None:
    """The word just before a relation, when it can be the name of a value: `A = …`, `total = …`."""
    if r - 1 < bound or tokens[r - 1].kind != WORD:
        return None
    if r - 2 >= bound and tokens[r - 2].kind in (OP, NUM, CLOSE):
        return None
    return tokens[r - 1].text


def _unknown(tokens: Sequence[Token], i: int, names: Container[str]) -> bool:
    """Whether the word at `i`, in the place of a unit, is an unknown of algebra."""
    word = tokens[i].text
    if len(word) > 1 and not (word[0].isalpha() and word[1:].isdigit()):
        return False
    return word in names or word in _UNKNOWNS or len(word) > 1


def _left(
    tokens: Sequence[Token], r: int, bound: int, pairs: dict[int, int], names: Container[str]
) -> Side | None:
    """The longest expression that ends just before the relation at `r`."""
    p = r - 1
    start: int | None = None
    end = r
    operators = 0
    soft = False
    while p >= bound:
        q = p
        words = 0
        while (
            q >= bound
            and words < MAX_UNIT_WORDS
            and (tokens[q].kind == WORD or _unit_slash(tokens, q, names))
        ):
            words += tokens[q].kind == WORD
            q -= 1
        operand: int | None = None
        if q >= bound and tokens[q].kind == NUM:
            if words and _unknown(tokens, q + 1, names):
                return None
            operand = q
        elif q >= bound and tokens[q].kind == CLOSE:
            operand = pairs.get(q)
            if operand is None or operand < bound or _wordy(tokens, operand, q, names):
                operand = None
        if operand is None and p >= bound and tokens[p].text in names:
            operand, q, words = p, p, 0
        if operand is None:
            if start is None:
                return None
            op = tokens[p + 1]
            if op.text == "-" and words > 1 and op.end < tokens[p + 2].start:
                soft = True  # a dash after prose, most likely
                operators -= 1
                break
            return None
        if start is None:
            end = q + 1
        start = operand
        before = operand - 1
        if before < bound:
            break
        if tokens[before].kind == OP:
            previous = tokens[before - 1] if before - 1 >= bound else None
            if previous is not None and previous.kind in (NUM, CLOSE, WORD):
                if previous.kind == WORD and tokens[before].end == tokens[operand].start > previous.end + 0:
                    if tokens[before].start > previous.end and not _after_operand(tokens[bound:before]):
                        start = before  # `is -5`
                        break
                operators += 1
                p = before - 1
                continue
            if tokens[before].text == "-" and tokens[before].end == tokens[operand].start:
                start = before
                if previous is not None and previous.kind == OP:
                    operators += 1
                    p = before - 2
                    continue
            elif tokens[before].text in "*/^":
                return None
            break
        if (
            tokens[operand].kind == OPEN
            and tokens[before].kind in (NUM, CLOSE)
            and tokens[before].end == tokens[operand].start
        ):
            operators += 1
            p = before
            continue
        if tokens[before].kind == WORD and tokens[before].end == tokens[operand].start:
            return None
        break
    if start is None:
        return None
    inner = _inner_operators(tokens, start, end)
    return Side(start, end, max(operators, inner), r, soft)


def _inner_operators(tokens: Sequence[Token], lo: int, hi: int) -> int:
    return sum(1 for i in range(lo + 1, hi) if tokens[i].kind == OP)


def _unit_slash(tokens: Sequence[Token], i: int, names: Container[str]) -> bool:
    """Whether the token is the slash of a unit such as `/hour`."""
    if tokens[i].kind != OP or tokens[i].text != "/" or i + 1 >= len(tokens):
        return False
    after = tokens[i + 1]
    return (
        after.kind == WORD
        and after.text not in names
        and not (len(after.text) == 1 and after.text in _UNKNOWNS)
    )


def _wordy(tokens: Sequence[Token], lo: int, hi: int, names: Container[str]) -> bool:
    """Whether brackets hold prose rather than an expression: no number, or a first thing that is neither an
    operand nor a sign, or a mark or relation inside."""
    has_operand = False
    for i in range(lo + 1, hi):
        kind = tokens[i].kind
        if kind in (MARK, REL):
            return True
        if kind == NUM or tokens[i].text in names:
            has_operand = True
        elif kind == WORD and tokens[i - 1].kind in (OPEN, OP) and not _unit_slash(tokens, i - 1, names):
            return True
    return not has_operand


def _right(tokens: Sequence[Token], j: int, pairs: dict[int, int], names: Container[str]) -> Side | None:
    """The expression that begins just after a relation; None where there is none or it is algebra."""
    n = len(tokens)
    p = j
    while p < n and tokens[p].kind == WORD and tokens[p].text in _FILLERS and tokens[p].text not in names:
        p += 1
    start = p
    operators = 0
    while True:
        if p < n and tokens[p].kind == OP and tokens[p].text in "+-":
            p += 1
        if p >= n:
            return None
        token = tokens[p]
        if token.kind == OPEN:
            close = pairs.get(p)
            if close is None or _wordy(tokens, p, close, names):
                return None
            p = close + 1
        elif token.kind == NUM or (token.kind == WORD and token.text in names):
            p += 1
        else:
            return None
        end = p
        if p < n and tokens[p].kind == OPEN and tokens[p].start == tokens[p - 1].end and p in pairs:
            if not _wordy(tokens, p, pairs[p], names):
                operators += 1
                continue
        words = 0
        while p < n and words < MAX_UNIT_WORDS and (tokens[p].kind == WORD or _unit_slash(tokens, p, names)):
            if words == 0 and tokens[p].kind == WORD and _unknown(tokens, p, names):
                return None
            words += tokens[p].kind == WORD
            p += 1
        if p < n and tokens[p].kind == OP:
            after = p + 1
            if after < n and tokens[after].kind == OP and tokens[after].text in "+-":
                after += 1
            if after < n and (tokens[after].kind in (NUM, OPEN) or tokens[after].text in names):
                operators += 1
                p += 1
                continue
            if tokens[p].text != "-" and not words and after < n and tokens[after].kind == WORD:
                return None  # `= 5 + x`
        tail = p if p < n and tokens[p].kind == REL else end
        return Side(start, end, max(operators, _inner_operators(tokens, start, end)), tail)
