"""Reading lists, tuples, sets and ranges: brackets, items, names of items."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from everystep.core.types import Reading, Verdict
from everystep.verify.latex import unwrap
from everystep.verify.numbers import read_number
from everystep.verify.phrases import amounts_in
from everystep.verify.texts import core

Same = Callable[[str, str], Verdict]

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_NAME = re.compile(r"^\s*([A-Za-z]\w{0,2}(?:_\w)?)\s*(?:=|:|∈)\s*")
_WORD_SEPARATOR = re.compile(r"\s*(?:;|,?\s+and\s+|,?\s+or\s+|&|\n)\s*")
_TUPLES = re.compile(r"(?<=[\w}])\)\s*(?:,?\s*(?:and|or)\s+|;\s*)\(")  # `(1, 2) and (3, 4)`
_TUPLE = re.compile(r"\(.*,.*\)", re.DOTALL)
MAX_ITEMS = 40


@dataclass(frozen=True, slots=True)
class Items:
    """The items of a list as written, its brackets ("" for none; "[)" for a half-open interval) and the
    items' names where all have one ("x = 2, y = 3")."""

    items: tuple[str, ...]
    brackets: str
    names: tuple[str, ...] = ()


def read_items(text: str, count: int | None = None) -> Items | None:
    """The list in a plain text; None where it has fewer than two items and no brackets. Of several ways to
    split ("1,234, 5"), the one with `count` items is taken, otherwise the one at commas before spaces."""
    text = _TUPLES.sub("), (", text.strip().rstrip(".").strip())
    if len(text) > 2 and (text[0] == "]" or text[-1] == "["):  # `]1, 4]` is (1, 4]
        text = ("(" if text[0] == "]" else text[0]) + text[1:-1] + (")" if text[-1] == "[" else text[-1])
    name = re.match(r"^\s*\(?\s*[A-Za-z]\w?(?:\s*,\s*[A-Za-z]\w?)*\s*\)?\s*(?:=|∈)\s*(?=[(\[{])", text)
    if name:
        text = text[name.end() :]
    if len(text) > 2 and text[0] in "<⟨" and text[-1] in ">⟩":  # a vector
        text = f"({text[1:-1]})"
    brackets = ""
    if len(text) >= 2 and text[0] in _CLOSING and text[-1] in ")]}" and _encloses(text):
        brackets, text = text[0] + text[-1], text[1:-1]
    ways = []
    spaced = _split(text, ", ")
    if len(spaced) > 1:
        ways.append(spaced)
    tight = _split(text, ",")
    if tight != spaced:
        ways.append(tight)
    gaps = text.split()
    if len(gaps) > 1 and all(read_number(g) is not None for g in gaps):
        ways.append(gaps)
    ways = [[i.strip() for i in way if i.strip()] for way in ways]
    ways = [way for way in ways if 0 < len(way) <= MAX_ITEMS]
    if not ways:
        return None
    items = next((way for way in ways if len(way) == count), ways[0])
    if len(items) < 2 and not brackets:
        return None
    names = [_NAME.match(item) for item in items]
    if all(names):
        stripped = tuple(item[m.end() :].strip() for item, m in zip(items, names, strict=True) if m)
        return Items(stripped, brackets, tuple(m.group(1) for m in names if m))
    bare = tuple(item[m.end() :].strip() if m else item for item, m in zip(items, names, strict=True))
    return Items(bare if names[0] else tuple(items), brackets)


def _encloses(text: str) -> bool:
    """Whether the first bracket is closed by the last character."""
    depth = 0
    for i, c in enumerate(text):
        depth += (c in "([{") - (c in ")]}")
        if depth == 0:
            return i == len(text) - 1
    return False


def _split(text: str, separator: str) -> list[str]:
    """Split at top-level separators, and at ";", "and", "or"."""
    pieces, depth, last = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in "([{") - (c in ")]}")
        if depth == 0 and text.startswith(separator, i):
            pieces.append(text[last:i])
            last = i + len(separator)
    pieces.append(text[last:])
    out: list[str] = []
    for piece in pieces:
        if "(" in piece or "[" in piece:
            out.append(piece.removeprefix("and ").removeprefix("or "))
        else:
            out += _WORD_SEPARATOR.split(re.sub(r"^\s*(?:and|or)\s+", "", piece))
    return out


REMAINDER = re.compile(
    r"\s*(-?\d[\d,]*)\s*,?\s*(?:with\s+)?(?:an?\s+)?(?:r|rem|remainder)\.?\s*(?:of\s+)?(\d+)\s*", re.I
)
_PLUS_MINUS = re.compile(r"^(.*?)±\s*([\d.,/]+)(.*)$", re.DOTALL)


def _spread(text: str) -> str:
    """`±3` as its two values, `7 R 2` as a quotient and its remainder."""
    remainder = REMAINDER.fullmatch(core(text).rstrip("."))
    if remainder:
        return f"({remainder.group(1)}, {remainder.group(2)})"
    match = _PLUS_MINUS.match(text)
    if match and not re.search(r"[\d)]\s*$", match.group(1)):
        return f"{match.group(1)}{match.group(2)}, -{match.group(2)}{match.group(3)}"
    return text


def grade_list(answer: str, gold: str, same: Same) -> Reading:
    """The verdict on a list: brackets, number of items, names, and the items by `same`, in order where the
    gold's brackets or words say that order matters."""
    target = read_items(_spread(unwrap(gold)))
    if target is None:
        return Reading(Verdict.UNGRADABLE, None, "the gold answer is no list")
    text = _spread(unwrap(answer))
    if len(target.items) == 2 and target.brackets[:1] in ("(", "["):
        text = _interval(text)
    said = _said_items(text, target)
    if said is None:
        return Reading(Verdict.WRONG, None, "no list")
    read = ", ".join(said.items)
    both = said.brackets + target.brackets
    if (
        said.brackets
        and target.brackets
        and said.brackets != target.brackets
        and (len(target.items) == 2 or "{" in both)
    ):
        return Reading(Verdict.WRONG, read, f"brackets {said.brackets} are not {target.brackets}")
    mine, theirs = list(said.items), list(target.items)
    if target.brackets == "{}":
        mine, theirs = _distinct(mine), _distinct(theirs)
    if len(mine) != len(theirs):
        return Reading(Verdict.WRONG, read, f"{len(mine)} items, not {len(theirs)}")
    if said.names and target.names:
        if sorted(said.names) != sorted(target.names) and len(set(target.names)) == len(target.names):
            return Reading(Verdict.WRONG, read, "other names")
        if len(set(target.names)) == len(target.names):
            by_name = dict(zip(said.names, mine, strict=True))
            mine = [by_name[n] for n in target.names]
            return _in_order(mine, theirs, read, same)
    numeric = all(amounts_in(i) not in (None, []) for i in theirs)
    tuples = not target.brackets and all(_TUPLE.fullmatch(i.strip()) for i in theirs)
    if target.brackets == "{}" or tuples or (not target.brackets and numeric):
        return _any_order(mine, theirs, read, same)
    result = _in_order(mine, theirs, read, same)
    if (
        result.verdict is Verdict.WRONG
        and not target.brackets
        and (_any_order(mine, theirs, read, same).verdict is Verdict.RIGHT)
    ):
        return Reading(Verdict.UNGRADABLE, read, "the same items in another order")
    return result


_BOUND = r"(-?[\w.,/√π]+)"
_BETWEEN = re.compile(rf"{_BOUND}\s*([<≤])\s*[a-z]\s*([<≤])\s*{_BOUND}")
_ONE_SIDED = re.compile(rf"[a-z]\s*([<≤>≥])\s*{_BOUND}")


def _interval(text: str) -> str:
    """Inequalities as the interval they say: `2 ≤ x < 7` as `[2, 7)`, `x > 5` as `(5, ∞)`; other text as it is."""
    said = text.strip(" .$")
    if both := _BETWEEN.fullmatch(said):
        low, first, second, high = both.groups()
        return f"{'[' if first == '≤' else '('}{low}, {high}{']' if second == '≤' else ')'}"
    if one := _ONE_SIDED.fullmatch(said):
        sign, bound = one.groups()
        if sign in "<≤":
            return f"(-∞, {bound}{']' if sign == '≤' else ')'}"
        return f"{'[' if sign == '≥' else '('}{bound}, ∞)"
    return text


def _said_items(text: str, target: Items) -> Items | None:
    """The answer's list, also from within a sentence ("The roots are 2 and 3")."""
    if text.lstrip()[:1] in ("(", "{", "[", "]") and text.count("(") != 1:  # `(1, 2), (3, 4)` has no remark at its end
        found = read_items(text, len(target.items))
        if found:
            return found
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


def _same_item(answer: str, gold: str, same: Same) -> Verdict:
    if "".join(answer.split()) == "".join(gold.split()):
        return Verdict.RIGHT
    return same(answer, gold)


def _in_order(mine: list[str], theirs: list[str], read: str, same: Same) -> Reading:
    verdicts = [_same_item(a, g, same) for a, g in zip(mine, theirs, strict=True)]
    if all(v is Verdict.RIGHT for v in verdicts):
        return Reading(Verdict.RIGHT, read, "equal")
    if any(v in (Verdict.WRONG, Verdict.MISSING) for v in verdicts) or all(len(g.split()) <= 2 for g in theirs):
        return Reading(Verdict.WRONG, read, "different items")
    return Reading(Verdict.UNGRADABLE, read, "some items could not be compared")


def _any_order(mine: list[str], theirs: list[str], read: str, same: Same) -> Reading:
    left = list(theirs)
    for item in mine:
        match = next((g for g in left if _same_item(item, g, same) is Verdict.RIGHT), None)
        if match is None:
            return Reading(Verdict.WRONG, read, f"{item} is not in the gold")
        left.remove(match)
    return Reading(Verdict.RIGHT, read, "equal")


def _distinct(items: list[str]) -> list[str]:
    """The items of a set, each once: by value where they are numbers, else as written."""
    seen: dict[object, str] = {}
    for item in items:
        value = read_number(item)
        seen.setdefault("".join(item.split()) if value is None else value, item)
    return list(seen.values())
