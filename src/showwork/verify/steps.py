"""The work of a trace: every claim checked exactly, every operand traced to a source, what is wrong named.

A claim is judged by its two sides alone, neighbours of a chain one by one, so that the first wrong link is
the one that is named. Whether the plan is right is not decided here: a right calculation of a wrong plan
passes. Where the claims are is decided in `claims`, where a number can come from in `sources`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from showwork.types import Check, Finding, Flag, Process, Step, Trace, Truth
from showwork.verify.arithmetic import NUM, Number, Token, evaluate, tokenize
from showwork.verify.claims import Link, Side, links, rewrite
from showwork.verify.sources import Sources

MAX_TEXT = 20_000  # characters of all steps that are examined
MAX_CHECKS = 400


def verify(question: str, trace: Trace) -> tuple[tuple[Check, ...], Process]:
    """Every checkable claim of a trace, checked, and what that says about the work as a whole.

    Never raises; bounded in time: at most `MAX_TEXT` characters and `MAX_CHECKS` claims are examined.
    """
    work = _Work(Sources(question))
    budget = MAX_TEXT
    for number, step in enumerate(trace.steps, 1):
        text = step.text if len(step.text) <= budget else step.text[:budget]
        budget -= len(text)
        if any(c in text for c in "=≈<>≥≤~") or _may_speak(text):
            _check_step(work, number, text, step.start)
        if budget <= 0 or len(work.checks) >= MAX_CHECKS:
            break
    return tuple(work.checks), _process(work, trace)


def _may_speak(text: str) -> bool:
    """Whether a step without a relation sign can hold a claim in words."""
    return any(c.isdigit() for c in text) and any(
        w in text for w in (" is ", " equal", " makes ", " gives ", " are ")
    )


@dataclass(slots=True)
class _Work:
    """What has been established while reading a trace from top to bottom."""

    sources: Sources
    checks: list[Check] = field(default_factory=list)
    flags: list[Flag] = field(default_factory=list)
    names: dict[str, Number] = field(default_factory=dict)
    counted: set[tuple[str, str, str]] = field(default_factory=set)  # claims that count, once each
    false: int = 0
    operands: int = 0
    invented: int = 0
    results: list[tuple[int, Number]] = field(default_factory=list)  # (step, value) of every derived value
    consumed: set[Number] = field(default_factory=set)
    checked_steps: set[int] = field(default_factory=set)


def _check_step(work: _Work, number: int, text: str, offset: int) -> None:
    tokens = rewrite(tokenize(text))
    name: str | None = None
    before: Number | None = None
    work.sources.enter(tokens)
    for link in links(tokens, work.names):
        if len(work.checks) >= MAX_CHECKS:
            return
        if link.first:
            name, before = link.name, work.names.get(link.name) if link.name else None
        value = evaluate(tokens[link.right.lo : link.right.hi], work.names)
        if link.name is None:
            _check_link(work, number, tokens, link, text, offset)
        else:
            _operands(work, number, tokens, link.right, False)
            if value is not None and link.right.operators == 0:
                work.results.append((number, value))
        if name is not None and value is not None:
            work.names[name] = value
            if before is not None and before != value and link.right.operators == 0:
                if _is_symbol(name):
                    detail = f"{name} was {show(before)} and is now {show(value)}"
                    work.flags.append(Flag(Finding.CONTRADICTION, number, detail))
                before = None


def _is_symbol(name: str) -> bool:
    return len(name) == 1 or name.isupper() or not name.isalpha()


def _check_link(
    work: _Work, number: int, tokens: Sequence[Token], link: Link, text: str, offset: int
) -> None:
    left, right = link.left, link.right
    span = (offset + tokens[left.lo].start, offset + tokens[max(right.hi, right.lo + 1) - 1].end)
    claim = text[tokens[left.lo].start : tokens[right.hi - 1].end]
    lhs = evaluate(tokens[left.lo : left.hi], work.names)
    rhs = evaluate(tokens[right.lo : right.hi], work.names)
    if lhs is None or rhs is None:
        reason = "cannot be computed: a division by zero, or numbers out of bounds"
        work.checks.append(Check(number, claim, Truth.UNKNOWN, None, span, reason))
        return
    holds, reason = agree(lhs, link.relation, rhs, tokens, left, right, work)
    if not holds and (left.soft or (link.first and _is_prose(tokens, left, link))):
        return
    _operands(work, number, tokens, left, False) if link.first else None
    _operands(work, number, tokens, right, holds)
    truth = Truth.TRUE if holds else Truth.FALSE
    value = show(lhs) if link.relation in ("=", "≈") else None
    work.checks.append(Check(number, claim, truth, value, span, reason))
    work.checked_steps.add(number)
    if not _is_trivial(tokens, left, right, lhs, rhs):
        work.counted.add((_key(tokens, left), link.relation, _key(tokens, right)))
    if not holds:
        work.false += 1
        work.flags.append(Flag(Finding.FALSE_CLAIM, number, f"{claim}: {reason}"))
    if link.relation in ("=", "≈"):
        work.sources.derive(rhs)
        work.sources.derive(lhs)
        if right.operators == 0:
            work.results.append((number, rhs))


def _is_prose(tokens: Sequence[Token], left: Side, link: Link) -> bool:
    """Whether a lone number on the left is likely the end of a phrase ("3 miles less = 20 - 3")."""
    if left.operators or link.relation not in ("=", "≈"):
        return False
    if left.hi < left.tail:
        return True
    return left.lo > 0 and tokens[left.lo - 1].kind != "mark"


def _operands(work: _Work, number: int, tokens: Sequence[Token], side: Side, rewritten: bool) -> None:
    """Look up the source of every number on a side. A bare result has none to give; a side that equals its
    left neighbour is a rewriting of it."""
    if side.operators == 0:
        return
    for i in range(side.lo, side.hi):
        token = tokens[i]
        if token.kind != NUM:
            value = work.names.get(token.text)
            if value is not None:
                work.consumed.add(value)
            continue
        if token.value is None:
            continue
        work.operands += 1
        work.consumed.add(token.value)
        if not work.sources.explain(token, tokens, i) and not rewritten:
            work.invented += 1
            work.flags.append(Flag(Finding.INVENTED, number, f"{token.text} has no source"))


def agree(
    lhs: Number, relation: str, rhs: Number, tokens: Sequence[Token], left: Side, right: Side, work: _Work
) -> tuple[bool, str]:
    """Whether two values stand in a relation, as written, and why."""
    if relation not in ("=", "≈"):
        holds = {
            "<": lhs < rhs, ">": lhs > rhs, "<=": lhs <= rhs, ">=": lhs >= rhs, "!=": lhs != rhs
        }[relation]  # fmt: skip
        return holds, "as stated" if holds else f"{show(lhs)} {relation} {show(rhs)} does not hold"
    if lhs == rhs:
        return True, "exact"
    for a, side, b in ((lhs, right, rhs), (rhs, left, lhs)):
        if (
            side.hi - side.lo == 1
            and tokens[side.lo].kind == NUM
            and _rounds(a, b, tokens[side.lo], relation)
        ):
            return True, "rounded"
    if any(t.sign == "%" for t in tokens[left.lo : right.hi]):
        bare_left = evaluate(tokens[left.lo : left.hi], work.names, percent=1)
        bare_right = evaluate(tokens[right.lo : right.hi], work.names, percent=1)
        if bare_left is not None and bare_right is not None:
            for a, b in ((bare_left, bare_right), (lhs, bare_right), (bare_left, rhs)):
                if a == b or (right.hi - right.lo == 1 and _rounds(a, b, tokens[right.lo], relation, 1)):
                    return True, "percent"
    return False, f"it is {show(lhs)}, not {show(rhs)}"


def _rounds(
    exact: Number, stated: Number, token: Token, relation: str, percent: Number = Fraction(1, 100)
) -> bool:
    """Whether a written number is the exact value rounded to the places it is written with: for `=` with two
    decimals or three significant digits at least (or cut there), for `≈` with any."""
    digits = "".join(c for c in token.text if c in "0123456789.")
    whole, _, part = digits.partition(".")
    places = len(part)
    unit = Fraction(1, 10**places)
    if token.sign == "%":
        unit *= percent
    gap = abs(exact - stated)
    if relation == "≈":
        if not part and whole.endswith("0"):
            unit *= 10 ** (len(whole) - len(whole.rstrip("0")))
        return gap <= unit
    if places < 2 and len((whole + part).lstrip("0")) < 3:
        return False
    return gap <= unit / 2 or (places >= 2 and gap < unit and abs(stated) < abs(exact))


def _is_trivial(tokens: Sequence[Token], left: Side, right: Side, lhs: Number, rhs: Number) -> bool:
    """`5 = 5`, `x + 0 = x`, `1 × n = n`: true of anything, so worth nothing."""
    if left.operators == 0 and right.operators == 0:
        return lhs == rhs and (_key(tokens, left) == _key(tokens, right) or left.tail == left.hi)
    values = [t.value for t in tokens[left.lo : left.hi] if t.kind == NUM]
    if left.operators == 1 and right.operators == 0 and len(values) == 2 and lhs == rhs:
        op = next((t.text for t in tokens[left.lo : left.hi] if t.kind == "op"), "*")
        if op in "+-":
            return values[1] == 0 or (op == "+" and values[0] == 0)
        return values[1] == 1 or (op == "*" and values[0] == 1)
    return False


def _key(tokens: Sequence[Token], side: Side) -> str:
    return "".join(
        t.text if t.value is None else str(t.value) for t in tokens[side.lo : side.hi] if t.kind != "word"
    )


def show(value: Number) -> str:
    """A value for reading: exact where a few decimals suffice, else to six significant digits after `≈`.

    >>> show(14), show(Fraction(5, 4)), show(Fraction(100, 3))
    ('14', '1.25', '≈33.3333')
    """
    value = Fraction(value)
    if value.denominator == 1:
        text = str(value.numerator) if value.numerator.bit_length() < 130 else f"a number of over {39} digits"
        return text
    for places in (1, 2, 3, 4, 6):
        scaled = value * 10**places
        if scaled.denominator == 1 and value.numerator.bit_length() < 130:
            sign = "-" if scaled < 0 else ""
            digits = str(abs(scaled.numerator)).rjust(places + 1, "0")
            return f"{sign}{digits[:-places]}.{digits[-places:]}"
    try:
        return f"≈{float(value):.6g}"
    except OverflowError:
        return "a number out of range"


def _process(work: _Work, trace: Trace) -> Process:
    flags = list(work.flags)
    answer = trace.answer if trace.answer is not None else trace.lenient
    follows = True
    if not work.counted:
        flags.append(Flag(Finding.NO_STEP, 0, "no claim that can be checked"))
    elif answer is not None:
        follows = _follows(work, trace, answer)
        if not follows:
            flags.append(
                Flag(Finding.NOT_FOLLOWING, 0, f"the answer {answer[:60]} is not the last derived value")
            )
    unused = work.sources.unused()
    flags.extend(Flag(Finding.UNUSED, 0, f"{text} of the question is never used") for text in unused)
    steps = _working_steps(trace.steps, work.checked_steps)
    coverage = len(work.checked_steps) / steps if steps else 0.0
    if not work.counted:
        return Process(tuple(flags), None, coverage)
    accurate = 1.0 if not work.false else 0.0
    grounded = max(0.0, 1 - max(0, work.invented - 1) / work.operands) if work.operands else 1.0
    used = min(1.0, work.sources.used_share() / 0.75)
    score = min(accurate, grounded, 1.0 if follows else 0.0) * (0.9 + 0.1 * used)
    return Process(tuple(flags), score, coverage)


def _working_steps(steps: Sequence[Step], checked: set[int]) -> int:
    """How many steps there are, leaving out a conclusion that only states the answer."""
    n = len(steps)
    if n > 1 and steps[-1].number is None and steps[-2].number is not None and n not in checked:
        return n - 1
    return n


def _follows(work: _Work, trace: Trace, answer: str) -> bool:
    values = [t.value for t in tokenize(answer[:200]) if t.kind == NUM and t.value is not None]
    if len(values) != 1:
        return True
    value = values[0]
    forms = {value, value * 100, -value}
    last = work.results[-1][0] if work.results else 0
    open_results = [v for step, v in work.results if step == last or v not in work.consumed]
    if any(v in forms for v in open_results):
        return True
    return any(abs(v - value) <= Fraction(1, 2) and v != value and _close(v, value) for v in open_results)


def _close(exact: Number, stated: Number) -> bool:
    return abs(exact - stated) < Fraction(1, 100)
