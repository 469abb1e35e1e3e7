"""What a run directory says: stages, comparisons, curves, groups, failures, the SFT data that a model made itself, and
all of it in sentences. The report, the terminal, the film and the playground read a run here, and say the same.

What the run has not got (no training, one stage only) is empty or None. Nothing is judged again here.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from everystep.core.files import read_json, read_jsonl
from everystep.core.record import Record, read_record, read_task
from everystep.core.run import STAGES, TRAINED, Run, read_run
from everystep.core.trace import gold, render
from everystep.core.types import Graded, Task, Truth
from everystep.evaluate.calibration import AtK, Group, Reliability, at_k, reliability
from everystep.evaluate.compare import Gain, Pair, gain, pairs
from everystep.evaluate.failures import Failure, Found, classify, frequencies, transitions
from everystep.evaluate.harness import Rate
from everystep.evaluate.stats import wilson
from everystep.show.figures import FORMS, Source, Words, plain

MEAN = 10  # values at either end of a curve whose mean is told, where there are three times as many
LAST_STEPS = 10  # of GRPO: their groups say how sure the policy is, and what k samples are worth
NAMES = {"base": "the base", "sft": "SFT", "grpo": "GRPO"}
SELF_EXAMPLES = 4  # kept traces that are shown: the first of each domain
SELF_CHARS = 3_000  # of one text that are shown; its file has all of it
# How far completions came, and in which words.
WAYS = (
    ("sampled", "completions"),
    ("right", "right for a forgiving reader"),
    ("sound", "and no claim false, and work to check"),
    ("rewritten", "and rewritten into the form"),
    ("kept", "kept for SFT"),
)


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
class Kept:
    """One kept trace: the task as SFT learns it, its text, and the completion it was made from as recorded
    (its text cut at `SELF_CHARS`), with the lines of their files (from 1)."""

    task: Task
    text: str
    number: int
    row: dict[str, Any]
    sample: int


@dataclass(frozen=True, slots=True)
class SelfMade:
    """The stage's own table; for each reason not to keep a completion how many it met and the first evidence
    there is; how many traces were kept by domain and level; examples. `settings`: the recipe's."""

    table: dict[str, Any]
    settings: dict[str, Any]
    reasons: list[tuple[str, int, str]]
    levels: list[str]
    domains: dict[str, dict[str, int]]
    examples: list[Kept]


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
        seconds={stage: rows for stage in TRAINED if (rows := _logged(run.seconds(stage), remarks))},
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


def points_of(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """The points (step, value) of one metric: of rows that have a finite value (others are text in the file)."""
    return [(float(r["step"]), float(r[key])) for r in rows if isinstance(r.get(key), (int, float))]


def ends(points: Sequence[tuple[float, float]]) -> tuple[float, float, int]:
    """What a curve's ends are, and of how many values each is the mean: of `MEAN` where there are three times as
    many, else of one.

    >>> ends([(1, 4.0), (2, 2.0)])
    (4.0, 2.0, 1)
    """
    n = MEAN if len(points) >= 3 * MEAN else 1
    values = [value for _, value in points]
    return sum(values[:n]) / n, sum(values[-n:]) / n, n


def _sided(stage: Stage) -> Mapping[str, tuple[Graded, Found]]:
    return {key: (line.graded, line.found) for key, line in stage.lines.items()}


def _place(stage: str) -> int:
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


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


# The SFT data that the model made itself


def read_self_made(run: Run, recipe: dict[str, Any], remarks: list[str]) -> SelfMade | None:
    """What the run's `self/` says; None for a run that did not make its SFT data itself, or has not finished
    that. Raises ValueError, with the place, for files that are damaged or do not go together."""
    if run.done("self") is None:
        return None
    path = run.self_made("table")
    table = read_json(path)
    if missing := {"prompt", "prompts", "questions", "dropped", "levels", *(k for k, _ in WAYS)} - set(table):
        raise ValueError(f"{path}: is no table of self-made traces: it has no {sorted(missing)[0]!r}")
    outcomes = _rows(run.self_made("outcomes"), remarks)
    for number, row in outcomes:
        if not {"id", "why", "detail"} <= set(row):
            raise ValueError(f"{run.self_made('outcomes')}:{number}: this row is no outcome of a completion")
    tasks = [_task(run.self_made("traces"), i, row) for i, row in _rows(run.self_made("traces"), remarks)]
    # The kept outcomes, the traces and, by their lines, the samples are in one order.
    places = [(number, row["id"]) for number, row in outcomes if row["why"] is None]
    if [task.id for task in tasks] != [key for _, key in places]:
        raise ValueError(f"{run.self_made('traces')}: does not hold what {path.parent}/outcomes.jsonl keeps")
    evidence: dict[str, str] = {}
    for _, row in outcomes:
        if row["why"] is not None and row["detail"]:
            evidence.setdefault(row["why"], row["detail"])
    domains: dict[str, Counter[str]] = {}
    for task in tasks:
        domains.setdefault(task.domain, Counter())[_level(task)] += 1
    levels = sorted({_level(task) for task in tasks})
    return SelfMade(
        table=table,
        settings=(recipe.get("sft") or {}).get("self_made") or {},
        reasons=[(why, n, evidence.get(why, "")) for why, n in table["dropped"].items()],
        levels=levels,
        domains={d: {level: counts[level] for level in levels} for d, counts in sorted(domains.items())},
        examples=_examples(run, tasks, [number for number, _ in places], remarks),
    )


def _examples(run: Run, tasks: Sequence[Task], places: Sequence[int], remarks: list[str]) -> list[Kept]:
    """The first kept trace of each domain, beside the completion it was made from."""
    first = {task.domain: at for at, task in reversed(list(enumerate(tasks)))}
    path = run.self_made("samples")
    rows = dict(_rows(path, remarks)) if first else {}
    found = []
    for at in sorted(first.values())[:SELF_EXAMPLES]:
        task, sample = tasks[at], places[at]
        row = rows.get(sample)
        if row is None or _record(path, sample, row).graded.task.id != task.id:
            raise ValueError(f"{path}:{sample}: is not the completion that {task.id} was made from")
        try:
            text = render(gold(task))
        except ValueError as error:
            raise ValueError(f"{run.self_made('traces')}:{at + 1}: {error}") from None
        found.append(Kept(task, text, at + 1, row | {"text": row["text"][:SELF_CHARS]}, sample))
    return found


def _level(task: Task) -> str:
    return f"level {task.level}" if task.level else "no level"


def _task(path: Path, number: int, row: dict[str, Any]) -> Task:
    try:
        return read_task(row)
    except ValueError as error:
        raise ValueError(f"{path}:{number}: {error}") from None


# In sentences


def said(f: Findings) -> list[str]:
    """What the run says, in sentences made of its numbers."""
    lines = [plain((*claim, ": ", *evidence)) for claim, evidence in (compared(f, pair) for pair in f.pairs)]
    lines += [plain(made_of(f, *row)) for row in f.gains if row[2].recovered + row[2].newly_right]
    if (worst := failing(f)) is not None:
        lines.append(f"After {_name(f.stages[-1].name)}, {plain(worst[1])}")
    by_luck = int(f.failures[f.stages[-1].name][Failure.WRONG_TRACE]["count"])
    if by_luck:
        lines.append(f"{by_luck} answers of {_name(f.stages[-1].name)} are right although their work is not")
    return [f"{line}." for line in lines]


def compared(f: Findings, pair: Pair) -> tuple[Words, Words]:
    """What can be claimed of a pair of stages, and the evidence: points with their interval, and p."""
    names = {"before": _name(pair.before), "after": _name(pair.after)}
    how = f"{pair.before} and {pair.after}, paired; p by Holm's correction over the pairs"
    own = Source(asdict(pair) | names, _file(f, pair.after), how=how)
    text = "the two cannot be told apart, so nothing was gained that chance could not explain"
    if pair.apart and pair.difference < 0:
        text = "the model became worse: {lost:count} tasks broken, {gained:count} fixed"
    elif pair.apart:
        text = "{difference:percent} points more are right in form: {gained:count} tasks fixed, {lost:count} broken"
    evidence = own.fill("{difference:points} points [{low:points}, {high:points}], p {adjusted:p} ")
    evidence += own.fill("after Holm's correction, {n:count} tasks")
    return own.fill(f"From {{before}} to {{after}}, {text}"), evidence


def made_of(f: Findings, before: str, after: str, made: Gain) -> Words:
    """What a stage's gain over the one before is made of."""
    values = {"n": made.recovered + made.newly_right, "before": _name(before), "after": _name(after)}
    own = Source(asdict(made) | values, _file(f, after), how=f"gained from {before} to {after}")
    return own.fill(
        "Of the {n:count} tasks that {after} gained over {before}, {recovered:count} had the right answer before in "
        "another form, and {newly_right:count} are newly right"
    )


def failing(f: Findings) -> tuple[Failure, Words] | None:
    """The most frequent class of the last stage's failures, and how many are of it; None where nothing fails."""
    last = f.stages[-1]
    wrong = {k: int(row["count"]) for k, row in f.failures[last.name].items() if k is not Failure.RIGHT}
    wrong = {k: n for k, n in wrong.items() if n and k is not Failure.WRONG_TRACE}
    if not wrong:
        return None
    most = max(wrong, key=lambda k: wrong[k])
    own = Source({"n": wrong[most], "all": sum(wrong.values())}, last.file, how=f"failures, of class {most.value}")
    return most, own.fill(f"{{n:count}} of {{all:count}} failures are of the class {most.value}")


def _name(stage: str) -> str:
    return NAMES.get(stage, stage)


def _file(f: Findings, stage: str) -> str:
    return next(s.file for s in f.stages if s.name == stage)


def rate(value: Mapping[str, float] | Rate) -> str:
    """A share with its interval: `73.0 [69.3, 76.4]`."""
    found = asdict(value) if isinstance(value, Rate) else value
    return plain(Source(dict(found), "").fill("{value:percent} [{low:percent}, {high:percent}]"))


def percent(value: float | None) -> str:
    """A share in percent; what is not known is "–"."""
    return "–" if value is None else FORMS["percent"](value)


def points(pair: Pair) -> str:
    """A difference in percentage points with its interval."""
    return plain(Source(asdict(pair), "").fill("{difference:points} [{low:points}, {high:points}]"))


def p_value(value: float) -> str:
    """A p-value, as far as it means anything."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
