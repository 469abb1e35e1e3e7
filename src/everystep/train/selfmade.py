"""The stage in which the stock model makes its own SFT data: it is asked training questions under its own
best prompt, and of what it writes the right answers with sound work are rewritten into our form.

Everything is kept batch by batch, so that a stage that was left goes on where it was and ends in the same
bytes. Whether a completion is right and what is false in it says `verify.grade`; how it is rewritten is in
`data.rewrite`, what is kept of it in `data.balance`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from everystep.core.files import append_jsonl, read_jsonl, write_json, write_jsonl
from everystep.core.progress import Progress
from everystep.core.recipe import Recipe, SelfMade
from everystep.core.record import read_record, read_task, record, task_row
from everystep.core.run import Run
from everystep.core.trace import prompt
from everystep.core.types import Fault, Graded, Sampler, Sampling, Stop, Task, Truth, Verdict
from everystep.data.balance import ALIKE, LEVEL, SPARE, Candidate, choose
from everystep.data.rewrite import Made, rewrite
from everystep.data.stock import Unfit
from everystep.score.rewards import examined, expects_claims
from everystep.train.policies import load_policy, tasks_of
from everystep.train.session import Session
from everystep.verify.grade import grade

# How far a completion came: who is lost for these reasons was not right, or right and not sound.
_NOT_RIGHT = ("cut", "no answer", "could not be graded", "wrong")
_NOT_SOUND = ("false claim", "nothing to check", "more than can be checked")
_DEEP = 6  # calculations from which on traces of tasks without a level are alike


@dataclass(frozen=True, slots=True)
class QuestionBatch:
    """Questions that are asked at once: under which instruction, how often each, and how."""

    instruction: str
    tasks: tuple[Task, ...]
    n: int
    sampling: Sampling


def self_made(recipe: Recipe, run: Run, session: Session, screen: Progress) -> None:
    """The stage, with the model of the recipe as it comes."""
    if run.done("self"):
        return
    policy = load_policy(recipe, run, "base")
    make(recipe, run, session, screen, policy, lambda text: len(policy.tokenizer.encode(text)))


def traces(run: Run) -> list[Task]:
    """What the stage has kept: tasks whose solution and answer are the model's own, in our form."""
    return [read_task(row) for row in read_jsonl(run.self_made("traces"))[0]]


def make(
    recipe: Recipe,
    run: Run,
    session: Session,
    screen: Progress,
    sampler: Sampler,
    count_tokens: Callable[[str], int],
) -> None:
    """Ask, judge, rewrite, balance, report; leaves `traces.jsonl` and a table of what became of the rest.

    Raises Stopped where the session ends before, and ValueError, one line, where fewer than
    `sft.self_made.least` traces are left, or the sampler does not give what it was asked for.
    """
    screen.stage("self-made traces")
    began, config = session.now(), recipe.sft.self_made
    tasks = [replace(t, solution=None) for t in tasks_of(run, "sft")]
    best, right = _best_prompt(tasks, recipe, run, session, screen, sampler)
    sampling = Sampling(config.temperature, max_tokens=config.max_tokens, seed=recipe.seed)
    batches = _batches(best, tasks, config.samples, config.batch, sampling)
    graded = _drawn(sampler, batches, run, "samples", session, screen)
    outcomes = [outcome(g, recipe.data.max_trace_tokens, count_tokens) for g in graded]
    found = [(at, made) for at, made in enumerate(outcomes) if isinstance(made, Made)]
    choice = choose(
        [_candidate(graded[at].task, made) for at, made in found],
        config.per_task,
        config.balance,
        recipe.sft.traces,
    )
    why = {at: r.reason for at, r in enumerate(outcomes) if isinstance(r, Unfit)}
    why |= {found[i][0]: reason for i, reason in choice.why.items()}
    table = {
        "prompt": best,
        "prompts": right,
        "questions": len(tasks),
        **_counts(graded, why),
        "dropped": dict(Counter(why.values()).most_common()),
        "levels": {c: {"before": n, "after": choice.after[c]} for c, n in choice.before.items()},
    }
    rows = [_row(g, o, why.get(at)) for at, (g, o) in enumerate(zip(graded, outcomes, strict=True))]
    write_jsonl(run.self_made("outcomes"), rows)
    kept = [found[i] for i in choice.kept]
    write_jsonl(run.self_made("traces"), [task_row(made.row(graded[at].task)) for at, made in kept])
    write_json(run.self_made("table"), table)
    screen.say(said(table))
    if len(kept) < config.least:
        raise ValueError(
            f"self-made SFT data: {len(kept)} traces are kept of {len(graded)} completions ({table['right']} "
            f"right, {table['sound']} sound), and sft.self_made.least is {config.least}; take sft.data=gold, or "
            "more sft.self_made.samples or .tasks, in another --dir"
        )
    run.mark_done("self", {"minutes": (session.now() - began) / 60, "kept": len(kept)})


def outcome(graded: Graded, most_tokens: int, count_tokens: Callable[[str], int]) -> Made | Unfit:
    """The completion in our form, or why it cannot be used."""
    if graded.completion.stop is Stop.LENGTH or Fault.TRUNCATED in graded.trace.faults:
        return Unfit("cut")
    if not graded.lenient.right:
        reasons = {Verdict.MISSING: "no answer", Verdict.UNGRADABLE: "could not be graded"}
        return Unfit(reasons.get(graded.lenient, "wrong"), (graded.trace.lenient or "")[:40])
    false = next((c for c in graded.checks if c.truth is Truth.FALSE), None)
    if false is not None:
        return Unfit("false claim", f"{false.claim[:60]}: {false.reason[:60]}")
    if not examined(graded):
        return Unfit("more than can be checked")
    if graded.process.score is None and expects_claims(graded.task):
        return Unfit("nothing to check")
    made = rewrite(graded)
    if isinstance(made, Made) and (n := count_tokens(made.graded.completion.text)) > most_tokens:
        return Unfit("too long", f"{n} tokens > data.max_trace_tokens = {most_tokens}")
    return made


def said(table: dict[str, Any]) -> str:
    """The table in one line."""
    lost = ", ".join(f"{reason} {n}" for reason, n in list(table["dropped"].items())[:4])
    levels = ", ".join(f"{cell} {n['before']} -> {n['after']}" for cell, n in table["levels"].items())
    return (
        f"self-made traces: {table['sampled']} completions of {table['questions']} questions under "
        f"{table['prompt']!r}, {table['right']} right, {table['sound']} sound, {table['rewritten']} "
        f"rewritten, {table['near_duplicates']} near-duplicates, {table['kept']} kept; "
        f"most lost: {lost or 'none'}; before -> after balance: {levels or 'none'}"
    )


def _best_prompt(
    tasks: Sequence[Task], recipe: Recipe, run: Run, session: Session, screen: Progress, sampler: Sampler
) -> tuple[str, dict[str, dict[str, int]]]:
    """The instruction with the most right answers on the first questions (of equals the first), and the right
    answers of each. One instruction alone is not tried."""
    config: SelfMade = recipe.sft.self_made
    if len(config.prompts) == 1:
        return config.prompts[0], {}
    some, greedy = tasks[: config.probe], Sampling(max_tokens=config.max_tokens)
    batches = [b for name in config.prompts for b in _batches(name, some, 1, config.batch, greedy)]
    graded = _drawn(sampler, batches, run, "probe", session, screen)
    right = {
        name: {
            "right": sum(g.capable for g in graded[i * len(some) : (i + 1) * len(some)]),
            "of": len(some),
        }
        for i, name in enumerate(config.prompts)
    }
    best = max(config.prompts, key=lambda name: right[name]["right"])  # of equals the first
    each = ", ".join(f"{name!r} {counts['right']}" for name, counts in right.items())
    screen.say(f"right answers to {len(some)} questions by prompt: {each}; taken: {best!r}")
    return best, right


def _batches(instruction: str, tasks: Sequence[Task], n: int, size: int, sampling: Sampling) -> list[QuestionBatch]:
    return [QuestionBatch(instruction, tuple(tasks[at : at + size]), n, sampling) for at in range(0, len(tasks), size)]


def _drawn(
    sampler: Sampler, batches: Sequence[QuestionBatch], run: Run, kind: str, session: Session, screen: Progress
) -> list[Graded]:
    """The completions of all batches, graded, in order; those that are on file already are not drawn again.

    Of a batch that is not there as a whole nothing is kept: it is drawn again in the same company.
    """
    path = run.self_made(kind)
    rows, torn = read_jsonl(path) if path.exists() else ([], None)
    sizes = [len(b.tasks) * b.n for b in batches]
    done = whole = 0
    while done < len(batches) and whole + sizes[done] <= len(rows):
        whole += sizes[done]
        done += 1
    if torn or whole < len(rows):
        write_jsonl(path, rows[:whole])
    label = f"self-made traces, {kind}"
    with screen.progress(label, sum(sizes), whole) as advance:
        for batch in batches[done:]:
            append_jsonl(path, [record(g) | {"prompt": batch.instruction} for g in ask(sampler, batch)])
            advance(len(batch.tasks) * batch.n)
            session.pause()
    return [read_record(row).graded for row in (read_jsonl(path)[0] if path.exists() else [])]


def ask(sampler: Sampler, batch: QuestionBatch) -> list[Graded]:
    """The batch's completions, graded, question by question. Raises ValueError for a sampler that does not
    answer each prompt as often as it was asked."""
    answers = sampler.sample([prompt(t, batch.instruction) for t in batch.tasks], batch.n, batch.sampling)
    sizes = [len(group) for group in answers]
    if sizes != [batch.n] * len(batch.tasks):
        raise ValueError(
            f"the sampler gave {sizes} completions for {len(batch.tasks)} prompts; it must be {batch.n} each"
        )
    return [grade(t, c) for t, group in zip(batch.tasks, answers, strict=True) for c in group]


def _counts(graded: Sequence[Graded], why: Mapping[int, str]) -> dict[str, int]:
    """The completions, and how many of them came how far."""
    reasons = Counter(why.values())
    sampled = len(graded)
    right = sampled - sum(reasons[r] for r in _NOT_RIGHT)
    sound = right - sum(reasons[r] for r in _NOT_SOUND)
    unwanted = {ALIKE, SPARE, LEVEL}
    rewritten = sampled - sum(n for reason, n in reasons.items() if reason not in unwanted)
    return {
        "sampled": sampled,
        "right": right,
        "sound": sound,
        "rewritten": rewritten,
        "near_duplicates": reasons[ALIKE],
        "kept": sampled - len(why),
    }


def _candidate(task: Task, made: Made) -> Candidate:
    """Best is what is checked most: no doubt about the process, every step checked, then the shorter one."""
    process = made.graded.process
    text = made.graded.completion.text
    score = process.score if process.score is not None else 0.0
    return Candidate(task.id, _cell(task, made), text, (-score, -process.coverage, float(len(text))))


def _cell(task: Task, made: Made) -> str:
    """What is balanced: source and level; for a task without a level how many calculations its trace has."""
    source = task.source.partition("/")[0]
    if task.level:
        return f"{source} level {task.level}"
    n = min(_DEEP, sum(c.truth is Truth.TRUE for c in made.graded.checks))
    return f"{source} {n}{'+' if n == _DEEP else ''} claims"


def _row(graded: Graded, made: Made | Unfit, why: str | None) -> dict[str, Any]:
    """What became of one completion; `why` is null where it was kept."""
    task = graded.task
    return {
        "id": task.id,
        "sample": graded.completion.sample,
        "source": task.source,
        "level": task.level,
        "why": why,
        "detail": made.detail if isinstance(made, Unfit) else "",
    }
