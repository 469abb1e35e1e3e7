"""Is an answer the gold answer? The kind of the gold decides how they are compared, never the answer.

Every rule is bounded and total: any text gets a `Reading`, none raises. Only expressions that plain reading
cannot settle go to `symbolic.py`, and they may take its time limit.

>>> same_answer("500 cm", "5 m").reason
'equal after converting m to cm'
>>> same_answer("60 km/h", "60 mph").verdict, same_answer("41 or 42", "42").reason
(<Verdict.WRONG: 'wrong'>, 'two different values: 41, 42')
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

from showwork.types import Kind, Reading, Verdict
from showwork.verify import dates
from showwork.verify.amounts import same_amount
from showwork.verify.latex import boxed, unwrap
from showwork.verify.lists import Items, read_items
from showwork.verify.numbers import MAX_CHARS, plain, read_number
from showwork.verify.offered import offered
from showwork.verify.phrases import Amount, amounts_in, singular
from showwork.verify.symbolic import same_expression
from showwork.verify.texts import core, is_polar, letters, normal, polarity, same_text, unlabelled
from showwork.verify.units import find_units

_NUMERIC = frozenset({Kind.NUMBER, Kind.QUANTITY, Kind.PERCENT, Kind.MONEY, Kind.FRACTION})
_NOT_FINITE = re.compile(r"[-+]?(?:inf|nan|infinity)", re.IGNORECASE)
_RATIO = re.compile(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*(?::|to|is to)\s*(\d{1,12}(?:\.\d{1,6})?)\s*\.?\s*")
_MAX_TEXT = 20_000


def same_answer(
    answer: str,
    gold: str,
    kind: Kind | None = None,
    *,
    unit: str | None = None,
    choices: Sequence[str] = (),
    aliases: Sequence[str] = (),
) -> Reading:
    """The verdict on `answer` against `gold`, what was read as the answer, and why.

    `kind` is the gold's kind (inferred where it is None); `unit` is the gold's unit where its text has none;
    `choices` are the options in order; `aliases` are other texts that are as right as the gold. A gold that
    cannot be read as its kind gives UNGRADABLE, a blank answer MISSING, an answer of more than 200
    characters WRONG (free text: UNGRADABLE unless equal).
    """
    if not answer.strip() or (len(answer) <= MAX_CHARS and not plain(answer).strip()):
        return Reading(Verdict.MISSING, None, "the answer is blank")
    if not gold.strip() or len(gold) > _MAX_TEXT:
        return Reading(Verdict.UNGRADABLE, None, "the gold answer is blank or too long")
    if _NOT_FINITE.fullmatch(gold.strip()) and not aliases:
        return Reading(Verdict.UNGRADABLE, None, "the gold answer is not a finite value")
    kind = kind or infer_kind(gold, unit=unit, choices=choices)
    if kind is Kind.TEXT:
        return _text(answer, gold, aliases)
    if len(answer.strip()) > MAX_CHARS:
        return Reading(Verdict.WRONG, None, f"too long: more than {MAX_CHARS} characters")
    for alias in aliases:
        if normal(alias) and normal(unwrap(answer)) == normal(alias):
            return Reading(Verdict.RIGHT, alias, "equal to an alias")
    if len(gold) > 10 * MAX_CHARS:
        return Reading(Verdict.UNGRADABLE, None, "the gold answer is too long for its kind")
    if kind in _NUMERIC:
        return _number(answer, gold, kind, unit)
    if kind is Kind.CHOICE:
        return _choice(answer, gold, choices)
    if kind is Kind.BOOLEAN:
        return _boolean(answer, gold)
    if kind is Kind.DATE:
        return _date(answer, gold)
    if kind is Kind.TIME:
        return _time(answer, gold)
    if kind is Kind.LIST:
        return _list(answer, gold, unit)
    return _expression(answer, gold, unit)


# What algebra is written in: one- or two-letter names, function names, operators.
_ALGEBRA_WORD = re.compile(r"[A-Za-z]+")
_FUNCTIONS = frozenset(
    [
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "log",
        "ln",
        "exp",
        "sqrt",
        "pi",
        "arcsin",
        "arccos",
        "arctan",
        "sinh",
        "cosh",
        "tanh",
        "max",
        "min",
        "gcd",
    ]
)
_OPERATOR = re.compile(r"[+*^=<>≤≥≠√π∞∪∩/×÷·!]|(?<=[\w)])\s*-\s*(?=[\w(])|\\[A-Za-z]+")


@lru_cache(maxsize=4096)
def _inferred(gold: str, unit: str | None, choices: tuple[str, ...]) -> Kind:
    text = unwrap(gold[: 10 * MAX_CHARS])
    if choices and (
        re.fullmatch(r"\(?[A-Ja-j]\)?[.:]?", text)
        or any(normal(text) == normal(unlabelled(c)) for c in choices)
    ):
        return Kind.CHOICE
    if re.fullmatch(r"\(?[A-J]\)?[.:]?|\([a-j]\)|[a-e]\)?", text):
        return Kind.CHOICE
    if is_polar(text):
        return Kind.BOOLEAN
    if _NOT_FINITE.fullmatch(text) or len(text) > MAX_CHARS:
        return Kind.TEXT
    if read_number(text) is not None and (text[0] != "n" or unit) and not _plain_list(text):
        return Kind.FRACTION if re.search(r"\d\s*/\s*\d", text) else (Kind.QUANTITY if unit else Kind.NUMBER)
    if dates.is_date(text):
        return Kind.DATE
    if dates.is_time(text):
        return Kind.TIME
    if _RATIO.fullmatch(text) and ":" in text:
        return Kind.FRACTION
    if _is_list(text):
        return Kind.LIST
    if (kind := _amount_kind(text)) is not None:
        return kind
    if _is_algebra(text):
        return Kind.EXPRESSION
    return Kind.TEXT


def infer_kind(gold: str, *, unit: str | None = None, choices: Sequence[str] = ()) -> Kind:
    """The kind of a gold answer, from its text (and whether it has options or a unit).

    >>> [infer_kind(g).value for g in ("42", "5 m", "50%", "$3", "1/2", "(B)", "Yes", "7:30", "(1, 2)", "Paris")]
    ['number', 'quantity', 'percent', 'money', 'fraction', 'choice', 'boolean', 'time', 'list', 'text']
    """
    return _inferred(gold, unit, tuple(choices))


def _plain_list(text: str) -> bool:
    """ "10,11" is rather a list than a decimal comma; "0,5" is a number."""
    return re.fullmatch(r"[1-9]\d*(?:,[1-9]\d*)+", text) is not None and not re.fullmatch(
        r"\d{1,3}(?:,\d{3})+", text
    )


def _is_list(text: str) -> bool:
    if "±" in text and re.fullmatch(r"(?:[A-Za-z]\s*=)?\s*±\s*[\d.,/]+", text):
        return True
    found = read_items(text)
    if found is None:
        return False
    if found.brackets:
        return len(found.items) > 1 or found.brackets == "{}" or found.brackets == "[]"
    numbers = [read_number(i) is not None or _amount_kind(i) is not None for i in found.items]
    if all(numbers):
        joint = amounts_in(text)
        return joint is not None and len(joint) > 1
    if found.names:
        return all(numbers) or all(_is_algebra(i) for i in found.items)
    short = all(len(i.split()) <= 3 and not re.search(r"[=<>]", i) for i in found.items)
    return short and len(found.items) >= 3 and text.count(",") >= len(found.items) - 2


def _amount_kind(text: str) -> Kind | None:
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


def _is_algebra(text: str) -> bool:
    if "\\" in text and re.search(r"\\(?:frac|sqrt|[a-z]{2,})", text):
        return True
    words = _ALGEBRA_WORD.findall(text)
    if any(len(w) > 2 and w.lower() not in _FUNCTIONS for w in words):
        return False
    if _OPERATOR.search(text):
        return True
    return bool(re.fullmatch(r"-?\d+(?:\.\d+)?[a-z]{1,2}", text))


# --- numbers ---


@lru_cache(maxsize=4096)
def _gold_amount(gold: str, kind: Kind, unit: str | None) -> Amount | None:
    """The gold's one amount, with the unit it was given beside its text."""
    text = unwrap(gold)
    ratio = _RATIO.fullmatch(text)
    if ratio and kind is not Kind.TIME:
        bottom = Fraction(ratio.group(2))
        return (
            None
            if not bottom
            else Amount(Fraction(ratio.group(1)) / bottom, text, 0, len(text), fraction=True)
        )
    found = offered(text).amounts
    if not found or any(a.value != found[0].value or a.units != found[0].units for a in found):
        value = read_number(text)
        if value is None:
            return None
        found = (Amount(value, text, 0, len(text)),)
    one = found[0]
    if unit and not one.units and not one.percent:
        if unit.strip().lower() in ("%", "percent", "per cent"):
            one = replace(one, percent=True)
        elif meanings := find_units(plain(unit).strip()):
            one = replace(one, units=meanings)
        elif one.noun is None and re.fullmatch(r"[A-Za-z][A-Za-z -]{0,40}", unit.strip()):
            one = replace(one, noun=singular(unit.split()[-1]))
    if kind is Kind.PERCENT and not one.units:
        one = replace(one, percent=True)
    return one


def _number(answer: str, gold: str, kind: Kind, unit: str | None) -> Reading:
    target = _gold_amount(gold, kind, unit)
    if target is None:
        return Reading(Verdict.UNGRADABLE, None, f"the gold answer is no {kind.value}")
    text = unwrap(answer)
    ratio = _RATIO.fullmatch(core(text))
    if ratio and Fraction(ratio.group(2)):
        same = Fraction(ratio.group(1)) / Fraction(ratio.group(2)) == target.value and not target.units
        return Reading(
            Verdict.RIGHT if same else Verdict.WRONG,
            ratio.group().strip(),
            "equal as a ratio" if same else "different ratio",
        )
    found = offered(text)
    if found.problem:
        value = read_number(text)
        if value is None:
            return Reading(Verdict.WRONG, None, found.problem)
        found = replace(found, amounts=(Amount(value, text, 0, len(text)),), problem=None)
    return _judge(found.amounts, target)


def _judge(amounts: tuple[Amount, ...], target: Amount) -> Reading:
    """All amounts offered must be the gold's."""
    results = [same_amount(a, target) for a in amounts]
    read = _shown(amounts[-1])
    if all(same for same, _ in results):
        return Reading(Verdict.RIGHT, read, results[-1][1])
    if len(amounts) == 1:
        return Reading(Verdict.WRONG, read, results[0][1])
    agreeing = [a for a, (same, _) in zip(amounts, results, strict=True) if same]
    others = [a for a, (same, _) in zip(amounts, results, strict=True) if not same]
    if agreeing and all(_says_the_same(a, agreeing) for a in others):
        return Reading(Verdict.RIGHT, _shown(agreeing[-1]), results[amounts.index(agreeing[-1])][1])
    shown = list(dict.fromkeys(_shown(a) for a in amounts))[:4]
    return Reading(Verdict.WRONG, ", ".join(shown), f"two different values: {', '.join(shown)}")


def _says_the_same(amount: Amount, others: list[Amount]) -> bool:
    """Whether an amount repeats one of the others in another unit: both must name theirs."""
    return any(
        ((amount.units and o.units) or (amount.fraction and o.step) or (amount.step and o.fraction))
        and same_amount(amount, o)[0]
        for o in others
    )


def _shown(amount: Amount) -> str:
    return " ".join(amount.text.split()) or str(amount.value)


# --- words ---


def _choice(answer: str, gold: str, choices: Sequence[str]) -> Reading:
    options = [unlabelled(plain(c)) for c in choices]
    target = unwrap(gold)
    letter = re.fullmatch(r"\(?([A-Ja-j])\)?[.:]?", target) or re.match(r"\(?([A-J])\)?[).:]\s", target)
    right = letter.group(1).upper() if letter else None
    if right is None:
        same = [i for i, o in enumerate(options) if normal(o) == normal(target)]
        if len(same) != 1:
            return Reading(
                Verdict.UNGRADABLE, None, "the gold answer is neither a letter nor one of the options"
            )
        right = chr(65 + same[0])
    if choices and ord(right) - 65 >= len(choices):
        return Reading(Verdict.UNGRADABLE, None, f"the gold {right} is not among the {len(choices)} options")
    text = unwrap(answer)
    said = letters(text)
    by_text = _options_said(text, options)
    if len(by_text) == 1 and (not said or said == by_text or _is_option(text, options)):
        said = by_text
    elif by_text and said and not said & by_text:
        return Reading(
            Verdict.WRONG, "/".join(sorted(said | by_text)), "the letter and the option's text differ"
        )
    if len(said) > 1:
        return Reading(Verdict.WRONG, "/".join(sorted(said)), "more than one choice")
    if not said:
        if choices or len(normal(text)) <= 1:
            return Reading(Verdict.WRONG, None, "names none of the choices")
        return Reading(Verdict.UNGRADABLE, None, "names no letter, and the options are not known")
    read = next(iter(said))
    return Reading(
        Verdict.RIGHT if read == right else Verdict.WRONG,
        read,
        "the choice" if read == right else "another choice",
    )


def _is_option(text: str, options: list[str]) -> bool:
    return any(normal(core(text)) == normal(o) for o in options)


def _options_said(text: str, options: list[str]) -> set[str]:
    """The options whose text the answer is (without its letter), by words or by value."""
    said = {text, core(text), unlabelled(text), unlabelled(core(text))}
    names = {normal(s) for s in said}
    found = {chr(65 + i) for i, o in enumerate(options) if normal(o) and normal(o) in names}
    if found:
        return found
    mine = offered(unlabelled(core(text))).amounts if options else ()
    if len(mine) != 1:
        return set()
    for i, option in enumerate(options):
        theirs = offered(unwrap(option)).amounts
        if len(theirs) == 1 and same_amount(mine[0], theirs[0])[0]:
            found.add(chr(65 + i))
    return found if len(found) == 1 else set()


def _boolean(answer: str, gold: str) -> Reading:
    target = polarity(unwrap(gold))
    if len(target) != 1:
        return Reading(Verdict.UNGRADABLE, None, "the gold answer is neither yes nor no")
    said = polarity(unwrap(answer))
    if len(said) != 1:
        return Reading(Verdict.WRONG, None, "says both yes and no" if said else "says neither yes nor no")
    read = "yes" if True in said else "no"
    return Reading(
        Verdict.RIGHT if said == target else Verdict.WRONG,
        read,
        "equal" if said == target else "the opposite",
    )


def _text(answer: str, gold: str, aliases: Sequence[str]) -> Reading:
    if answer.strip() == gold.strip():
        return Reading(Verdict.RIGHT, gold.strip()[:MAX_CHARS], "equal")
    if len(answer) > max(MAX_CHARS, 2 * len(gold)) or len(gold) > _MAX_TEXT:
        return Reading(Verdict.UNGRADABLE, None, "too long, and not equal")
    said, target = unwrap(answer), unwrap(gold)
    if not normal(said):
        return Reading(Verdict.UNGRADABLE, said or None, "no words to compare")
    reason = same_text(said, target, aliases)
    if reason:
        return Reading(Verdict.RIGHT, core(said), reason)
    return Reading(Verdict.UNGRADABLE, core(said), "not equal after normalising; for a judge")


# --- dates, times, lists, expressions ---


def _date(answer: str, gold: str) -> Reading:
    target = dates.read_dates(unwrap(gold))
    if not target or len(target) != 1:
        return Reading(Verdict.UNGRADABLE, None, "the gold answer is no date")
    text = unwrap(answer)
    said = dates.read_dates(text)
    if not said:
        return Reading(Verdict.WRONG, None, "no date" if said is not None else "not a possible date")
    if any(d != said[0] for d in said):
        return Reading(Verdict.WRONG, text, "two different dates")
    mine, theirs = said[0], target[0]
    read = "-".join(f"{n:02d}" for n in (mine.year, mine.month, mine.day) if n is not None)
    same = (mine.month, mine.day) == (theirs.month, theirs.day)
    years = mine.year == theirs.year or mine.year is None or theirs.year is None
    if same and years:
        return Reading(
            Verdict.RIGHT,
            read,
            "equal" if mine.year == theirs.year else "equal; the year is on one side only",
        )
    crossed = (mine.month, mine.day) == (theirs.day, theirs.month) and years
    if crossed and mine.swapped != theirs.swapped:
        return Reading(Verdict.UNGRADABLE, read, "day and month could be either way round")
    return Reading(Verdict.WRONG, read, "another date")


def _time(answer: str, gold: str) -> Reading:
    target = dates.read_times(unwrap(gold))
    if not target or len(target) != 1:
        return Reading(Verdict.UNGRADABLE, None, "the gold answer is no clock time")
    text = unwrap(answer)
    said = dates.read_times(text)
    if not said:
        return Reading(Verdict.WRONG, None, "no clock time")
    if any(not dates.same_time(t, said[0]) for t in said):
        return Reading(Verdict.WRONG, text, "two different times")
    same = all(dates.same_time(t, target[0]) for t in said)
    reason = "equal" if same else "another time"
    if same and said[0].open != target[0].open:
        reason = "equal on the clock face; a.m. or p.m. is on one side only"
    return Reading(Verdict.RIGHT if same else Verdict.WRONG, text, reason)


_PLUS_MINUS = re.compile(r"^(.*?)±\s*([\d.,/]+)(.*)$", re.DOTALL)


def _spread(text: str) -> str:
    """`±3` as its two values."""
    match = _PLUS_MINUS.match(text)
    if match and not re.search(r"[\d)]\s*$", match.group(1)):
        return f"{match.group(1)}{match.group(2)}, -{match.group(2)}{match.group(3)}"
    return text


def _list(answer: str, gold: str, unit: str | None) -> Reading:
    target = read_items(_spread(unwrap(gold)))
    if target is None:
        return Reading(Verdict.UNGRADABLE, None, "the gold answer is no list")
    text = _spread(unwrap(answer))
    said = _said_items(text, target)
    if said is None:
        return Reading(Verdict.WRONG, None, "no list")
    read = ", ".join(said.items)
    if said.brackets and target.brackets and said.brackets != target.brackets:
        if len(target.items) == 2 or "{" in said.brackets + target.brackets:
            return Reading(Verdict.WRONG, read, f"brackets {said.brackets} are not {target.brackets}")
    mine, theirs = list(said.items), list(target.items)
    if target.brackets == "{}":
        mine, theirs = _distinct(mine, unit), _distinct(theirs, unit)
    if len(mine) != len(theirs):
        return Reading(Verdict.WRONG, read, f"{len(mine)} items, not {len(theirs)}")
    if said.names and target.names:
        if sorted(said.names) != sorted(target.names) and len(set(target.names)) == len(target.names):
            return Reading(Verdict.WRONG, read, "other names")
        if len(set(target.names)) == len(target.names):
            by_name = dict(zip(said.names, mine, strict=True))
            mine = [by_name[n] for n in target.names]
            return _in_order(mine, theirs, read, unit)
    numeric = all(_amount_kind(i) is not None for i in theirs)
    if target.brackets == "{}" or (not target.brackets and numeric):
        return _any_order(mine, theirs, read, unit)
    result = _in_order(mine, theirs, read, unit)
    if result.verdict is Verdict.WRONG and not target.brackets:
        if _any_order(mine, theirs, read, unit).verdict is Verdict.RIGHT:
            return Reading(Verdict.UNGRADABLE, read, "the same items in another order")
    return result


def _said_items(text: str, target: Items) -> Items | None:
    """The answer's list, also from within a sentence ("The roots are 2 and 3")."""
    found = read_items(core(text), len(target.items))
    if found and (found.brackets or not re.search(r"\b(?:are|is|were)\b|:", found.items[0])):
        return found
    opening = [i for i in (text.find(c) for c in "([{") if i >= 0]
    closing = max(text.rfind(c) for c in ")]}")
    if target.brackets and opening and closing > min(opening):
        inner = read_items(text[min(opening) : closing + 1], len(target.items))
        if inner:
            return inner
    tail = re.split(r"\b(?:are|is|were)\b|:", text)[-1]
    return read_items(tail, len(target.items))


def _same_item(answer: str, gold: str, unit: str | None) -> Verdict:
    if "".join(answer.split()) == "".join(gold.split()):
        return Verdict.RIGHT
    return same_answer(answer, gold, unit=unit).verdict


def _in_order(mine: list[str], theirs: list[str], read: str, unit: str | None) -> Reading:
    verdicts = [_same_item(a, g, unit) for a, g in zip(mine, theirs, strict=True)]
    if all(v is Verdict.RIGHT for v in verdicts):
        return Reading(Verdict.RIGHT, read, "equal")
    if any(v in (Verdict.WRONG, Verdict.MISSING) for v in verdicts) or all(
        len(g.split()) <= 2 for g in theirs
    ):
        return Reading(Verdict.WRONG, read, "different items")
    return Reading(Verdict.UNGRADABLE, read, "some items could not be compared")


def _any_order(mine: list[str], theirs: list[str], read: str, unit: str | None) -> Reading:
    left = list(theirs)
    for item in mine:
        match = next((g for g in left if _same_item(item, g, unit) is Verdict.RIGHT), None)
        if match is None:
            return Reading(Verdict.WRONG, read, f"{item} is not in the gold")
        left.remove(match)
    return Reading(Verdict.RIGHT, read, "equal")


def _distinct(items: list[str], unit: str | None) -> list[str]:
    out: list[str] = []
    for item in items:
        if not any(_same_item(item, other, unit) is Verdict.RIGHT for other in out):
            out.append(item)
    return out


_NOISE = re.compile(r"\\left|\\right|\\[,;:! ]|\\displaystyle|\s+")


def _tight(text: str) -> str:
    """An expression without what carries no meaning."""
    text = _NOISE.sub("", boxed(plain(text)).replace("dfrac", "frac").replace("tfrac", "frac")).strip("$.")
    return (
        text.replace("**", "^")
        .replace("\\cdot", "*")
        .replace("·", "*")
        .replace("\\times", "*")
        .replace("×", "*")
    )


def _expression(answer: str, gold: str, unit: str | None) -> Reading:
    mine, theirs = _tight(answer), _tight(gold)
    if mine == theirs:
        return Reading(Verdict.RIGHT, answer.strip(), "equal as written")
    target, said = unwrap(gold), unwrap(answer)
    known, found = read_number(target), read_number(said)
    if known is not None and found is not None:
        return _number(answer, gold, Kind.NUMBER, unit)
    body = core(re.sub(r"[.!]+$", "", boxed(plain(answer)).strip().strip("$").strip()))
    if any(
        len(w) > 2 and w.lower() not in _FUNCTIONS
        for w in _ALGEBRA_WORD.findall(re.sub(r"\\[A-Za-z]+", " ", body))
    ):
        return Reading(Verdict.WRONG, said, "not an expression")
    same, reason = same_expression(body, boxed(plain(gold)).strip().strip("$").strip())
    if same is None:
        return Reading(Verdict.UNGRADABLE, said, reason)
    return Reading(Verdict.RIGHT if same else Verdict.WRONG, said, reason)
