"""What `everystep judge` says of records: scores from 1 to 5 on a sample, how far the judge agrees with the
checker, and what it has cost.

The sample holds as many right as wrong answers and as many of each domain as there are, so that agreement
can be seen; means are weighted back to the records. What has no score is counted, never scored.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from everystep.core import recipe
from everystep.core.types import Graded, Verdict
from everystep.evaluate.agreement import auroc, interval, quadratic_kappa
from everystep.score.files import read_groups
from everystep.score.judge import Judge, Judgement, judge_of
from everystep.score.rubric import CORRECTNESS

Stratum = tuple[str, str]
RIGHT, WRONG, UNGRADABLE = "right", "wrong", "ungradable"


def open_judge(
    settings: recipe.Judge, seed: int = 0, on_answer: Callable[[], None] = lambda: None, blind: bool = True
) -> Judge:
    """The judge of these settings, `blind` to what the checker says; loads the local Gemma where no endpoint
    is named. Raises ValueError, one line, for whatever is missing."""
    if settings.base_url is not None:
        return judge_of(settings, seed=seed, blind=blind, on_answer=on_answer)
    from everystep.model.io.load import load
    from everystep.model.sampler import policy
    from everystep.score.local import weights_identity

    base = load(settings.model)
    local = policy(base.model, base.tokenizer)
    identity = weights_identity(base.folder)
    return judge_of(settings, seed=seed, blind=blind, local=local, identity=identity)


def settings_of(file: Path | None, base_url: str | None, model: str | None, key_variable: str | None) -> recipe.Judge:
    """The section `judge` of a recipe, with what the command line says instead. Raises RecipeError."""
    given = {"base_url": base_url, "model": model, "key_variable": key_variable}
    given = {name: value for name, value in given.items() if value is not None}
    if file is not None:
        own = recipe.load(file, [f"judge.{name}={json.dumps(value)}" for name, value in given.items()])
    else:
        own = recipe.validate({"name": "judge", "data": {"worked": {}}, "judge": given}, "judge")
    return own.judge or recipe.Judge()


def judge_lines(
    lines: Iterable[str], settings: recipe.Judge, n: int, seed: int, on_answer: Callable[[], None]
) -> dict[str, Any]:
    """`judge_records` of lines as `score.files` reads them, with `unreadable`: how many could not be read.
    Raises ValueError, with the first reason, where that are all of them."""
    entries = [entry for group in read_groups(lines) for entry in group.entries]
    bad = [e for e in entries if e.graded is None]
    graded = [e.graded for e in entries if e.graded is not None]
    if not graded:
        raise ValueError(f"no record to judge{f'; line {bad[0].line}: {bad[0].error}' if bad else ''}")
    found = judge_records(graded, open_judge(settings, seed, on_answer), n, seed)
    return found | {"unreadable": len(bad)}


def judge_records(graded: Sequence[Graded], judge: Judge, n: int = 50, seed: int = 0) -> dict[str, Any]:
    """Judge a sample of `n` and sum up, as plain values:

    `records`, `sampled`, `judged` and `without`: how many there are, were put before the judge, have scores,
    and have none, by reason; `void`: why nothing counts (a canary), or None; `criteria`: mean with its 95 %
    bootstrap interval over `n` scores; `agreement` with the checker; `cost`; `strata` and `judgements`.

    Raises ValueError without records or for n < 1.
    """
    if not graded or n < 1:
        raise ValueError("there is nothing to judge; give records, and --n of 1 or more")
    chosen = stratified(graded, n, seed)
    some = [graded[i] for i in chosen]
    judgements = judge.judge(some)
    sizes = Counter(stratum(g) for g in graded)
    asked = Counter(stratum(g) for g in some)
    scored = Counter(stratum(g) for g, j in zip(some, judgements, strict=True) if not j.why_not)
    return {
        "records": len(graded),
        "sampled": len(some),
        "judged": sum(not j.why_not for j in judgements),
        "without": dict(Counter(j.why_not.partition(":")[0] for j in judgements if j.why_not)),
        "void": judge.void,
        "criteria": _means(some, judgements, {s: sizes[s] / asked[s] for s in asked}, seed),
        "agreement": _agreement(some, judgements, seed),
        "cost": judge.ledger.to_json(),
        "strata": [
            {
                "domain": d,
                "verdict": v,
                "records": sizes[d, v],
                "sampled": asked[d, v],
                "judged": scored[d, v],
            }
            for d, v in sorted(sizes)
        ],
        "judgements": [asdict(j) for j in judgements],
    }


def stratum(g: Graded) -> Stratum:
    """The domain, and what the checker says: right, wrong (or missing), ungradable."""
    if g.verdict is Verdict.UNGRADABLE:
        return g.task.domain, UNGRADABLE
    return g.task.domain, RIGHT if g.verdict.right else WRONG


def stratified(graded: Sequence[Graded], n: int, seed: int) -> list[int]:
    """The indices of a sample: as many of each verdict as there are, within a verdict as many of each domain.

    Which ones depends on the seed and on what they are, not on their order; sorted.
    """
    members: dict[Stratum, list[int]] = {}
    for i, g in enumerate(graded):
        members.setdefault(stratum(g), []).append(i)
    by_verdict = {v: sorted(s for s in members if s[1] == v) for v in sorted({v for _, v in members})}
    shares = fill(n, [sum(len(members[s]) for s in strata) for strata in by_verdict.values()])
    chosen: list[int] = []
    for strata, share in zip(by_verdict.values(), shares, strict=True):
        for s, count in zip(strata, fill(share, [len(members[s]) for s in strata]), strict=True):
            chosen += sorted(members[s], key=lambda i: (_rank(graded[i], seed), i))[:count]
    return sorted(chosen)


def fill(n: int, sizes: Sequence[int]) -> list[int]:
    """`n` shared out as evenly as the sizes allow.

    >>> fill(10, [2, 20, 20]), fill(10, [1, 2])
    ([2, 4, 4], [1, 2])
    """
    shares = [0] * len(sizes)
    for _ in range(min(n, sum(sizes))):
        least = min((share, i) for i, share in enumerate(shares) if share < sizes[i])
        shares[least[1]] += 1
    return shares


def table(result: Mapping[str, Any]) -> RenderableType:
    """The result for the terminal."""
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for i, column in enumerate(("criterion", "mean", "95 %", "n", "AUROC", "95 %")):
        shown.add_column(column, justify="right" if i else "left", no_wrap=True)
    area = result["agreement"]["auroc"]
    for name, row in result["criteria"].items():
        mean, above = _figure(row["mean"], row), _figure(area[name]["value"], area[name])
        shown.add_row(name, *mean, str(row["n"]), *above)
    found, cost = result["agreement"], result["cost"]
    without = "".join(f"; {count} without: {why}" for why, count in result["without"].items())
    kappa, wide = _figure(found["kappa"]["value"], found["kappa"])
    money = "unknown (no prices)" if cost["money"] is None else f"{cost['money']:.4f}"
    lines = [
        f"{result['judged']} of {result['sampled']} judged, from {result['records']} records{without}",
        f"agreement with the checker: weighted kappa {kappa} {wide} over {found['n']}",
        f"{cost['calls']} calls, {cost['cached']} answers from disk, {cost['prompt_tokens']} + "
        f"{cost['completion_tokens']} tokens, cost {money}",
    ]
    if cost["failures"]:
        lines.append("failures: " + ", ".join(f"{k} {v}" for k, v in cost["failures"].items()) + f" ({cost['said']})")
    if result.get("unreadable"):
        lines.append(f"{result['unreadable']} lines could not be read")
    if result["void"]:
        lines.append(f"VOID: {result['void']}")
    return Group(shown, *(Text(line) for line in lines))


def _figure(value: float | None, row: Mapping[str, Any]) -> tuple[str, str]:
    shown = "-" if value is None else f"{value:.2f}"
    return shown, "-" if row["low"] is None else f"[{row['low']:.2f}, {row['high']:.2f}]"


def _rank(g: Graded, seed: int) -> str:
    content = "\x1f".join((str(seed), g.task.id, str(g.completion.sample), g.completion.text))
    return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()


def _means(
    graded: Sequence[Graded], judgements: Sequence[Judgement], weights: Mapping[Stratum, float], seed: int
) -> dict[str, Any]:
    """For each criterion the mean over the records that the scored ones stand for. An item counts as much as
    its stratum is larger than its share of the sample."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for j in judgements for name in j.scores):
        rows = [(s, weights[stratum(g)]) for g, j in zip(graded, judgements, strict=True)
                if (s := j.scores.get(name)) is not None]  # fmt: skip
        scores, counts = np.array([s for s, _ in rows], float), np.array([w for _, w in rows], float)

        def mean(at: np.ndarray, scores: np.ndarray = scores, counts: np.ndarray = counts) -> float:
            return float((scores[at] * counts[at]).sum() / counts[at].sum())

        value = mean(np.arange(len(rows))) if rows else None
        found[name] = {"mean": value, "n": len(rows)} | _ends(interval(mean, len(rows), seed=seed))
    return found


def _agreement(graded: Sequence[Graded], judgements: Sequence[Judgement], seed: int) -> dict[str, Any]:
    """How the scores go with the checker's verdict, over what it can grade: for correctness the weighted
    kappa (the checker gives 1 or 5), that of "4 or 5", and how often both say the same; for each criterion
    the AUROC."""
    known = [(j.scores, g.verdict.right) for g, j in zip(graded, judgements, strict=True)
             if g.verdict is not Verdict.UNGRADABLE]  # fmt: skip
    rows = [(s, right) for scores, right in known if (s := scores.get(CORRECTNESS)) is not None]
    own = [s for s, _ in rows]
    checker = [5 if right else 1 for _, right in rows]
    yes = [2 if s >= 4 else 1 for s in own]
    areas = {}
    for name in dict.fromkeys(name for j in judgements for name in j.scores):
        pairs = [(s, right) for scores, right in known if (s := scores.get(name)) is not None]
        scored, flags = np.array([s for s, _ in pairs]), np.array([r for _, r in pairs], bool)

        def area(at: np.ndarray, scored: np.ndarray = scored, flags: np.ndarray = flags) -> float | None:
            return auroc(scored[at], flags[at])

        areas[name] = _with_interval(area, len(pairs), seed)
    return {
        "n": len(rows),
        "kappa": _with_interval(
            lambda at: quadratic_kappa([own[i] for i in at], [checker[i] for i in at]), len(rows), seed
        ),
        "binary_kappa": _with_interval(
            lambda at: quadratic_kappa([yes[i] for i in at], [2 if checker[i] == 5 else 1 for i in at], 2),
            len(rows),
            seed,
        ),
        "same": sum(a == b for a, b in zip(own, checker, strict=True)) / len(rows) if rows else None,
        "auroc": areas,
    }


def _with_interval(figure: Callable[[np.ndarray], float | None], n: int, seed: int) -> dict[str, float | None]:
    value = figure(np.arange(n)) if n else None
    return {"value": value} | _ends(None if value is None else interval(figure, n, seed=seed))


def _ends(found: tuple[float, float] | None) -> dict[str, float | None]:
    return {"low": None, "high": None} if found is None else {"low": found[0], "high": found[1]}
