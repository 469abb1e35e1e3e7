"""The one-page write-up of a run, as Markdown and as PDF: the film's structure on paper, same figures.

Nothing is worked out here. Model text is hostile: in Markdown it is escaped or fenced, in the PDF drawn.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure as Page
from matplotlib.ticker import MaxNLocator

from everystep.core.files import write_bytes, write_text
from everystep.show.film.canvas import Run, best, drawable, lay, runs_of
from everystep.show.film.script import (
    Card,
    Chart,
    Charts,
    Content,
    Diagram,
    Film,
    Insights,
    Panels,
    Quote,
    Result,
    Scene,
    Sentence,
    Training,
    Words,
    listed,
    say,
)

# Whatever can begin a mark, a link, a list or an element.
_SPECIAL = re.compile(r"[\\`*_{}\[\]()#!|~$>:@]|^[-+]|(?<=\w{3})\.(?=\w)|(?<=^\d)\.|(?<=^\d\d)\.")
_TICKS = re.compile(r"`+")
# The page in tenths of a point, since texts are measured in whole units.
WIDE, HIGH, MARGIN, GAP = 5953, 8419, 420, 260
_CHART = 1130  # how high a chart is
INK, SOFT = "#14181d", "#5b636d"
_SETTINGS: dict[Any, Any] = {
    "pdf.fonttype": 42, "font.family": "DejaVu Sans", "font.size": 6.0, "text.parse_math": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#d5dae0",
    "grid.linewidth": 0.4, "axes.edgecolor": SOFT, "axes.linewidth": 0.5, "xtick.color": SOFT,
    "ytick.color": SOFT, "xtick.major.width": 0.4, "ytick.major.width": 0.4, "xtick.labelsize": 6.0,
    "ytick.labelsize": 6.0, "legend.frameon": False, "legend.fontsize": 6.0,
}  # fmt: skip
_METADATA: dict[str, Any] = {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None}
_READ = (
    "Right in form: the gold answer in exactly the agreed form, with its Wilson interval. Right in any form: "
    "for a forgiving reader. Differences are paired over the same tasks, with bootstrap intervals; p is "
    "McNemar's, exact, after Holm's correction. Tasks vary in these intervals, training seeds do not."
)


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the write-up: a heading with paragraphs, lines of a list, a table, a text as it is."""

    heading: str
    paragraphs: tuple[Words, ...] = ()
    items: tuple[Words, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[Words, ...], ...] = ()
    code: str = ""


@dataclass(frozen=True, slots=True)
class Writeup:
    """The page: `left` and `right` are its columns."""

    title: Words
    facts: Words
    left: tuple[Block, ...]
    right: tuple[Block, ...]
    charts: tuple[Chart, ...]


def writeup(whole: Film) -> Writeup:
    """The write-up of all that a run gives to tell (`film.scenes.told_whole`)."""
    by = {scene.kind: scene for scene in whole.scenes}
    left: list[Block] = []
    if (scene := by.get("before and after")) is not None and isinstance(scene.content, Panels):
        for i, panel in enumerate(scene.content.panels):
            asked = (scene.content.question,) if i == 0 else ()
            text = "".join(p.text for p in panel.pieces)
            head = scene.title.text if i == 0 else ""
            left.append(Block(head, (*asked, say(panel.heading, ": ", panel.outcome)), code=text))
    if (scene := by.get("architecture")) is not None and isinstance(scene.content, Diagram):
        left.append(Block("Method", (_said(scene),)))
    if (scene := by.get("training")) is not None and isinstance(t := scene.content, Training):
        weights = [say(part, " ", weight) for part, weight in t.parts]
        left.append(
            Block(
                "Data and reward",
                (listed(t.counts),),
                (say("reward, ", t.reward, ": ", listed(weights)), *t.order),
            )
        )
    charts: tuple[Chart, ...] = ()
    if (scene := by.get("curves")) is not None and isinstance(scene.content, Charts):
        charts = scene.content.charts
        left.append(Block("Training", (_said(scene),), tuple(say(c.title, ", ", c.ends) for c in charts)))
    left.append(Block("How to read the figures", (say(_READ),)))
    result = by["result"].content
    right = _results(by, result) if isinstance(result, Result) else []
    card = by["title"].content
    facts = listed(card.facts, " · ") if isinstance(card, Card) else say()
    return Writeup(by["title"].title, facts, tuple(left), tuple(right), charts[:3])


def _results(by: dict[str, Scene], result: Result) -> list[Block]:
    blocks = [Block("Result", (), result.pairs, result.head, result.rows)]
    insights: Content | None = by["insights"].content if "insights" in by else None
    if isinstance(insights, Insights):
        if insights.items:
            blocks.append(Block("What the run supports saying", (), insights.items))
        if insights.left_out:
            blocks.append(Block("What it does not support", (), insights.left_out))
    if (scene := by.get("still wrong")) is not None:
        blocks.append(Block("What still fails", (say(*_first(scene).words.parts, " ", *_more(scene)),)))
    text = "".join(p.text for p in result.shown.pieces)
    blocks.append(Block("An output", (result.question, result.shown.outcome), code=text))
    return blocks


def _first(scene: Scene) -> Sentence:
    return scene.sentences[0]


def _more(scene: Scene) -> tuple[Words, ...]:
    return tuple(s.words for s in scene.sentences[1:])


def _said(scene: Scene) -> Words:
    return listed([s.words for s in scene.sentences], " ")


def write_writeup(whole: Film, folder: Path) -> None:
    """Write `writeup.md` and `writeup.pdf`; the same run gives the same bytes."""
    made = writeup(whole)
    write_text(folder / "writeup.md", markdown(made))
    write_bytes(folder / "writeup.pdf", pdf(made))


def markdown(made: Writeup) -> str:
    """The write-up as Markdown."""
    lines = [f"# {_plain(made.title)}", "", _plain(made.facts), ""]
    for block in (*made.right, *made.left):
        lines += [f"## {block.heading}", ""] if block.heading else []
        for words in block.paragraphs:
            lines += [_plain(words), ""]
        if block.rows:
            lines += ["| " + " | ".join(block.head) + " |", "|---" + "|---:" * (len(block.head) - 1) + "|"]
            lines += ["| " + " | ".join(map(_plain, row)) + " |" for row in block.rows]
            lines.append("")
        if block.items:
            lines += [*(f"- {_plain(words)}" for words in block.items), ""]
        if block.code:
            fence = "`" * max(3, 1 + max(map(len, _TICKS.findall(block.code)), default=0))
            lines += [fence, block.code.strip("\n"), fence, ""]
    return "\n".join(lines)


def _plain(words: Words) -> str:
    """A text that Markdown shows as it is, on one line: in quotes every sign that could mean something to it
    is named by its number, so that there is no link, no mark and no element in them."""
    out = [
        _SPECIAL.sub(lambda m: f"&#{ord(m.group())};", p.text.replace("&", "&amp;").replace("<", "&lt;"))
        if isinstance(p, Quote)
        else (p if isinstance(p, str) else p.text).replace("<", "&lt;")
        for p in words.parts
    ]
    return " ".join("".join(out).split())


def pdf(made: Writeup) -> bytes:
    """The write-up as one page of A4."""
    out = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        FigureCanvasPdf(page_of(made)).print_pdf(out, metadata=_METADATA)
    return out.getvalue()


def page_of(made: Writeup) -> Page:
    """The page, drawn: the body as large as it allows."""
    size = next((s for s in (86, 82, 78, 74, 70, 66, 62) if max(_heights(made, s)) <= _room(made)), 58)
    with matplotlib.rc_context(_SETTINGS):
        page = Page(figsize=(WIDE / 720, HIGH / 720))
        top = _head(page, made)
        wide = _column()
        for x, blocks, some in (
            (MARGIN, made.left, made.charts[:1]),
            (MARGIN + wide + GAP, made.right, made.charts[1:]),
        ):
            y, foot = top, HIGH - MARGIN - _CHART * len(some)
            for block in blocks:
                y = _block(page, block, x, y, wide, size, foot)
            for i, chart in enumerate(some):
                _chart(page, chart, x, foot + _CHART * i + 80, wide, _CHART - 80)
        return page


def _column() -> int:
    return (WIDE - 2 * MARGIN - GAP) // 2


def _room(made: Writeup) -> int:
    """How high a column may be."""
    return HIGH - MARGIN - _head(None, made)


def _heights(made: Writeup, size: int) -> tuple[int, int]:
    """How high the two columns would be, charts included."""
    left, right = (
        sum(_block(None, b, 0, 0, _column(), size, 10**6) for b in blocks) for blocks in (made.left, made.right)
    )
    n = len(made.charts)
    return left + _CHART * min(1, n), right + _CHART * max(0, n - 1)


def _head(page: Page | None, made: Writeup) -> int:
    """Title and facts; where the columns begin."""
    y = _text(page, [Run(made.title.text, INK, "bold")], MARGIN, MARGIN, WIDE - 2 * MARGIN, 200, MARGIN + 300)
    y = _text(page, runs_of(made.facts, SOFT, number=SOFT), MARGIN, y + 30, WIDE - 2 * MARGIN, 76, y + 300)
    return y + 120


def _block(page: Page | None, block: Block, x: int, y: int, wide: int, size: int, foot: int) -> int:
    """Draw a block (without a page: only measure it); where it ends."""
    if block.heading:
        y = _text(page, [Run(block.heading, INK, "bold")], x, y, wide, size + 14, foot) + 20
    for words in block.paragraphs:
        y = _text(page, runs_of(words, INK, number=INK), x, y, wide, size, foot) + 20
    if block.rows:
        y = _table(page, block, x, y, wide, size - 6, foot) + 30
    for words in block.items:
        _text(page, [Run("–", SOFT)], x, y, 100, size, foot)
        y = _text(page, runs_of(words, INK, number=INK), x + 110, y, wide - 110, size, foot) + 14
    if block.code:
        y = _text(page, [Run(block.code.strip("\n"), INK, "mono")], x, y, wide, size - 6, foot) + 20
    return y + 70


def _table(page: Page | None, block: Block, x: int, y: int, wide: int, size: int, foot: int) -> int:
    """A table: the first column narrow, the second, with intervals, wide."""
    shares = [0.13, 0.33, 0.18, 0.2, 0.16][: len(block.head)]
    for row in (tuple(say(h) for h in block.head), *block.rows):
        at, ends = float(x), y
        for share, cell in zip(shares, row, strict=False):
            fill = SOFT if row[0].text == block.head[0] else INK
            ends = max(
                ends,
                _text(page, runs_of(cell, fill, number=fill), int(at), y, int(share * wide) - 30, size, foot),
            )
            at += share * wide
        y = ends + 16
    return y


def _text(page: Page | None, runs: list[Run], x: int, y: int, wide: int, size: int, foot: int) -> int:
    """Draw a text as far as there is room above `foot`; where it ends."""
    clean = [Run(drawable(r.text, r.kind), r.fill, r.kind) for r in runs]
    deep = round(1.36 * size)
    if foot - y < deep:
        return y
    laid = lay(clean, wide, size, foot - y)
    if page is not None:
        for span in laid.spans:
            if span.text.isspace():
                continue
            family = "DejaVu Sans Mono" if span.run.kind.startswith("mono") else "DejaVu Sans"
            page.text(
                (x + span.x) / WIDE, 1 - (y + span.y + size) / HIGH, span.text, fontsize=size / 10,
                family=family, weight="bold" if span.run.kind.endswith("bold") else "normal",
                color=span.run.fill, va="baseline", parse_math=False,
            )  # fmt: skip
    return y + laid.height


def _chart(page: Page, chart: Chart, x: int, y: int, wide: int, high: int) -> None:
    """One chart, title included, in a box of the page."""
    axes = page.add_axes(((x + 300) / WIDE, 1 - (y + high - 190) / HIGH, (wide - 320) / WIDE, (high - 380) / HIGH))
    scale = 100 if chart.percent else 1
    for k, curve in enumerate(chart.curves):
        axes.plot(
            [a for a, _ in curve.points], [scale * b for _, b in curve.points], label=drawable(curve.name),
            color=("#1b6ca8", "#b8560f", "#2e7d32")[k % 3], linestyle=("-", "--", "-.")[k % 3], linewidth=0.9,
        )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    if len(chart.curves) > 1:
        axes.legend(loc="best")
    _text(page, [Run(f"{chart.title.text} ({chart.axis}), by step", INK, "bold")], x, y, wide, 70, y + 120)


def fits(made: Writeup) -> bool:
    """Whether the page holds all of it at its smallest size."""
    return max(_heights(made, 58)) <= _room(made) and not best(runs_of(made.facts), WIDE - 2 * MARGIN, 300, (76,)).cut
