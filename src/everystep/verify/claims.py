"""Where the claims of a text are: which tokens around `=`, `≈`, `<`, `is`… are its two sides.

A side is an expression with unit words in it; prose around it is left out, and algebra in unknowns is no
claim. Whether a claim holds is decided in `steps`.

>>> tokens = rewrite(tokenize("She has 3 boxes x 12 pens/box = 36 pens, and 20% of 50 is 10."))
>>> [(link.relation, written(tokens, link.left), written(tokens, link.right)) for link in links(tokens)]
[('=', '3 boxes * 12', '36'), ('=', '20% * 50', '10')]
"""

from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

from everystep.verify.measures import is_conversion
from everystep.verify.reader import Reader, Side, operators
from everystep.verify.spoken import ROUGH, SAID, rewrite
from everystep.verify.tokens import CLOSE, NUM, OP, OPEN, REL, Token, tokenize

__all__ = ["Link", "Side", "expression", "is_share", "links", "rewrite", "shorter", "tokenize", "written"]

MAX_LINKS = 200  # in one step


class Link(NamedTuple):
    """A claim between two neighbours. `first`: it opens a chain; `name`: what the chain defines, in which
    case the left side is empty; `spoken`: the relation is a word."""

    left: Side
    relation: str
    right: Side
    first: bool
    name: str | None
    spoken: bool = False


def written(tokens: Sequence[Token], side: Side) -> str:
    """The side's tokens in normal form, for reading."""
    return " ".join(t.text for t in tokens[side.lo : side.hi])


def expression(tokens: Sequence[Token], side: Side, names: Container[str] = ()) -> Sequence[Token]:
    """The side's tokens without remarks in brackets, ready to be evaluated."""
    part = tokens[side.lo : side.hi]
    if all(t.kind != OPEN for t in part[1:]):
        return part
    reader = Reader(part, names)
    out: list[Token] = []
    i = 0
    while i < len(part):
        if part[i].kind == OPEN and i > 0 and i in reader.pairs and reader.is_prose(reader.pairs[i]):
            i = reader.pairs[i]
        else:
            out.append(part[i])
        i += 1
    return out


def shorter(tokens: Sequence[Token], side: Side) -> Side | None:
    """A right side cut before its first spoken operator (`= 1/3 of $150` as `1/3`); None where it has
    none."""
    for i in range(side.lo + 1, side.hi):
        if tokens[i].kind == OP and tokens[i].sign == SAID:
            return Side(side.lo, i, operators(tokens, side.lo, i), side.tail)
    return None


def links(tokens: Sequence[Token], names: Container[str] = ()) -> Iterator[Link]:
    """The claims, in order: every relation with the expressions on its two sides, the neighbours of a chain
    one by one. `names` may grow while this runs: a name defined by one claim can be used by the next.

    >>> [c.name for c in links(tokenize("A = 2 + 3 = 5"))]
    ['A', None]
    """
    reader = Reader(tokens, names)
    bound = found = 0
    for r, token in enumerate(tokens):
        if token.kind != REL or r < bound or found > MAX_LINKS:
            continue
        spoken = token.text.startswith("is")
        name = None
        if not spoken and token.text in ("=", "≈"):
            name = reader.defined(r, bound)
        left = None if name else reader.left(r, bound)
        if left is None and spoken:
            continue
        first, at = True, r
        while True:
            right = reader.right(at + 1)
            if right is None:
                bare = (
                    left is not None
                    and not left.soft
                    and (left.lo == 0 or tokens[left.lo - 1].kind not in (CLOSE, NUM, OP))
                )
                if bare and left is not None and tokens[at].text == "=" and (name := reader.named(at + 1)):
                    yield Link(Side(at, at, 0, at), "=", left, True, name)  # `20 = A`
                bound = max(bound, at + 1)
                break
            relation = tokens[at].text
            spoken = relation.startswith("is")
            relation = {"is": "=", "is≈": "≈"}.get(relation, relation)
            if relation == "=" and any(t.text in ROUGH for t in tokens[at + 1 : right.lo]):
                relation = "≈"
            if left is None and name:
                yield Link(Side(right.lo, right.lo, 0, right.lo), relation, right, first, name)
            elif left is not None and (not spoken or _is_said(tokens, left, right)):
                if spoken and is_share(tokens, left):
                    left = left._replace(soft=True)
                yield Link(left, relation, right, first, None, spoken)
            found += 1
            bound = right.hi
            first, name, left = False, None, right
            if right.tail < len(tokens) and tokens[right.tail].kind == REL and found <= MAX_LINKS:
                at = right.tail
                continue
            break


def _is_said(tokens: Sequence[Token], left: Side, right: Side) -> bool:
    """Whether a relation that is a word makes a claim: a calculation and its result (`20% of 50 is 10`), a
    number and a product in words (`15 is 30% of 50`), or a conversion (`2 hours is 120 minutes`)."""
    if left.operators:
        return not right.operators
    if right.operators:
        said = tokens[right.hi - 2]
        return right.operators <= 2 and said.kind == OP and said.sign == SAID and said.text == "*"
    return is_conversion(tokens, left, right)


def is_share(tokens: Sequence[Token], side: Side) -> bool:
    """Whether a side is only a tight proper fraction such as `2/3`, which prose uses as a number."""
    lo, hi = side.lo, side.hi
    while hi - lo > 3 and tokens[lo].kind == OPEN:
        lo, hi = lo + 1, hi - 1
    if hi - lo != 3:
        return False
    a, slash, b = tokens[lo:hi]
    if slash.text != "/" or a.end != slash.start or slash.end != b.start or a.value is None or b.value is None:
        return False
    return 0 < a.value < b.value or lo > side.lo
