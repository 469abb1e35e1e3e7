"""The forest plot of an ablation: each tested difference with its interval, family by family, as an SVG file
that stands by itself. The same bytes for the same numbers.
"""

import io
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from everystep.evaluate.ablation import METRICS, Compared, Found

INK, SOFT, APART, SAME = "#202020", "#808080", "#b8560f", "#1b6ca8"
_ROW = 0.26  # inches a row


def forest(found: Sequence[Found]) -> str:
    """The plot: a filled square where a change was told apart from its reference, an open circle where not.
    Below each the seeds' own differences; a cross where one seed is all there is."""
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "everystep",
        "text.parse_math": False,
        "font.size": 8.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
    }
    families = [(f, [c for c in f.compared if c.metric in f.tested and METRICS[c.metric].percent]) for f in found]
    families = [(f, rows) for f, rows in families if rows]
    heights = [len(rows) + 1.6 for _, rows in families] or [2.0]
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # whoever shows it has fonts of their own
        figure = Figure(figsize=(7.2, 0.5 + _ROW * sum(heights)), layout="constrained", facecolor="white")
        axes = figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        for one, (family, rows) in zip(axes, families, strict=False):
            _draw(one, family, rows)
        axes[-1].set_xlabel("difference from the reference, in points, with 95 % intervals")
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return out.getvalue()


def _draw(axes: Axes, family: Found, rows: Sequence[Compared]) -> None:
    axes.axvline(0, color=SOFT, linewidth=0.8)
    for y, row in enumerate(rows):
        d = row.difference
        colour = APART if row.apart else SAME
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
