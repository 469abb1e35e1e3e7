"""Reading lists, tuples, sets and ranges: brackets, items, names of items."""

import re
from dataclasses import dataclass

from showwork.verify.numbers import read_number

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_NAME = re.compile(r"^\s*([A-Za-z]\w{0,2}(?:_\w)?)\s*(?:=|:|∈)\s*")
_WORD_SEPARATOR = re.compile(r"\s*(?:;|,?\s+and\s+|,?\s+or\s+|&|\n)\s*")
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
    text = text.strip().rstrip(".").strip()
    name = re.match(r"^\s*\(?\s*[A-Za-z]\w?(?:\s*,\s*[A-Za-z]\w?)*\s*\)?\s*(?:=|∈)\s*(?=[(\[{])", text)
    if name:
        text = text[name.end() :]
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
