"""A run on the terminal: the table of its stages, small curves, what failed, and examples with every claim
marked; and several runs side by side. Nothing is told by colour alone, and 80 columns hold it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from everystep.core.types import Graded
from everystep.evaluate.compare import Pair
from everystep.evaluate.failures import Failure, transition
from everystep.evaluate.harness import Rate
from everystep.evaluate.stats import wilson
from everystep.evaluate.table import stage_table
from everystep.show.checked import printable, spans
from everystep.show.findings import Findings, Line, Stage, ends, p_value, points, points_of, rate, said
from everystep.show.screen import table

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40  # columns of a curve
KINDS = ("fixed", "broken", "still wrong")  # of the examples, in this order
_CURVES = {
    "sft": ("loss", "dev_loss"),
    "grpo": ("reward", "contract", "dev/contract", "format", "dead_groups", "kl", "entropy", "tokens"),
}


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
    rows = []
    for name, side in sides.items():
        some = [g for g in side if g.task.id in shared]
        counts = [sum(holds) for holds in zip(*((g.contract, g.capable, g.sound) for g in some), strict=True)]
        shares = [rate(Rate(c / n, *wilson(c, n))) for c in counts]
        rows.append((name, stages[name], shares[0], *(s.split(" ")[0] for s in shares[1:]), str(len(side) - n)))
    heads = ("run", "stage", "contract", "capability", "sound", "left out")
    runs = table(heads, "LLRRRR", rows, f"{n} tasks that all of them have done")
    compared = []
    for p in found:
        figures = (points(p), str(p.gained), str(p.lost), p_value(p.adjusted))
        compared.append((f"{p.before} → {p.after}", *figures, p.verdict))
    pairs = table(("pair", "points", "gained", "lost", "p", "verdict"), "LRRRRL", compared)
    many = f", p with Holm's correction over {len(found)} pairs" if len(found) > 1 else ""
    note = f"by contract, 95 % bootstrap over tasks, exact McNemar test{many}"
    seeds = "tasks vary here, training seeds do not: two seeds of one recipe can differ as much"
    return Group(runs, pairs, Text(note, style="dim"), Text(seeds, style="dim"))


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
    mark = "✓" if g.contract else "✗"
    why = Text(f"{mark} {line.found.failure.value}: {printable(line.found.evidence)}")
    return Group(head, spans(line.row), why, Text(f"{stage.file}:{line.number}", style="dim"))


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
    rows = []
    for stage, names in _CURVES.items():
        for name in names:
            values = [value for _, value in points_of(metrics[stage], name)]
            if len(values) > 1:
                first, last, _ = ends(points_of(metrics[stage], name))
                rows.append((f"{stage} {name}", curve(values), f"{first:.3g} → {last:.3g}"))
    return ["", table(("", "", ""), "lll", rows)] if rows else []


def _failures(f: Findings) -> RenderableType:
    rows = [(failure.value, *(str(int(f.failures[s.name][failure]["count"])) for s in f.stages)) for failure in Failure]
    rows = [row for row in rows if any(cell != "0" for cell in row[1:])]
    return table(("class", *(s.name for s in f.stages)), "l" + "r" * len(f.stages), rows)
