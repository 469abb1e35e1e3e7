"""Number literals, number words and the unit table: tables, laws, and totality."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.verify.numbers import MAX_DIGITS, NUMBER_WORDS, literal_at, plain, read_number, word_number
from everystep.verify.units import convert, find_unit, find_units

READ = {
    "0": 0,
    "18": 18,
    "18.": 18,
    "+18": 18,
    "−3": -3,
    "- 5": -5,
    ".5": "1/2",
    "0.50": "1/2",
    "0018": 18,
    "1,234.5": "2469/2",
    "1.234,50": "2469/2",
    "1.234": "617/500",
    "1,23": "123/100",
    "0,5": "1/2",
    "0,500": "1/2",
    "1.234.567": 1234567,
    "1,23,456": 123456,
    "350 000": 350000,
    "1 234,5": "2469/2",
    "1'000": 1000,
    "1_000": 1000,
    "1e3": 1000,
    "1E-2": "1/100",
    "6.02 × 10^23": 602 * 10**21,
    "6.02x10²³": 602 * 10**21,
    "10^6": 10**6,
    "2 \\times 10^{-3}": "1/500",
    "1/2": "1/2",
    "3 1/2": "7/2",
    "½": "1/2",
    "1½": "3/2",
    "-3/4": "-3/4",
    "1 and 1/4": "5/4",
    "two": 2,
    "twenty-one": 21,
    "twenty one": 21,
    "one hundred and five": 105,
    "two thousand six": 2006,
    "a dozen": 12,
    "half a dozen": 6,
    "two and a half": "5/2",
    "two and a half dozen": 30,
    "three quarters": "3/4",
    "1.5 million": 1500000,
    "2 dozen": 24,
    "3k": 3000,
    "3 hundred": 300,
    "one point five": "3/2",
    "minus five": -5,
    "twice": 2,
    "none": 0,
    "٤٢": 42,
    "１２": 12,
    "4\u200b2": 42,
    "nine hundred ninety-nine thousand": 999000,
    "one million two hundred thousand": 1200000,
    "three and a half": "7/2",
    "3 and a half": "7/2",
    "twelve hundred": 1200,
}
REFUSED = [
    "",
    " ",
    ".",
    "-",
    "+",
    "--5",
    "+-5",
    "5-",
    "1,234,56",
    "1.2.3",
    "12 34",
    "1/0",
    "1/2/3",
    "2+3",
    "2^10",
    "5!",
    "0x2A",
    "1e999",
    "1e-301",
    "inf",
    "nan",
    "1e1e1",
    "x",
    "a",
    "a cat",
    "5 apples",
    "$5",
    "5%",
    "one two",
    "third",
    "and",
    "two and",
    "hundred and",
    "twenty-",
    "-",
    "9" * (MAX_DIGITS + 1),
    "1" * 10**6,
    "(" * 3000,
    "3K",
    "3 k",
    "1:30",
    "½½",
    "5 5/4",
    "1 1/2 1/2",
    "²",
    "one hundred hundred thousand hundred",
    "\x00",
    "\ud800",
    "10^1000",
    "1 million apples",
]


@pytest.mark.parametrize(("text", "value"), READ.items())
def test_numbers_are_read(text: str, value: int | str) -> None:
    assert read_number(text) == Fraction(value)


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_number_is_refused(text: str) -> None:
    assert read_number(text) is None


@given(st.text(max_size=80))
def test_reading_is_total(text: str) -> None:
    value = read_number(text)
    assert value is None or isinstance(value, Fraction)
    assert isinstance(plain(text), str)
    for start in range(0, len(text), 7):
        literal_at(text, start)
    word_number(text.split())
    assert isinstance(find_units(text), tuple)


@given(st.fractions(max_denominator=10**6))
def test_fractions_and_decimals_round_trip(value: Fraction) -> None:
    assert read_number(str(value)) == value
    thousandths = Fraction(round(value * 1000), 1000)
    whole, part = divmod(abs(round(value * 1000)), 1000)
    assert read_number(f"{'-' if value < 0 else ''}{whole:,}.{part:03d}") == thousandths


SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
]
SMALL += ["sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def spelled(value: int) -> str:
    """An independent writer of English numbers."""
    if value < 20:
        return SMALL[value]
    if value < 100:
        return TENS[value // 10] + (f"-{SMALL[value % 10]}" if value % 10 else "")
    for size, name in ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if value >= size:
            rest = spelled(value % size) if value % size else ""
            return f"{spelled(value // size)} {name} {rest}".strip()
    raise AssertionError(value)


@given(st.integers(0, 10**12 - 1))
def test_number_words_round_trip(value: int) -> None:
    words = spelled(value)
    assert read_number(words) == value
    assert word_number([*words.split(), "apples"]) == (value, len(words.split()))


def test_number_words_hold_the_usual_ones() -> None:
    for word, value in {
        "half": "1/2",
        "third": "1/3",
        "quarter": "1/4",
        "dozen": 12,
        "twice": 2,
        "triple": 3,
    }.items():
        assert NUMBER_WORDS[word] == Fraction(value)


# Groups of texts for one unit, and what one of it is in another unit.
SAME_UNIT = [
    ["km/h", "kilometres per hour", "kilometers per hour", "km per h", "km an hour", "kph", "kmh", "km h^-1"],
    ["mph", "miles per hour", "mi/h", "miles/hour"],
    ["m/s^2", "m/s2", "m/s²", "meters per second squared", "m/s/s", "m s^-2", "metre per second per second"],
    ["g/cm3", "g/cm^3", "grams per cubic centimeter", "g/mL", "kg/L"],
    ["cm^2", "square centimeters", "sq cm", "cm squared", "cm²"],
    ["ft^3", "cubic feet", "cu ft", "cubic foot"],
    ["$", "dollars", "USD", "US$"],
    ["€", "euros", "EUR"],
    ["¢", "cents", "penny"],
    ["minutes", "min", "mins", "minute"],
    ["h", "hr", "hours", "Hours"],
    ["s", "sec", "seconds"],
    ["°C", "degrees Celsius", "C", "celsius"],
    ["kWh", "kilowatt-hours", "kilowatt hour", "kW h"],
    ["Ω", "ohms", "ohm", "V/A"],
    ["J", "joules", "N·m", "N m", "newton metres", "kg m^2/s^2", "W s"],
    ["L", "litres", "liters", "l", "dm^3"],
    ["lb", "pounds", "lbs"],
    ["ft", "feet", "foot", "'"],
    ["fl oz", "fluid ounces"],
    ["μm", "micrometers", "µm", "micron"],
    ["mA", "milliamps", "milliamperes"],
]


@pytest.mark.parametrize("texts", SAME_UNIT, ids=lambda texts: texts[0])
def test_spellings_of_one_unit(texts: list[str]) -> None:
    for a, b in pairwise(texts):
        first, second = find_unit(plain(a)), find_unit(plain(b))
        assert first is not None and second is not None, (a, b)
        assert convert(Fraction(7, 3), first, second) == Fraction(7, 3), (a, b)


CONVERTED = [
    ("5", "m", "500", "cm"),
    ("36", "km/h", "10", "m/s"),
    ("1", "mile", "1.609344", "km"),
    ("77", "°F", "25", "°C"),
    ("0", "°C", "273.15", "K"),
    ("-40", "°F", "-40", "°C"),
    ("1", "hour", "3600", "s"),
    ("1", "year", "12", "months"),
    ("1", "week", "168", "hours"),
    ("1", "gallon", "16", "cups"),
    ("1", "lb", "16", "oz"),
    ("1", "kWh", "3600000", "J"),
    ("1", "m^3", "1000", "L"),
    ("1", "sq ft", "144", "square inches"),
    ("1", "atm", "101325", "Pa"),
    ("3", "$", "300", "cents"),
    ("1", "hectare", "10000", "m^2"),
    ("1", "g/cm^3", "1000", "kg/m^3"),
    ("1", "GB", "8000", "Mb"),
    ("1", "knot", "1.852", "km/h"),
]


@pytest.mark.parametrize(("value", "frm", "result", "to"), CONVERTED)
def test_conversions(value: str, frm: str, result: str, to: str) -> None:
    a, b = find_unit(frm), find_unit(to)
    assert a is not None and b is not None
    assert convert(Fraction(value), a, b) == Fraction(result)
    assert convert(Fraction(result), b, a) == Fraction(value)


@pytest.mark.parametrize(
    "text", ["apples", "", " ", "x", "I", "per hour", "per", "/", "square", "a", "am", "the", "xyz/h"]
)
def test_unknown_words_are_no_unit(text: str) -> None:
    assert find_unit(text) is None


DIFFERENT = [
    "m",
    "kg",
    "s",
    "m^2",
    "m^3",
    "m/s",
    "m/s^2",
    "N",
    "J",
    "W",
    "Pa",
    "V",
    "A",
    "Ω",
    "Hz",
    "$",
    "€",
    "£",
    "K",
]


def test_dimensions_do_not_mix() -> None:
    for a in DIFFERENT:
        for b in DIFFERENT:
            first, second = find_unit(a), find_unit(b)
            assert first is not None and second is not None
            assert (convert(Fraction(1), first, second) is None) == (a != b), (a, b)
