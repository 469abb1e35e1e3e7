"""The one evaluation, the same for every stage: prompts, completions, grades, and their summary.

Greedy, one completion a task, every task in every denominator. Which tasks, which model and where the result
is kept are the stages' business; the mathematics is in `evaluate.stats`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from everystep.core import trace
from everystep.core.types import (
    Completion,
    FlowingSampler,
    Graded,
    Prompt,
    Sampler,
    Sampling,
    Step,
    Stop,
    Task,
    Trace,
    Truth,
    Verdict,
)
from everystep.data.jsonl import read_rows
from everystep.evaluate.stats import bootstrap_mean, mcnemar, wilson
from everystep.score.groups import score_groups
from everystep.score.mix import Mix
from everystep.verify.grade import grade


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of the tasks with its 95 % Wilson interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Slice:
    """The four rates over some of the tasks."""

    n: int
    contract: Rate
    capability: Rate
    sound: Rate
    format: Rate


@dataclass(frozen=True, slots=True)
class Summary:
    """What one evaluation says. Every rate has all `n` tasks as its denominator, those that could not be
    graded included (`ungradable` counts them).

    `trace` is the mean process score over the completions that have one, `trace_coverage` their share;
    `composite` the mean reward total; `truncated` the share cut by the token limit; `mean_tokens` the mean
    length in tokens. None: unknown, because nothing of it could be measured.
    """

    n: int
    contract: Rate
    capability: Rate
    sound: Rate
    format: Rate
    trace: float | None
    trace_coverage: float
    composite: float | None
    truncated: float
    mean_tokens: float | None
    ungradable: int
    by_domain: dict[str, Slice]
    by_level: dict[str, Slice]

    def to_json(self) -> dict[str, Any]:
        """The same as plain values for JSON, keys as the fields are called; a rate is {value, low, high}."""
        return asdict(self)


def evaluate(
    sampler: Sampler,
    tasks: Sequence[Task],
    how: Sampling,
    *,
    instruction: str,
    batch: int,
    on_batch: Callable[[Sequence[Graded]], None],
) -> list[Graded]:
    """One greedy completion for every task, graded, in the tasks' order.

    `how.temperature` must be 0. `batch` prompts are answered side by side. `on_batch` is called with the
    completions that have been graded since, each once, in any order; what it raises ends the evaluation.
    Raises ValueError for sampling that is not greedy, for two tasks with one id, and for a sampler that
    does not answer each prompt once.
    """
    if how.temperature != 0:
        raise ValueError(f"the evaluation is greedy: temperature must be 0, is {how.temperature}")
    if batch < 1:
        raise ValueError(f"a batch holds at least one prompt, got {batch}")
    by_id = _by_id(tasks)
    found: dict[str, Graded] = {}

    def on_done(completions: Sequence[Completion]) -> None:
        some: list[Graded] = []
        for completion in completions:
            if completion.task_id not in by_id or completion.task_id in found:
                raise ValueError(
                    f"the sampler answered task {completion.task_id}, which was not asked or has an answer"
                )
            some.append(grade(by_id[completion.task_id], completion))
            found[completion.task_id] = some[-1]
        on_batch(some)

    prompts = [trace.prompt(task, instruction) for task in tasks]
    if isinstance(sampler, FlowingSampler):
        sampler.flow(prompts, how, batch, on_done)
    else:
        for start in range(0, len(prompts), batch):
            some = prompts[start : start + batch]
            answers = sampler.sample(some, 1, how)
            if len(answers) != len(some) or any(len(group) != 1 for group in answers):
                sizes = [len(group) for group in answers]
                raise ValueError(f"the sampler gave {sizes} completions for {len(some)} prompts; it must be one each")
            for asked, (completion,) in zip(some, answers, strict=True):
                if completion.task_id != asked.task_id:
                    raise ValueError(f"the sampler answered task {completion.task_id} where {asked.task_id} was asked")
            on_done([completion for (completion,) in answers])
    if len(found) < len(tasks):
        missing = next(i for i in by_id if i not in found)
        raise ValueError(f"the sampler left {len(tasks) - len(found)} tasks without an answer, first {missing}")
    return [found[task.id] for task in tasks]


def summarise(graded: Sequence[Graded], mix: Mix, totals: Sequence[float | None] | None = None) -> Summary:
    """The summary of one evaluation; `mix` is that of the reward (for `composite`: weighted sums, also where
    the mix normalises, since each completion is a group by itself). `totals`: what the completions were
    scored, where a judge was asked too.

    Raises ValueError without any completion, and what `score_groups` raises.
    """
    if not graded:
        raise ValueError("nothing to summarise: the evaluation holds no completion")
    n, whole = len(graded), _slice(graded)
    scores = [g.process.score for g in graded if g.process.score is not None]
    plain = replace(mix, normalise="total")
    if totals is None:
        totals = [s.total for group in score_groups([[g] for g in graded], plain) for s in group]
    lengths = [len(g.completion.tokens) for g in graded if g.completion.tokens]
    return Summary(
        n,
        whole.contract,
        whole.capability,
        whole.sound,
        whole.format,
        trace=_mean(scores),
        trace_coverage=len(scores) / n,
        composite=_mean([t for t in totals if t is not None]),
        truncated=sum(g.completion.stop is Stop.LENGTH for g in graded) / n,
        mean_tokens=_mean(lengths),
        ungradable=sum(g.verdict is Verdict.UNGRADABLE for g in graded),
        by_domain=_slices(graded, lambda g: g.task.domain),
        by_level=_slices(graded, lambda g: str(g.task.level)),
    )


def paired(a: Sequence[Graded], b: Sequence[Graded]) -> dict[str, float | int]:
    """Is `b` better than `a`, on the same tasks? Compares `Graded.contract`, task by task.

    `gained`/`lost`: tasks that only b, only a has right; `p`: exact two-sided McNemar test; `difference`:
    the share of b minus that of a, with `low` and `high` from the paired bootstrap over tasks (10 000
    resamples, 95 %). Raises ValueError unless both hold the same tasks, each once.
    """
    first, second = _by_id(g.task for g in a), _by_id(g.task for g in b)
    if not first or first.keys() != second.keys():
        odd = sorted(first.keys() ^ second.keys())
        detail = f"{len(odd)} are in only one of them, e.g. {odd[0]}" if odd else "there are none"
        raise ValueError(f"a paired comparison needs the same tasks on both sides: {detail}")
    before = {g.task.id: g.contract for g in a}
    after = {g.task.id: g.contract for g in b}
    # In the order of the ids, so that the bootstrap does not depend on the order of the records.
    changes = [int(after[i]) - int(before[i]) for i in sorted(before)]
    gained, lost = changes.count(1), changes.count(-1)
    low, high = bootstrap_mean(changes)
    difference = (gained - lost) / len(changes)
    p = mcnemar(gained, lost)
    return {"p": p, "gained": gained, "lost": lost, "difference": difference, "low": low, "high": high}


def gold_bound(tasks: Sequence[Task], instruction: str) -> list[Graded]:
    """The tasks' own solutions, sent through the same evaluation: the most that any model can reach.

    A task without a solution is answered with one step, "The answer is X.". Raises ValueError, naming the
    task, for a solution that has no canonical text.
    """
    by_id = _by_id(tasks)

    class Gold:
        """A sampler that knows the answers."""

        def sample(self, prompts: Sequence[Prompt], n: int, how: Sampling) -> list[list[Completion]]:
            return [[Completion(p.task_id, i, _gold(by_id[p.task_id])) for i in range(n)] for p in prompts]

    return evaluate(Gold(), tasks, Sampling(), instruction=instruction, batch=256, on_batch=lambda done: None)


def require_gold(graded: Sequence[Graded]) -> None:
    """Raise ValueError, naming the first task that fails and why, unless every completion is right, keeps
    the form and claims nothing false: tasks or rules that fail their own gold cannot measure a model.
    """
    for g in graded:
        false = next((c for c in g.checks if c.truth is Truth.FALSE), None)
        if not g.verdict.right:
            why = f"its answer {g.task.answer!r} is graded {g.verdict.value} ({g.reason})"
        elif g.trace.faults:
            why = f"its form has the faults {', '.join(f.value for f in g.trace.faults)}"
        elif false is not None:
            why = f"step {false.step} claims {false.claim!r}, which is false ({false.reason})"
        else:
            continue
        raise ValueError(
            f"the gold solution of task {g.task.id} ({g.task.source}, {g.task.split}) fails its own "
            f"evaluation: {why}; drop or correct the task"
        )


def read_completions(path: str | Path, tasks: Sequence[Task]) -> list[Completion]:
    """Completions from a file of JSON lines, one for every task, in the tasks' order.

    A row has "completion" and either "id" (of the task) or "question" (its exact text); "truncated": true
    says that the token limit cut it. Raises ValueError, with file and line, for a row that is not of this
    form, names no task or one that has a completion already, and for tasks that are left without one: a
    missing completion would drop out of the denominator.
    """
    by_id, by_question = _by_id(tasks), {" ".join(t.question.split()): t for t in tasks}
    found: dict[str, Completion] = {}
    for where, row in read_rows(path):
        text = row.get("completion")
        if not isinstance(text, str):
            raise ValueError(f'{where}: needs "completion" as text, has {type(text).__name__}')
        truncated = row.get("truncated", False)
        if not isinstance(truncated, bool):
            raise ValueError(f'{where}: "truncated" is true or false, not {truncated!r}')
        key = row.get("id", row.get("question"))
        if not isinstance(key, str):
            raise ValueError(f'{where}: needs "id" or "question" as text, to say which task it answers')
        task = by_id.get(key) if "id" in row else by_question.get(" ".join(key.split()))
        if task is None:
            raise ValueError(f"{where}: {key[:60]!r} is none of the {len(tasks)} tasks that are evaluated")
        if task.id in found:
            raise ValueError(f"{where}: task {task.id} has a completion already; give one for each task")
        found[task.id] = Completion(task.id, 0, text, stop=Stop.LENGTH if truncated else Stop.END)
    missing = [t.id for t in tasks if t.id not in found]
    if missing:
        raise ValueError(f"{path}: {len(missing)} of {len(tasks)} tasks have no completion, first {missing[0]}")
    return [found[t.id] for t in tasks]


def grade_completions(tasks: Sequence[Task], completions: Sequence[Completion]) -> list[Graded]:
    """Completions that exist already (see `read_completions`), graded; in the order of the tasks.

    Raises ValueError unless they answer exactly these tasks in this order.
    """
    if [t.id for t in tasks] != [c.task_id for c in completions]:
        raise ValueError("the completions do not answer these tasks in this order")
    return [grade(task, completion) for task, completion in zip(tasks, completions, strict=True)]


def _gold(task: Task) -> str:
    own = trace.gold(task) if task.solution else Trace((Step(f"The answer is {task.answer}.", 1),), task.answer)
    try:
        return trace.render(own)
    except ValueError as error:
        raise ValueError(f"the gold solution of task {task.id} ({task.source}, {task.split}): {error}") from None


def _by_id(tasks: Iterable[Task]) -> dict[str, Task]:
    by_id: dict[str, Task] = {}
    for task in tasks:
        if task.id in by_id:
            raise ValueError(f"task {task.id} ({task.source}) occurs twice; each task is counted once")
        by_id[task.id] = task
    return by_id


def _slice(graded: Sequence[Graded]) -> Slice:
    def rate(holds: Callable[[Graded], bool]) -> Rate:
        right = sum(holds(g) for g in graded)
        return Rate(right / len(graded), *wilson(right, len(graded)))

    return Slice(
        len(graded),
        contract=rate(lambda g: g.contract),
        capability=rate(lambda g: g.capable),
        sound=rate(lambda g: g.sound),
        format=rate(lambda g: not g.trace.faults),
    )


def _slices(graded: Sequence[Graded], key: Callable[[Graded], str]) -> dict[str, Slice]:
    return {k: _slice([g for g in graded if key(g) == k]) for k in sorted({key(g) for g in graded})}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
