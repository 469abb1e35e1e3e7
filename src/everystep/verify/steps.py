"""The work of a trace: every claim checked exactly, every operand traced to a source, what is wrong named.

A claim is judged by its two sides alone, neighbours of a chain one by one, so that the first wrong link is
the one that is named. Whether the plan is right is not decided here: a right calculation of a wrong plan
passes. Where the claims are is decided in `claims`, where a number can come from in `sources`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple

from everystep.core.types import Check, Finding, Flag, Process, Step, Trace, Truth
from everystep.verify.agree import LOOSE, Agreement, agree, rounds_to
from everystep.verify.ambiguity import (
    CORRECTED,
    context,
    has_unknown,
    is_carried,
    is_cut,
    is_last_digit,
    is_misread,
    is_modular,
    is_prefixed,
    on_trial,
    readings,
    tells_digits,
)
from everystep.verify.arithmetic import evaluate, show
from everystep.verify.claims import Link, expression, links, rewrite
from everystep.verify.conventions import as_division, as_points, is_foreign, uses_comma
from everystep.verify.markup import Plain, balanced, plain_text
from everystep.verify.measures import compounds, mixed, wrong_conversion
from everystep.verify.reader import Side
from everystep.verify.sources import Sources
from everystep.verify.tokens import CLOSE, NUM, OP, REL, VAR, WORD, Number, Token, mark_unknowns, tokenize, unknowns
from everystep.verify.unknowns import contradicts, identity, solution

MAX_TEXT = 12_000  # characters of all steps that are examined
MAX_TOKENS = 1_100  # of all steps; a long gold solution has a few hundred
MAX_CHECKS = 120
MAX_ALGEBRA = 30  # steps with unknowns that are looked at again


def verify(question: str, trace: Trace) -> tuple[tuple[Check, ...], Process]:
    """Every checkable claim of a trace, checked, and what that says about the work as a whole.

    Never raises; bounded in time: at most `MAX_TEXT` characters, `MAX_TOKENS` tokens and `MAX_CHECKS` claims
    are examined, from the beginning.
    """
    texts = [question, *(step.text for step in trace.steps)]
    foreign, comma = is_foreign(texts), uses_comma(texts)
    work = _Work(Sources(as_points(question) if comma else question))
    lines = _read(trace, comma, foreign)
    work.digits = tells_digits(question) or any(tells_digits(line.plain.text) for line in lines)
    work.percents = "%" in question or "percent" in question
    letters = set().union(*(unknowns(line.tokens) for line in lines)) if lines else set()
    for line in lines:
        mark_unknowns(line.tokens, letters)
        _check_step(work, line)
        if len(work.checks) >= MAX_CHECKS:
            break
    if work.algebra:
        _substitute(work)
        _compare_sides(work)
    _forget_cases(work)
    return tuple(work.checks), _process(work, trace)


class _Line(NamedTuple):
    """A step as it is examined: its number, what it is as plain text and where that stands in the completion."""

    number: int
    tokens: list[Token]
    plain: Plain
    raw: str
    offset: int

    def place(self, begin: int, end: int) -> tuple[str, tuple[int, int]]:
        """The text of a stretch of plain text as it was written, with both halves of its marks; and its span."""
        start, stop = balanced(self.raw, self.plain.original(begin), self.plain.original(end, True))
        return self.raw[start:stop], (self.offset + start, self.offset + stop)


def _read(trace: Trace, comma: bool, foreign: bool) -> list[_Line]:
    """The steps that can hold a claim, as tokens; no more than the limits allow."""
    lines: list[_Line] = []
    budget, left = MAX_TEXT, MAX_TOKENS
    for number, step in enumerate(trace.steps, 1):
        text = step.text if len(step.text) <= budget else step.text[:budget]
        budget -= len(text)
        if any(c in text for c in "=≈<>≥≤≠≅≃~\\＝") or _may_speak(text):
            written = as_points(text) if comma else text
            plain = plain_text(as_division(written) if foreign else written)
            tokens = tokenize(plain.text, left)
            left -= len(tokens)
            lines.append(_Line(number, tokens, plain, text, step.start))
        if budget <= 0 or left <= 0:
            break
    return lines


def _may_speak(text: str) -> bool:
    """Whether a step without a relation sign can hold a claim in words."""
    return any(c.isdigit() for c in text) and any(
        w in text for w in (" is ", " equal", " makes ", " gives ", " are ", " from ", " get ", " leaves ")
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
    checked_steps: set[int] = field(default_factory=set)
    algebra: list[_Line] = field(default_factory=list)  # steps with unknowns
    reused: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)  # names that had several values, results of sums too
    by_names: dict[tuple[int, int], set[str]] = field(default_factory=dict)  # false claims: the symbols used
    rounded: set[Number] = field(default_factory=set)  # results that were rounded
    bound: tuple[int, str] | None = None  # the symbol that was given a value last, and in which step: it holds next
    pending: str = ""  # the name that was given a calculation last, with no result yet
    digits: bool = False  # last digits or remainders are spoken of
    percents: bool = False
    unsure: set[str] = field(default_factory=set)  # symbols that are given values in a case or on trial
    given: dict[str, Check] = field(default_factory=dict)  # symbols: where they got their value, as a claim
    spelling: dict[str, str] = field(default_factory=dict)  # named values in lower case, as first written


def _check_step(work: _Work, line: _Line) -> None:
    tokens, number = rewrite(compounds(line.tokens)), line.number
    line = line._replace(tokens=tokens)
    if work.spelling:
        _spell(tokens, work.spelling)
    name: str | None = None
    before: Number | None = None
    later: tuple[str, Number] | None = None  # a name that its own calculation uses keeps its value to the end of it
    work.sources.enter(tokens)
    relations = sum(t.kind == REL for t in tokens)
    for link in links(tokens, work.names):
        if len(work.checks) >= MAX_CHECKS:
            return
        if link.first:
            if later is not None:
                work.names[later[0]], later = later[1], None
            name, before = link.name, work.names.get(link.name) if link.name else None
        right = link.right
        value = evaluate(expression(tokens, right, work.names), work.names)
        if link.name is None:
            taken = _check_link(work, line, link)
            relations -= taken is not None
            if taken is not None and taken.hi != right.hi:
                right, value = taken, evaluate(expression(tokens, taken, work.names), work.names)
        elif not right.soft:
            relations -= 1
            _operands(work, number, tokens, right, False)
            if value is not None and right.operators == 0:
                work.results.append((number, value))
                work.sources.derive(value)
        if before is not None and right.lo > 2 and tokens[right.lo - 3].text == "or":
            name = None  # `x = 3 or x = -3`
        if name is None or value is None or right.soft or later is not None:
            continue
        if any(t.text == name for t in tokens[right.lo : right.hi]):
            later = name, value
            continue
        _name(work, line, link, right, name, value, before)
        if before != value and right.operators == 0:
            before = None
    if later is not None:
        work.names[later[0]] = later[1]
    if relations > 0:
        work.sources.state(tokens)
        if len(work.algebra) < MAX_ALGEBRA:
            work.algebra.append(line)


def _name(work: _Work, line: _Line, link: Link, right: Side, name: str, value: Number, before: Number | None) -> None:
    """Note the value that a name is given, or has at the end of its chain; `before`: what it had until now."""
    tokens, number, symbol = line.tokens, line.number, _is_symbol(name)
    changed = before is not None and before != value
    if symbol and on_trial(line.plain.text, tokens[max(0, right.lo - 2)].start):
        work.unsure.add(name)
    if link.name and changed and symbol:
        work.reused.add(name)
    elif link.name and changed and before is not None and work.pending == name and right.operators == 0:
        claim, span = line.place(tokens[right.lo - 2].start, tokens[right.hi - 1].end)
        reason = f"{name} is {show(before)}, not {show(value)}"
        _refuse(work, Check(number, claim, Truth.FALSE, show(before), span, reason))
    work.pending = name if right.operators else ""
    if link.name and symbol:
        after = tokens[right.hi].text if right.hi < len(tokens) else ""
        work.bound = (number, name) if after in (".", ",", ":") else None
    if name not in work.names:
        _define(work, line, name, right)
    elif work.names[name] != value:
        work.changed.add(name)
    work.names[name] = value
    if changed and before is not None and right.operators == 0 and symbol and name not in work.unsure:
        work.flags.append(Flag(Finding.CONTRADICTION, number, f"{name} was {show(before)} and is now {show(value)}"))
        work.reused.add(name)


def _refuse(work: _Work, check: Check, finding: Finding = Finding.FALSE_CLAIM) -> None:
    """Record a false claim."""
    work.checks.append(check)
    work.checked_steps.add(check.step)
    work.false += 1
    work.flags.append(Flag(finding, check.step, f"{check.claim}: {check.reason}"))


def _spell(tokens: list[Token], spelling: dict[str, str]) -> None:
    """Write the words that are names of values as the names were first written."""
    for i, token in enumerate(tokens):
        if token.kind == WORD and (known := spelling.get(token.text.lower())) and known != token.text:
            tokens[i] = token._replace(text=known)


def _define(work: _Work, line: _Line, name: str, right: Side) -> None:
    """Note a name that gets its first value: how a word is spelled, where a symbol is given."""
    tokens = line.tokens
    if len(name) > 2:
        work.spelling.setdefault(name.lower(), name)
        _spell(tokens, work.spelling)
    elif right.lo > 1 and tokens[right.lo - 2].text == name:
        claim, span = line.place(tokens[right.lo - 2].start, tokens[right.hi - 1].end)
        work.given[name] = Check(line.number, claim, Truth.FALSE, None, span, "")


def _substitute(work: _Work) -> None:
    """Check equations in unknowns (`7x = 84`) once the unknowns have values (`x = 12`)."""
    solved = {n: v for n, v in work.names.items() if len(n) == 1 and n not in work.reused}
    if not solved:
        return
    known = {(c.span[0], c.span[1]) for c in work.checks}
    refuted: list[tuple[_Line, Link, Check]] = []
    met: set[str] = set()
    for line in work.algebra:
        tokens, number = line.tokens, line.number
        if not any(t.text in solved for t in tokens):
            continue
        for link in links(tokens, solved):
            left, right = link.left, link.right
            if link.name is not None or len(work.checks) >= MAX_CHECKS:
                continue
            if not any(t.text in solved for t in tokens[left.lo : left.tail] + tokens[right.lo : right.tail]):
                continue
            found = agree(tokens, left, link.relation, right, solved)
            claim, span = line.place(tokens[left.lo].start, tokens[found.side.hi - 1].end)
            if span in known:
                continue
            if not found.holds:
                unclear = left.soft or right.soft or is_cut(tokens, left, right) or not link.first
                unclear = unclear or (right.tail < len(tokens) and tokens[right.tail].kind == REL)
                if unclear or context(line.plain.text, tokens, left, found.side):
                    continue
                refuted.append((line, link, Check(number, claim, Truth.FALSE, None, span, "")))
                continue
            if "\\" in line.raw:  # formulas come with cases: a value that solves one equation need not solve all
                met |= {t.text for t in tokens[left.lo : found.side.hi] if t.text in solved}
            work.checks.append(Check(number, claim, Truth.TRUE, show(found.left or 0), span, "by substitution"))
            work.checked_steps.add(number)
            work.counted.add((_key(tokens, left), link.relation, _key(tokens, found.side)))
            for side in (left, right):
                _operands(work, number, tokens, side, True)
                for token in tokens[side.lo : side.hi]:
                    if token.value is not None:
                        work.sources.explain(token.value)  # `= 20` is a use of the question's 20
    for line, link, check in refuted:
        if not any(t.text in met for t in line.tokens[link.left.lo : link.right.hi]):
            _refute(work, line.tokens, link, check)
    work.checks.sort(key=lambda c: c.span)


def _compare_sides(work: _Work) -> None:
    """Check rewritings in one unknown: `x + 10 + 66 + 10 = x + 96` holds for no x."""
    known = {c.span for c in work.checks}
    for line in work.algebra:
        tokens = line.tokens
        letters = {t.text for t in tokens if t.sign == VAR}
        letters = {x for x in letters if sum(t.text == x for t in tokens) > 1} if len(letters) < 5 else set()
        for link in links(tokens, dict.fromkeys(letters, 1)) if letters else ():
            inside = {t.text for t in (*tokens[link.left.lo : link.left.hi], *tokens[link.right.lo : link.right.hi])}
            if len(used := inside & letters) != 1 or len(work.checks) >= MAX_CHECKS:
                continue
            found = identity(tokens, link, next(iter(used)))
            claim, span = line.place(tokens[link.left.lo].start, tokens[link.right.hi - 1].end)
            if found is None or span in known:
                continue
            holds, reason = found
            if not holds and (
                is_cut(tokens, link.left, link.right) or context(line.plain.text, tokens, link.left, link.right)
            ):
                continue
            if holds:
                work.checks.append(Check(line.number, claim, Truth.TRUE, None, span, reason))
                work.checked_steps.add(line.number)
            else:
                _refuse(work, Check(line.number, claim, Truth.FALSE, None, span, reason))
    work.checks.sort(key=lambda c: c.span)


def _refute(work: _Work, tokens: Sequence[Token], link: Link, equation: Check) -> None:
    """An equation and a value given for its unknown that cannot both be: the later one is false."""
    for name, given in list(work.given.items()):
        root = None if name in work.changed else solution(tokens, link, name)
        if root is None or not contradicts(root, work.names[name]):
            continue
        value = show(work.names[name])
        if given.span > equation.span:
            reason = f"by {equation.claim}, {name} is {show(root)}, not {value}"
            check = replace(given, value=show(root), reason=reason)
        else:
            reason = f"{equation.claim} does not hold for {given.claim}"
            check = replace(equation, reason=reason)
        del work.given[name]
        work.checks.append(check)
        work.checked_steps.add(check.step)
        work.false += 1
        work.flags.append(Flag(Finding.CONTRADICTION, check.step, reason))
        return


def _forget_cases(work: _Work) -> None:
    """Take back the false claims that rest on symbols, where symbols have several values or those of a case: which
    of them was meant cannot be told."""
    spans = set(work.by_names)
    if not spans or not (work.unsure or work.reused):
        return
    work.false -= len(spans)
    claims = {c.claim for c in work.checks if c.span in spans}
    work.checks = [c for c in work.checks if c.span not in spans]
    work.flags = [
        f for f in work.flags if f.finding is not Finding.FALSE_CLAIM or f.detail.split(": ")[0] not in claims
    ]


def _is_symbol(name: str) -> bool:
    return len(name) == 1 or name.isupper() or not name.isalpha()


def _check_link(work: _Work, line: _Line, link: Link) -> Side | None:
    """Judge a claim and record it; the right side as taken, or None where the claim was not counted."""
    left, relation, tokens, text = link.left, link.relation, line.tokens, line.plain.text
    found = agree(tokens, left, relation, link.right, work.names, text[tokens[link.right.hi - 1].end :])
    right = found.side
    if not found.holds and text[tokens[right.hi - 1].end :].lstrip()[:1] == "?":
        return None  # asked, not claimed
    symbols = {t.text for t in (*tokens[left.lo : left.hi], *tokens[right.lo : right.hi]) if t.text in work.names}
    symbols = {s for s in symbols if _is_symbol(s)}
    if not found.holds and symbols and relation not in ("=", "≈"):
        return None  # a condition on an unknown
    if not found.holds and (left.soft or right.soft or is_misread(tokens, link)):
        told = wrong_conversion(tokens, left, link.right, link.first) if relation == "=" else None
        if told is None:
            return None
        found = found._replace(holds=False, left=told[0], reason=told[1])
    claim, span = line.place(tokens[left.lo].start, tokens[right.hi - 1].end)
    if found.holds is False and (why := _excused(work, line, link, found)):
        if why == CORRECTED:
            value = None if found.left is None else show(found.left)
            work.flags.append(Flag(Finding.CORRECTED, line.number, f"{claim}: {found.reason}"))
            work.checks.append(Check(line.number, claim, Truth.UNKNOWN, value, span, why))
        return None
    if found.left is None or found.right is None:
        if not has_unknown(tokens, left, work.names) and not has_unknown(tokens, right, work.names):
            work.checks.append(Check(line.number, claim, Truth.UNKNOWN, None, span, found.reason))
        return None
    bound, work.bound = work.bound, None
    if not found.holds and symbols and not (bound == (line.number, *symbols) and _is_nonzero(tokens, right)):
        if any(_has_other_roots(tokens, side) for side in (left, right)):
            return None
        work.by_names[span] = symbols
    value = None
    if relation in ("=", "≈"):
        value = show(found.right if right.operators and not left.operators else found.left)
    truth = Truth.FALSE if not found.holds else Truth.UNKNOWN if found.reason == LOOSE else Truth.TRUE
    _record(work, line, link, found, Check(line.number, claim, truth, value, span, found.reason))
    return right


def _record(work: _Work, line: _Line, link: Link, found: Agreement, check: Check) -> None:
    """Note a judged claim: where its operands come from, what it derives, what is wrong with it."""
    left, right, relation, tokens, number = link.left, found.side, link.relation, line.tokens, line.number
    if found.left is None or found.right is None:
        return
    if link.first:
        _operands(work, number, tokens, left, False)
    _operands(work, number, tokens, right, bool(found.holds))
    if relation not in ("=", "≈"):  # what is compared is used
        work.sources.explain(found.left)
        work.sources.explain(found.right)
    if not _is_trivial(tokens, left, right, found.left, found.right):
        work.counted.add((_key(tokens, left), relation, _key(tokens, right)))
    if check.truth is Truth.FALSE:
        _refuse(work, check, Finding.UNIT if found.unit else Finding.FALSE_CLAIM)
    else:
        work.checks.append(check)
        work.checked_steps.add(number)
        if units := mixed(tokens, left):
            work.flags.append(Flag(Finding.UNIT, number, f"{check.claim}: {units}"))
    if found.reason in ("rounded", LOOSE):
        work.rounded.add(found.right)
    if relation in ("=", "≈"):
        work.sources.derive(found.right)
        work.sources.derive(found.left)
        if right.operators == 0:
            work.results.append((number, found.right))
    elif left.operators == right.operators == 0:  # `so the first is cheaper: 20 < 30`
        work.results += [(number, found.left), (number, found.right)]


def _is_nonzero(tokens: Sequence[Token], side: Side) -> bool:
    return side.hi - side.lo == 1 and bool(tokens[side.lo].value)


def _has_other_roots(tokens: Sequence[Token], side: Side) -> bool:
    """Whether a side is a symbol alone or has one under a power: an equation that its value need not solve."""
    inside = tokens[side.lo : side.hi]
    alone = len(inside) == 1 and inside[0].kind == WORD
    return alone or any(t.text == "^" and inside[i - 1].kind in (WORD, CLOSE) for i, t in enumerate(inside) if i)


def _excused(work: _Work, line: _Line, link: Link, found: Agreement) -> str:
    """Why a claim that does not hold is not called false, or nothing."""
    tokens, text = line.tokens, line.plain.text
    if link.relation != "!=" and (why := context(text, tokens, link.left, found.side, link.spoken)):
        return why
    if link.relation not in ("=", "≈") or found.left is None or found.right is None or found.left == found.right:
        return ""
    if work.digits and not found.side.operators and is_last_digit(found.left, found.right):
        return "the last digit"
    if found.right == found.left * 100 and abs(found.left) <= 1 and work.percents:
        return "in percent"
    if link.relation == "≈" and found.side.operators:
        return "an estimate"
    if is_modular(text, found.left, found.right):
        return "modulo a number"
    if is_prefixed(tokens, link.left, found.side, found.left, found.right):
        return "units with prefixes"
    if is_carried(tokens, link.left, found.right, work.names, work.rounded):
        return "within the rounding of its numbers"
    lefts = [found.left, *readings(tokens, link.left, work.names)]
    rights = [found.right, *readings(tokens, found.side, work.names)]
    if any(a == b or rounds_to(a, b, tokens, found.side, link.relation) for a in lefts for b in rights):
        return "how far a fraction goes is open"
    return ""


def _operands(work: _Work, number: int, tokens: Sequence[Token], side: Side, rewritten: bool) -> None:
    """Look up the source of every number on a side. A bare result has none to give; a side that equals its
    left neighbour is a rewriting of it."""
    if side.operators == 0:
        return
    parts = rewritten and all(tokens[i].text == "+" for i in range(side.lo, side.hi) if tokens[i].kind == OP)
    for i in range(side.lo, side.hi):
        token = tokens[i]
        if token.kind != NUM or token.value is None:
            continue
        work.operands += 1
        base = int(token.text[:-1]) if token.sign == "!" else token.value
        if work.sources.explain(base):
            continue
        if rewritten:
            if parts:  # `166 = 120 + 46`: the parts may be used from here on
                work.sources.derive(token.value)
        elif not (side.operators == 1 and work.sources.is_quotient(token.value, _other(tokens, side, i))):
            work.invented += 1
            work.flags.append(Flag(Finding.INVENTED, number, f"{token.text} has no source"))


def _other(tokens: Sequence[Token], side: Side, i: int) -> Number | None:
    """The other factor of the product of two that the number at `i` belongs to."""
    if not any(t.text == "*" for t in tokens[side.lo : side.hi]):
        return None
    return next((tokens[k].value for k in range(side.lo, side.hi) if k != i and tokens[k].kind == NUM), None)


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
    return "".join(t.text if t.value is None else str(t.value) for t in tokens[side.lo : side.hi] if t.kind != "word")


def _process(work: _Work, trace: Trace) -> Process:
    flags = list(work.flags)
    answer = trace.answer if trace.answer is not None else trace.lenient
    follows = True
    if not work.counted:
        flags.append(Flag(Finding.NO_STEP, 0, "no claim that can be checked"))
    elif answer is not None:
        follows = _follows(work, trace, answer)
        if not follows:
            flags.append(Flag(Finding.NOT_FOLLOWING, 0, f"the answer {answer[:60]} is not the last derived value"))
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
    values = [t.value for t in tokenize(plain_text(answer[:200]).text) if t.kind == NUM and t.value is not None]
    if len(values) != 1:
        return True
    value = values[0]
    last = work.results[-1][0] if work.results else 0
    for step, result in work.results:
        if step != last:
            continue
        if value in (result, -result) or (value == result * 100 and abs(result) <= 20):  # 75 for 75 %, or cents
            return True
        # Rounded up or down to whole things ("137.33 hours, so 138"), or to cents; of a percentage too.
        step_size = 1 if Fraction(value).denominator == 1 else Fraction(1, 100)
        for exact in (result, result * 100):
            if Fraction(exact).denominator != 1 and abs(exact - value) < step_size:
                return True
    return False
