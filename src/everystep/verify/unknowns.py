"""Equations in one unknown, as they stand in a step: the solution of a linear one, and whether a value
that is given for the unknown contradicts it.

Only what is written without a word around it; whether the unknown is the same in the whole trace is for
`steps`.
"""

from collections.abc import Sequence
from fractions import Fraction

from everystep.verify.arithmetic import evaluate, show
from everystep.verify.claims import Link, expression
from everystep.verify.measures import stands_first
from everystep.verify.tokens import CLOSE, MARK, NUM, OP, OPEN, REL, Number, Token

_GOES_ON = {"and", "so", "then", "therefore", "thus", "hence", "which", "gives", "giving", "means", "because"}


def solution(tokens: Sequence[Token], link: Link, name: str) -> Number | None:
    """The value of the unknown that solves the equation; None where it is not linear in it, has no single
    solution, or may go on in words or other letters.

    >>> from everystep.verify.claims import links, tokenize
    >>> tokens = tokenize("3x + 2 = 17, so x = 6")
    >>> [solution(tokens, link, "x") for link in links(tokens, {"x": 6})]
    [5, None]
    """
    left, right = link.left, link.right
    if link.relation != "=" or link.spoken or link.name is not None or left.tail != left.hi:
        return None
    inside = [*tokens[left.lo : left.hi], *tokens[right.lo : right.hi]]
    if len(inside) > 40 or any(t.kind not in (NUM, OP, OPEN, CLOSE) and t.text != name for t in inside):
        return None
    if left.hi - left.lo == 1 or (right.hi - right.lo == 1 and tokens[right.lo].text == name):
        return None  # a definition
    if any(t.text == "^" for t in inside) or (
        any(t.text == "/" for t in inside) and any(t.text in "+-" for t in inside)
    ):
        return None  # other roots, or a fraction whose extent is open
    if all(t.text != name for t in inside) or any(t.sign == "%" for t in inside):
        return None
    if left.lo > 0 and tokens[left.lo - 1].kind != REL and not stands_first(tokens, left.lo):
        return None
    after = tokens[right.hi] if right.hi < len(tokens) else None
    if after is not None and after.kind not in (MARK, REL) and after.text not in _GOES_ON:
        return None
    gaps = [_gap(tokens, link, {name: x}) for x in (0, 1, 2)]
    if any(g is None for g in gaps):
        return None
    zero, one, two = (Fraction(g) for g in gaps if g is not None)
    slope = one - zero
    if not slope or two - one != slope:
        return None
    root = -zero / slope
    return root.numerator if root.denominator == 1 else root


def identity(tokens: Sequence[Token], link: Link, name: str) -> tuple[bool, str] | None:
    """Whether an equation holds for every value of its one unknown, or is a rewriting that holds for none (`x + 3 = x +
    5`) or only for 0 (`(1/4)x + (1/3)x = (5/12)x`), and why; None for all others.

    >>> from everystep.verify.claims import links, tokenize
    >>> tokens = tokenize("x + 3 + 4 = x + 8")
    >>> [identity(tokens, link, "x") for link in links(tokens, {"x": 1})]
    [(False, 'the sides differ by 1 for every x')]
    """
    sides = (link.left, link.right)
    if link.relation != "=" or link.name is not None or link.left.tail != link.left.hi or any(s.soft for s in sides):
        return None
    if any(t.sign in ("⌊", "⌈") for s in sides for t in tokens[s.lo : s.hi]):
        return None
    values = []
    for x in (0, 1, 2, 3):
        left, right = (evaluate(expression(tokens, s, {name: x}), {name: x}) for s in sides)
        if left is None or right is None:
            return None
        values.append((Fraction(left), Fraction(right)))
    gaps = [a - b for a, b in values]
    if not any(gaps):
        return (True, f"for every {name}") if link.left.operators or link.right.operators else None
    if len({a for a, _ in values}) == 1 or len({b for _, b in values}) == 1:
        return None
    if len(set(gaps)) == 1:
        return False, f"the sides differ by {show(abs(gaps[0]))} for every {name}"
    like = values[0] == (0, 0) and all(
        a == x * values[1][0] and b == x * values[1][1] for x, (a, b) in enumerate(values)
    )
    terms = sum(t.text == name for t in tokens[link.left.lo : link.left.hi])
    if like and terms > 1 and sum(t.text == name for t in tokens[link.right.lo : link.right.hi]) == 1:
        return False, f"it is {show(values[1][0])} times {name}, not {show(values[1][1])}"
    return None


def contradicts(root: Number, value: Number) -> bool:
    """Whether a value given for an unknown cannot be its solution, rounded to whole things at most.

    >>> contradicts(5, 6), contradicts(Fraction(100, 3), 33), contradicts(Fraction(100, 3), 43)
    (True, False, True)
    """
    return root != value if root.denominator == 1 else abs(root - value) >= 1


def _gap(tokens: Sequence[Token], link: Link, names: dict[str, Number]) -> Number | None:
    left = evaluate(expression(tokens, link.left, names), names)
    right = evaluate(expression(tokens, link.right, names), names)
    return None if left is None or right is None else left - right
