"""Preflight on the terminal: every check with its light, what was measured, and its mend. Nothing is told by
colour alone, and 80 columns hold it."""

from rich.console import Group, RenderableType
from rich.text import Text

from everystep.forecast.findings import Findings, Light
from everystep.show.checked import printable
from everystep.show.screen import table

SIGNS = {Light.GREEN: "✓ green", Light.AMBER: "! amber", Light.RED: "✗ red"}
_STYLES = {Light.GREEN: "green", Light.AMBER: "yellow", Light.RED: "bold red"}


def findings(found: Findings, title: str) -> RenderableType:
    """All findings as a table, and what they come to in one line."""
    rows = []
    for f in found.found:
        told = Text(printable(f.measured))
        if f.mend:
            told.append(f"\n→ {printable(f.mend)}", style="bold")
        rows.append((Text(SIGNS[f.light], style=_STYLES[f.light]), f.name, told))
    shown = table(("", "check", "measured, and what to do"), "llL", rows, title)
    return Group(shown, Text(summary(found), style=_STYLES[found.light]))


def summary(found: Findings) -> str:
    """What the findings come to.

    >>> from everystep.forecast.findings import red
    >>> summary(Findings((red("disk", "1 GB of 0", "make room"),), minutes=1.23))
    '✗ red: 1 of 1 must be mended first (disk); 1.2 min'
    """
    n, stops = len(found.found), [f.name for f in found.red]
    look = sum(f.light is Light.AMBER for f in found.found)
    where = f"; {found.minutes:.1f} min" + (f" on {found.device}" if found.device else "")
    if stops:
        said = f"{len(stops)} of {n} must be mended first ({', '.join(stops)})"
    elif look:
        said = f"nothing stops the run; {look} of {n} to look at"
    else:
        said = f"all {n} are green"
    return f"{SIGNS[found.light]}: {said}{where}"
