"""Whether a claim that does not hold was likely not meant as it was read: algebra, the end of a phrase, a condition,
a trial, a denial, a sloppy fraction, the last digit of a number.

A doubt never becomes a false claim; what is not doubted here is judged in `steps` as it stands.
"""

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from fractions import Fraction

from everystep.verify.arithmetic import evaluate
from everystep.verify.claims import Link, expression, is_share
from everystep.verify.measures import matching, stands_first, unit_text
from everystep.verify.reader import Side, is_label
from everystep.verify.tokens import CLOSE, MARK, NUM, ODD, OP, OPEN, REL, VAR, WORD, Number, Token
from everystep.verify.unit_table import PREFIXES
from everystep.verify.units import find_units

CORRECTED = "corrected afterwards"
_MAX_SLASHES = 4
_CLAUSE = re.compile(r"[.;:\n!?⇒](?:\s|$)|,\s|\bthen\b|\bso\b|\btherefore\b", re.IGNORECASE)
_TRIAL = re.compile(
    r"\b(?:if|for|when|whenever|case|cases|suppose|supposing|assume|assuming|try|trying|testing|test|consider|say|either|or"
    r"|setting|set|choose|choosing|pick|at|where|since|let's|next|taking|take|putting|put|guess|unless|once|until|with"
    r"|first|second|third|fourth|fifth|plug|plugging|substitute|substituting|checking|check)\b",
    re.IGNORECASE,
)
_CONDITION = re.compile(
    r"\b(?:if|suppose|supposing|assume|assuming|try|trying|unless|whether|impossible|not|never|isn't|doesn't|cannot|can't"
    r"|wrong|incorrect|incorrectly|mistakenly|mistake|rather than|wrote|written|satisfy|satisfies|such that)\b|n't\b",
    re.IGNORECASE,
)
_TRIED = re.compile(
    r"\b(?:try|trying|let's (?:try|test|check|select|choose|see)|guess|test(?:ing)?|verify|trial)\b", re.IGNORECASE
)
_DENIED = re.compile(
    r"contradict|[(\s]false\b"
    r"|\bnot (?:true|possible|equal|valid|work|hold|satisf\w+|correct|right|the case|an integer)\b"
    r"|\b(?:no|without) (?:integer |real |such )?solution|\bimpossible\b|\binvalid\b"
    r"|\b(?:doesn't|does not|do not|don't|isn't|cannot|can't|fails?|absurd|would have to be|which it is not)\b|≠"
    r"|\bthat(?:'s| is) (?:wrong|incorrect)|\bwhich is (?:wrong|not|incorrect)",
    re.IGNORECASE,
)
_WRONG = r"(?:wrong|incorrect|not right|a mistake)"
_CORRECTION = re.compile(
    r"\W{0,6}(?:\w+\W+){0,3}?(?:wait(?! for| until)|hold on|actually|oops|hmm|sorry|correction|no,"
    rf"|that(?:'s| is| was) {_WRONG}|this is {_WRONG}|let me (?:re|correct|fix|check)|i made an? (?:mistake|error)"
    r"|scratch that)",
    re.IGNORECASE,
)
_DIGIT = re.compile(
    r"\b(?:units?'?s?|ones|last|final)\s+(?:\w+\s+)?digits?\b|\bmod(?:ulo)?\b|≡|\bends? (?:in|with)\b|\bbase\b",
    re.IGNORECASE,
)
_OF_DIGITS = re.compile(r"\b(?:remainder|digits?)\b[^.;,]{0,20}\b(?:of|when|in)\s*$", re.IGNORECASE)
_CLOCK = {"am", "pm", "a.m", "p.m", "o'clock", "AM", "PM"}


def on_trial(text: str, start: int) -> bool:
    """Whether the clause before `start` sets a condition or makes a trial: what it says need not be so."""
    before = text[max(0, start - 120) : start]
    return _TRIAL.search(_CLAUSE.split(before)[-1]) is not None


def context(text: str, tokens: Sequence[Token], left: Side, right: Side, spoken: bool = False) -> str:
    """Why a claim is not put forward as true by the words around it: a condition, a trial, a denial, a
    correction; or nothing."""
    begin, end = tokens[left.lo].start, tokens[right.hi - 1].end
    after = text[end : end + 110]
    if _CORRECTION.match(after):
        return CORRECTED
    before = text[max(0, begin - 160) : begin]
    clause = _CLAUSE.split(before)[-1]
    if (condition := _CONDITION.search(clause)) and not (spoken and condition.group().lower() == "if"):
        return "a condition or a denial"
    if _OF_DIGITS.search(before):
        return "a digit or remainder of it is meant"
    if not left.operators and _TRIED.search(before):
        return "a trial"
    denied = _DENIED.search(after)
    if denied and "\n\n" not in after[: denied.start()]:
        return "denied afterwards"
    return ""


def tells_digits(text: str) -> bool:
    """Whether a text speaks of last digits, remainders or other bases."""
    return _DIGIT.search(text) is not None


def is_last_digit(value: Number, stated: Number) -> bool:
    """Whether a number stands for the last digits of the value, or what is left of it, where the text speaks of
    those."""
    if Fraction(value).denominator != 1 or Fraction(stated).denominator != 1:
        return False
    return (0 <= stated < 10 and (value - stated) % 10 == 0) or (stated < 100 and (value - stated) % 100 == 0)


_MODULUS = re.compile(r"\bmod(?:ulo)?\b\W{0,4}(\d{1,6})|\b[FZ]_(\d{1,6})|\b(clock)\b", re.IGNORECASE)


def is_modular(text: str, value: Number, stated: Number) -> bool:
    """Whether the text counts modulo a number, and the sides agree so."""
    if Fraction(value).denominator != 1 or Fraction(stated).denominator != 1:
        return False
    moduli = [12 if m.group(3) else int(m.group(1) or m.group(2)) for m in _MODULUS.finditer(text)]
    return any(m and (value - stated) % m == 0 for m in moduli)


def is_prefixed(tokens: Sequence[Token], left: Side, right: Side, value: Number, stated: Number) -> bool:
    """Whether the sides differ by a power of ten and their units are written differently: `1 MN/m² = 10⁶ Pa`."""
    if not value or not stated or (ratio := Fraction(value) / stated) <= 0:
        return False
    units = [u for i in range(left.lo, left.hi) if tokens[i].kind == NUM and (u := unit_text(tokens, i))]
    if len(units) == 1 and matching(units[0], unit_text(tokens, right.hi - 1)):
        return False  # the unit table knows better
    inside = {t.text.lower() for t in tokens[left.lo : left.hi] if t.kind == WORD} | set(_words_after(tokens, left.hi))
    unit = tokens[right.hi].text if right.hi < len(tokens) and tokens[right.hi].kind == WORD else ""
    scaled = any(u.name.startswith(tuple(PREFIXES)) for u in find_units(unit))
    said = [t.text for t in tokens[left.lo : left.hi + 1] if t.kind == WORD] + [unit]
    # A unit of the table, or what is written like the symbol of one: `MN`, `Wb`, `см`.
    measured = bool(inside) and any(find_units(w) or not w.isascii() or w != w.lower() for w in said if w)
    if unit.lower() in inside or not (scaled or (measured and (unit or right.operators))):
        return False
    # One place is a slip with a zero, unless the left side has a unit of its own: `5 * 9 = 450 cm`.
    power = len(str(ratio.numerator)) - len(str(ratio.denominator))
    powers = [k for k in (power - 1, power, power + 1) if abs(k) > (0 if measured else 1)]
    return any(abs(ratio / Fraction(10) ** k - 1) <= Fraction(1, 100) for k in powers)


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
    if is_cut(tokens, left, right) or _is_renaming(tokens, left, right):
        return True
    if not link.first or (left.operators and not is_share(tokens, left)):
        return False
    # A lone number is likely the end of a phrase: "3 miles less = 20 - 3", "size 5 = 6 * 2".
    if left.hi < left.tail:
        return True
    if not stands_first(tokens, left.lo) or _after_of(tokens, left.lo):
        return True
    return left.lo > 0 and tokens[left.lo - 1].kind == WORD and not _ends(tokens, right.hi)


def _after_of(tokens: Sequence[Token], i: int) -> bool:
    """Whether only the sign of a formula stands between a number and the phrase it ends."""
    return i > 1 and tokens[i - 1].text == ";" and tokens[i - 2].kind == WORD and tokens[i - 2].text not in _SAYING


_SAYING = {"is", "that", "get", "have", "means", "find", "write", "us", "obtain", "so", "then", "note", "gives"}


def is_cut(tokens: Sequence[Token], left: Side, right: Side) -> bool:
    """Whether the sides go on in signs that are not read: a ratio, a time of day, an absolute value, brackets that
    may round."""
    before = tokens[left.lo - 1] if left.lo else None
    ahead = tokens[left.lo - 2] if left.lo > 1 else None
    after = tokens[right.hi] if right.hi < len(tokens) else None
    beyond = tokens[right.hi + 1] if right.hi + 1 < len(tokens) else None
    if after is not None:
        if after.kind == ODD or after.text in ("|", "_", "\\", "…") or after.text in _CLOCK:
            return True
        if after.text == ":" and beyond is not None and beyond.kind in (NUM, OPEN) and beyond.start - after.end < 2:
            return True
        if after.kind == OP and after.text not in "-" and beyond is not None and beyond.kind not in (WORD, MARK):
            return True
        if after.kind == WORD and after.sign == VAR:
            return True
    if before is not None:
        if before.kind == ODD or before.text in ("|", "_", "\\", "…"):
            return True
        if (
            before.text == ":"
            and ahead is not None
            and ahead.kind in (NUM, CLOSE)
            and not is_label(tokens, left.lo - 1)
        ):
            return True
        if before.text == "." and ahead is not None and (ahead.text == "." or ahead.kind == OP):
            return True  # `1 + 2 + ... + 9`
    for side in (left, right):
        square = tokens[side.lo].kind == OPEN and tokens[side.lo].sign == "["
        if square and tokens[side.hi - 1].kind == CLOSE:
            return True  # `[22.8] = 22`
    return False


def _is_renaming(tokens: Sequence[Token], left: Side, right: Side) -> bool:
    """Whether one number with its word is told in another, unless the unit table knows both: `6 pairs = 12 shoes`;
    or a share of something in its amount: `105% = 1050`."""
    if left.operators or tokens[left.hi - 1].kind != NUM:
        return False
    if (tokens[left.hi - 1].sign == "%") != (tokens[right.hi - 1].sign == "%"):
        return True
    a, b = _words_after(tokens, left.hi), _words_after(tokens, right.hi)
    if not a and not b and left.hi - left.lo == right.hi - right.lo == 1:
        return "!" not in tokens[left.lo].sign + tokens[right.lo].sign  # `3 = 165`
    if not b or a == b or (right.operators and not a):
        return False
    return not (unit_text(tokens, left.hi - 1) and unit_text(tokens, right.hi - 1))


def _words_after(tokens: Sequence[Token], i: int) -> list[str]:
    words = []
    while i < len(tokens) and tokens[i].kind == WORD and len(words) < 3:
        words.append(tokens[i].text.lower())
        i += 1
    return words


def is_carried(
    tokens: Sequence[Token], side: Side, stated: Number, names: Mapping[str, Number], known: Container[Number]
) -> bool:
    """Whether a result is right but for the rounding of a number with three decimals or more: `18 * 0.8333 = 15`."""
    part = list(expression(tokens, side, names))
    rounded = [
        (i, Fraction(1, 2 * 10 ** len(t.text.partition(".")[2])))
        for i, t in enumerate(part)
        if t.kind == NUM and not t.sign and re.fullmatch(r"\d{0,9}\.\d{1,12}", t.text)
        if len(t.text.partition(".")[2]) > 2 or (t.value is not None and t.value in known)
    ]
    if not 0 < len(rounded) <= 2:
        return False
    ends = []
    for way in (-1, 1):
        for other in (-1, 1):
            moved = list(part)
            for (i, half), sign in zip(rounded, (way, other), strict=False):
                moved[i] = moved[i]._replace(value=Fraction(moved[i].value or 0) + sign * half)
            ends.append(evaluate(moved, names))
    values = [e for e in ends if e is not None]
    return len(values) == 4 and min(values) <= stated <= max(values)


def readings(tokens: Sequence[Token], side: Side, names: Mapping[str, Number]) -> Iterator[Number]:
    """What a side may be worth besides: fractions written on one line leave open how far above and below go
    (`8+6/120+80`, `100/9*5`), and so does a sign of division before a slash (`16÷2/3`)."""
    part = list(expression(tokens, side, names))
    depth, slashes = 0, []
    for i, token in enumerate(part):
        depth += (token.kind == OPEN) - (token.kind == CLOSE)
        if token.text == "/" and depth == 0 and i + 1 < len(part) and part[i + 1].kind != WORD:
            slashes.append(i)
    if not slashes or len(slashes) > _MAX_SLASHES:
        return
    for i in slashes:
        for low in {0, _back(part, i, "*/"), _back(part, i, "")}:
            ends = (
                {_ahead(part, i, "/^")}
                if part[i].sign == "÷"
                else {len(part), _ahead(part, i, "*/^"), _ahead(part, i, "*^")}
            )
            for high in ends:
                grouped = [*part[:low], _open(part[i]), *part[low:i], _close(part[i]), part[i], _open(part[i])]
                value = evaluate([*grouped, *part[i + 1 : high], _close(part[i]), *part[high:]], names)
                if value is not None:
                    yield value


def _open(at: Token) -> Token:
    return Token(OPEN, "(", at.start, at.start)


def _close(at: Token) -> Token:
    return Token(CLOSE, ")", at.end, at.end)


def _back(part: Sequence[Token], i: int, over: str) -> int:
    """Back from the slash at `i` over operands joined by the operators `over`."""
    depth = 0
    for k in range(i - 1, -1, -1):
        depth += (part[k].kind == CLOSE) - (part[k].kind == OPEN)
        if depth < 0 or (depth == 0 and part[k].kind == OP and part[k].text not in over):
            return k + 1
    return 0


def _ahead(part: Sequence[Token], i: int, over: str) -> int:
    depth = 0
    for k in range(i + 1, len(part)):
        depth += (part[k].kind == OPEN) - (part[k].kind == CLOSE)
        if depth == 0 and part[k].kind == OP and part[k].text not in over and k > i + 1:
            return k
    return len(part)


def _is_algebra(tokens: Sequence[Token], side: Side) -> bool:
    """Whether a letter glued to a number (`2s + 16`) is likely an unknown: another term has no letter."""
    glued = bare = 0
    for i in range(side.lo, side.tail):
        if tokens[i].kind != NUM:
            continue
        after = tokens[i + 1] if i + 1 < len(tokens) else None
        if after is None or after.kind != WORD:
            bare += 1
        elif len(after.text) == 1 and after.start == tokens[i].end and after.text != "°" and after.sign != VAR:
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
