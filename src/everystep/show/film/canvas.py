"""Texts in pictures: fonts, colours, what a font can show, and lines that never leave their box.

The fonts are those that matplotlib brings (DejaVu), laid out by Pillow itself, so that every machine draws
the same.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from everystep.show.checked import printable
from everystep.show.film.script import Figure, Piece, Shown, Words

WIDTH, HEIGHT = 1920, 1080
BACK, PANEL, LINE = "#0e131a", "#18202b", "#3a4657"
INK, SOFT, ACCENT = "#e9edf2", "#a3aebb", "#6cb6ff"
GOOD, GOOD_BACK = "#7fd6a2", "#15352a"
BAD, BAD_BACK = "#ff9296", "#47191e"
OPEN, OPEN_BACK = "#f0c674", "#3a3020"
_FILES = {"sans": "DejaVuSans", "bold": "DejaVuSans-Bold", "mono": "DejaVuSansMono",
          "mono bold": "DejaVuSansMono-Bold"}  # fmt: skip
_TRUTHS = {"true": (GOOD, GOOD_BACK), "false": (BAD, BAD_BACK), "unknown": (OPEN, OPEN_BACK)}
_MISSING, _TIE = "□", "\xa0"
_PIECES = re.compile(r"\n|[^\S\n\xa0]+|[\S\xa0]+")
_MARKS = 2  # combining marks on one letter; more would climb over the lines above


@dataclass(frozen=True, slots=True)
class Run:
    """A text in one style. `turns`: how many characters of the whole must be shown before it has its colour
    and background; until then it is plain."""

    text: str
    fill: str = INK
    kind: str = "sans"
    back: str | None = None
    turns: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """A run's part in its place; `at`: the place of its first character in the whole text."""

    x: float
    y: int
    text: str
    run: Run
    at: int


@dataclass(frozen=True, slots=True)
class Laid:
    """Runs in lines. `broken`: how many lines had to be broken; `cut`: whether something did not go in."""

    spans: tuple[Span, ...]
    size: int
    height: int
    length: int
    broken: int
    cut: bool = False

    def widths(self) -> dict[int, float]:
        """How wide each line is, by its place."""
        found: dict[int, float] = {}
        for s in self.spans:
            found[s.y] = max(found.get(s.y, 0.0), s.x + font(s.run.kind, self.size).getlength(s.text))
        return found


def blank() -> Image.Image:
    return Image.new("RGB", (WIDTH, HEIGHT), BACK)


@cache
def font(kind: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_path(kind)), size, layout_engine=ImageFont.Layout.BASIC)


@cache
def _known(kind: str) -> frozenset[int]:
    return frozenset(FT2Font(str(_path(kind))).get_charmap())


def _path(kind: str) -> Path:
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{_FILES[kind]}.ttf"


def drawable(text: str, kind: str = "sans") -> str:
    """The text as the font can show it: no control or direction characters, a box for every sign that the
    font has not got, and no tower of combining marks.

    >>> drawable("a\\u202eb 漢")
    'a·b □'
    """
    known, out, marks = _known(kind), [], 0
    for c, was in zip(printable(text), text, strict=True):
        marks = marks + 1 if unicodedata.combining(c) else 0
        if marks > _MARKS:
            out.append("·")
        elif was == _TIE:
            out.append(was)
        else:
            out.append(c if c == "\n" or ord(c) in known else _MISSING)
    return "".join(out)


def runs_of(words: Words, fill: str = INK, kind: str = "sans", number: str = INK) -> list[Run]:
    """A text with its figures in bold."""
    bold = "mono bold" if kind.startswith("mono") else "bold"
    out = []
    for part in words.parts:
        if isinstance(part, Figure):
            out.append(Run(part.text, number, bold))
        else:
            out.append(Run(part if isinstance(part, str) else part.text, fill, kind))
    return out


def marked(shown: Shown) -> list[Run]:
    """A completion with its claims marked: each in its colour from the moment when its sign is there."""
    out: list[Run] = []
    at, waiting = 0, []
    for piece in shown.pieces:
        text = drawable(piece.text, "mono")
        if not piece.truth:
            out.append(Run(text, INK, "mono"))
            at += len(text)
            continue
        fill, back = _TRUTHS[piece.truth]
        out.append(Run(text, fill, "mono", back))
        waiting.append(len(out) - 1)
        at += len(text)
        if piece.sign:
            sign = _TIE + drawable(piece.sign, "mono bold").replace(" ", _TIE)
            at += len(sign)
            out.append(Run(sign, fill, "mono bold", back, at))
            for i in waiting:
                out[i] = Run(out[i].text, out[i].fill, "mono", out[i].back, at)
            waiting = []
    return out


def signs(shown: Shown) -> Iterator[tuple[int, Piece, str]]:
    """Of each claim: after how many characters it is checked, the piece that ends it, and its colour."""
    at = 0
    for piece in shown.pieces:
        at += len(drawable(piece.text, "mono"))
        if piece.sign:
            at += 1 + len(drawable(piece.sign, "mono bold"))
            yield at, piece, _TRUTHS[piece.truth][0]


def lay(runs: Sequence[Run], width: int, size: int, height: int | None = None) -> Laid:
    """Runs in lines of at most `width` pixels; of more than `height` pixels the rest is left out, behind "…".

    Lines break at white space, and inside what is wider than a line.
    """
    deep, spans = round(1.36 * size), []
    x, y, at, broken = 0.0, 0, 0, 0
    soft = False  # at the beginning of a line that we have broken
    limit = None if height is None else max(1, height // deep) * deep
    for kind, fragments in _words(runs):
        if limit is not None and y >= limit:
            break
        wide = sum(font(r.kind, size).getlength(t) for t, r, _ in fragments)
        at = fragments[-1][2] + len(fragments[-1][0])
        if kind == "\n":
            x, y, soft = 0.0, y + deep, False
            continue
        if kind == " ":
            if not (soft and x == 0):
                spans.append(Span(x, y, fragments[0][0], fragments[0][1], fragments[0][2]))
                x += wide
            continue
        if x + wide > width and x > 0:
            while spans and spans[-1].y == y and spans[-1].text.isspace():
                spans.pop()
            x, y, soft, broken = 0.0, y + deep, True, broken + 1
        for text, run, place in fragments:
            while text and (limit is None or y < limit):
                n = _fitting(text, run, size, width - x)
                if not n and x > 0:
                    x, y, soft, broken = 0.0, y + deep, True, broken + 1
                    continue
                n = max(1, n)
                spans.append(Span(x, y, text[:n], run, place))
                x += font(run.kind, size).getlength(text[:n])
                text, place = text[n:], place + n
    if limit is None or y < limit:
        return Laid(tuple(spans), size, y + deep, at, broken)
    kept = [s for s in spans if s.y < limit]
    more, right, last = font("sans", size).getlength("…"), 0.0, limit - deep
    while kept and kept[-1].y == last:
        end = kept.pop()
        n = _fitting(end.text, end.run, size, width - more - end.x)
        if n:
            kept.append(Span(end.x, end.y, end.text[:n], end.run, end.at))
            right = end.x + font(end.run.kind, size).getlength(end.text[:n])
            break
    at = kept[-1].at + len(kept[-1].text) if kept else 0
    return Laid((*kept, Span(right, last, "…", Run("…", SOFT), at)), size, limit, at + 1, broken, True)


def _words(runs: Sequence[Run]) -> Iterator[tuple[str, list[tuple[str, Run, int]]]]:
    """Words (of fragments, where runs meet without white space), white space and line ends, in order."""
    word: list[tuple[str, Run, int]] = []
    at = 0
    for run in runs:
        for match in _PIECES.finditer(run.text):
            text = match.group()
            if text.isspace():
                if word:
                    yield "w", word
                    word = []
                yield ("\n" if text == "\n" else " "), [(text, run, at + match.start())]
            else:
                word.append((text, run, at + match.start()))
        at += len(run.text)
    if word:
        yield "w", word


def _fitting(text: str, run: Run, size: int, room: float) -> int:
    """How many characters go into so many pixels."""
    one = font(run.kind, size)
    text = text[: int(max(0.0, room) / (0.1 * size)) + 4]  # the narrowest are wider than a tenth of their size
    if one.getlength(text) <= room:
        return len(text)
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one.getlength(text[:middle]) <= room else (low, middle - 1)
    return low


def best(runs: Sequence[Run], width: int, height: int, sizes: Sequence[int], whole: int | None = None) -> Laid:
    """Runs at the first of the sizes at which nothing is cut; else at the last. `whole`: a size down to which
    one is preferred at which no line is broken."""
    if whole is not None:
        for size in sizes:
            laid = lay(_clean(runs), width, size, height)
            if size >= whole and not laid.cut and not laid.broken:
                return laid
    clean = _clean(runs)
    for size in sizes:
        laid = lay(clean, width, size, height)
        if not laid.cut:
            return laid
    return lay(clean, width, sizes[-1], height)


def _clean(runs: Sequence[Run]) -> list[Run]:
    return [Run(drawable(r.text, r.kind), r.fill, r.kind, r.back, r.turns) for r in runs]


def put(image: Image.Image, laid: Laid, x: int, y: int, shown: int | None = None) -> None:
    """Draw lines at a place; of `shown` characters only."""
    draw = ImageDraw.Draw(image)
    deep = round(1.36 * laid.size)
    for span in laid.spans:
        text = span.text if shown is None else span.text[: max(0, shown - span.at)]
        if not text:
            continue
        turned = shown is None or shown >= span.run.turns
        left, top = x + span.x, y + span.y
        if span.run.back and turned:
            wide = font(span.run.kind, laid.size).getlength(text)
            draw.rectangle((round(left), top, round(left + wide), top + deep - 3), fill=span.run.back)
            if span.run.fill == BAD:
                draw.line((round(left), top + deep - 4, round(left + wide), top + deep - 4), fill=BAD, width=2)
        fill = span.run.fill if turned else INK
        draw.text((left, top + 0.1 * laid.size), text, fill, font(span.run.kind, laid.size))


def write(
    image: Image.Image, box: tuple[int, int, int, int], runs: Sequence[Run] | Words | str,
    sizes: Sequence[int], fill: str = INK, kind: str = "sans", middle: bool = False,
) -> Laid:  # fmt: skip
    """Write into a box (left, top, right, bottom), as large as the sizes allow; `middle`: half way down."""
    if isinstance(runs, str):
        runs = [Run(runs, fill, kind)]
    elif isinstance(runs, Words):
        runs = runs_of(runs, fill, kind)
    left, top, right, bottom = box
    laid = best(runs, right - left, bottom - top, sizes)
    y = round((top + bottom - laid.height) / 2) if middle else top
    put(image, laid, left, y)
    return laid


def box(image: Image.Image, at: tuple[int, int, int, int], fill: str = PANEL, edge: str = LINE, width: int = 2) -> None:
    ImageDraw.Draw(image).rounded_rectangle(at, 14, fill, edge, width)


def arrow(image: Image.Image, points: Sequence[tuple[int, int]], fill: str = SOFT) -> None:
    """A line through points with a head at its end."""
    draw = ImageDraw.Draw(image)
    draw.line(list(points), fill=fill, width=4, joint="curve")
    (x0, y0), (x, y) = points[-2], points[-1]
    dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
    draw.polygon(
        [
            (x + 2 * dx, y + 2 * dy),
            (x - 14 * dx + 9 * dy, y - 14 * dy + 9 * dx),
            (x - 14 * dx - 9 * dy, y - 14 * dy - 9 * dx),
        ],
        fill=fill,
    )
