"""The table of the stages, for the terminal and for documents: one row a stage, then the paired comparisons.

Made from plain values (`Summary.to_json`, `harness.paired`), so that it can be shown again from a run
directory.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

COLUMNS = ("stage", "n", "contract", "capability", "sound", "format", "trace", "truncated", "tokens")
RATES = ("contract", "capability", "sound", "format")


def stage_rows(summaries: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The cells of the table, by stage in the given order: rates in percent, `contract` with its interval.

    What could not be measured is "-", never 0.
    """
    return [_cells(stage, summary) for stage, summary in summaries.items()]


def paired_line(before: str, after: str, pair: Mapping[str, Any]) -> str:
    """One comparison in words, e.g. `base → sft: contract +30.0 points [+21.0, +39.0], …`.

    >>> paired_line("base", "sft", {"p": 0.036, "gained": 30, "lost": 15, "difference": 0.15,
    ...                             "low": 0.02, "high": 0.28})
    'base → sft: contract +15.0 points [+2.0, +28.0], gained 30, lost 15, p = 0.036'
    """
    points = [f"{100 * pair[key]:+.1f}" for key in ("difference", "low", "high")]
    p = "p < 0.001" if pair["p"] < 0.001 else f"p = {pair['p']:.3f}"
    return (
        f"{before} → {after}: contract {points[0]} points [{points[1]}, {points[2]}], "
        f"gained {pair['gained']}, lost {pair['lost']}, {p}"
    )


def stage_table(
    summaries: Mapping[str, Mapping[str, Any]],
    pairs: Mapping[tuple[str, str], Mapping[str, Any]] | None = None,
    title: str | None = None,
) -> RenderableType:
    """The table for the terminal. `summaries`: stage → `Summary.to_json()`; `pairs`: (before, after) →
    `harness.paired(before, after)`.
    """
    # Eighty columns hold it: a terminal of the usual width, and a log.
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    short = {"capability": "capable", "truncated": "cut"}
    for i, column in enumerate(COLUMNS):
        table.add_column(short.get(column, column), justify="right" if i else "left", no_wrap=True)
    for cells in stage_rows(summaries):
        table.add_row(*(Text(cell) for cell in cells))
    return Group(table, *(Text(line) for line in _lines(pairs)))


def markdown(
    summaries: Mapping[str, Mapping[str, Any]],
    pairs: Mapping[tuple[str, str], Mapping[str, Any]] | None = None,
) -> str:
    """The same table and lines in Markdown, ending in a line break."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" + "|---:" * (len(COLUMNS) - 1) + "|"]
    lines += ["| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |" for cells in stage_rows(summaries)]
    comparisons = [f"- {line}" for line in _lines(pairs)]
    return "\n".join(lines + (["", *comparisons] if comparisons else [])) + "\n"


def slice_markdown(slices: Mapping[str, Mapping[str, Any]], heading: str) -> str:
    """`by_domain` or `by_level` of one summary in Markdown; `heading` names the first column."""
    lines = [f"| {heading} | n | " + " | ".join(RATES) + " |", "|---|---:" + "|---:" * len(RATES) + "|"]
    for name, part in slices.items():
        cells = [
            name.replace("|", "\\|"),
            str(part["n"]),
            *(_rate(part[rate], rate == "contract") for rate in RATES),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cells(stage: str, s: Mapping[str, Any]) -> tuple[str, ...]:
    rates: Sequence[str] = [_rate(s[rate], rate == "contract") for rate in RATES]
    process = "-" if s["trace"] is None else f"{s['trace']:.3f}"
    tokens = "-" if s["mean_tokens"] is None else f"{s['mean_tokens']:.1f}"
    return (stage, str(s["n"]), *rates, process, f"{100 * s['truncated']:.1f}", tokens)


def _rate(rate: Mapping[str, float], interval: bool) -> str:
    value = f"{100 * rate['value']:.1f}"
    return f"{value} [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]" if interval else value


def _lines(pairs: Mapping[tuple[str, str], Mapping[str, Any]] | None) -> list[str]:
    return [paired_line(before, after, pair) for (before, after), pair in (pairs or {}).items()]
