"""Is an answer the gold answer? The kind of the gold decides how they are compared, never the answer.

Every rule is bounded and total: any text gets a `Reading`, none raises. Only expressions that plain reading
cannot settle go to `symbolic.py`, and they may take its time limit.

>>> same_answer("500 cm", "5 m").reason
'equal after converting metre to centimetre'
>>> same_answer("60 km/h", "60 mph").verdict, same_answer("41 or 42", "42").reason
(<Verdict.WRONG: 'wrong'>, 'two different values: 41, 42')
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

from everystep.core.types import Kind, Reading, Verdict
from everystep.verify.amounts import same_amount
from everystep.verify.candidates import offered
from everystep.verify.choices import grade_choice
from everystep.verify.dates import grade_date, grade_time
from everystep.verify.kinds import ALGEBRA_WORD, FUNCTIONS, NOT_FINITE, NUMERIC, RATIO, infer_kind
from everystep.verify.latex import boxed, unwrap
from everystep.verify.lists import grade_list
from everystep.verify.numbers import MAX_CHARS, plain, read_number
from everystep.verify.phrases import Amount, singular
from everystep.verify.symbolic import same_expression
from everystep.verify.texts import core, normal, polarity, same_text
from everystep.verify.units import find_units

_MAX_TEXT = 20_000
# `8 (or 27)` offers both; any other remark in brackets is set aside where the answer is read.
_HEDGE = re.compile(
    r"[(\[]\s*(?:or|possibly|perhaps|maybe|alternatively)\b(?!\s+so\s*[)\]])[,:]?\s*"
    r"(?:(?:else|even|possibly|perhaps|maybe)\s+)?([^()\[\]]{1,80})[)\]]",
    re.IGNORECASE,
)


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
    `choices` are the options in order (for text: all the answers there can be); `aliases` are other texts
    that are as right as the gold. A gold that cannot be read as its kind gives UNGRADABLE, a blank answer
    MISSING, an answer of more than 200 characters WRONG (free text: UNGRADABLE unless equal).
    """
    if not answer.strip() or (len(answer) <= MAX_CHARS and not plain(answer).strip()):
        return Reading(Verdict.MISSING, None, "the answer is blank")
    if not gold.strip() or len(gold) > _MAX_TEXT:
        return Reading(Verdict.UNGRADABLE, None, "the gold answer is blank or too long")
    if NOT_FINITE.fullmatch(gold.strip()) and not aliases:
        return Reading(Verdict.UNGRADABLE, None, "the gold answer is not a finite value")
    kind = kind or infer_kind(gold, unit=unit, choices=choices)
    if len(answer) <= MAX_CHARS and not _HEDGE.search(gold):
        answer = _HEDGE.sub(r" or \1 ", answer)
    if kind is Kind.TEXT:
        found = _text(answer, gold, aliases)
        if choices and found.verdict is Verdict.UNGRADABLE and len(answer.strip()) <= MAX_CHARS:
            return Reading(Verdict.WRONG, found.read, "not the right one of the possible answers")  # a closed set
        return found
    if len(answer.strip()) > MAX_CHARS:
        return Reading(Verdict.WRONG, None, f"too long: more than {MAX_CHARS} characters")
    for alias in aliases:
        if normal(alias) and normal(unwrap(answer)) == normal(alias):
            return Reading(Verdict.RIGHT, alias, "equal to an alias")
    if len(gold) > 10 * MAX_CHARS:
        return Reading(Verdict.UNGRADABLE, None, "the gold answer is too long for its kind")
    if kind in NUMERIC:
        return _number(answer, gold, kind, unit)
    if kind is Kind.CHOICE:
        return grade_choice(answer, gold, choices)
    if kind is Kind.BOOLEAN:
        return _boolean(answer, gold)
    if kind is Kind.DATE:
        return grade_date(answer, gold)
    if kind is Kind.TIME and _HOURS.fullmatch(gold.strip()) and re.search(r"\b(?:hour|hr|min)", answer):
        return _number(answer, _tidy(gold), Kind.QUANTITY, unit)
    if kind is Kind.TIME:
        return grade_time(answer, gold)
    if kind is Kind.LIST:
        return grade_list(answer, gold, lambda a, g: same_answer(a, g, unit=unit).verdict)
    return _expression(answer, gold, unit)


@lru_cache(maxsize=4096)
def _gold_amount(gold: str, kind: Kind, unit: str | None) -> Amount | None:
    """The gold's one amount, with the unit it was given beside its text."""
    text = unwrap(gold)
    ratio = RATIO.fullmatch(text)
    if ratio and kind is not Kind.TIME:
        bottom = Fraction(ratio.group(2))
        return None if not bottom else Amount(Fraction(ratio.group(1)) / bottom, text, 0, len(text), fraction=True)
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
    if any(u.name == "metre" for u in one.units):  # a gold "5 m" is a length; only an answer's "m" may be minutes
        one = replace(one, units=one.units[:1])
    if kind is Kind.PERCENT and not one.units:
        one = replace(one, percent=True)
    return one


def _number(answer: str, gold: str, kind: Kind, unit: str | None) -> Reading:
    target = _gold_amount(gold, kind, unit)
    if target is None:
        return Reading(Verdict.UNGRADABLE, None, f"the gold answer is no {kind.value}")
    text = _tidy(unwrap(answer))
    if target.value == 0 and _NO_THINGS.fullmatch(text):
        return Reading(Verdict.RIGHT, text, "none")
    ratio = RATIO.fullmatch(core(text)) or _one_ratio(text, gold)
    whole = target.units or target.noun or target.percent or (target.value.denominator == 1 and ":" not in gold)
    if ratio and Fraction(ratio.group(2)) and not whole:
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
    reading = _judge(found.amounts, target)
    if reading.verdict is Verdict.WRONG and len(found.amounts) == 1 and _POINTED.fullmatch(found.amounts[0].text):
        grouped = replace(found.amounts[0], value=found.amounts[0].value * 1000, step=None)
        if _judge((grouped,), target).verdict.right:
            return Reading(Verdict.UNGRADABLE, reading.read, "a point that may group thousands")
    return reading


# Letters of Chinese, Japanese and Korean, but for those that are scales (万, 亿).
_CJK = re.compile(
    r"[\u3040-\u30ff\u3400-\u4e06\u4e08-\u4ebe\u4ec0-\u5103\u5105-\u842b\u842d-\u9fff\uac00-\ud7af]+[。]?"
)
_MYRIADS = re.compile(r"(\d{1,9}(?:\.\d{1,4})?)\s?[万萬]")
_HOURS = re.compile(r"\b(\d{1,3})\s?h\s?([0-5]\d)\b(?!\s*[a-zA-Z:])")
_LABELLED = re.compile(r"^\s*[^\W\d_]*[^\x00-\x7f\W\d_][^\W\d_]*\s+-\s+(?=[$€£]?\d)")
_IN_BRACKETS = re.compile(r"^(\s*[-+$€£]?[\d.,/]+)\s*\(([A-Za-z]{1,20})\)\s*$")
_NO_THINGS = re.compile(
    r"(?:(?:there|they|he|she|it) (?:are|is|has|have|had) )?"
    r"no (?:[a-z]+s|people|children|money)(?: (?:left|remaining|more))?\.?",
    re.I,
)
_POINTED = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+")


def _tidy(text: str) -> str:
    """An answer's text without the words of other scripts around a number, `2h30` and `12 (apples)` written out."""
    if not text.isascii():
        text = _LABELLED.sub("", text)
        text = _MYRIADS.sub(lambda m: str(Fraction(m.group(1)) * 10**4), text)
        text = _CJK.sub(" ", text) if any(c.isdigit() for c in text) else text
    return _IN_BRACKETS.sub(r"\1 \2", _HOURS.sub(r"\1h \2min", text)).strip()


def _one_ratio(text: str, gold: str) -> re.Match[str] | None:
    """The only numbers of the text, where they are a ratio and the gold is one."""
    if ":" not in gold or len(re.findall(r"\d+", text)) != 2:
        return None
    return re.search(r"(\d{1,12})\s*:\s*(\d{1,12})", text)


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


_NOISE = re.compile(r"\\left|\\right|\\[,;:! ]|\\displaystyle|\s+")


def _tight(text: str) -> str:
    """An expression without what carries no meaning."""
    text = _NOISE.sub("", boxed(plain(text)).replace("dfrac", "frac").replace("tfrac", "frac")).strip("$.")
    text = text.replace("\\varnothing", "∅").replace("\\emptyset", "∅")
    return text.replace("**", "^").replace("\\cdot", "*").replace("·", "*").replace("\\times", "*").replace("×", "*")


_MATRIX = re.compile(r"\\begin\{([bpB]?matrix|array)\}(?:\{[^{}]*\})?(.*?)\\end\{\1\}", re.DOTALL)
_NESTED = re.compile(r"\[((?:\s*\[[^\[\]]{1,200}\]\s*,?){1,12})\]")
_UNION = re.compile(r"\s*(?:∪|\\cup\b)\s*")


def _cells(text: str) -> list[list[str]] | None:
    """The rows of a matrix in LaTeX, in any brackets; None for anything else."""
    if (nested := _NESTED.fullmatch(text.strip(" $"))) and "\\" not in text:
        return [row.split(",") for row in re.findall(r"\[([^\[\]]*)\]", nested.group(1).replace(" ", ""))]
    found = list(_MATRIX.finditer(text[:2000]))
    if len(found) != 1:
        return None
    rows = [r for r in found[0].group(2).split("\\\\") if r.strip()]
    return [[cell.strip() for cell in row.split("&")] for row in rows]


def _by_parts(answer: str, gold: str) -> Reading | None:
    """The verdict on matrices, cell by cell, and on unions of intervals, in any order; None for others."""
    target = _cells(gold)
    if target is not None:
        said = _cells(answer)
        if said is None or [len(r) for r in said] != [len(r) for r in target]:
            return None if said is None else Reading(Verdict.WRONG, answer.strip(), "a matrix of another shape")
        pairs = [(a, g) for mine, theirs in zip(said, target, strict=True) for a, g in zip(mine, theirs, strict=True)]
        right = all("".join(a.split()) == "".join(g.split()) or same_answer(a, g).verdict.right for a, g in pairs)
        return Reading(Verdict.RIGHT if right else Verdict.WRONG, answer.strip(), "equal" if right else "other cells")
    parts = [_UNION.split(unwrap(t)) for t in (answer, gold)]
    if not 1 < len(parts[1]) < 9 or not all(p.strip()[:1] in ("(", "[", "]", "{") for p in parts[0] + parts[1] if p):
        return None
    left = list(parts[1])
    for part in parts[0]:
        same = next((g for g in left if same_answer(part, g, Kind.LIST).verdict.right), None)
        if same is None:
            return Reading(Verdict.WRONG, unwrap(answer), "other intervals")
        left.remove(same)
    return Reading(
        Verdict.WRONG if left else Verdict.RIGHT, unwrap(answer), "an interval is missing" if left else "equal"
    )


def _expression(answer: str, gold: str, unit: str | None) -> Reading:
    if (parts := _by_parts(answer, gold)) is not None:
        return parts
    mine, theirs = _tight(answer), _tight(gold)
    if mine == theirs:
        return Reading(Verdict.RIGHT, answer.strip(), "equal as written")
    target, said = unwrap(gold), unwrap(answer)
    known, found = read_number(target), read_number(said)
    if known is not None and found is not None:
        return _number(answer, gold, Kind.NUMBER, unit)
    body = core(re.sub(r"\.+$", "", boxed(plain(answer)).strip().strip("$").strip()))
    if any(len(w) > 2 and w.lower() not in FUNCTIONS for w in ALGEBRA_WORD.findall(re.sub(r"\\[A-Za-z]+", " ", body))):
        return Reading(Verdict.WRONG, said, "not an expression")
    same, reason = same_expression(body, boxed(plain(gold)).strip().strip("$").strip())
    if same is None:
        return Reading(Verdict.UNGRADABLE, said, reason)
    return Reading(Verdict.RIGHT if same else Verdict.WRONG, said, reason)
