"""The curves of a film as pictures: the axes alone, and with their lines, so that these can appear from left
to right."""

from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from everystep.show.film.canvas import INK, LINE, PANEL, SOFT, drawable
from everystep.show.film.script import Chart

LINES = ("#6cb6ff", "#f2a65a", "#7fd6a2", "#d39bf0")
DASHES = ("-", "--", "-.", ":")
_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 15.0,
    "text.parse_math": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.facecolor": PANEL,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
    "legend.facecolor": PANEL,
    "legend.edgecolor": PANEL,
    "legend.framealpha": 0.85,
    "legend.fontsize": 15.0,
}


def pictures(chart: Chart, width: int, height: int) -> tuple[Image.Image, Image.Image, int, int]:
    """The axes, the axes with the lines, and between which columns the lines lie."""
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=PANEL, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        scale = 100 if chart.percent else 1
        lines = []
        for i, curve in enumerate(chart.curves):
            lines += axes.plot(
                [x for x, _ in curve.points],
                [scale * y for _, y in curve.points],
                color=LINES[i % len(LINES)],
                linestyle=DASHES[i % len(DASHES)],
                linewidth=2.6,
                marker="o" if len(curve.points) < 12 else "",
                markersize=7,
                label=drawable(curve.name),
            )
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("step")
        axes.set_ylabel(chart.axis)
        if len(lines) > 1:
            # A place of its own choice would be another one when the lines are hidden.
            ends = [chart.curves[0].points[k][1] for k in (0, -1)]
            axes.legend(loc="upper right" if ends[1] < ends[0] else "lower right", ncols=len(lines), handlelength=2.6)
        full = _image(canvas, width, height)
        for line in lines:
            line.set_visible(False)
        bare = _image(canvas, width, height)
        place = axes.get_window_extent()
    return bare, full, round(place.x0), round(place.x1)


def _image(canvas: FigureCanvasAgg, width: int, height: int) -> Image.Image:
    canvas.draw()
    return Image.frombytes("RGBA", (width, height), bytes(canvas.buffer_rgba())).convert("RGB")
