"""Whether a claim that does not hold was likely not meant as it was read: algebra, the end of a phrase.

A doubt never becomes a false claim; what is not doubted here is judged in `steps` as it stands.
"""

from collections.abc import Container, Sequence

from everystep.verify.claims import Link, is_share
from everystep.verify.measures import stands_first
from everystep.verify.reader import Side
from everystep.verify.tokens import MARK, NUM, ODD, OP, OPEN, REL, VAR, WORD, Token


def is_misread(tokens: Sequence[Token], link: Link) -> bool:
    """Whether a claim that does not hold was likely not meant as it was read."""
    left, right = link.left, link.right
    if link.relation not in ("=", "≈"):
        return False
    if _is_algebra(tokens, left) or _is_algebra(tokens, right):
        return True
    slashes = [i for i in range(left.lo + 1, left.hi) if tokens[i].text == "/"]
    if (
        len(slashes) > 1
        and tokens[slashes[-1] - 1].kind == WORD
        and tokens[slashes[0] - 1].end < tokens[slashes[0]].start
    ):
        return True  # `150 minutes / 5 minutes/100 meters`: divided by a rate
    after = tokens[right.hi : right.hi + 4]
    if after and after[0].text == "and" and any(t.text == "/" for t in after):
        return True  # `= 16 and (2/3)`
    if not link.first or (left.operators and not is_share(tokens, left)):
        return False
    # A lone number is likely the end of a phrase: "3 miles less = 20 - 3", "size 5 = 6 * 2".
    if left.hi < left.tail:
        return True
    if not stands_first(tokens, left.lo):
        return True
    return left.lo > 0 and tokens[left.lo - 1].kind == WORD and not _ends(tokens, right.hi)


def _is_algebra(tokens: Sequence[Token], side: Side) -> bool:
    """Whether a letter glued to a number (`2s + 16`) is likely an unknown: another term has no letter."""
    glued = bare = 0
    for i in range(side.lo, side.tail):
        if tokens[i].kind != NUM:
            continue
        after = tokens[i + 1] if i + 1 < len(tokens) else None
        if after is None or after.kind != WORD:
            bare += 1
        elif len(after.text) == 1 and after.start == tokens[i].end:
            glued += 1
    return glued > 0 and bare > 0


def _ends(tokens: Sequence[Token], i: int) -> bool:
    """Whether a clause ends at `i`, after the words of a unit at most."""
    n = len(tokens)
    if i < n and tokens[i].kind == WORD and len(tokens[i].text) == 1:
        return False  # `(1/2)X`
    end = i
    while end < n and end < i + 3 and tokens[end].kind == WORD:
        end += 1
    return end >= n or tokens[end].kind in (MARK, REL)


def has_unknown(tokens: Sequence[Token], side: Side, names: Container[str]) -> bool:
    """Whether a word stands where an operand should, inside brackets for instance."""
    return any(
        tokens[i].kind == ODD
        or (
            tokens[i].kind == WORD
            and tokens[i].text not in names
            and (len(tokens[i].text) == 1 or tokens[i].sign == VAR or tokens[i - 1].kind in (OP, OPEN))
        )
        for i in range(side.lo, side.hi)
    )
