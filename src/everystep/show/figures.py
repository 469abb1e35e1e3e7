"""Texts whose figures know where they are from.

A text is a tuple of parts: our own words; figures, each with its source; and quotes, which are texts of the run.
"""

import math
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from everystep.show.checked import printable

QUOTE = 40  # characters of a text of the run, unless more are asked for

FORMS: dict[str, Callable[[float], str]] = {
    "percent": lambda v: f"{100 * v:.1f}",
    "points": lambda v: f"{100 * v:+.1f}".replace("-", "−"),
    "count": lambda v: f"{int(v):,}",
    "number": lambda v: f"{v:g}",
    "three": lambda v: f"{v:.3g}",
    "tenth": lambda v: f"{v:.1f}",
    "p": lambda v: "< 0.001" if v < 0.001 else f"= {v:.3f}",
    "millions": lambda v: f"{v / 1e6:,.1f} million",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A number as shown, its value, which of `FORMS` made one of the other, and where it is from: a file (relative
    to the run) and a JSON pointer in it, or words that say how it was worked out from that file."""

    text: str
    value: float
    form: str
    file: str
    at: str


@dataclass(frozen=True, slots=True)
class Quote:
    """A text of the run, made printable, and where it is from."""

    text: str
    file: str
    at: str


Words = tuple[str | Figure | Quote, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Values of one file of the run, from which texts are made. `base`: where in the file they are; `how`: of
    values that were worked out from the file, in words."""

    values: Any
    file: str
    base: tuple[str | int, ...] = ()
    how: str = ""

    def at(self, *keys: str | int) -> "Source":
        """What is at these keys. Raises KeyError where there is nothing."""
        value = self.values
        for key in keys:
            value = value[key]
        return replace(self, values=value, base=(*self.base, *keys))

    def fill(self, template: str) -> Words:
        """The template as a text: `{a.b:percent}` becomes the figure at these keys, shown in that one of `FORMS`;
        `{a}` a quote, `{a:90}` one of up to 90 characters; what is not there becomes "–".

        >>> Source({"n": 3, "name": "x"}, "a.json").fill("{n:count} of {name}")[1]
        ' of '
        """
        out: list[str | Figure | Quote] = []
        for literal, keys, form, _ in string.Formatter().parse(template):
            out += [literal] if literal else []
            if keys is not None:
                out.append(self._part(keys.split(".") if keys else [], form or ""))
        return tuple(out)

    def _part(self, keys: Sequence[str], form: str) -> str | Figure | Quote:
        value: Any = self.values
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        where = (*self.base, *keys)
        at = f"{self.how}: {'.'.join(map(str, where))}" if self.how else pointer(*where)
        if value is None or (form in FORMS and not (isinstance(value, (int, float)) and math.isfinite(value))):
            return "–"
        if form in FORMS:
            return Figure(FORMS[form](value), value, form, self.file, at)
        most, shown = int(form or QUOTE), " ".join(printable(str(value)).split())
        return Quote(shown if len(shown) <= most else shown[: most - 1] + "…", self.file, at)


def pointer(*keys: str | int) -> str:
    """A JSON pointer (RFC 6901).

    >>> pointer("stages", "a/b", 0)
    '/stages/a~1b/0'
    """
    return "".join("/" + str(k).replace("~", "~0").replace("/", "~1") for k in keys)


def plain(words: Words) -> str:
    """A text without its sources."""
    return "".join(part if isinstance(part, str) else part.text for part in words)


def listed(parts: Sequence[Words], by: str = ", ") -> Words:
    """Texts one after another."""
    return tuple(one for i, part in enumerate(parts) for one in (((by,) if i else ()) + part))
