"""A plan on the terminal: memory by step, hours by stage, what does not fit with its mend, what was assumed.
Nothing is told by colour alone, and 80 columns hold it."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from everystep.forecast.plan import Plan
from everystep.show.checked import printable
from everystep.show.screen import table


def plan_tables(plan: Plan) -> RenderableType:
    """The whole plan."""
    parts: list[RenderableType] = [_head(plan)]
    if plan.uses:
        parts.append(_memory(plan))
    parts += [_hours(plan), *_problems(plan), Text(verdict(plan), style=_style(plan.fits))]
    parts.append(Text("Assumed: " + "; ".join(map(printable, plan.assumed)) + ".", style="dim"))
    return Group(*parts)


def verdict(plan: Plan) -> str:
    """What the plan comes to, in one line."""
    need = (plan.seconds + plan.reserved) / 3600
    if not plan.fits:
        where = " and ".join(dict.fromkeys(p.where for p in plan.problems))
        return f"✗ does not fit ({where}) on {plan.device.title}; planned in {plan.minutes:.1f} min"
    most = max((use.total for use in plan.uses), default=0.0)
    return (
        f"✓ fits: at most {size(most)} a chip of {size(plan.device.room())}, about {need:.1f} h of "
        f"{plan.hours:g}; planned in {plan.minutes:.1f} min"
    )


def size(count: float) -> str:
    """Bytes in words.

    >>> size(15.2e9), size(3.21e6)
    ('15.2 GB', '3.2 MB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(6000), duration(90), duration(5)
    ('1.7 h', '1.5 min', '0.1 min')
    """
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.1f} min"


def _style(fine: bool) -> str:
    return "green" if fine else "bold red"


def _head(plan: Plan) -> Text:
    held, shape = plan.analysis.held, plan.analysis.shape
    text = Text(printable(f"{plan.recipe}: {plan.model} on {plan.device.title}\n"), style="bold")
    some = (
        ""
        if shape["layers"] in plan.analysis.layers
        else (f"; compiled at {' and '.join(map(str, plan.analysis.layers))} of {shape['layers']} layers")
    )
    text.append(
        f"{plan.dtype}; a chip holds weights {size(held['weights'])}, adapter {size(held['adapter'])}, its "
        f"float32 masters and moments {size(held['optimizer'])}{some}",
        style="not bold",
    )
    return text


def _memory(plan: Plan) -> Table:
    room = plan.device.room()
    rows = [
        (
            Text("✓" if use.total <= room else "✗", style=_style(use.total <= room)),
            use.step.name,
            use.step.what,
            *map(size, (use.given, use.working, use.beside, use.total)),
        )
        for use in plan.uses
    ]
    heads = ("", "step", "size", "given", "working", "beside", "in all")
    return table(heads, "llLrrrr", rows, "memory a chip")


def _hours(plan: Plan) -> Table:
    whole, pace = plan.hours * 3600, plan.pace
    rows = [(s.name, duration(s.seconds), f"{s.seconds / whole:.0%}", s.what) for s in plan.stages]
    left = max(0.0, whole - plan.seconds)
    rows.append(("left", duration(left), f"{left / whole:.0%}", ""))
    note = (
        f"a GRPO step: rollout {pace.rollout:.1f} s, reference {pace.reference:.1f}, "
        f"update {pace.update:.1f}, host {pace.host:.1f}"
    )
    return table(("stage", "time", "share", "of what"), "lrrL", rows, f"{plan.hours:g} hours", note)


def _problems(plan: Plan) -> list[Text]:
    out = []
    for problem in plan.problems:
        text = Text(f"✗ {problem.where}: {printable(problem.what)}", style=_style(False))
        mend = problem.mend or "no single change that was tried does it: a larger device, or a smaller model"
        text.append(f"\n  → {printable(mend)}", style="bold")
        out.append(text)
    return out
