"""The unit table: what a unit's text means, and exact conversion between units of one dimension.

A unit is a name, a dimension and a factor to the dimension's standard unit (metre, second, gram, dollar …);
temperatures also have an offset. Texts are names ("kilometres per hour"), symbols ("km/h") and their
combinations by product, quotient and power. Counted nouns are made with `counted`; which words of a
sentence are a unit at all is for the caller to find.

A month is a twelfth of a year and a year 365 days, so 12 months are a year, and 30 days are no month.
The rows are in `unit_table.py`.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from everystep.verify.unit_table import EXTRA_SYMBOLS, PREFIXES, TABLE, TEMPERATURES

MAX_UNIT_CHARS = 60


@dataclass(frozen=True, slots=True)
class Unit:
    """`value` of this unit is `value * factor + offset` of the dimension's standard unit."""

    name: str
    dimension: str
    factor: Fraction
    offset: Fraction = Fraction(0)


# Dimensions are products of these, written as sorted powers; well-known products have a name.
_NAMED = {
    "length/time": "speed",
    "length/time^2": "acceleration",
    "length^2": "area",
    "length^3": "volume",
    "mass/length^3": "density",
    "length*mass/time^2": "force",
    "length^2*mass/time^2": "energy",
    "length^2*mass/time^3": "power",
    "mass/length*time^2": "pressure",
    "length^2*mass/current*time^3": "voltage",
    "length^2*mass/current^2*time^3": "resistance",
    "current*time": "charge",
    "1/time": "frequency",
    "length*mass/time": "momentum",
    "amount/length^3": "concentration",
}
_POWERS: dict[str, dict[str, int]] = {
    "speed": {"length": 1, "time": -1},
    "acceleration": {"length": 1, "time": -2},
    "area": {"length": 2},
    "volume": {"length": 3},
    "density": {"mass": 1, "length": -3},
    "force": {"mass": 1, "length": 1, "time": -2},
    "energy": {"mass": 1, "length": 2, "time": -2},
    "power": {"mass": 1, "length": 2, "time": -3},
    "pressure": {"mass": 1, "length": -1, "time": -2},
    "voltage": {"mass": 1, "length": 2, "time": -3, "current": -1},
    "resistance": {"mass": 1, "length": 2, "time": -3, "current": -2},
    "charge": {"current": 1, "time": 1},
    "frequency": {"time": -1},
    "momentum": {"mass": 1, "length": 1, "time": -1},
    "concentration": {"amount": 1, "length": -3},
    "capacitance": {"mass": -1, "length": -2, "time": 4, "current": 2},
    "flux": {"mass": 1, "length": 2, "time": -2, "current": -1},
    "field": {"mass": 1, "time": -2, "current": -1},
    "inductance": {"mass": 1, "length": 2, "time": -2, "current": -2},
}


def _fraction(text: str) -> Fraction:
    top, _, bottom = text.partition("/")
    return Fraction(top) / Fraction(bottom or 1)


def _build() -> dict[str, tuple[Unit, ...]]:
    """Every name and symbol with its meanings, the usual one first."""
    table: dict[str, list[Unit]] = {}

    def add(text: str, unit: Unit) -> None:
        meanings = table.setdefault(text, [])
        if all(m.dimension != unit.dimension for m in meanings):
            meanings.append(unit)

    def add_names(name: str, spelled: tuple[str, ...], unit: Unit) -> None:
        for one in (name, *spelled):
            spaced = one.replace("-", " ")
            for text in {one, spaced}:
                add(text, unit)
                if len(text) > 2 and text.isascii() and text[-1].isalpha() and one == name:
                    add(text + "s", unit)

    for row in TABLE.strip().splitlines():
        name, dimension, factor, others = row.split("|")
        unit = Unit(name.replace("-", " "), dimension, _fraction(factor))
        texts = others.split()
        prefixed = "*" in texts
        texts = [t for t in texts if t != "*"]
        add_names(name, tuple(texts), unit)
        spellings = [name] + [t for t in texts if len(t) > 2 and t.isascii() and t.isalpha()]
        for text in spellings[1:]:
            add(text + "s", unit)
        if not prefixed:
            continue
        for prefix, (symbol, power) in PREFIXES.items():
            scaled = Unit(prefix + unit.name, dimension, unit.factor * Fraction(10) ** power)
            for text in spellings:
                add_names(prefix + text, (), scaled)
            if texts:
                add(symbol + texts[0], scaled)
            if name == "litre":
                add(symbol + "l", scaled)
            for text in EXTRA_SYMBOLS.get(prefix + name, ()):
                add(text, scaled)
    for name, (factor, offset, texts) in TEMPERATURES.items():
        for text in (name, *texts):
            meanings = table.setdefault(text, [])
            unit = Unit(name, "temperature", factor, offset)
            # On a thermometer "25 C" is far more common than coulombs; a bare "degrees" is an angle first,
            # and stays open between the two scales.
            if text in ("C", "F"):
                meanings.insert(0, unit)
            else:
                meanings.append(unit)
    table.setdefault("m", []).append(Unit("minute", "time", Fraction(60)))
    return {text: tuple(units) for text, units in table.items()}


_MEANINGS = _build()
_FOLDED: dict[str, tuple[Unit, ...]] = {}
for _text, _units in _MEANINGS.items():
    if len(_text) > 2:
        _FOLDED.setdefault(_text.lower(), _units)

_POWER_WORDS = {"square": 2, "sq": 2, "sq.": 2, "cubic": 3, "cu": 3, "cu.": 3}
_POWER_AFTER = {"squared": 2, "cubed": 3}
_POWER_SUFFIX = re.compile(r"(?:\^|\*\*)\s*[({]?\s*([+-]?\d)\s*[)}]?$|(?<=[a-zA-Z])([23])$")
_PER = re.compile(r"\s*/\s*|\s+(?:per|an?|each|every)\s+|^(?:per|each|every)\s+|\s+p\s+")
_TIMES = re.compile(r"\s*[·*×]\s*|\s+")
_LEADING_ARTICLE = re.compile(r"^(?:an?|each|every|one)\s+")


def find_unit(text: str) -> Unit | None:
    """The usual meaning of a unit's text; None for text that is no known unit.

    >>> find_unit("km/h").name, find_unit("square meters").dimension, find_unit("apples")
    ('km/h', 'area', None)
    >>> convert(Fraction(36), find_unit("kilometres per hour"), find_unit("m/s"))
    Fraction(10, 1)
    """
    meanings = find_units(text)
    return meanings[0] if meanings else None


@lru_cache(maxsize=4096)
def find_units(text: str) -> tuple[Unit, ...]:
    """All meanings of a unit's text, the usual one first: "m" is a metre, or a minute."""
    text = text.strip().replace("**", "^")
    if not text or len(text) > MAX_UNIT_CHARS:
        return ()
    known = _known(text)
    if known:
        return known
    pieces = _PER.split(text)
    found: list[tuple[dict[str, int], Fraction]] = [({}, Fraction(1))]
    for i, piece in enumerate(pieces):
        if i and piece.startswith("("):
            piece = piece.strip("()")
        if i == 0 and piece == "1" and len(pieces) > 1:
            continue  # 1/s
        factors = _product(_LEADING_ARTICLE.sub("", piece.strip()) if i else piece.strip())
        if not factors:
            return ()
        sign = -1 if i else 1
        if i == 0 and text.startswith(("per ", "each ", "every ")):
            return ()
        found = [(_joined(powers, p, sign), scale * f**sign) for powers, scale in found for p, f in factors][:8]
    return tuple(Unit(text, _dimension(powers), scale) for powers, scale in found)


def convert(value: Fraction, frm: Unit, to: Unit) -> Fraction | None:
    """The value in the other unit, exactly; None where the dimensions differ.

    >>> convert(Fraction(77), find_unit("°F"), find_unit("°C"))
    Fraction(25, 1)
    """
    if frm.dimension != to.dimension:
        return None
    return (value * frm.factor + frm.offset - to.offset) / to.factor


def counted(noun: str) -> Unit:
    """The unit of a counted noun (already singular): one apple is one apple."""
    return Unit(noun, f"count:{noun}", Fraction(1))


def _known(text: str) -> tuple[Unit, ...]:
    found = _MEANINGS.get(text)
    if found:
        return found
    if text.endswith(".") and len(text) > 2:
        found = _MEANINGS.get(text[:-1])
        if found:
            return found
    return _FOLDED.get(text.lower(), ()) if len(text) > 2 else ()


def _product(text: str) -> list[tuple[dict[str, int], Fraction]]:
    """The meanings of "N·m", "square feet", "cm^3", "kg m": powers of dimensions, and the factor."""
    words = [w for w in _TIMES.split(text.strip("() ")) if w]
    result: list[tuple[dict[str, int], Fraction]] = [({}, Fraction(1))]
    at = 0
    if len(words) > 6:
        return []
    while at < len(words):
        power = _POWER_WORDS.get(words[at].lower(), 0)
        at += 1 if power else 0
        for width in (3, 2, 1):  # names of several words first: "nautical miles", "fluid ounces"
            if at + width > len(words):
                continue
            name = " ".join(words[at : at + width])
            suffix = _POWER_SUFFIX.search(name)
            units = _known(name)
            exponent = power or 1
            if not units and suffix:
                units = _known(name[: suffix.start()])
                exponent = int(suffix.group(1) or suffix.group(2))
            if units:
                at += width
                if at < len(words) and words[at].lower() in _POWER_AFTER:
                    exponent = _POWER_AFTER[words[at].lower()]
                    at += 1
                break
        else:
            return []
        # A scale with an offset has no products; "degrees" in a product is an angle or a difference.
        result = [
            (_joined(powers, {k: v * exponent for k, v in _powers(u).items()}, 1), scale * u.factor**exponent)
            for powers, scale in result
            for u in units
            if not (u.name == "minute" and name == "m")  # in a product an m is a metre
        ][:8]
    return result if words else []


def _powers(unit: Unit) -> dict[str, int]:
    return _POWERS.get(unit.dimension, {unit.dimension: 1})


def _joined(left: dict[str, int], right: dict[str, int], sign: int) -> dict[str, int]:
    out = dict(left)
    for name, power in right.items():
        out[name] = out.get(name, 0) + sign * power
    return {name: power for name, power in out.items() if power}


def _dimension(powers: dict[str, int]) -> str:
    def side(sign: int) -> str:
        return "*".join(
            name if abs(p) == 1 else f"{name}^{abs(p)}" for name, p in sorted(powers.items()) if p * sign > 0
        )

    above, below = side(1), side(-1)
    text = (above or "1") + (f"/{below}" if below else "")
    return _NAMED.get(text, text)


for _name, _dims in _POWERS.items():  # every named dimension, also those without a row in _NAMED
    _NAMED.setdefault(_dimension(_dims), _name)
