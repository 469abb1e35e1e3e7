"""What a report says, read from a run directory alone: stages, comparisons, curves, groups, failures.

Nothing is drawn or worded here. What the run has not got (no training, one stage only) is empty or None.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everystep.core.files import read_json, read_jsonl
from everystep.core.record import Record, read_record
from everystep.core.run import Run, read_run
from everystep.core.types import Graded, Truth
from everystep.evaluate.calibration import AtK, Group, Reliability, at_k, reliability
from everystep.evaluate.compare import Gain, Pair, gain, pairs
from everystep.evaluate.failures import Failure, Found, classify, frequencies, transitions
from everystep.evaluate.harness import Rate
from everystep.evaluate.stats import wilson
from everystep.show.report_self import SelfMade, read_self_made

ORDER = ("base", "sft", "grpo")  # of the stages; any others follow by name
LAST_STEPS = 10  # of GRPO: their groups say how sure the policy is, and what k samples are worth


@dataclass(frozen=True, slots=True)
class Line:
    """One record where it stands: the row as written, read, classified, and the line of its file (from 1)."""

    row: dict[str, Any]
    record: Record
    found: Found
    number: int

    @property
    def graded(self) -> Graded:
        return self.record.graded


@dataclass(frozen=True, slots=True)
class Stage:
    """One evaluation: its summary as written, its records by the task's id, and the file they are in
    (relative to the run)."""

    name: str
    summary: dict[str, Any]
    lines: dict[str, Line]
    file: str

    @property
    def graded(self) -> list[Graded]:
        return [line.graded for line in self.lines.values()]


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of the last GRPO steps, and whether dead ones had been replaced in them."""

    first: int
    last: int
    n: int
    refilled: bool
    reliability: Reliability | None
    at_k: list[AtK]


@dataclass(frozen=True, slots=True)
class Findings:
    """All of it. `dataset`: the set that was evaluated; `gains`, `changes`: one for each two stages that
    follow each other; `minutes`: what each stage took, where it says; `seconds`: of each training step, by
    phase; `self_made`: of a run that made its SFT data itself."""

    name: str
    recipe: dict[str, Any]
    provenance: dict[str, Any]
    dataset: str
    stages: list[Stage]
    pairs: list[Pair]
    gains: list[tuple[str, str, Gain]]
    changes: list[tuple[str, str, dict[str, Any]]]
    failures: dict[str, dict[Failure, dict[str, float | int]]]
    structure: list[tuple[str, list[tuple[str, int, Rate]]]]
    sft: list[dict[str, Any]]
    grpo: list[dict[str, Any]]
    minutes: dict[str, float]
    seconds: dict[str, list[dict[str, Any]]]
    groups: Groups | None
    self_made: SelfMade | None
    remarks: list[str]


def read_findings(run: Run) -> Findings:
    """Everything the report needs. Raises ValueError where no stage has been evaluated, and RunError, with
    the place, for a file that is damaged."""
    dataset, names = _evaluated(run)
    remarks: list[str] = []
    stages = [read_stage(run, dataset, name, remarks) for name in names]
    sides = {s.name: s.graded for s in stages}
    following = list(itertools.pairwise(stages))
    recipe = read_json(run.recipe_resolved)
    minutes = {
        stage: float(info["minutes"])
        for stage in ("data", "self", *(x for s in names for x in (s, f"evaluate/{dataset}/{s}")))
        if (info := run.done(stage)) and isinstance(info.get("minutes"), (int, float))
    }
    trained = run.done("grpo") or {}
    if back := trained.get("rolled_back"):
        remarks.append(
            f"GRPO was rolled back from step {back['step']} to step {back['to']}, with half the learning "
            f"rate: {back['reason']}"
        )
    if trained.get("ended"):
        remarks.append(f"GRPO ended at step {trained['steps']}: {trained['ended']}")
    return Findings(
        name=str(recipe.get("name", run.root.name)),
        recipe=recipe,
        provenance=read_json(run.provenance) if run.provenance.exists() else {},
        dataset=dataset,
        stages=stages,
        pairs=pairs(sides, following=True) if len(sides) > 1 else [],
        gains=[(a.name, b.name, gain(a.graded, b.graded)) for a, b in following],
        changes=[(a.name, b.name, transitions(_sided(a), _sided(b))) for a, b in following],
        failures={s.name: frequencies([line.found for line in s.lines.values()]) for s in stages},
        structure=structure(stages[-1].graded),
        sft=_logged(run.metrics("sft"), remarks),
        grpo=_logged(run.metrics("grpo"), remarks),
        minutes=minutes,
        seconds={stage: rows for stage in ("sft", "grpo") if (rows := _logged(run.seconds(stage), remarks))},
        groups=_groups(run, bool((recipe.get("grpo") or {}).get("refill")), remarks),
        self_made=read_self_made(run, recipe, remarks),
        remarks=remarks,
    )


def read_sides(roots: Sequence[Path], stage: str | None) -> tuple[dict[str, str], dict[str, list[Graded]]]:
    """One evaluation of each of several runs: which stage, and its completions, by the run's name (its path,
    where two have one name). Without `stage` the last that was evaluated.

    Raises ValueError for fewer than two runs, one given twice, and one that has not evaluated the stage.
    """
    if len(roots) < 2 or len({root.resolve() for root in roots}) < len(roots):
        raise ValueError("a comparison needs two runs or more, each given once")
    names = [root.name or str(root) for root in roots]
    names = [str(root) if names.count(name) > 1 else name for root, name in zip(roots, names, strict=True)]
    stages: dict[str, str] = {}
    sides: dict[str, list[Graded]] = {}
    for root, name in zip(roots, names, strict=True):
        run = read_run(root)
        dataset, done = _evaluated(run)
        wanted = stage or done[-1]
        if wanted not in done:
            raise ValueError(f"{root}: has not evaluated {wanted!r}, only {', '.join(done)}")
        stages[name] = wanted
        sides[name] = read_stage(run, dataset, wanted, []).graded
    return stages, sides


def _evaluated(run: Run) -> tuple[str, list[str]]:
    """The set that was evaluated ("test" where there are several) and the stages, in their order."""
    done = run.evaluations()
    if not done:
        raise ValueError(f"{run.root}: no stage has been evaluated yet; finish the run first")
    sets = sorted({name for name, _ in done})
    dataset = "test" if "test" in sets else sets[0]
    return dataset, sorted((s for d, s in done if d == dataset), key=lambda s: (_place(s), s))


def read_stage(run: Run, dataset: str, name: str, remarks: list[str]) -> Stage:
    """One evaluation of a run. Raises ValueError, with file and line, for a row that is no record."""
    path = run.evaluation_records(dataset, name)
    lines = {}
    for number, row in _rows(path, remarks):
        read = _record(path, number, row)
        lines[read.graded.task.id] = Line(row, read, classify(read.graded), number)
    if not lines:
        raise ValueError(f"{path}: holds no record")
    file = path.relative_to(run.root).as_posix()
    return Stage(name, read_json(run.evaluation_summary(dataset, name)), lines, file)


def structure(graded: Sequence[Graded]) -> list[tuple[str, list[tuple[str, int, Rate]]]]:
    """How the form of the work goes with being right (`Graded.contract`), of completions that keep the form:
    for each way of parting them the parts, each with its size and its share right."""
    kept = [g for g in graded if not g.trace.faults]

    def part(name: str, key: Callable[[Graded], str]) -> tuple[str, list[tuple[str, int, Rate]]]:
        rows = []
        for label in sorted({key(g) for g in kept}):
            some = [g for g in kept if key(g) == label]
            right = sum(g.contract for g in some)
            rows.append((label, len(some), Rate(right / len(some), *wilson(right, len(some)))))
        return name, rows

    if not kept:
        return []
    return [
        part("steps", lambda g: _capped(len(g.trace.steps), 6)),
        part("claims that hold", lambda g: _capped(sum(c.truth is Truth.TRUE for c in g.checks), 5)),
        part("work", _work),
        part("last line", lambda g: "concludes" if _concludes(g) else "stops without a conclusion"),
    ]


def _work(graded: Graded) -> str:
    if any(c.truth is Truth.FALSE for c in graded.checks):
        return "a claim is false"
    return "all claims hold" if graded.process.score is not None else "no claim to check"


def _concludes(graded: Graded) -> bool:
    steps = graded.trace.steps
    return len(steps) > 1 and steps[-1].number is None and steps[-2].number is not None


def _capped(n: int, most: int) -> str:
    return str(n) if n < most else f"{most} or more"


def _sided(stage: Stage) -> Mapping[str, tuple[Graded, Found]]:
    return {key: (line.graded, line.found) for key, line in stage.lines.items()}


def _place(stage: str) -> int:
    return ORDER.index(stage) if stage in ORDER else len(ORDER)


def _logged(path: Path, remarks: list[str]) -> list[dict[str, Any]]:
    return [row for _, row in _rows(path, remarks)] if path.exists() else []


def _groups(run: Run, refilled: bool, remarks: list[str]) -> Groups | None:
    files = run.record_files()[-LAST_STEPS:]
    groups: list[Group] = []
    steps: list[int] = []
    for path in files:
        group: list[Graded] = []
        for number, row in _rows(path, remarks):
            read = _record(path, number, row)
            g = read.graded
            if not group or g.completion.sample == 0 or g.task.id != group[0].task.id:
                group = []
                groups.append(group)
            group.append(g)
            steps.append(read.step or 0)
    if not groups:
        return None
    return Groups(min(steps), max(steps), len(groups), refilled, reliability(groups), at_k(groups))


def _rows(path: Path, remarks: list[str]) -> list[tuple[int, dict[str, Any]]]:
    """The rows of a file with their line numbers. (Files that we write have no blank lines.)"""
    rows, torn = read_jsonl(path)
    if torn:
        remarks.append(torn)
    return list(enumerate(rows, 1))


def _record(path: Path, number: int, row: dict[str, Any]) -> Record:
    try:
        return read_record(row)
    except ValueError as error:
        raise ValueError(f"{path}:{number}: {error}") from None
