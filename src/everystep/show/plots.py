"""Plots as SVG, the same bytes for the same numbers, in which texts stay texts.

Those that go into a page have the colours of the page's own theme and no style attribute, which the page's policy would
refuse. The forest plot of an ablation stands by itself.
"""

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from everystep.evaluate.ablation import METRICS, Compared, Found

SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}href"
# Colours that stand for a class of the page's style sheet (`.s-ink`: stroke, `.f-ink`: fill).
COLOURS = {"#101010": "ink", "#d0d0d0": "grid", "#1b6ca8": "c1", "#b8560f": "c2", "#2e7d32": "c3",
           "#7b3fa0": "c4", "#a3161f": "c5", "#808080": "soft"}  # fmt: skip
INK, GRID, SOFT = "#101010", "#d0d0d0", "#808080"
LINES = ("#1b6ca8", "#b8560f", "#2e7d32", "#7b3fa0", "#a3161f", "#808080")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
_KEPT = re.compile(r"fill|stroke|opacity|text-anchor|font-size|clip|display|visibility")
_FONT_SIZE = re.compile(r"([0-9.]+)px")
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "everystep",
    "text.parse_math": False,
    "font.size": 8.0,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}

Points = Sequence[tuple[float, float]]


def curves(lines: Mapping[str, Points], label: str, name: str, share: bool = False, height: float = 2.5) -> Markup:
    """Values over steps, each line with its own colour and dashes. `share`: values from 0 to 1, shown in percent;
    `height`: inches, of a plot that is 4.1 wide."""

    def draw(axes: Axes) -> None:
        for i, (line, points) in enumerate(lines.items()):
            axes.plot(
                [x for x, _ in points],
                [100 * y if share else y for _, y in points],
                color=LINES[i % len(LINES)],
                linestyle=DASHES[i % len(DASHES)],
                marker="o" if len(points) < 12 else "",
                markersize=3,
                label=line,
            )
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axes.set_xlabel("step")
        axes.set_ylabel(label + (" (%)" if share else ""))
        if share:
            axes.set_ylim(-3, 103)
        if len(lines) > 1:
            _legend(axes, 3)

    return _svg(draw, name, height)


def reliable(bins: Sequence[tuple[float, float, float, float, int]], name: str) -> Markup:
    """A reliability diagram: of each bin (confidence, share right, low, high, how many)."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 100], [0, 100], color=SOFT, linestyle=":", label="as sure as right")
        xs, ys = [100 * b[0] for b in bins], [100 * b[1] for b in bins]
        errors = [[100 * (b[1] - b[2]) for b in bins], [100 * (b[3] - b[1]) for b in bins]]
        axes.errorbar(
            xs, ys, errors, fmt="o-", color=LINES[0], markersize=3.5, elinewidth=1, capsize=2, label="answers"
        )
        axes.set(xlabel="confidence (%)", ylabel="right (%)", xlim=(-3, 103), ylim=(-3, 103))
        _legend(axes, 2)

    return _svg(draw, name)


def at_k(rows: Mapping[str, Sequence[tuple[int, float, float, float]]], name: str) -> Markup:
    """pass@k and majority@k: of each line (k, value, low, high)."""

    def draw(axes: Axes) -> None:
        for i, (line, points) in enumerate(rows.items()):
            ks = [p[0] for p in points]
            axes.plot(ks, [100 * p[1] for p in points], color=LINES[i], linestyle=DASHES[i], marker="o",
                      markersize=3.5, label=line)  # fmt: skip
            axes.fill_between(
                ks, [100 * p[2] for p in points], [100 * p[3] for p in points], color=LINES[i], alpha=0.15,
                linewidth=0,
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        every = sorted({p[0] for points in rows.values() for p in points})
        axes.set_xticks(every, [str(k) for k in every])
        axes.minorticks_off()
        axes.set(xlabel="samples (k)", ylabel="right (%)", ylim=(-3, 103))
        _legend(axes, 2)

    return _svg(draw, name)


def bars(rows: Sequence[tuple[str, Mapping[str, tuple[float, float, float]]]], name: str) -> Markup:
    """Shares with intervals, one row for each label, one mark for each series: (value, low, high)."""
    series = list(dict.fromkeys(s for _, values in rows for s in values))

    def draw(axes: Axes) -> None:
        for i, one in enumerate(series):
            shift = (i - (len(series) - 1) / 2) * 0.22
            some = [(k, values[one]) for k, (_, values) in enumerate(rows) if one in values]
            axes.errorbar(
                [100 * v for _, (v, _, _) in some],
                [k + shift for k, _ in some],
                xerr=[[100 * (v - low) for _, (v, low, _) in some], [100 * (h - v) for _, (v, _, h) in some]],
                fmt="osD^vP"[i % 6],
                color=LINES[i % len(LINES)],
                markersize=4,
                elinewidth=1.2,
                label=one,
            )
        axes.set_yticks(range(len(rows)), [label for label, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set(xlim=(-3, 103), xlabel="right in form (%), with 95 % intervals")
        _legend(axes, 3)

    return _svg(draw, name, height=0.9 + 0.36 * len(rows))


def forest(found: Sequence[Found]) -> str:
    """The plot: a filled square where a change was told apart from its reference, an open circle where not.
    Below each the seeds' own differences; a cross where one seed is all there is."""
    families = [(f, [c for c in f.compared if c.metric in f.tested and METRICS[c.metric].percent]) for f in found]
    families = [(f, rows) for f, rows in families if rows]
    heights = [len(rows) + 1.6 for _, rows in families] or [2.0]
    alone: dict[Any, Any] = {"axes.spines.left": False, "axes.grid": False, "savefig.facecolor": "auto"}
    with matplotlib.rc_context(_SETTINGS | alone):
        figure = Figure(figsize=(7.2, 0.5 + 0.26 * sum(heights)), layout="constrained", facecolor="white")
        axes = figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        for one, (family, rows) in zip(axes, families, strict=False):
            _family(one, family, rows)
        axes[-1].set_xlabel("difference from the reference, in points, with 95 % intervals")
        return _saved(figure)


def _family(axes: Axes, family: Found, rows: Sequence[Compared]) -> None:
    axes.axvline(0, color=SOFT, linewidth=0.8)
    for y, row in enumerate(rows):
        d = row.difference
        colour = LINES[1] if row.apart else LINES[0]
        if d.low is None or d.high is None:
            axes.plot([100 * d.value], [y], marker="x", color=SOFT, linestyle="")
            continue
        axes.plot([100 * d.low, 100 * d.high], [y, y], color=colour, linewidth=1.4)
        marker, face = ("s", colour) if row.apart else ("o", "white")
        axes.plot(
            [100 * d.value],
            [y],
            marker=marker,
            markersize=5,
            color=colour,
            markerfacecolor=face,
            linestyle="",
        )
        seeds, below = [100 * v for v in d.by_seed], [y + 0.28] * len(d.by_seed)
        axes.plot(seeds, below, marker="|", color=SOFT, linestyle="", markersize=4)
    labels = [r.change + ("" if r.metric == "contract" else f": {METRICS[r.metric].title}") for r in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_title(f"{family.name} (against {family.reference})", loc="left", fontsize=8, fontweight="bold")
    axes.grid(axis="x", color="#e0e0e0", linewidth=0.5)
    axes.set_axisbelow(True)


def _svg(draw: Callable[[Axes], None], name: str, height: float = 2.5) -> Markup:
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(4.1, height), layout="constrained")
        draw(figure.add_subplot())
        return Markup(themed(_saved(figure), name))


def _saved(figure: Figure) -> str:
    """The figure as SVG, the same bytes for the same numbers."""
    with warnings.catch_warnings():
        # Whoever shows it has fonts of their own; a glyph that matplotlib's has not got only costs a little space.
        warnings.filterwarnings("ignore", "Glyph")
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return out.getvalue()


def _legend(axes: Axes, columns: int) -> None:
    figure = axes.get_figure(root=True)
    if figure is not None:
        figure.legend(loc="outside upper left", ncols=columns)


def themed(svg: str, name: str) -> str:
    """An SVG of matplotlib as an element of a page: style attributes become plain ones and classes, ids are
    prefixed by `name` where something refers to them and dropped elsewhere.

    >>> themed('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><g id="a" style="fill: #101010; '
    ...        'stroke-width: 2"/></svg>', "x")
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1" aria-hidden="true" focusable="false"><g
    fill="#101010" stroke-width="2" class="f-ink" /></svg>'
    """
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(svg.encode())
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    for parent in root.iter():
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style") or (
                child.tag == f"{{{SVG}}}defs" and not len(child)
            ):
                parent.remove(child)
    for one in root.iter():
        _plain(one, used, name)
    for unwanted in ("width", "height", "version"):
        root.attrib.pop(unwanted, None)
    root.set("aria-hidden", "true")  # the figure around it says in words what it shows
    root.set("focusable", "false")
    for one in root.iter():
        if one.tag != f"{{{SVG}}}text":
            one.text = None
        one.tail = None
    return ElementTree.tostring(root, encoding="unicode")


def _plain(one: ElementTree.Element, used: set[str], name: str) -> None:
    classes = []
    for declaration in one.attrib.pop("style", "").split(";"):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key == "font" and (size := _FONT_SIZE.search(value)):
            key, value = "font-size", size.group(1)
        if _KEPT.match(key):
            one.set(key, value.removesuffix("px"))
    for key, prefix in (("stroke", "s"), ("fill", "f")):
        if theme := COLOURS.get(one.get(key, "")):
            classes.append(f"{prefix}-{theme}")
    if one.tag == f"{{{SVG}}}text" and one.get("fill") is None:
        classes.append("f-ink")
    if classes:
        one.set("class", " ".join(classes))
    if (own := one.get("id")) is not None:
        if own in used:
            one.set("id", f"{name}-{own}")
        else:
            del one.attrib["id"]
    if (link := one.attrib.pop(_XLINK, None)) is not None:
        one.set("href", f"#{name}-{link.removeprefix('#')}")
    for key, value in list(one.attrib.items()):
        if "url(#" in value:
            one.set(key, value.replace("url(#", f"url(#{name}-"))
