"""Units in the tokens of a claim: which table unit a number has, whether two sides can be the same amount,
and which bare conversions (`2 hours = 100 minutes`) are surely wrong.

The unit table is `units.py`; whether the numbers agree is for `agree`.
"""

from collections.abc import Sequence
from fractions import Fraction

from everystep.verify.arithmetic import show
from everystep.verify.reader import Side
from everystep.verify.tokens import MARK, NUM, OP, REL, WORD, Number, Token
from everystep.verify.units import Unit, find_units

_QUARTER = (Unit("quarter", "money:usd", Fraction(1, 4)),)  # the coin; the table has no word for it
_SIGNS = "$€£¢"


def unit_text(tokens: Sequence[Token], i: int) -> tuple[Unit, ...]:
    """The meanings of the table unit written with the number at `i`: before it as a sign, or after it."""
    return _unit_at(tokens, i)[0]


def _unit_at(tokens: Sequence[Token], i: int) -> tuple[tuple[Unit, ...], int]:
    """The unit written with the number at `i`, and how many tokens after it are its text."""
    if tokens[i].sign and tokens[i].sign in _SIGNS:
        return find_units(tokens[i].sign), 0
    words: list[str] = []
    j, n = i + 1, len(tokens)
    while j < n and len(words) < 5:
        token = tokens[j]
        if token.kind == WORD:
            if token.text == "in" and not words and j + 1 < n and tokens[j + 1].kind == WORD:
                break  # `13.00 in all`
            if token.text == "in" and words and words[-1] not in ("sq", "sq.", "square", "cubic", "cu"):
                break
            words.append(token.text)
        elif token.text == "/" and j + 1 < n and tokens[j + 1].kind == WORD:
            words.append("/")
        else:
            break
        j += 1
    if words and words[0] in ("quarter", "quarters") and (len(words) == 1 or words[1] not in ("of", "mile", "hour")):
        return _QUARTER, 1
    for count in range(len(words), 0, -1):
        if words[count - 1] != "/":
            found = find_units(" ".join(words[:count]))
            if found:
                return found, count
    return (), 0


def units_of(tokens: Sequence[Token], side: Side) -> list[tuple[Unit, ...]]:
    """The table units on a side, one entry for each number that has one."""
    found = []
    for i in range(side.lo, side.hi):
        if tokens[i].kind == NUM and (units := unit_text(tokens, i)):
            found.append(units)
    return found


def matching(left: tuple[Unit, ...], right: tuple[Unit, ...]) -> tuple[Unit, Unit] | None:
    """Meanings of one dimension, or None."""
    for a in left:
        for b in right:
            if a.dimension == b.dimension:
                return a, b
    return None


def compounds(tokens: list[Token]) -> list[Token]:
    """The tokens with amounts of two units as one number in the smaller: `5 feet 2 inches` as 62 inches.

    >>> from everystep.verify.tokens import tokenize
    >>> [(t.text, t.value) for t in compounds(tokenize("3 hours and 20 minutes"))]
    [('3 hours and 20', 200), ('minutes', None)]
    """
    out: list[Token] = []
    i, n = 0, len(tokens)
    while i < n:
        token = tokens[i]
        out.append(token)
        i += 1
        if token.kind != NUM or token.sign or i + 2 >= n or tokens[i].kind != WORD or type(token.value) is not int:
            continue
        gap = 1 + (tokens[i + 1].text in ("and", ","))
        small = tokens[i + gap] if i + gap + 1 < n else None
        if small is None or small.kind != NUM or small.sign or small.value is None or tokens[i + gap + 1].kind != WORD:
            continue
        pair = matching(find_units(tokens[i].text), find_units(tokens[i + gap + 1].text))
        if pair is None or pair[0].dimension not in _JOINED or pair[0].factor <= pair[1].factor:
            continue
        ratio = pair[0].factor / pair[1].factor
        if gap == 2 and tokens[i + gap + 2 : i + gap + 3] and tokens[i + gap + 2].kind == REL:
            continue  # `24 hours = 1 day and 60 minutes = 1 hour`
        if ratio.denominator == 1 and 0 <= small.value < ratio and token.value >= 0:
            text = f"{token.text} {tokens[i].text} {'and ' if gap == 2 else ''}{small.text}"
            out[-1] = Token(NUM, text, token.start, small.end, token.value * ratio.numerator + small.value)
            i += gap + 1
    return out


def clash(tokens: Sequence[Token], left: Side, right: Side) -> tuple[Number | None, str] | None:
    """The value of the left side in the unit of the right one and why equal numbers are not equal amounts, where
    that is provable: a sum in which every number has a table unit, or a product in which one has (`5 hours = 5
    minutes`, `3 km + 2 km = 5 hours`, `500 g * 4 = 2000 kg`); or None."""
    if tokens[right.hi - 1].kind != NUM or right.operators:
        return None
    goal = unit_text(tokens, right.hi - 1)
    numbers = [i for i in range(left.lo, left.hi) if tokens[i].kind == NUM]
    units = [unit_text(tokens, i) for i in numbers]
    signs = {
        t.text
        for i, t in enumerate(tokens[left.lo : left.hi], left.lo)
        if t.kind == OP and not (t.text == "/" and tokens[i + 1].kind == WORD)
    }
    named = [u for u in units if u]
    if not goal or not named:
        return None
    if signs & {"*", "/", "^", "√", "//"}:
        return _product_clash(tokens, numbers, units, goal) if not signs & {"+", "-", "^", "√", "//"} else None
    if len(named) < len(units) or any(matching(named[0], u) is None for u in named):
        return None
    pair = matching(named[0], goal)
    if pair is None:
        a, b = named[0][0], goal[0]
        rates = ["/" in u.name or " per " in f" {u.name} " for u in (a, b)]
        return None if rates[0] != rates[1] else (None, f"{a.name} cannot become {b.name}")
    if pair[0].offset or pair[1].offset:
        return None
    if pair[0].factor != pair[1].factor and all(u[0].name == named[0][0].name for u in named):
        return None, f"{pair[0].name} is not {pair[1].name}"
    if all(u[0].factor == pair[1].factor for u in named):
        return None
    total = Fraction(0)
    for i, unit in zip(numbers, units, strict=True):
        same = matching(unit, goal)
        if same is None or tokens[i].value is None:
            return None
        minus = i > left.lo and tokens[i - 1].text == "-"
        total += (-1 if minus else 1) * Fraction(tokens[i].value or 0) * same[0].factor / pair[1].factor
    value = total.numerator if total.denominator == 1 else total
    return (
        value,
        f"it is {show(value)} {pair[1].name}{'' if value == 1 else 's'}, not {show(tokens[right.hi - 1].value or 0)}",
    )


def _product_clash(
    tokens: Sequence[Token], numbers: list[int], units: list[tuple[Unit, ...]], goal: tuple[Unit, ...]
) -> tuple[Number | None, str] | None:
    named = [k for k, u in enumerate(units) if u]
    if len(named) != 1 or any(t.kind == WORD for i in numbers if i != numbers[named[0]] for t in tokens[i + 1 : i + 2]):
        return None
    if numbers[named[0]] > 0 and tokens[numbers[named[0]] - 1].text == "/":
        return None
    pair = matching(units[named[0]], goal)
    if pair is None or pair[0].factor == pair[1].factor or pair[0].offset or pair[1].offset:
        return None
    ratio = pair[0].factor / pair[1].factor
    bare = [Fraction(tokens[i].value or 0) for k, i in enumerate(numbers) if k != named[0]]
    if any(b and (b == ratio or 1 / b == ratio) for b in bare):
        return None  # `$2 * 100 = 200 cents`: a conversion
    return None, f"{pair[0].name} is not {pair[1].name}"


def mixed(tokens: Sequence[Token], side: Side) -> str:
    """Two units of different dimension that a side adds or subtracts (`3 km + 2 h`), or nothing."""
    last: tuple[Unit, ...] | None = None
    for i in range(side.lo, side.hi):
        token = tokens[i]
        if token.kind == NUM:
            units = unit_text(tokens, i)
            if not units:
                return ""
            if last is not None and matching(last, units) is None:
                return f"{last[0].name} and {units[0].name} cannot be added"
            last = units
        elif token.kind == OP and token.text not in "+-":
            return ""
    return ""


_JOINED = {"length", "mass", "time", "volume"}
# Sums of money, lengths, times… whose units have one meaning. Of time only what cannot be a habit: a day's
# work has 8 hours, a working week 5 days, a month 4 weeks.
_SURE = {"length", "mass", "volume", "area", "speed", "money:usd", "money:eur", "money:gbp"}
_SHORT_TIMES = {"second", "minute", "hour", "millisecond"}
_CUSTOMARY = (
    "inch", "foot", "feet", "yard", "mile", "mph", "ounce", "pound", "ton", "stone", "acre", "furlong",
    "knot", "gallon", "quart", "pint", "cup", "spoon", "barrel",
)  # fmt: skip
_VARYING = ("ounce", "cup", "spoon", "ton", "barrel", "stone")  # not the same everywhere
_BEFORE = {"so", "thus", "therefore", "hence", "that", "because", "since", "know", "then", "as", "means"}
_AFTER = _BEFORE - {"as"} | {"but", "while", "which", "if", "or"}
# How far off a wrong conversion is; farther off, something else is meant (`1 cm = 5 km` on a map).
MAX_SLIP = 10


def wrong_conversion(tokens: Sequence[Token], left: Side, right: Side, first: bool) -> tuple[Number, str] | None:
    """What the left side is in the unit of the right one, and the reason, where a claim is surely a
    conversion and surely wrong: one number with one table unit on either side, nothing around them, and a
    difference that neither rounding nor another meaning of the units explains. `first`: the left side
    opens a chain.

    >>> from everystep.verify.tokens import tokenize
    >>> wrong_conversion(tokenize("2 hours = 100 minutes"), Side(0, 1, 0, 2), Side(3, 4, 0, 4), True)
    (120, '2 hours is 120 minutes, not 100')
    """
    if not is_conversion(tokens, left, right) or (first and not stands_first(tokens, left.lo)):
        return None
    pair = matching(unit_text(tokens, left.lo), unit_text(tokens, right.lo))
    a, b = tokens[left.lo].value, tokens[right.lo].value
    if pair is None or not a or not b or a < 0 or b < 0:
        return None
    one, other = pair
    names = one.name, other.name
    if one.factor == other.factor:
        return None
    value = Fraction(a) * one.factor / other.factor
    if one.dimension == "time":
        if not (set(names) <= _SHORT_TIMES or set(names) == {"day", "week"}):
            return None
        if "week" in names and not {5, 6}.isdisjoint((7 * b / value, 7 * value / b)):
            return None  # a working week
    elif one.dimension not in _SURE or one.offset or other.offset:
        return None
    slip = max(value, Fraction(b)) / min(value, Fraction(b))
    customary = [any(word in name for word in _CUSTOMARY) for name in names]
    rough = customary[0] != customary[1] or any(word in name for name in names for word in _VARYING)
    if slip > MAX_SLIP or slip <= (Fraction(13, 10) if rough else Fraction(102, 100)):
        return None
    _, point, places = tokens[right.lo].text.partition(".")
    if point and abs(value - b) <= Fraction(1, 2 * 10 ** min(len(places), 20)):
        return None
    value = value.numerator if value.denominator == 1 else value
    return value, f"{_quantity(tokens, left)} is {show(value)} {_unit_words(tokens, right)}, not {show(b)}"


def is_conversion(tokens: Sequence[Token], left: Side, right: Side) -> bool:
    """Whether both sides are one number with one table unit and no other words, and the clause ends there."""
    for side in (left, right):
        if side.operators or side.hi - side.lo != 1 or tokens[side.lo].kind != NUM:
            return False
    units, words = _unit_at(tokens, left.lo)
    end = left.hi + words
    if not units or end >= len(tokens) or tokens[end].kind != REL or end >= right.lo:
        return False
    units, words = _unit_at(tokens, right.lo)
    end = right.hi + words
    if not units:
        return False
    if end >= len(tokens) or tokens[end].kind == REL:
        return True
    after = tokens[end]
    if after.kind == WORD:
        return after.text in _AFTER
    return after.kind == MARK and (after.text not in ",&-" or not _number_follows(tokens, end + 1))


def _number_follows(tokens: Sequence[Token], i: int) -> bool:
    return any(t.kind == NUM for t in tokens[i : i + 2])


def stands_first(tokens: Sequence[Token], i: int) -> bool:
    """Whether the number at `i` opens a clause: it is not the end of a phrase or of another amount."""
    if i == 0:
        return True
    before = tokens[i - 1]
    if before.kind == WORD:
        return before.text.lower() in _BEFORE
    return before.kind == MARK and before.text not in ",&"


def _quantity(tokens: Sequence[Token], side: Side) -> str:
    return f"{tokens[side.lo].text} {_unit_words(tokens, side)}".strip()


def _unit_words(tokens: Sequence[Token], side: Side) -> str:
    words = _unit_at(tokens, side.lo)[1]
    return " ".join(t.text for t in tokens[side.hi : side.hi + words])
