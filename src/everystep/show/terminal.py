"""A run on the terminal: the table of its stages, small curves, what failed, and examples with every claim
marked; and several runs side by side. Nothing is told by colour alone, and 80 columns hold it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from everystep.core.types import Graded
from everystep.evaluate.compare import Pair
from everystep.evaluate.failures import Failure, transition
from everystep.evaluate.harness import Rate
from everystep.evaluate.stats import wilson
from everystep.evaluate.table import stage_table
from everystep.show.checked import beside, pieces, printable
from everystep.show.findings import Findings, Line, Stage, p_value, points, rate, said

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40  # columns of a curve
KINDS = ("fixed", "broken", "still wrong")  # of the examples, in this order
_CURVES = {
    "sft": ("loss", "dev_loss"),
    "grpo": ("reward", "contract", "dev/contract", "format", "dead_groups", "kl", "entropy", "tokens"),
}
_STYLES = {"true": "green", "false": "bold red underline", "unknown": "yellow"}


def overview(f: Findings, examples: int = 3) -> RenderableType:
    """A run in one screen or two; `examples` tasks are shown, of those that were fixed, broken and are still
    wrong in turn."""
    title = f"{printable(f.name)}, seed {f.recipe.get('seed', '?')}, {len(f.stages[-1].lines)} tasks"
    parts: list[RenderableType] = [stage_table({s.name: s.summary for s in f.stages}, title=title)]
    parts += [Text("· " + printable(line)) for line in said(f)]
    parts += _curves({"sft": f.sft, "grpo": f.grpo})
    parts.append(_failures(f))
    for before, after, line_before, line_after in _chosen(f, examples):
        parts += ["", example(before, line_before), example(after, line_after)]
    parts += [Text(printable(remark), style="yellow") for remark in f.remarks]
    return Group(*parts)


def compared(stages: Mapping[str, str], sides: Mapping[str, Sequence[Graded]], found: Sequence[Pair]) -> RenderableType:
    """Runs side by side: `stages` and `sides` by the run's name (which stage, its completions), and every
    pair. The shares are over the shared tasks only, as the pairs are."""
    n = found[0].n
    shared = set.intersection(*({g.task.id for g in side} for side in sides.values()))
    table = Table(title=f"{n} tasks that all of them have done", box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for i, column in enumerate(("run", "stage", "contract", "capability", "sound", "left out")):
        table.add_column(column, justify="right" if i > 1 else "left", overflow="fold")
    for name, side in sides.items():
        some = [g for g in side if g.task.id in shared]
        counts = [sum(holds) for holds in zip(*((g.contract, g.capable, g.sound) for g in some), strict=True)]
        shares = [rate(Rate(c / n, *wilson(c, n))) for c in counts]
        cells = (name, stages[name], shares[0], *(s.split(" ")[0] for s in shares[1:]), str(len(side) - n))
        table.add_row(*(Text(printable(c)) for c in cells))
    pairs = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for i, column in enumerate(("pair", "points", "gained", "lost", "p", "verdict")):
        pairs.add_column(column, justify="right" if 0 < i < 5 else "left", overflow="fold")
    for pair in found:
        pairs.add_row(
            Text(printable(f"{pair.before} → {pair.after}")),
            points(pair),
            str(pair.gained),
            str(pair.lost),
            p_value(pair.adjusted),
            Text(printable(pair.verdict)),
        )
    many = f", p with Holm's correction over {len(found)} pairs" if len(found) > 1 else ""
    note = f"by contract, 95 % bootstrap over tasks, exact McNemar test{many}"
    seeds = "tasks vary here, training seeds do not: two seeds of one recipe can differ as much"
    return Group(table, pairs, Text(note, style="dim"), Text(seeds, style="dim"))


def curve(values: Sequence[float], width: int = WIDTH) -> str:
    """Values as a row of bars from their least to their greatest, at most `width` of them (means of
    neighbours where there are more).

    >>> curve([0, 1, 2, 3])
    '▁▃▆█'
    >>> curve([5, 5]), curve([])
    ('▄▄', '')
    """
    n = min(width, len(values))
    means = []
    for i in range(n):
        some = values[i * len(values) // n : (i + 1) * len(values) // n]
        means.append(sum(some) / len(some))
    low, high = min(means, default=0.0), max(means, default=0.0)
    if high <= low:
        return BARS[3] * n
    return "".join(BARS[round((v - low) / (high - low) * (len(BARS) - 1))] for v in means)


def example(stage: Stage, line: Line) -> RenderableType:
    """One record: the question, the text with its claims marked and signed, its class, and where it is."""
    g = line.graded
    head = Text(f"{printable(stage.name)}: {printable(g.task.question)}", style="bold")
    head.append(f"  (gold: {printable(g.task.answer)})", style="not bold")
    body = Text()
    last: object = None
    for piece, check in pieces(line.row):
        body.append(printable(piece), style="" if check is None else _STYLES[check["truth"]])
        if check is not None and check is not last:
            body.append(f" [{printable(beside(check))}]", style="bold red" if check["truth"] == "false" else "dim")
        last = check
    mark = "✓" if g.contract else "✗"
    why = Text(f"{mark} {line.found.failure.value}: {printable(line.found.evidence)}")
    return Group(head, body, why, Text(f"{stage.file}:{line.number}", style="dim"))


def _chosen(f: Findings, examples: int) -> list[tuple[Stage, Stage, Line, Line]]:
    if not f.stages or examples < 1:
        return []
    # Against the stage before: there the change is more than one of form.
    after = f.stages[-1]
    before = f.stages[-2] if len(f.stages) > 1 else after
    by_kind: dict[str, list[tuple[Stage, Stage, Line, Line]]] = {kind: [] for kind in KINDS}
    for key, line in after.lines.items():
        if key in before.lines:
            kind = transition(before.lines[key].graded, line.graded)
            if kind in by_kind:
                by_kind[kind].append((before, after, before.lines[key], line))
    found = []
    for i in range(examples):
        for kind in KINDS:
            if i < len(by_kind[kind]):
                found.append(by_kind[kind][i])
    return found[:examples]


def _curves(metrics: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[RenderableType]:
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    for stage, names in _CURVES.items():
        for name in names:
            values = [row[name] for row in metrics[stage] if isinstance(row.get(name), (int, float))]
            if len(values) > 1:
                table.add_row(f"{stage} {name}", curve(values), f"{values[0]:.3g} → {values[-1]:.3g}")
    return ["", table] if table.row_count else []


def _failures(f: Findings) -> RenderableType:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("class", no_wrap=True)
    for stage in f.stages:
        table.add_column(Text(printable(stage.name)), justify="right", no_wrap=True)
    for failure in Failure:
        counts = [int(f.failures[s.name][failure]["count"]) for s in f.stages]
        if any(counts):
            table.add_row(failure.value, *(str(c) for c in counts))
    return table
