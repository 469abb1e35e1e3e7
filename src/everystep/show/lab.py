"""What the reward lab found, for the terminal and as plots. Nothing is computed here."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from everystep.score.attacks import Result
from everystep.score.lab import Lab, Values
from everystep.show.screen import table

_BARS = " ▁▂▃▄▅▆▇█"
NAMED = 40  # hacks that are named in a table; all of them are in the JSON


def report(lab: Lab, name: str) -> RenderableType:
    """The tables of a lab for the terminal; `name` is what the mix is called."""
    parts: list[RenderableType] = [_parts(lab, name)]
    if len(lab.correlation) > 1:
        parts.append(_correlation(lab))
    parts.append(Text(_order(lab)))
    parts += [_attacks(lab, scenario, results) for scenario, results in lab.attacks.items()]
    if lab.errors:
        line, why = lab.errors[0]
        parts.append(Text(f"{len(lab.errors)} lines could not be read; first, line {line}: {why}"))
    return Group(*parts)


def verdict(lab: Lab, name: str) -> str:
    """The outcome in one line.

    A hack that outranks honest work in two scenarios is named once.
    """
    names = list(dict.fromkeys(result.hack.name for _, result in lab.broken))
    tried = len(next(iter(lab.attacks.values())))
    if not names:
        return f"{name}: none of {tried} hacks outranks honest work on {lab.tasks} tasks"
    return f"{name}: {len(names)} of {tried} hacks outrank honest work on {lab.tasks} tasks"


def plot(lab: Lab, name: str, file: Path) -> None:
    """Distribution, correlation, shares of the advantage, and the hacks' margins, as one picture. The kind of
    file follows its ending; ValueError for one that cannot be written."""
    kinds = Figure().canvas.get_supported_filetypes()
    if file.suffix.lstrip(".") not in kinds:
        raise ValueError(f"{file}: plots are written as {', '.join(sorted(kinds))}")
    with matplotlib.rc_context({"font.size": 8}):
        figure = _figure(lab, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=120)


def _figure(lab: Lab, name: str) -> Figure:
    parts, n = lab.values[:-1], len(lab.values)
    rows = -(-n // 3)
    figure = Figure(figsize=(11, 2.2 * rows + 7), layout="constrained")
    halves = figure.add_gridspec(2, 1, height_ratios=(2.2 * rows, 7))
    top, bottom = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
    top.suptitle(f"{name}: {lab.completions} completions in {lab.groups} groups")
    for i, values in enumerate(lab.values):
        axes = top.add_subplot(rows, 3, i + 1)
        low, high = values.ends
        width = ((high - low) or 1.0) / len(values.histogram)
        axes.bar([low + (k + 0.5) * width for k in range(len(values.histogram))], values.histogram, width * 0.95)
        axes.set_title(f"{values.name} ({values.coverage:.0%} have it)")
    grid = bottom.add_gridspec(2, 2, width_ratios=(1, 1.3))
    shown = bottom.add_subplot(grid[0, 0])
    cells = [[float("nan") if v is None else v for v in row] for row in lab.correlation]
    image = shown.imshow(cells, vmin=-1, vmax=1, cmap="RdBu_r")
    labels = [v.name for v in parts]
    shown.set_xticks(range(len(labels)), labels, rotation=60, ha="right")
    shown.set_yticks(range(len(labels)), labels)
    shown.set_title("correlation")
    bottom.colorbar(image, ax=shown)
    shares = bottom.add_subplot(grid[1, 0])
    shares.barh(labels, [v.variance or 0.0 for v in parts])
    shares.set_title("share of the advantage's variance")
    margins = bottom.add_subplot(grid[:, 1])
    worst = [max((r.margin, k) for k, r in enumerate(results)) for results in lab.attacks.values()]
    results = list(lab.attacks.values())[worst.index(max(worst))]
    ordered = sorted(results, key=lambda r: r.margin)[-25:]
    colours = ["tab:red" if r.outranked else "tab:green" for r in ordered]
    margins.barh([r.hack.name for r in ordered], [r.margin for r in ordered], color=colours)
    margins.axvline(0, color="black", linewidth=0.8)
    margins.set_title("hacks: total above honest work (red: outranks it)")
    return figure


def _parts(lab: Lab, name: str) -> Table:
    title = (
        f"{name}: {lab.completions} completions in {lab.groups} groups, {lab.live} of them live, "
        f"{lab.right:.1%} right in form"
    )
    pairs = "inside groups" if lab.within else "of the whole file"
    note = (
        "has: share of completions that have it · low, high: share at the ends of what it can give · same: "
        "share of groups in which it is equal for all · share: of the variance of the advantages · agree: "
        f"with correctness, {lab.pairs} pairs {pairs}"
    )
    heads = ("part", "weight", "has", "mean", "low", "high", "same", "share", "agree", "values")
    return table(heads, "lrrrrrrrrl", map(_cells, lab.values), title, note)


def _cells(v: Values) -> tuple[str, ...]:
    return (
        v.name,
        "" if v.weight is None else f"{v.weight:g}",
        f"{v.coverage:.0%}",
        _number(v.mean),
        f"{v.at_low:.0%}" if v.coverage else "-",
        f"{v.at_high:.0%}" if v.coverage else "-",
        "-" if v.still is None else f"{v.still:.0%}",
        "-" if v.variance is None else f"{v.variance:.1%}",
        _number(v.agreement),
        spark(v.histogram),
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def spark(counts: tuple[int, ...]) -> str:
    """Counts as a row of bars, the highest full.

    >>> spark((0, 1, 4, 8))
    ' ▁▄█'
    """
    most = max(counts, default=0)
    return "".join(_BARS[-(-8 * c // most)] if c else " " for c in counts) if most else ""


def _correlation(lab: Lab) -> Table:
    names = [f"{i} {v.name}" for i, v in enumerate(lab.values[:-1], 1)]
    rows = [(name, *map(_number, row)) for name, row in zip(names, lab.correlation, strict=True)]
    heads = ("", *map(str, range(1, len(names) + 1)))
    return table(heads, "l" + "r" * len(names), rows, "correlation of the parts")


def _order(lab: Lab) -> str:
    spans = ", ".join(f"{rank} {low:g} to {high:g}" for rank, (low, high) in lab.order.items())
    says = "kept by definition" if lab.keeps_order else "not kept by definition"
    return f"order right > wrong > malformed: {says} ({spans})"


def _attacks(lab: Lab, scenario: str, results: list[Result]) -> RenderableType:
    bad = sorted((r for r in results if r.outranked), key=lambda r: -r.margin)
    slips = sum(r.above_slip > 0 and not r.outranked for r in results)
    head = f"{len(results)} hacks on {lab.tasks} tasks{f', {scenario}' if scenario else ''}: "
    note = f"{slips} more outrank an honest wrong trace only where that has a slip in its arithmetic" if slips else ""
    if not bad:
        return Text("; ".join(p for p in (f"{head}none outranks honest work", note) if p))
    rows = []
    for r in bad[:NAMED]:
        figures = (f"{r.outranked}/{r.tried}", f"{r.margin:.3f}", f"{r.total:.3f}")
        rows.append((r.hack.name, r.hack.aims, f"honest {r.hack.bar}", *figures))
    more = f"and {len(bad) - NAMED} more; " if len(bad) > NAMED else ""
    heads = ("hack", "aims at", "beats", "tasks", "above it by", "its total")
    return table(heads, "Lllrrr", rows, f"{head}{len(bad)} outrank honest work", more + note)
