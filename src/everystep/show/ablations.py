"""What an ablation found as tables: on the terminal, and as a page of Markdown. Also the list of its runs.

Everything is made of the ledger's rows and the findings; nothing is computed here.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from everystep.evaluate.ablation import FAILED, METRICS, Compared, Found, Row, Side
from everystep.evaluate.changes import Ablation, Arm
from everystep.show.checked import printable
from everystep.show.screen import duration, table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _plain(digits: int) -> Callable[[float | None], str]:
    return lambda value: "-" if value is None else f"{value:.{digits}f}"


# Of each side: heading, key of its figures, how it is shown, and whether the terminal has room for it.
COLUMNS: tuple[tuple[str, str, Callable[[float | None], str], bool], ...] = (
    ("contract", "contract", _percent, True),
    ("capability", "capability", _percent, True),
    ("sound", "sound", _percent, False),
    ("format", "format", _percent, True),
    ("structure", "structure", _percent, True),
    ("process", "process", _percent, False),
    ("true claims", "claims", _percent, True),
    ("tokens", "tokens", _plain(1), True),
    ("dead groups", "dead_groups", _percent, True),
    ("KL", "kl", _plain(4), False),
    ("minutes", "minutes", _plain(1), False),
)

_SHORT = {"capability": "capable", "true claims": "true", "structure": "struct", "dead groups": "dead"}  # headings

READING = """\
Every change is held against its family's reference on the same test tasks, seed by seed; the seed decides
the tasks, the adapter's start and all sampling. A figure is the mean over seeds. A difference is change
minus reference, in points (tokens: in tokens), with the difference of each seed beside it.

The 95 % interval is for what further seeds and further tasks would show: D ± t·√(max(B, P, W)/S), with S
seeds, D the mean of their differences, B the variance of these, P the family's mean of B, W the variance
that the tasks alone would give, and t from Student's distribution with Σ(S−1)/(1 + (K−1)/4) degrees of
freedom for the family's K changes (`evaluate/seeds.py`; its coverage is measured in `tests/test_seeds.py`).
It assumes that the changes of a family are about equally unsteady over seeds. p is for the same t, after
Holm's correction over the family's tested differences; at 0.05 or above a change *cannot be told apart*
from its reference, which is not the same as having no effect. What is not tested has an interval and no
verdict.

*Contract*: right, in exactly the agreed form. *Capability*: right for a forgiving reader. *Structure*: how
much of the wanted form the work has (the reward part of that name). *Process*: the score of the work, over
the completions that have one. *True claims*: of the claims that could be checked. *Dead groups*: prompts
whose completions all earned the same, as drawn. *Minutes*: of GRPO alone, on a machine that may have been
shared.
"""


def terminal(found: Sequence[Found]) -> RenderableType:
    """The findings in 80 columns; below each family what is not there."""
    parts: list[RenderableType] = []
    for family in found:
        shown = [c for c in COLUMNS if c[3]]
        sides = [(_name(s, family), *(c[2](s.figures.get(c[1])) for c in shown)) for s in family.sides]
        heads = ("", *(_SHORT.get(c[0], c[0]) for c in shown))
        parts.append(table(heads, "l" + "r" * len(shown), sides, f"{family.name}: {family.question}"))
        tested = [c for c in family.compared if c.metric in family.tested]
        rows = [(c.change, METRICS[c.metric].title, points(c), _p(c), c.verdict) for c in tested]
        if rows:
            parts.append(table(("change", "metric", "difference", "p", "verdict"), "llrrL", rows))
        parts += [Text(printable(line), style="yellow") for line in _gone(family)]
    return Group(*parts)


def markdown(
    ablation: Ablation,
    file: Path,
    found: Sequence[Found],
    rows: Sequence[Row],
    arms: Sequence[Arm],
    picture: str,
) -> str:
    """The findings as a page; `picture` is the plot's file beside it."""
    tasks = sorted({row["figures"]["n"] for row in rows if row["figures"]})
    lines = [
        f"# Ablations: {ablation.name}",
        "",
        f"Made by `everystep ablate {file.as_posix()} --report-only --write docs` from the ledger of "
        f"`everystep ablate {file.as_posix()}`. Base: `{ablation.base}`; seeds {_listed(ablation.seeds)}; "
        f"{_listed(tasks)} test tasks a seed; equal {ablation.equal} of GRPO within a family.",
        "",
        READING,
        f"![the tested differences, with intervals]({picture})",
        "",
    ]
    for family in found:
        lines += _family(ablation, family)
    lines += _ledger(rows, arms)
    return "\n".join(lines)


def _family(ablation: Ablation, family: Found) -> list[str]:
    how = ablation.families[family.name]
    lines = [f"## {family.name}", "", family.question, ""]
    common = [*ablation.common, *how.common]
    if common:
        lines += ["All of them with " + ", ".join(f"`{c}`" for c in common) + ".", ""]
    lines += [
        "| | seeds | " + " | ".join(c[0] for c in COLUMNS) + " |",
        "|---|---:" + "|---:" * len(COLUMNS) + "|",
    ]
    for side in family.sides:
        cells = [_name(side, family), _seeds(side), *(c[2](side.figures.get(c[1])) for c in COLUMNS)]
        lines.append("| " + " | ".join(_cell(c) for c in cells) + " |")
    lines += ["", f"Against `{family.reference}`:", ""]
    lines += [
        "| change | metric | difference [95 %] | by seed | p (Holm) | verdict |",
        "|---|---|---:|---:|---:|---|",
    ]
    for one in (c for c in family.compared if c.metric in family.tested):
        by_seed = ", ".join(_signed(d, one.metric) for d in one.difference.by_seed)
        cells = (one.change, METRICS[one.metric].title, points(one), by_seed, _p(one), one.verdict)
        lines.append("| " + " | ".join(_cell(c) for c in cells) + " |")
    others = [m for m in METRICS if m not in family.tested]
    lines += ["", "Not tested:", ""]
    lines += [
        "| change | " + " | ".join(METRICS[m].title for m in others) + " |",
        "|---" + "|---:" * len(others) + "|",
    ]
    for change in dict.fromkeys(c.change for c in family.compared):
        own = {c.metric: points(c) for c in family.compared if c.change == change}
        lines.append("| " + " | ".join(_cell(c) for c in (change, *(own.get(m, "-") for m in others))) + " |")
    lines.append("")
    for name, change in how.changes.items():
        what = ", ".join(f"`{text}`" for text in change.set) or "nothing else"
        stage = "" if change.stage == "grpo" else f"; the figures of the stage {change.stage}"
        lines.append(f"- {name}: {what}{stage}")
    lines += ["", *(f"- {line}" for line in _gone(family))]
    return [*lines, ""] if _gone(family) else lines


def _ledger(rows: Sequence[Row], arms: Sequence[Arm]) -> list[str]:
    """What the ledger holds, the runs that failed among it."""
    keys = {(a.family, a.change, a.seed, a.stage, a.job.key) for a in arms}
    own = [r for r in rows if (r["family"], r["change"], r["seed"], r["stage"], r["key"]) in keys]
    failed = [r for r in rows if r["status"] == FAILED]
    commits = list(dict.fromkeys(str(r["commit"])[:7] for r in own if r.get("commit")))
    codes = {r["code"] for r in own if r.get("code")}
    lines = ["## Ledger", "", f"{len(rows)} rows, {len(failed)} of them of runs that failed."]
    if len(own) < len(rows):
        lines[-1] += f" {len(rows) - len(own)} are of other recipes than the file has now, and enter nothing."
    if commits:
        lines[-1] += f" Made at {', '.join(f'`{c}`' for c in commits)}"
        lines[-1] += ", by one version of the code." if len(codes) == 1 else f", by {len(codes)} versions of the code."
    lines += [""]
    for row in failed:
        lines.append(f"- {row['family']}.{row['change']}, seed {row['seed']}: {row['error']}")
    return [*lines, ""] if failed else lines


def plan_table(rows: Sequence[Mapping[str, Any]], left: float | None) -> RenderableType:
    """The runs of an ablation: `run`, `for`, `shares`, `state`, `wanted`, `minutes` of each; `left`: the sum
    of the minutes of what will be done, where it is known."""
    shown = []
    for row in rows:
        minutes = "" if not row["wanted"] else "?" if row["minutes"] is None else f"{row['minutes']:.1f}"
        state = row["state"] + ("" if row["wanted"] or row["state"] == "done" else ", left alone")
        also = [name for name in row["for"] if not row["run"].startswith(f"{name}-s")]
        name = row["run"] + (f"\n  also {', '.join(also)}" if also else "")
        shown.append((name, row["shares"] or "", state, minutes))
    wanted = sum(bool(row["wanted"]) for row in rows)
    about = "nobody knows how long" if left is None else f"about {duration(60 * left)}"
    planned = table(("run", "after", "state", "minutes"), "LLLR", shown)
    return Group(planned, Text(f"{wanted} of {len(rows)} runs to do, {about}"))


def points(one: Compared) -> str:
    """A difference with its interval, e.g. `-1.2 [-3.4, +1.0]`."""
    d = one.difference
    if d.low is None or d.high is None:
        return f"{_signed(d.value, one.metric)} (one seed)"
    low, high = _signed(d.low, one.metric), _signed(d.high, one.metric)
    return f"{_signed(d.value, one.metric)} [{low}, {high}]"


def _signed(value: float, metric: str) -> str:
    return f"{100 * value if METRICS[metric].percent else value:+.1f}"


def _p(one: Compared) -> str:
    if one.adjusted is None:
        return ""
    return "<0.001" if one.adjusted < 0.001 else f"{one.adjusted:.3f}"


def _name(side: Side, family: Found) -> str:
    return f"{side.change} (reference)" if side.change == family.reference else side.change


def _seeds(side: Side) -> str:
    return str(len(side.seeds))


def _gone(family: Found) -> list[str]:
    """What is not there, in words."""
    lines = []
    for side in family.sides:
        lines += [f"{side.change}, seed {seed}: failed, {why}" for seed, why in side.failed.items()]
        if side.missing:
            lines.append(f"{side.change}: no run yet with seed {_listed(side.missing)}")
    return lines


def _listed(values: Sequence[object]) -> str:
    return ", ".join(str(v) for v in values)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
