"""What kind of thing a gold answer is, judged by its text: number, quantity, date, list, algebra, text …"""

import re
from collections.abc import Sequence
from functools import lru_cache

from everystep.core.types import Kind
from everystep.verify import dates
from everystep.verify.latex import unwrap
from everystep.verify.lists import REMAINDER, read_items
from everystep.verify.numbers import MAX_CHARS, read_number
from everystep.verify.phrases import amounts_in
from everystep.verify.texts import is_polar, normal, unlabelled

NUMERIC = frozenset({Kind.NUMBER, Kind.QUANTITY, Kind.PERCENT, Kind.MONEY, Kind.FRACTION})
NOT_FINITE = re.compile(r"[-+]?(?:inf|nan|infinity)", re.IGNORECASE)
RATIO = re.compile(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*(?::|to|is to)\s*(\d{1,12}(?:\.\d{1,6})?)\s*\.?\s*")
# What algebra is written in: one- or two-letter names, function names, operators.
ALGEBRA_WORD = re.compile(r"[A-Za-z]+")
_FUNCTIONS_WORDS = """
sin cos tan cot sec csc log ln exp sqrt pi arcsin arccos arctan sinh cosh tanh max min gcd
"""
FUNCTIONS = frozenset(_FUNCTIONS_WORDS.split())
_OPERATOR = re.compile(r"[+*^=<>≤≥≠√π∞∪∩/×÷·!]|(?<=[\w)])\s*-\s*(?=[\w(])|\\[A-Za-z]+")


@lru_cache(maxsize=4096)
def _inferred(gold: str, unit: str | None, choices: tuple[str, ...]) -> Kind:
    text = unwrap(gold[: 10 * MAX_CHARS])
    if choices and (
        re.fullmatch(r"\(?[A-Ja-j]\)?[.:]?", text) or any(normal(text) == normal(unlabelled(c[:1000])) for c in choices)
    ):
        return Kind.CHOICE
    if re.fullmatch(r"\(?[A-J]\)?[.:]?|\([a-j]\)|[a-e]\)?", text):
        return Kind.CHOICE
    if is_polar(text):
        return Kind.BOOLEAN
    if NOT_FINITE.fullmatch(text) or len(text) > MAX_CHARS:
        return Kind.TEXT
    if read_number(text) is not None and (text[0] != "n" or unit) and not _plain_list(text):
        return Kind.FRACTION if re.search(r"\d\s*/\s*\d", text) else (Kind.QUANTITY if unit else Kind.NUMBER)
    if dates.is_date(text):
        return Kind.DATE
    if dates.is_time(text):
        return Kind.TIME
    if RATIO.fullmatch(text) and ":" in text:
        return Kind.FRACTION
    if _is_list(text):
        return Kind.LIST
    if (kind := amount_kind(text)) is not None:
        return kind
    if is_algebra(text):
        return Kind.EXPRESSION
    return Kind.TEXT


def infer_kind(gold: str, *, unit: str | None = None, choices: Sequence[str] = ()) -> Kind:
    """The kind of a gold answer, from its text (and whether it has options or a unit).

    >>> [infer_kind(g).value for g in ("42", "5 m", "50%", "$3", "1/2", "(B)", "Yes", "7:30", "(1, 2)")]
    ['number', 'quantity', 'percent', 'money', 'fraction', 'choice', 'boolean', 'time', 'list']
    """
    return _inferred(gold, unit, tuple(choices))


def _plain_list(text: str) -> bool:
    """ "10,11" is rather a list than a decimal comma; "0,5" is a number."""
    return re.fullmatch(r"[1-9]\d*(?:,[1-9]\d*)+", text) is not None and not re.fullmatch(r"\d{1,3}(?:,\d{3})+", text)


def _is_list(text: str) -> bool:
    if "±" in text and re.fullmatch(r"(?:[A-Za-z]\s*=)?\s*±\s*[\d.,/]+", text):
        return True
    if REMAINDER.fullmatch(text):
        return True
    found = read_items(text)
    if found is None:
        return False
    if found.brackets:
        return len(found.items) > 1 or found.brackets == "{}" or found.brackets == "[]"
    if all(re.fullmatch(r"[(\[{][^()\[\]{}]*,[^()\[\]{}]*[)\]}]", i) for i in found.items):
        return True
    numbers = [read_number(i) is not None or amount_kind(i) is not None for i in found.items]
    if all(numbers):
        joint = amounts_in(text)
        return joint is not None and len(joint) > 1
    if found.names:
        return all(numbers) or all(is_algebra(i) for i in found.items)
    short = all(len(i.split()) <= 3 and not re.search(r"[=<>]", i) for i in found.items)
    return short and len(found.items) >= 3 and text.count(",") >= len(found.items) - 2


def amount_kind(text: str) -> Kind | None:
    """The kind of a text that is one amount and nothing else."""
    amounts = amounts_in(text)
    if not amounts or len(amounts) != 1:
        return None
    one = amounts[0]
    before, after = text[: one.start].strip(), text[one.end :].strip(" .")
    if before not in ("", "about", "approximately", "≈", "~") or (
        after and (len(after.split()) > 3 or not after[0].isalpha())
    ):
        return None
    if one.words and re.search(r"\s[A-Z]", text) and not one.units:
        return None  # "Seven Years War"
    if one.noun and not one.units and re.search(r"\d", after):
        return None
    if one.percent:
        return Kind.PERCENT
    if one.units:
        return (
            Kind.MONEY
            if one.units[0].dimension == "money:usd" or one.units[0].dimension.startswith("money")
            else Kind.QUANTITY
        )
    return Kind.QUANTITY if one.noun else (Kind.NUMBER if not after else None)


def is_algebra(text: str) -> bool:
    if "\\" in text and re.search(r"\\(?:frac|sqrt|[a-z]{2,})", text):
        return True
    words = ALGEBRA_WORD.findall(text)
    if any(len(w) > 2 and w.lower() not in FUNCTIONS for w in words):
        return False
    if _OPERATOR.search(text):
        return True
    return bool(re.fullmatch(r"-?\d+(?:\.\d+)?[a-z]{1,2}", text))
