"""The rows of the unit table: names, symbols, dimensions and factors; `units.py` gives them meaning.

Factors: SI brochure (9th ed.), the international yard and pound of 1959, US liquid measure, IAU 2012.
"""

from fractions import Fraction

# name | dimension | factor | symbols and other names (case matters for symbols: those of one or two letters).
# The first name's plural is made with "s". Rows marked * take SI prefixes, by name and by the first symbol.
TABLE = """
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
TEMPERATURES = {
    "kelvin": (Fraction(1), Fraction(0), ("K", "kelvins", "°K", "degrees kelvin", "degree kelvin")),
    "celsius": (
        Fraction(1),
        Fraction(27315, 100),
        ("°C", "C", "centigrade", "degrees C", "degree C", "deg C", "degrees celsius", "degree celsius",
         "degrees centigrade", "° C", "° celsius", "°celsius", "degC", "degree", "degrees", "°"),
    ),
    "fahrenheit": (
        Fraction(5, 9),
        Fraction(45967, 180),
        ("°F", "F", "degrees F", "degree F", "deg F", "degrees fahrenheit", "degree fahrenheit", "° F",
         "° fahrenheit", "°fahrenheit", "degF", "degree", "degrees", "°"),
    ),
}  # fmt: skip
PREFIXES = {
    "pico": ("p", -12), "nano": ("n", -9), "micro": ("μ", -6), "milli": ("m", -3), "centi": ("c", -2),
    "deci": ("d", -1), "deca": ("da", 1), "hecto": ("h", 2), "kilo": ("k", 3), "mega": ("M", 6),
    "giga": ("G", 9), "tera": ("T", 12),
}  # fmt: skip
EXTRA_SYMBOLS = {
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
