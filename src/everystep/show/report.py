"""`report/index.html`: one page that holds everything and asks nobody for anything, made from the run
directory alone. The same run gives the same bytes.

What it says is read and worded in `findings` and drawn in `plots`. The records are packed into one compressed block:
every text is already cut into pieces and marked claims, so that the page has nothing to decide and only to show.
Model text is hostile: all of it is escaped or packed, and the page's policy lets nothing run but its own script,
named by its hash.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from everystep.core.files import write_text
from everystep.core.run import Run
from everystep.evaluate.failures import Failure
from everystep.evaluate.harness import Rate
from everystep.evaluate.stats import wilson
from everystep.show import plots
from everystep.show.checked import beside, marked, pieces, printable
from everystep.show.findings import (
    LAST_STEPS,
    SELF_CHARS,
    WAYS,
    Findings,
    Line,
    Stage,
    ends,
    p_value,
    percent,
    points,
    points_of,
    rate,
    read_findings,
    said,
)

_TEMPLATES = Path(__file__).parent / "templates"
RATES = ("contract", "capability", "sound", "format")
OUTCOMES = ("fixed", "broken", "still wrong", "still right")
# Curves of GRPO: title, the metrics in it (name → metric), the axis, whether it is a share, what it says.
CURVES: tuple[tuple[str, dict[str, str], str, bool, str], ...] = (
    ("Accuracy", {"dev, greedy": "dev/contract", "samples": "contract", "in form": "format"},
     "right in form", True, "Greedy on dev tasks, and of the samples that training drew, in form and right."),
    ("Reward", {"total": "reward"}, "reward", False, "Mean total of each step's completions."),
    ("KL", {"KL": "kl"}, "nats a token", False, "Divergence from the policy that GRPO began with."),
    ("Entropy", {"entropy": "entropy"}, "nats a token", False, "Near 0 there is nothing left to explore."),
    ("Length", {"tokens": "tokens"}, "tokens", False, "Mean length of the samples."),
    ("Groups", {"dead as drawn": "dead_groups", "live in training": "live", "cut": "truncated"},
     "share", True, "Dead groups have one reward only and teach nothing; what is cut met the token limit."),
)  # fmt: skip


def write_report(run: Run) -> Path:
    """Make `report/index.html` and say that it is done; the page's path. Raises ValueError where there is
    nothing to report."""
    write_text(run.report_page, page(read_findings(run)))
    run.mark_done("report", {})
    return run.report_page


def page(findings: Findings) -> str:
    """The page, whole."""
    env = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(
        shown=lambda text: printable(str(text)),
        marked=marked,
        rate=rate,
        percent=percent,
        points=points,
        p=p_value,
    )
    style, script = ((_TEMPLATES / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    packed, held = block(findings)
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'; require-trusted-types-for 'script'"
    )
    return env.get_template("report.html").render(
        f=findings,
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        packed=packed,
        held=held,
        says=said(findings),
        rates=RATES,
        outcomes=OUTCOMES,
        failures=list(Failure),
        figures=_figures(findings),
        slices=_slices(findings),
        minutes=_minutes(findings.minutes),
        phases=_phases(findings),
        last_steps=LAST_STEPS,
        self_ways=WAYS,
        self_chars=SELF_CHARS,
        share=lambda count, n: Rate(count / n, *wilson(count, n)),
    )


def _figures(f: Findings) -> dict[str, Any]:
    """The figures by section: title, drawing, and what it shows in words."""
    training = []
    if len(f.sft) > 1:
        lines = _lines(f.sft, {"train": "loss", "dev": "dev_loss"})
        training.append(_figure("SFT loss", plots.curves(lines, "nats a token", "sft"), lines,
                                "Of the completions' tokens.", False))  # fmt: skip
    parts = {k.removeprefix("reward/"): k for row in f.grpo for k in row if k.startswith("reward/")}
    every = [
        *CURVES[:2],
        ("Reward parts", parts, "value", False, "Mean of each part over the completions that have it."),
        *CURVES[2:],
    ]
    for i, (title, names, axis, share, note) in enumerate(every):
        lines = _lines(f.grpo, names)
        if any(len(points) > 1 for points in lines.values()):
            drawn = plots.curves(lines, axis, f"grpo{i}", share)
            training.append(_figure(f"GRPO: {title}", drawn, lines, note, share))
    return {"training": training, "slices": _slice_figures(f), "groups": _group_figures(f)}


def _figure(title: str, drawing: Markup, lines: Mapping[str, plots.Points], note: str, share: bool) -> dict[str, Any]:
    scale, unit = (100, " %") if share else (1, "")
    told = []
    for name, line in lines.items():
        first, last, n = ends(line)
        over = f" (means of {n})" if n > 1 else ""
        told.append(f"{name} {scale * first:.3g}{unit} → {scale * last:.3g}{unit}{over}")
    return {"title": title, "drawing": drawing, "note": note, "words": "; ".join(told)}


def _lines(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> dict[str, list[tuple[float, float]]]:
    """The points of each line that has any."""
    return {printable(name): line for name, key in names.items() if (line := points_of(rows, key))}


def _slices(f: Findings) -> list[tuple[str, list[str]]]:
    """The domains and the levels that any stage has."""
    found = []
    for key, title in (("by_domain", "Domain"), ("by_level", "Level")):
        names = sorted({name for s in f.stages for name in s.summary.get(key) or {}}, key=_numeric)
        found.append((key, title, names))
    return [(title, names) for _, title, names in found]


def _numeric(name: str) -> tuple[int, str]:
    return (int(name), name) if name.isdigit() else (0, name)


def _slice_figures(f: Findings) -> list[dict[str, Any]]:
    out = []
    for key, (title, names) in zip(("by_domain", "by_level"), _slices(f), strict=True):
        rows = []
        for name in names:
            values = {}
            for stage in f.stages:
                one = (stage.summary.get(key) or {}).get(name)
                if one is not None:
                    c = one["contract"]
                    values[printable(stage.name)] = (c["value"], c["low"], c["high"])
            rows.append((printable(name) if key == "by_domain" else f"level {name}", values))
        out.append({"title": f"By {title.lower()}", "drawing": plots.bars(rows, key), "key": key, "names": names})
    return out


def _group_figures(f: Findings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if f.groups is None:
        return found
    sure = f.groups.reliability
    if sure is not None:
        bins = [(b.confidence, b.right, b.low, b.high, b.n) for b in sure.bins]
        found["reliability"] = plots.reliable(bins, "sure")
    if f.groups.at_k:
        rows = {
            label: [(row.k, *_known(getattr(row, which))) for row in f.groups.at_k]
            for label, which in (("pass@k", "passed"), ("majority@k", "majority"))
        }
        found["at_k"] = plots.at_k(rows, "atk")
    return found


def _known(figure: Any) -> tuple[float, float, float]:
    value = figure.value or 0.0
    return (
        value,
        value if figure.low is None else figure.low,
        value if figure.high is None else figure.high,
    )


def _minutes(minutes: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """What each stage took, in minutes, and its share of all."""
    total = sum(minutes.values()) or 1.0
    return [(stage, spent, spent / total) for stage, spent in minutes.items()]


def _phases(f: Findings) -> list[tuple[str, dict[str, tuple[float, float]]]]:
    """For each phase of training what it took in each stage: seconds, and the share of all."""
    totals = {
        stage: {
            name: sum(float(row.get(name, 0.0)) for row in rows)
            for name in dict.fromkeys(k for row in rows for k in row if k != "step")
        }
        for stage, rows in f.seconds.items()
    }
    names = sorted({n for spent in totals.values() for n in spent}, key=lambda n: (n == "total", n == "other", n))
    return [
        (
            name,
            {s: (spent[name], spent[name] / (spent["total"] or 1.0)) for s, spent in totals.items() if name in spent},
        )
        for name in names
    ]


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


BUDGET = 2_200_000  # bytes of the block as it stands in the page
MAX_CHARS = 6_000  # of one text that are shown; the record has all of it
_TRUTHS = {"true": 0, "false": 1, "unknown": 2}


def block(findings: Findings, budget: int = BUDGET) -> tuple[str, int]:
    """The block in base64, and how many tasks it holds: all of them, unless it would be larger than the
    budget; then so many as fit, taken evenly from all."""
    ids = list(findings.stages[-1].lines)
    while True:
        # Level 9 and no header: the same bytes for the same records.
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        text = json.dumps(_content(findings, ids), ensure_ascii=False, separators=(",", ":"))
        packed = base64.b64encode(packer.compress(text.encode("utf-8", "replace")) + packer.flush()).decode()
        if len(packed) <= budget or len(ids) < 2:
            return packed, len(ids)
        fewer = max(1, min(len(ids) - 1, int(0.95 * len(ids) * budget / len(packed))))
        ids = [ids[i * len(ids) // fewer] for i in range(fewer)]


def _content(findings: Findings, ids: Sequence[str]) -> dict[str, Any]:
    return {
        "stages": [[printable(s.name), s.file] for s in findings.stages],
        "classes": [f.value for f in Failure],
        "tasks": [_task(findings.stages, i) for i in ids],
    }


def _task(stages: Sequence[Stage], key: str) -> list[Any]:
    """id, domain, level, question, gold, and for each stage its record or null."""
    task = next(s.lines[key] for s in reversed(stages) if key in s.lines).graded.task
    shown = [printable(text) for text in (task.id, task.domain, task.question, task.answer)]
    own = [_record(s.lines[key]) if key in s.lines else None for s in stages]
    return [shown[0], shown[1], task.level, shown[2], shown[3], own]


def _record(line: Line) -> list[Any]:
    """line, right in form, class, evidence, verdict, tokens, pieces: texts, or [text, truth, beside, reason].

    The reason of a piece that goes on with the claim before it is left out.
    """
    row = line.row | {"text": line.row["text"][:MAX_CHARS]}
    shown: list[Any] = []
    last: object = None
    for text, check in pieces(row):
        if check is None:
            shown.append(printable(text))
        elif check is last:
            shown.append([printable(text), _TRUTHS[check["truth"]]])
        else:
            why = f"{check['claim']} — {check['reason']}" if check["reason"] else check["claim"]
            shown.append([printable(text), _TRUTHS[check["truth"]], printable(beside(check)), printable(why)])
        last = check
    if len(line.row["text"]) > MAX_CHARS:
        shown.append(f"… ({len(line.row['text']) - MAX_CHARS} more characters in the record)")
    g, found = line.graded, line.found
    at = f"step {found.step}: " if found.step else ""
    return [
        line.number,
        int(g.contract),
        list(Failure).index(found.failure),
        printable(at + found.evidence),
        g.verdict.value,
        line.record.tokens,
        shown,
    ]
