"""The film of a run as plain data: its scenes, what is said in them and when, and where every figure is from.

Nothing is read from a run here (`film.scenes`), nothing drawn (`film.frames`) and nothing encoded
(`film.write`). Text is made of parts: our own words, which hold no digit; figures, each with the file and the
place it was read from; and quotes, which are texts of the run.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

LONGEST = 180.0  # seconds; no film is longer, whatever its run
PACE = 2.5  # spoken words a second: 150 a minute
LEAD, PAUSE, TAIL = 0.6, 0.35, 0.9  # seconds of a scene before, between and after its sentences

FORMS: dict[str, Callable[[float], str]] = {
    "percent": lambda v: f"{100 * v:.1f}",
    "points": lambda v: f"{100 * v:+.1f}".replace("-", "−"),
    "count": lambda v: f"{int(v):,}",
    "number": lambda v: f"{v:g}",
    "three": lambda v: f"{v:.3g}",
    "two": lambda v: f"{v:.2g}",
    "tenth": lambda v: f"{v:.1f}",
    "p": lambda v: "< 0.001" if v < 0.001 else f"= {v:.3f}",
    "size": lambda v: _size(v),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A number as it is shown, its value, which of `FORMS` made the one of the other, and where it is from:
    a file (relative to the run) and a JSON pointer in it (of a `.jsonl`: in the list of its rows), or words
    that say how it was worked out from that file."""

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


@dataclass(frozen=True, slots=True)
class Words:
    """A text in parts."""

    parts: tuple[str | Figure | Quote, ...]

    @property
    def text(self) -> str:
        return "".join(p if isinstance(p, str) else p.text for p in self.parts)


@dataclass(frozen=True, slots=True)
class Sentence:
    """What is said at one time. `shows`: how many of the scene's items are to be seen from then on. `rank`: 0
    for what must be said; the highest is left out first where time is short."""

    words: Words
    shows: int = 0
    rank: int = 0

    @property
    def seconds(self) -> float:
        return spoken(self.words.text) / PACE


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a completion. `truth`: that of the claim it is of, "" outside claims. At the end of a claim
    `sign` is what stands behind it, `claim` the claim as it was read, and `why` the verdict's reason."""

    text: str
    truth: str = ""
    sign: str = ""
    claim: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """A completion with its claims marked; `right`: right in form, and no false claim; `reward`: what
    it would earn, part by part; `where`: file and line."""

    heading: Words
    pieces: tuple[Piece, ...]
    right: bool
    outcome: Words
    reward: tuple[tuple[Quote, Words], ...]
    where: str


@dataclass(frozen=True, slots=True)
class Card:
    """The title card."""

    under: Words
    facts: tuple[Words, ...]
    shown: Shown | None


@dataclass(frozen=True, slots=True)
class Panels:
    """One task, answered by several stages."""

    question: Words
    panels: tuple[Shown, ...]
    note: Words


@dataclass(frozen=True, slots=True)
class Diagram:
    """The model and the way it is trained. `layers`: for each block whether it sees everything ("global"),
    a window ("local"), or it is not known (""); `flow`: the boxes of training, name and what it does; `form`:
    the agreed form, line by line."""

    model: Words
    stack: tuple[tuple[Words, Words], ...]
    layers: tuple[str, ...]
    block: tuple[tuple[Words, Words], ...]
    flow: tuple[tuple[Words, Words], ...]
    form: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Training:
    """What training is made of: a task of it, how many there are, the reward's parts with their weights and
    what completions can earn, the loop in lines of code, and the rewards of one group of the run."""

    task: tuple[tuple[str, Words], ...]
    counts: tuple[Words, ...]
    reward: Words
    parts: tuple[tuple[Quote, Figure], ...]
    order: tuple[Words, ...]
    loop: tuple[Words, ...]
    group: tuple[Figure, ...]
    group_of: Words


@dataclass(frozen=True, slots=True)
class Curve:
    """Values over steps: every point is one of `key` in the rows of `file`."""

    name: str
    file: str
    key: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    title: Words
    axis: str
    percent: bool
    curves: tuple[Curve, ...]
    ends: Words


@dataclass(frozen=True, slots=True)
class Charts:
    charts: tuple[Chart, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One task and its completion, claim by claim; `rate`: how the policy does on tasks like it."""

    question: Words
    shown: Shown
    rate: Words


@dataclass(frozen=True, slots=True)
class Insights:
    """What the run supports, and what it does not."""

    items: tuple[Words, ...]
    left_out: tuple[Words, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """The table of the stages, the comparisons below it, and a last completion."""

    head: tuple[str, ...]
    rows: tuple[tuple[Words, ...], ...]
    pairs: tuple[Words, ...]
    question: Words
    shown: Shown


Content = Card | Panels | Diagram | Training | Charts | Example | Insights | Result


@dataclass(frozen=True, slots=True)
class Scene:
    """`kicker` stands above the title; `least`: seconds that what is shown needs; `rank` as a sentence's."""

    kind: str
    kicker: str
    title: Words
    sentences: tuple[Sentence, ...]
    content: Content
    source: str
    least: float = 0.0
    rank: int = 0

    @property
    def seconds(self) -> float:
        said = sum(s.seconds for s in self.sentences) + PAUSE * max(0, len(self.sentences) - 1)
        # In whole tenths, so that a sum of many is exact enough to be counted in frames.
        return math.ceil(10 * max(self.least, LEAD + said + TAIL)) / 10

    def starts(self) -> tuple[float, ...]:
        """When each sentence begins, in seconds from the scene's beginning; spare time lies between."""
        n = len(self.sentences)
        spare = self.seconds - TAIL - LEAD - sum(s.seconds for s in self.sentences)
        gap = min(1.6, spare / (n - 1)) if n > 1 else 0.0
        at, out = LEAD, []
        for sentence in self.sentences:
            out.append(at)
            at += sentence.seconds + gap
        return tuple(out)


@dataclass(frozen=True, slots=True)
class Film:
    """All of it. `remarks`: what the run has not got, or damage that was met."""

    name: str
    scenes: tuple[Scene, ...]
    remarks: tuple[str, ...]

    @property
    def seconds(self) -> float:
        return round(sum(s.seconds for s in self.scenes), 1)


def say(*parts: str | Figure | Quote | Words) -> Words:
    """A text of these parts; texts among them are taken in.

    >>> say("a", say("b", "c")).text
    'abc'
    """
    out: list[str | Figure | Quote] = []
    for part in parts:
        out += part.parts if isinstance(part, Words) else (part,)
    return Words(tuple(out))


def listed(parts: Sequence[Figure | Quote | Words], by: str = ", ") -> Words:
    """Parts one after another."""
    return say(*(one for i, part in enumerate(parts) for one in ((by, part) if i else (part,))))


def figure(form: str, value: float, file: str, at: str) -> Figure:
    """A value as it is shown in one of `FORMS`, with its source."""
    return Figure(FORMS[form](value), value, form, file, at)


def fit(scenes: Sequence[Scene], seconds: float = LONGEST) -> tuple[Scene, ...]:
    """The scenes, without what has the highest rank until they last no longer than `seconds`.

    Raises ValueError, with the least that is possible, where what must stay is longer, and for more than
    `LONGEST`.
    """
    if not 0 < seconds <= LONGEST:
        raise ValueError(f"a film lasts at most {LONGEST:.0f} seconds, asked for {seconds:g}")
    some = list(scenes)
    while (lasts := round(sum(s.seconds for s in some), 1)) > seconds:
        ranks = [(s.rank, i, -1) for i, s in enumerate(some)]
        ranks += [(one.rank, i, k) for i, s in enumerate(some) for k, one in enumerate(s.sentences)]
        rank, i, k = max(ranks)
        if rank == 0:
            raise ValueError(f"the film of this run needs at least {math.ceil(lasts)} seconds; give as many")
        if k < 0:
            del some[i]
        else:
            some[i] = replace(some[i], sentences=some[i].sentences[:k] + some[i].sentences[k + 1 :])
    return tuple(some)


def spoken(text: str) -> int:
    """How many words a text is when it is spoken, its numbers included: not fewer than that.

    >>> spoken("right on 87.8 percent of 1,319"), spoken("plus 5")
    (13, 2)
    """
    n = 0
    for word in text.split():
        numbers = re.findall(r"\d[\d,]*|\.\d+", word)
        n += sum(len(x) if x[0] == "." else _named(x.replace(",", "")) for x in numbers)
        n += max(1, len(re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", word))) if not numbers else 0
        n += 1 if numbers and re.search(r"[^\W\d_]", word) else 0
    return n


def every(thing: Any, kind: type) -> Iterator[Any]:
    """Everything of a kind (`Figure`, `Quote`, `Words`) in a film or a part of it, in order."""
    if isinstance(thing, kind):
        yield thing
    if is_dataclass(thing) and not isinstance(thing, type):
        for field in fields(thing):
            yield from every(getattr(thing, field.name), kind)
    elif isinstance(thing, tuple):
        for one in thing:
            yield from every(one, kind)


def _named(digits: str) -> int:
    """Words of a whole number: its hundreds, its tens and ones, and the names of its thousands."""
    if len(digits) > 9:
        return len(digits)
    n = 0
    for end in range(len(digits), 0, -3):
        group = int(digits[max(0, end - 3) : end])
        hundreds, rest = divmod(group, 100)
        n += 2 * bool(hundreds) + (2 if rest > 20 and rest % 10 else bool(rest))
        n += bool(group) and end < len(digits)
    return max(1, n)


def _size(value: float) -> str:
    for name, unit in (("billion", 1e9), ("million", 1e6)):
        if value >= unit:
            return f"{value / unit:.1f} {name}"
    return f"{int(value):,}"
