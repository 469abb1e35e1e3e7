"""Multiple choice: which letters an answer names where letters can stand, and which option's text it is."""

import re
from collections.abc import Sequence

from everystep.core.types import Reading, Verdict
from everystep.verify.amounts import same_amount
from everystep.verify.candidates import offered
from everystep.verify.latex import unwrap
from everystep.verify.numbers import plain
from everystep.verify.texts import LEAD, core, normal, unlabelled

_LETTER = r"[\(\[<]?\s*([A-Ja-j])\s*[\)\]>]?"
_WHOLE = re.compile(rf"^\s*(?:(?:option|choice|answer|letter)\s*:?\s*)?{_LETTER}\s*[.:!?)]*\s*$", re.IGNORECASE)
_LABELLED = re.compile(r"^\s*(?:\(([A-Ja-j])\)|\[([A-Ja-j])\]|([A-Ja-j])\)|([A-J])[.:]|([A-J])\s+[-=])(?:\s+|$|(?=\w))")
_NAMED = re.compile(r"\b(?:option|choice|letter|answer)\s*(?:is|:|=)?\s*[\(\[]?([A-J])\b[\)\]]?(?!')", re.IGNORECASE)
_PARENTHESISED = re.compile(r"(?<!\w)[\(\[]([A-J])[\)\]]")
_CHOSEN = re.compile(
    r"\b(?i:is|it's|maybe|perhaps|probably|likely|guess|choose|chose|pick|select|be|with|say|therefore|so|thus|hence|:)\s*,?\s*[\(\[]?([A-J])[\)\]]?\s*[.!]*$"
)
_PICKED = re.compile(
    r"\b(?i:choose|chose|pick|picked|select|go with) [\(\[]?([A-J])\b[\)\]]?(?= (?:over|rather|not)|,)"
)
_PRAISED = re.compile(r"[\(\[]?\b([A-J])[\)\]]?\s+is\s+(?:the\s+)?(?:correct|right|true|best|answer)\b")
_EXCLUDED = re.compile(r"\b(?:not|neither|nor)\s+[\(\[]?[A-J]\b")
_SEVERAL = re.compile(
    r"^\s*[\(\[]?([A-J])[\)\]]?(?:\s*(?:,|/|&|\+|;|and|or|,\s*(?:and|or))\s*[\(\[]?([A-J])[\)\]]?)+\s*\.?\s*$"
)
_BESIDE = re.compile(r"^\s*[\(\[]?([A-J])[\)\]]?\s*[\(\[]([A-J])[\)\]]\s*\.?\s*$")  # `B (A)`
_RULED_OUT = re.compile(
    r"\b(?:wrong|incorrect|not|false|eliminat\w*|isn't|can't|cannot|impossible|rule[sd]?\s+out)\b", re.I
)

_ORDINALS: tuple[str, ...] = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
)  # fmt: skip
_ORDINAL = re.compile(
    rf"\b(?:({'|'.join(_ORDINALS)})|([1-9])(?:st|nd|rd|th))\s+(?:answer\s+)?(?:option|choice)\b",
    re.IGNORECASE,
)
_REMARK = re.compile(r"(?<=\w)\s+\((?!\s*[A-J]\s*\))[^()]*\)")
_MAX_OPTION = 1000


def letters(text: str) -> set[str]:
    """The choices (upper-case letters) an answer names where letters can stand; empty where it names none."""
    text = text.strip()
    whole = _WHOLE.match(text)
    if whole:
        return {whole.group(1).upper()}
    if re.fullmatch(r"[A-J]{2,10}", text):
        return set(text)
    found: set[str] = set()
    both = _BESIDE.match(text)
    if both:
        return set(both.groups())
    text = _REMARK.sub("", text)
    stripped = re.sub(r"^(?:both|either|neither)\s+", "", LEAD.sub("", text, count=1), flags=re.IGNORECASE)
    if _SEVERAL.match(stripped):
        return set(re.findall(r"\b[A-J]\b", stripped))
    label = _LABELLED.match(stripped)
    if label:
        found.add(next(g for g in label.groups() if g).upper())
    for clause in re.split(r"[,;\n]|(?<=[\w)])\.\s|\b(?:but|because|since)\b", text):
        if not clause or _RULED_OUT.search(clause):
            continue
        alone = _WHOLE.match(clause)
        if alone and (alone.group(1).isupper() or clause.strip(" .") == text.strip(" .")):
            found.add(alone.group(1).upper())
        several = _SEVERAL.match(LEAD.sub("", clause.strip(), count=1))
        if several:
            found.update(re.findall(r"\b[A-J]\b", clause))
        for match in _ORDINAL.finditer(clause):
            place = int(match.group(2)) - 1 if match.group(2) else _ORDINALS.index(match.group(1).lower())
            found.add(chr(65 + place))
        for pattern in (_NAMED, _PARENTHESISED, _CHOSEN, _PICKED, _PRAISED):
            for match in pattern.finditer(clause):
                letter = match.group(1)
                if letter.isupper() or len(match.group()) > 7:
                    found.add(letter.upper())
    return found


def grade_choice(answer: str, gold: str, choices: Sequence[str]) -> Reading:
    """The verdict on a multiple-choice answer; with `choices`, an option's text is as good as its letter."""
    options = [unlabelled(plain(c[:_MAX_OPTION])) for c in choices]
    target = unwrap(gold)
    letter = re.fullmatch(r"\(?([A-Ja-j])\)?[.:]?", target) or re.match(r"\(?([A-J])\)?[).:]\s", target)
    right = letter.group(1).upper() if letter else None
    if right is None:
        same = [i for i, o in enumerate(options) if normal(o) == normal(target)]
        if len(same) != 1:
            return Reading(Verdict.UNGRADABLE, None, "the gold answer is neither a letter nor one of the options")
        right = chr(65 + same[0])
    if choices and ord(right) - 65 >= len(choices):
        return Reading(Verdict.UNGRADABLE, None, f"the gold {right} is not among the {len(choices)} options")
    text = unwrap(answer)
    said = letters(text)
    by_text = _options_said(text, options)
    if len(by_text) == 1 and (not said or said == by_text or _is_option(text, options)):
        said = by_text
    elif by_text and said and not said & by_text:
        return Reading(Verdict.WRONG, "/".join(sorted(said | by_text)), "the letter and the option's text differ")
    if len(said) > 1:
        return Reading(Verdict.WRONG, "/".join(sorted(said)), "more than one choice")
    if not said:
        if choices or len(normal(text)) <= 1 or _EXCLUDED.search(text):
            return Reading(Verdict.WRONG, None, "names none of the choices")
        return Reading(Verdict.UNGRADABLE, None, "names no letter, and the options are not known")
    read = next(iter(said))
    return Reading(
        Verdict.RIGHT if read == right else Verdict.WRONG,
        read,
        "the choice" if read == right else "another choice",
    )


def _is_option(text: str, options: list[str]) -> bool:
    return not _LABELLED.match(core(text)) and any(normal(core(text)) == normal(o) for o in options)


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
