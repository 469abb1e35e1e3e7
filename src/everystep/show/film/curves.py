"""The scene of the training curves, from the metrics of both stages of training."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from everystep.show.film.facts import Facts, pointer, read_value
from everystep.show.film.script import Chart, Charts, Curve, Figure, Scene, Sentence, Words, figure, say

MEAN = 10  # values at either end of a noisy curve whose mean is told, where there are three times as many
# Title, stage, curves (name → metric), axis, whether they are shares.
_CHARTS: tuple[tuple[str, str, dict[str, str], str, bool], ...] = (
    ("SFT: loss", "sft", {"training": "loss", "dev": "dev_loss"}, "nats a token", False),
    ("GRPO: reward", "grpo", {"mean total": "reward"}, "reward", False),
    ("GRPO: right in form", "grpo", {"dev, greedy": "dev/contract", "samples": "contract"}, "%", True),
    ("GRPO: distance from its start", "grpo", {"KL": "kl"}, "nats a token", False),
)
_TOLD = (("sft", "SFT", "loss", "its loss"), ("grpo", "GRPO", "reward", "the mean reward"))

Rows = Sequence[Mapping[str, Any]]


def curves(facts: Facts) -> Scene | None:
    """The curves of training; None where none has two points."""
    charts: list[Chart] = []
    for title, stage, keys, axis, share in _CHARTS:
        rows, file = _rows(facts, stage), f"{stage}/metrics.jsonl"
        lines = [Curve(n, file, k, points) for n, k in keys.items() if len(points := _points(rows, k)) > 1]
        if lines:
            charts.append(Chart(say(title), axis, share, tuple(lines), _ends(rows, lines[0], share)))
    if not charts:
        return None
    seen = {stage: sum(c.curves[0].file.startswith(stage) for c in charts) for stage in ("sft", "grpo")}
    shows = {"sft": seen["sft"], "grpo": len(charts)}
    sentences = [
        Sentence(words, shows[stage], 3 if stage == "sft" else 0)
        for stage, label, key, what in _TOLD
        if (words := _told(facts, stage, label, key, what)) is not None
    ]
    if (words := _dev(facts)) is not None:
        sentences.append(Sentence(words, len(charts), 5))
    if len(sentences) == 1:
        sentences = [replace(sentences[0], rank=0)]
    source = " · ".join(dict.fromkeys(c.curves[0].file for c in charts))
    return Scene(
        "curves", "The training", say("What happened, step by step"), tuple(sentences), Charts(tuple(charts)),
        source, least=9.0, rank=1,
    )  # fmt: skip


def _told(facts: Facts, stage: str, label: str, key: str, what: str) -> Words | None:
    """How far a stage came and where its metric went; None where it has no metrics."""
    rows, file = _rows(facts, stage), f"{stage}/metrics.jsonl"
    known = [i for i, row in enumerate(rows) if _finite(row.get(key)) and _finite(row.get("step"))]
    if len(known) < 2:
        return None
    steps = read_value(facts, facts.run.folder(stage) / "done.json", "count", "steps")
    came = "took" if steps else "came to step"
    steps = steps or figure("count", rows[known[-1]]["step"], file, pointer(known[-1], "step"))
    first, last, _ = _means(rows, key, file, "two")
    head = say(label, f" {came} ", steps, " steps; " if came == "took" else "; ")
    return say(head, what, " went from ", first, " to ", last, ".")


def _dev(facts: Facts) -> Words | None:
    rows, key, file = facts.found.grpo, "dev/contract", "grpo/metrics.jsonl"
    known = [i for i, row in enumerate(rows) if _finite(row.get(key)) and _finite(row.get("step"))]
    if len(known) < 2:
        return None
    a, b = (figure("percent", rows[i][key], file, pointer(i, key)) for i in (known[0], known[-1]))
    first, last = (figure("count", rows[i]["step"], file, pointer(i, "step")) for i in (known[0], known[-1]))
    return say("On dev tasks, ", a, " percent were right at step ", first, ", and ", b, " at step ", last, ".")


def _rows(facts: Facts, stage: str) -> Rows:
    return facts.found.sft if stage == "sft" else facts.found.grpo


def _points(rows: Rows, key: str) -> tuple[tuple[float, float], ...]:
    return tuple(
        (float(row["step"]), float(row[key])) for row in rows if _finite(row.get(key)) and _finite(row.get("step"))
    )


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _ends(rows: Rows, curve: Curve, share: bool) -> Words:
    first, last, n = _means(rows, curve.key, curve.file, "percent" if share else "three")
    over = say(" (means of ", n, ")") if n.value > 1 else say()
    return say(curve.name, ": ", first, " → ", last, " %" if share else "", over)


def _means(rows: Rows, key: str, file: str, form: str) -> tuple[Figure, Figure, Figure]:
    """A metric at either end, and how many values each is the mean of."""
    values = [y for _, y in _points(rows, key)]
    n = MEAN if len(values) >= 3 * MEAN else 1
    first = figure(form, sum(values[:n]) / n, file, f"{key}, mean of the first {n} values")
    last = figure(form, sum(values[-n:]) / n, file, f"{key}, mean of the last {n} values")
    return first, last, figure("count", n, file, f"{key}, values in a mean")
