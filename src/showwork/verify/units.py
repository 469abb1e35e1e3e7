"""The unit table: what a unit's text means, and exact conversion between units of one dimension.

A unit is a name, a dimension and a factor to the dimension's standard unit (metre, second, gram, dollar …);
temperatures also have an offset. Texts are names ("kilometres per hour"), symbols ("km/h") and their
combinations by product, quotient and power. Counted nouns are made with `counted`; which words of a
sentence are a unit at all is for the caller to find.

A month is a twelfth of a year and a year 365 days, so 12 months are a year, and 30 days are no month.
Factors: SI brochure (9th ed.), the international yard and pound of 1959, and US liquid measure.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

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

# name | dimension | factor | symbols and other names (case matters for symbols: those of one or two letters).
# The first name's plural is made with "s". Rows marked * take SI prefixes, by name and by the first symbol.
_TABLE = """
metre|length|1|m meter *
inch|length|0.0254|in inches " in.
foot|length|0.3048|ft feet ' ft.
yard|length|0.9144|yd yds yd.
mile|length|1609.344|mi mi.
nautical-mile|length|1852|nmi
light-year|length|9460730472580800|ly lightyear lightyears
astronomical-unit|length|149597870700|au AU
parsec|length|30856775814913673|pc
angstrom|length|1/10000000000|Å ångström ångströms
micron|length|1/1000000|
furlong|length|201.168|
second|time|1|s sec secs sec. *
minute|time|60|min mins min.
hour|time|3600|h hr hrs hr. hrs.
day|time|86400|d
week|time|604800|wk wks
fortnight|time|1209600|
month|time|2628000|mo mos
year|time|31536000|yr yrs y yr.
decade|time|315360000|
century|time|3153600000|centuries
millennium|time|31536000000|millennia
gram|mass|1|g gm gms gramme grammes *
tonne|mass|1000000|t metric-ton metric-tons
ton|mass|907184.74|tons short-ton short-tons
pound|mass|453.59237|lb lbs lb. lbs.
ounce|mass|28.349523125|oz oz.
stone|mass|6350.29318|st
carat|mass|0.2|
atomic-mass-unit|mass|1/602214076000000000000000|amu u dalton daltons
litre|volume|0.001|L l liter *
gallon|volume|0.003785411784|gal gals gal.
quart|volume|0.000946352946|qt qts qt.
pint|volume|0.000473176473|pt pts pt.
cup|volume|0.0002365882365|
fluid-ounce|volume|0.0000295735295625|fl-oz fl.oz floz ounce ounces oz oz.
tablespoon|volume|0.00001478676478125|tbsp tbsps tbs Tbsp
teaspoon|volume|0.00000492892159375|tsp tsps
cubic-centimetre|volume|0.000001|cc
barrel|volume|0.158987294928|bbl
are|area|100|
acre|area|4046.8564224|ac
hectare|area|10000|ha
mph|speed|0.44704|MPH
kph|speed|5/18|kmh kmph KPH
knot|speed|463/900|kn kt kts
hertz|frequency|1|Hz hz *
rpm|rotation|1|RPM rev/min revolutions/minute
newton|force|1000|N *
dyne|force|1/100|dyn
pound-force|force|4448.2216152605|lbf
joule|energy|1000|J *
calorie|energy|4184|cal *
Calorie|energy|4184000|Cal
watt-hour|energy|3600000|Wh wh *
electronvolt|energy|1.602176634/10000000000000000|eV electron-volt electron-volts *
btu|energy|1055055.85262|BTU Btu
watt|power|1000|W *
horsepower|power|745699.87158227022|hp HP
pascal|pressure|1000|Pa *
bar|pressure|100000000|
millibar|pressure|100000|mbar mb
atmosphere|pressure|101325000|atm
mmhg|pressure|133322.387415|mmHg torr
psi|pressure|6894757.2931683|PSI
ampere|current|1|A amp *
coulomb|charge|1|C *
volt|voltage|1000|V *
ohm|resistance|1000|Ω ω *
farad|capacitance|1/1000|F *
henry|inductance|1000|H henries
tesla|field|1000|T *
weber|flux|1000|Wb
mole|amount|1|mol mols *
molar|concentration|1000|M
radian|angle|1|rad
degree|angle|3.141592653589793238/180|deg °
byte|information|8|B bytes *
bit|information|1|b *
kilobyte|information|8000|KB
decibel|loudness|1|dB
pixel|picture|1|px
becquerel|activity|1|Bq *
sievert|dose|1|Sv *
gray|dose|1|Gy *
lumen|light|1|lm
lux|light/area|1|lx
dollar|money:usd|1|$ USD US$ usd bucks buck US-dollar US-dollars American-dollars dollars($)
cent|money:usd|0.01|¢ ct cts penny pennies
nickel|money:usd|0.05|
dime|money:usd|0.1|
euro|money:eur|1|€ EUR eur
cent|money:eur|0.01|
pound|money:gbp|1|£ GBP gbp quid pound-sterling pounds-sterling British-pounds
penny|money:gbp|0.01|pence p
yen|money:jpy|1|¥ JPY yen
yuan|money:cny|1|CNY RMB rmb renminbi
rupee|money:inr|1|₹ INR Rs Rs. rs rs.
won|money:krw|1|₩ KRW
ruble|money:rub|1|₽ RUB rouble roubles
real|money:brl|1|R$ BRL reais
peso|money:mxn|1|MXN
franc|money:chf|1|CHF
dollar|money:cad|1|C$ CAD CA$ Canadian-dollars
dollar|money:aud|1|A$ AUD AU$ Australian-dollars
"""
_TEMPERATURES = {
    "kelvin": (Fraction(1), Fraction(0), ("K", "kelvins", "°K", "degrees kelvin", "degree kelvin")),
    "celsius": (
        Fraction(1),
        Fraction(27315, 100),
        ("°C", "C", "centigrade", "degrees C", "degree C", "deg C", "degrees celsius", "degree celsius", "° C",
         "degrees centigrade", "° celsius", "°celsius", "degC", "degree", "degrees", "°"),
    ),
    "fahrenheit": (
        Fraction(5, 9),
        Fraction(45967, 180),
        ("°F", "F", "degrees F", "degree F", "deg F", "degrees fahrenheit", "degree fahrenheit", "° F",
         "° fahrenheit", "°fahrenheit", "degF", "degree", "degrees", "°"),
    ),
}  # fmt: skip
_PREFIXES = {
    "pico": ("p", -12), "nano": ("n", -9), "micro": ("μ", -6), "milli": ("m", -3), "centi": ("c", -2),
    "deci": ("d", -1), "deca": ("da", 1), "hecto": ("h", 2), "kilo": ("k", 3), "mega": ("M", 6),
    "giga": ("G", 9), "tera": ("T", 12),
}  # fmt: skip
_EXTRA_SYMBOLS = {
    "kilogram": ("kilo", "kilos", "kgs", "Kg", "KG", "kG", "kgm"),
    "kilometre": ("kms", "Km", "KM", "klick", "klicks"),
    "centimetre": ("cms", "CM"),
    "millimetre": ("MM",),
    "microgram": ("ug", "mcg"),
    "micrometre": ("um",),
    "microsecond": ("us",),
    "millisecond": ("msec",),
    "millilitre": ("mls", "ML"),
    "kilowatt-hour": ("kwh", "KWh", "KWH"),
    "kilocalorie": ("kcals",),
    "kilogramme": (),
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

    for row in _TABLE.strip().splitlines():
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
        for prefix, (symbol, power) in _PREFIXES.items():
            scaled = Unit(prefix + unit.name, dimension, unit.factor * Fraction(10) ** power)
            for text in spellings:
                add_names(prefix + text, (), scaled)
            if texts:
                add(symbol + texts[0], scaled)
            if name == "litre":
                add(symbol + "l", scaled)
            for text in _EXTRA_SYMBOLS.get(prefix + name, ()):
                add(text, scaled)
    for name, (factor, offset, texts) in _TEMPERATURES.items():
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
    text = text.strip()
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
        factors = _product(_LEADING_ARTICLE.sub("", piece.strip()) if i else piece.strip())
        if not factors:
            return ()
        sign = -1 if i else 1
        if i == 0 and text.startswith(("per ", "each ", "every ")):
            return ()
        found = [(_joined(powers, p, sign), scale * f**sign) for powers, scale in found for p, f in factors][
            :8
        ]
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
