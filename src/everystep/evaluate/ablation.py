"""What an ablation found: outcomes task by task, figures of a run, rows of the ledger, and the differences
that the rows speak for.

The ledger is only added to: one row for each change and seed, also for a run that failed. Where it is kept
is said in `evaluate.ledger`, how runs are made in `cli.ablation_run`; the mathematics is in `evaluate.seeds`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from everystep.core.record import Record
from everystep.core.types import Stop, Truth
from everystep.evaluate.changes import Ablation, Arm, Family, described
from everystep.evaluate.seeds import Difference, Pairs, Seed, differences, seed_difference, share
from everystep.evaluate.stats import holm
from everystep.score.structure import structure

LEVEL = 0.05  # below this adjusted p a change is told apart from its reference
DONE, FAILED = "done", "failed"

Outcome = Mapping[str, Any]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that every task has a part in: what is counted, and of how much. `percent`: it lies in [0, 1]
    and is shown in percent; `more`, `less`: what to call a change that raises or lowers it."""

    title: str
    of: Callable[[Outcome], tuple[float, float]]
    percent: bool = True
    more: str = "better"
    less: str = "worse"


def _counted(name: str) -> Callable[[Outcome], tuple[float, float]]:
    """What an outcome has under that name; nothing of nothing where it has None."""
    return lambda o: (0.0, 0.0) if o[name] is None else (float(o[name]), 1.0)


METRICS: dict[str, Metric] = {
    "contract": Metric("contract", _counted("contract")),
    "capability": Metric("capability", _counted("capability")),
    "sound": Metric("sound", _counted("sound")),
    "format": Metric("format", _counted("format")),
    "structure": Metric("structure", _counted("structure"), more="higher", less="lower"),
    "process": Metric("process", _counted("process"), more="higher", less="lower"),
    "claims": Metric("true claims", lambda o: (float(o["true"]), float(o["checked"])), more="higher", less="lower"),
    "tokens": Metric("tokens", _counted("tokens"), percent=False, more="longer", less="shorter"),
}


@dataclass(frozen=True, slots=True)
class Side:
    """A change (or the reference) over the seeds it has: `figures` are means over seeds, None where no seed
    has one; `failed` are the seeds whose newest run failed, with why; `missing` those without any run."""

    change: str
    seeds: tuple[int, ...]
    figures: dict[str, float | None]
    failed: dict[int, str]
    missing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """A change against its reference by one metric. `adjusted`: p after Holm's correction over the family's
    tested differences; None where this one is not tested, or one seed is all there is."""

    change: str
    metric: str
    difference: Difference
    adjusted: float | None

    @property
    def apart(self) -> bool:
        return self.adjusted is not None and self.adjusted < LEVEL

    @property
    def verdict(self) -> str:
        """The outcome in words."""
        if self.adjusted is None:
            return "not tested"
        if not self.apart:
            return "cannot be told apart"
        metric = METRICS[self.metric]
        return metric.more if self.difference.value > 0 else metric.less


@dataclass(frozen=True, slots=True)
class Found:
    """A family's sides, the reference first, and every change by every metric that could be measured."""

    name: str
    question: str
    reference: str
    tested: tuple[str, ...]
    sides: list[Side]
    compared: list[Compared]


def outcome(read: Record) -> dict[str, Any]:
    """What counts of one completion, as plain values; `structure` and `process` are None where the task has
    nothing of the kind, `tokens` where their number is not known."""
    g = read.graded
    truths = [c.truth for c in g.checks]
    true = truths.count(Truth.TRUE)
    return {
        "id": g.task.id,
        "domain": g.task.domain,
        "level": g.task.level,
        "contract": g.contract,
        "capability": g.capable,
        "sound": g.sound,
        "format": not g.trace.faults,
        "structure": structure(g),
        "process": g.process.score,
        "true": true,
        "checked": true + truths.count(Truth.FALSE),
        "tokens": read.tokens or None,
        "truncated": g.completion.stop is Stop.LENGTH,
    }


def figures(outcomes: Sequence[Outcome], training: Sequence[Row] = ()) -> dict[str, Any]:
    """The figures of one run: every metric over its test tasks, and what its GRPO steps (`training`, rows of
    `grpo/metrics.jsonl`) say: the mean shares of groups that were dead as drawn and live after refills, the
    mean number of prompts drawn in a step, the mean length, and the last KL divergence. None: could not be
    measured, or there was no GRPO."""
    out: dict[str, Any] = {"n": len(outcomes)}
    out |= {name: share([m.of(o) for o in outcomes]) for name, m in METRICS.items()}
    out["truncated"] = share([_counted("truncated")(o) for o in outcomes])
    for name in ("dead_groups", "live", "drawn"):
        out[name] = _mean([row.get(name) for row in training])
    out["training_tokens"] = _mean([row.get("tokens") for row in training])
    out["kl"] = training[-1].get("kl") if training else None
    return out


def done_row(arm: Arm, outcomes: Sequence[Outcome], training: Sequence[Row], about: Row) -> dict[str, Any]:
    """The ledger's row of a run that came to its end. `about`: where it is, what made it, how long it was."""
    return {**described(arm), "status": DONE, "error": None, "figures": figures(outcomes, training), **about}


def failed_row(arm: Arm, error: str, about: Row) -> dict[str, Any]:
    """The ledger's row of a run that failed."""
    return {**described(arm), "status": FAILED, "error": error, "figures": None, **about}


def newest(rows: Iterable[Row], arm: Arm) -> Row | None:
    """The newest row of an arm: of the same family, change, seed and stage, and of the same recipe."""
    wanted = ("family", "change", "seed", "stage", "key")
    own = described(arm)
    found = None
    for row in rows:
        if all(row.get(k) == own[k] for k in wanted):
            found = row
    return found


def findings(
    ablation: Ablation, arms: Sequence[Arm], rows: Sequence[Row], read: Callable[[Row], list[dict[str, Any]]]
) -> list[Found]:
    """What the ledger says of each family. `read` gives the outcomes that a row points to.

    A seed counts for a change where both it and the reference came to their end with it. Raises ValueError
    where the two were not evaluated on the same tasks.
    """
    newest_rows = {(a.family, a.change, a.seed): newest(rows, a) for a in arms}
    held: dict[str, dict[str, Outcome]] = {}

    def outcomes(row: Row) -> dict[str, Outcome]:
        key = str(row["sha256"])
        if key not in held:
            held[key] = {o["id"]: o for o in read(row)}
        return held[key]

    out = []
    for name, family in ablation.families.items():
        names = (family.reference, *family.changes)
        own = {c: {s: newest_rows.get((name, c, s)) for s in ablation.seeds} for c in names}
        done = {c: {s: r for s, r in by.items() if r and r["status"] == DONE} for c, by in own.items()}
        sides = [_side(c, own[c], done[c]) for c in names]
        out.append(
            Found(
                name,
                family.question,
                family.reference,
                family.tested,
                sides,
                _compared(name, family, done, outcomes),
            )
        )
    return out


def _side(change: str, own: Mapping[int, Row | None], done: Mapping[int, Row]) -> Side:
    keys = dict.fromkeys(k for row in done.values() for k in row["figures"])
    values = {k: _mean([row["figures"].get(k) for row in done.values()]) for k in keys}
    values["minutes"] = _mean([row.get("minutes", {}).get("grpo") for row in done.values()])
    return Side(
        change,
        tuple(done),
        values,
        {s: str(r["error"]) for s, r in own.items() if r and r["status"] != DONE},
        tuple(s for s, r in own.items() if r is None),
    )


def _compared(
    name: str,
    family: Family,
    done: Mapping[str, Mapping[int, Row]],
    outcomes: Callable[[Row], Mapping[str, Outcome]],
) -> list[Compared]:
    found: dict[tuple[str, str], Difference] = {}
    reference = done[family.reference]
    for key, metric in METRICS.items():
        seeds: dict[str, list[Seed]] = {}
        for change in family.changes:
            seeds[change] = []
            for seed in (s for s in done[change] if s in reference):
                before, after = outcomes(reference[seed]), outcomes(done[change][seed])
                if before.keys() != after.keys():
                    raise ValueError(
                        f"{name}.{change}, seed {seed}: was evaluated on other tasks than the reference; "
                        f"nothing can be paired"
                    )
                one = seed_difference(_pairs(before, before, metric), _pairs(before, after, metric))
                if one is not None:
                    seeds[change].append(one)
        found |= {(change, key): d for change, d in differences(seeds).items()}
    tested = [k for k in found if k[1] in family.tested and found[k].p is not None]
    adjusted = dict(zip(tested, holm([p for k in tested if (p := found[k].p) is not None]), strict=True))
    return [
        Compared(c, m, found[c, m], adjusted.get((c, m))) for c in family.changes for m in METRICS if (c, m) in found
    ]


def _pairs(order: Mapping[str, Outcome], outcomes: Mapping[str, Outcome], metric: Metric) -> Pairs:
    return [metric.of(outcomes[i]) for i in order]


def _mean(values: Iterable[Any]) -> float | None:
    known = [float(v) for v in values if isinstance(v, (int, float)) and math.isfinite(v)]
    return math.fsum(known) / len(known) if known else None
