"""The stages of a run, each `(Recipe, Run, Session, Screen) → None`, each done once: a stage whose
`done.json` is there is not done again. Everything a stage needs of another it reads from the run directory.

Order: prepare → evaluate base → sft → evaluate sft → grpo → evaluate grpo → summary → report; without sft
where GRPO starts at the base. What a person sees of them goes through `Screen`; when they leave and from
where they go on is the `Session`'s.
"""

import hashlib
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from showwork.data.prepare import draws as training_draws
from showwork.data.prepare import prepare as prepare_data
from showwork.evaluate.harness import evaluate, gold_bound, paired, require_gold, summarise
from showwork.evaluate.judged import open_judge
from showwork.evaluate.table import stage_table
from showwork.model.load import Base, device, load
from showwork.model.lora import adapter, add_lora, load_adapter, save_adapter, set_adapter
from showwork.model.sampler import Policy, policy
from showwork.provenance import provenance
from showwork.recipe import Recipe, identity
from showwork.record import Record, read_record, read_task, record, task_row
from showwork.relay import add_leg
from showwork.run import Run, append_jsonl, read_json, read_jsonl, write_bytes, write_json, write_jsonl
from showwork.score.judge import Judge, score_judged
from showwork.score.mix import mix_of
from showwork.session import Session
from showwork.show.report import write_report
from showwork.show.screen import Screen
from showwork.train.checkpoint import Saved
from showwork.train.grpo import grpo as train_grpo
from showwork.train.leg import Leg
from showwork.train.metrics import metrics
from showwork.train.sft import examples, planned_steps
from showwork.train.sft import sft as train_sft
from showwork.train.watch import TurnBack, trouble
from showwork.types import Graded, Sampling, Score, Task

STAGES = ("base", "sft", "grpo")
TEST = "test"  # the name of the evaluation set in the run directory
_DEV_TASKS = 128  # how many dev tasks training looks at while it runs


def run_all(
    recipe: Recipe, run: Run, session: Session, screen: Screen, command: Sequence[str] = ()
) -> dict[str, Any]:
    """Every stage in order; returns the summary that `evaluate/summary.json` holds. Raises Stopped where the
    session ends before the run does."""
    began = time.time()
    if run.done("report") is None:
        here = provenance(device(), {}, command)
        add_leg(run, {k: here[k] for k in ("showwork", "commit", "changes", "python", "device", "command")})
    session.pause()
    prepare(recipe, run, screen, command)
    for stage in stages_of(recipe):
        session.pause()
        if stage in TRAINING:
            TRAINING[stage](recipe, run, session, screen)
            session.pause()
        evaluate_stage(stage, recipe, run, session, screen)
    summary = summarise_run(recipe, run)
    report(run, screen)
    screen.table(stage_table(summary["stages"], _pairs(summary), title=f"{recipe.name}, seed {recipe.seed}"))
    screen.say(
        f"done in {(time.time() - began) / 60:.1f} min; everything is in {run.root}, the table's numbers in "
        f"{run.summary.relative_to(run.root)}"
    )
    return summary


def stages_of(recipe: Recipe) -> tuple[str, ...]:
    """The stages that a recipe's model goes through, the base included."""
    return STAGES if recipe.grpo.start == "sft" else ("base", "grpo")


def prepare(recipe: Recipe, run: Run, screen: Screen, command: Sequence[str] = ()) -> None:
    """Data: read, filter, split, and prove that the gold solutions pass their own evaluation."""
    if run.done("data"):
        return
    screen.stage("data")
    began, mix = time.time(), mix_of(recipe.reward)  # before anything else: a mix that cannot be is an error
    _judge(recipe)
    tokenizer = load(recipe.model.name).tokenizer
    data = prepare_data(recipe, lambda text: len(tokenizer.encode(text)), screen.say)
    gold = gold_bound(data.test, recipe.model.prompt)
    require_gold(gold)
    require_gold(gold_bound(data.dev, recipe.model.prompt))
    hashes = {}
    for name, tasks in {
        **{f"train_{k}": v for k, v in data.train.items()},
        "sft": data.sft,
        "dev": data.dev,
        "test": data.test,
    }.items():
        path = run.data / f"{name}.jsonl"
        write_jsonl(path, [task_row(t) for t in tasks])
        hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_json(run.data / "dropped.json", {k: [asdict(d) for d in v] for k, v in data.dropped.items()})
    write_json(run.data / "gold.json", summarise(gold, mix).to_json())
    write_json(run.provenance, provenance(device(), hashes, command))
    screen.say(f"gold solutions of {len(gold)} test tasks: all right, in form, no false claim")
    run.mark_done("data", {"minutes": (time.time() - began) / 60})


def sft(recipe: Recipe, run: Run, session: Session, screen: Screen) -> None:
    """Fine-tune the base on worked traces; leaves the stage's adapter."""
    if run.done("sft"):
        return
    screen.stage("sft")
    base, tasks, dev = load(recipe.model.name), tasks_of(run, "sft"), tasks_of(run, "dev")
    lora = recipe.model.lora
    model = add_lora(base.model, lora.rank, lora.alpha, recipe.seed)
    rows = examples(tasks, base.tokenizer, recipe.model.prompt)
    worked_dev = [t for t in dev if t.solution and t.level in {s.level for s in tasks}][:_DEV_TASKS]
    planned = planned_steps(len(rows), recipe.sft)
    leg = session.leg("sft", planned, recipe, run, screen)
    with (
        metrics(run.metrics("sft"), leg.start) as log,
        screen.progress(f"sft, {len(rows)} traces", planned, leg.start) as advance,
    ):

        def on_step(step: int, values: dict[str, float]) -> None:
            log.log(step, values)
            advance(1, f"loss {values['loss']:.3f}")

        worked_rows = examples(worked_dev, base.tokenizer, recipe.model.prompt)
        steps = train_sft(model, base.tokenizer, rows, worked_rows, recipe.sft, recipe.seed, on_step, leg)
    _keep(run, "sft", recipe, adapter(model))
    run.mark_done("sft", {"minutes": leg.minutes, "steps": steps})


def grpo(recipe: Recipe, run: Run, session: Session, screen: Screen) -> None:
    """Train the SFT policy by GRPO; leaves the stage's adapter and every completion."""
    if run.done("grpo"):
        return
    screen.stage("grpo")
    done = None
    while done is None:  # a second time at most: the second TurnBack ends the training
        done = _grpo(recipe, run, session, screen)
    run.mark_done("grpo", done)


def _grpo(recipe: Recipe, run: Run, session: Session, screen: Screen) -> dict[str, Any] | None:
    """One attempt at the stage: what to note of it when it is done, None where it turned back."""
    policy_, how = load_policy(recipe, run, "sft" if recipe.grpo.start == "sft" else "fresh"), recipe.grpo
    start = adapter(policy_.model)
    dev = tasks_of(run, "dev")[:_DEV_TASKS]
    train = {name.removeprefix("train_"): tasks_of(run, name) for name in _train_files(run)}
    draws, best = training_draws(recipe, train), _Best()

    def extra() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        values, arrays = best.held()
        return values, arrays | draws.state()

    leg = session.leg("grpo", how.steps, recipe, run, screen, extra)
    if leg.resumed:
        best.go_on(leg.resumed)
        draws.go_on(leg.resumed.arrays)
    rows = read_jsonl(run.metrics("grpo"))[0] if leg.start else []
    ended = None
    with (
        metrics(run.metrics("grpo"), leg.start) as log,
        screen.progress(f"grpo, {how.prompts} x {how.group}", how.steps, leg.start) as advance,
    ):

        def on_step(step: int, values: dict[str, float], graded: list[Graded], scores: list[Score]) -> None:
            if step % how.eval_every == 0 or step == leg.horizon.steps:
                done = evaluate_on(recipe, policy_, dev, lambda batch: None)
                values["dev/contract"] = sum(g.contract for g in done) / len(done)
                values["dev/format"] = sum(not g.trace.faults for g in done) / len(done)
                best.seen(step, values["dev/contract"], policy_)
            write_jsonl(run.records(step), [record(g, s, step) for g, s in zip(graded, scores, strict=True)])
            log.log(step, values)
            rows.append(values)
            advance(
                1,
                f"reward {values['reward']:.2f}, right {values['contract']:.0%}, "
                f"dead {values['dead_groups']:.0%}",
            )
            found = trouble(rows, recipe.watch)
            if found and found.action == "pause":
                leg.pause(found.reason)
            elif found:
                raise TurnBack(found, step)

        try:
            steps = train_grpo(
                policy_.model,
                policy_.tokenizer,
                draws,
                how,
                mix_of(recipe.reward),
                recipe.seed,
                recipe.model.prompt,
                on_step,
                leg,
                _judge(recipe),
            )
        except TurnBack as turn:
            if turn.trouble.action == "back" and leg.turned is None:
                _turn_back(turn, rows, run, leg, best, screen)
                return None
            leg.close()
            steps, ended = turn.step, turn.trouble.reason
            screen.say(f"grpo ends at step {steps}: {ended} (watch.{turn.trouble.name})")
    last = how.choose == "last" and ended is None
    if best.step == 0 and ended is not None:  # it went wrong before dev was looked at
        best.adapter = start
    _keep(run, "grpo", recipe, adapter(policy_.model) if last else best.adapter)
    if not last:
        screen.say(f"kept: the adapter of step {best.step}, best on dev with {best.value:.1%}")
    kept = steps if last else best.step
    return {"minutes": leg.minutes, "steps": steps, "kept": kept, "turned": leg.turned, "ended": ended}


def _turn_back(turn: TurnBack, rows: list[Any], run: Run, leg: Leg, best: "_Best", screen: Screen) -> None:
    """Give up the steps since the last checkpoint; their metrics are kept beside, and what was best on dev."""
    values, keep = best.held()
    about = {"step": turn.step, "name": turn.trouble.name, "reason": turn.trouble.reason}
    write_jsonl(run.abandoned("grpo"), [{"step": i, **row} for i, row in enumerate(rows, 1)])
    to = leg.turn_back(about, keep, values)
    screen.say(
        f"at step {turn.step} {turn.trouble.reason} (watch.{turn.trouble.name}): back to step {to}, with half "
        f"the learning rate; the second time, training ends"
    )


def _judge(recipe: Recipe) -> Judge | None:
    """Who judges, where the reward has parts that only a judge can give."""
    if not mix_of(recipe.reward).judged:
        return None
    if recipe.judge is None:
        raise ValueError("the reward needs a judge, and the recipe has no section judge; see docs/judge.md")
    return open_judge(recipe.judge, recipe.seed, blind=False)


class _Best:
    """The adapter that did best on dev (the later one of two that did equally well)."""

    def __init__(self) -> None:
        self.step, self.value = 0, -1.0
        self.adapter: dict[str, np.ndarray] = {}

    def seen(self, step: int, value: float, policy_: Policy) -> None:
        if value >= self.value:
            self.step, self.value, self.adapter = step, value, adapter(policy_.model)

    def held(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What a checkpoint holds of it."""
        return {"best": [self.step, self.value]}, {f"best/{k}": v for k, v in self.adapter.items()}

    def go_on(self, saved: Saved) -> None:
        self.step, self.value = saved.about["best"]
        self.adapter = {k[5:]: v for k, v in saved.arrays.items() if k.startswith("best/")}


def evaluate_stage(stage: str, recipe: Recipe, run: Run, session: Session, screen: Screen) -> None:
    """The one evaluation of a stage's policy on the test tasks: records and summary. Completions are kept
    batch by batch; a task's does not depend on its neighbours, so one that was kept is not made again."""
    where, partial = f"evaluate/{TEST}/{stage}", run.evaluation_partial(TEST, stage)
    if run.done(where):
        return
    screen.stage(f"evaluate {stage}")
    began, tasks = session.now(), tasks_of(run, TEST)
    kept = [_kept(read_record(row)) for row in read_jsonl(partial)[0]] if partial.exists() else []
    left = tasks[len(kept) :]
    with screen.progress(f"evaluate {stage}, {len(tasks)} tasks", len(tasks), len(kept)) as advance:

        def on_batch(graded: Sequence[Graded]) -> None:
            append_jsonl(partial, [record(g) for g in graded])
            advance(len(graded))
            session.pause()

        new = evaluate_on(recipe, load_policy(recipe, run, stage), left, on_batch) if left else []
    save_evaluation(run, TEST, stage, kept + new, recipe)
    partial.unlink(missing_ok=True)
    run.mark_done(where, {"minutes": (session.now() - began) / 60})


def _kept(read: Record) -> Graded:
    """A completion as it was before it was written down: a record has of its tokens only their number."""
    completion = replace(read.graded.completion, tokens=(0,) * read.tokens)
    return replace(read.graded, completion=completion)


def save_evaluation(
    run: Run, dataset: str, stage: str, graded: Sequence[Graded], recipe: Recipe
) -> dict[str, Any]:
    """Write the records and the summary of one evaluation; returns the summary."""
    mix = replace(mix_of(recipe.reward), normalise="total")  # each completion is a group by itself
    scores = [s for group in score_judged([[g] for g in graded], mix, _judge(recipe)) for s in group]
    write_jsonl(
        run.evaluation_records(dataset, stage), [record(g, s) for g, s in zip(graded, scores, strict=True)]
    )
    summary = summarise(graded, mix, [s.total for s in scores]).to_json()
    write_json(run.evaluation_summary(dataset, stage), summary)
    return summary


def summarise_run(recipe: Recipe, run: Run) -> dict[str, Any]:
    """Put the stages side by side, from the run directory alone, and write `evaluate/summary.json`."""
    graded: dict[str, list[Graded]] = {}
    stages = stages_of(recipe)
    for stage in stages:
        rows, _ = read_jsonl(run.evaluation_records(TEST, stage))
        graded[stage] = [read_record(row).graded for row in rows]
    minutes = {"data": (run.done("data") or {}).get("minutes")}
    for stage in stages:
        minutes[stage] = (run.done(stage) or {}).get("minutes", 0.0) if stage != "base" else 0.0
        minutes[f"evaluate_{stage}"] = (run.done(f"evaluate/{TEST}/{stage}") or {}).get("minutes")
    summary = {
        "stages": {stage: read_json(run.evaluation_summary(TEST, stage)) for stage in stages},
        "paired": {f"{b}_vs_{a}": paired(graded[a], graded[b]) for a, b in itertools.pairwise(stages)},
        "gold": read_json(run.data / "gold.json"),
        "minutes": minutes,
        "seed": recipe.seed,
        "recipe_hash": identity(recipe),
    }
    write_json(run.summary, summary)
    return summary


def report(run: Run, screen: Screen) -> None:
    """The page that shows the run, made of the run directory alone."""
    if run.done("report"):
        return
    screen.stage("report")
    screen.say(f"{write_report(run)}: open it in a browser")
    run.mark_done("report", {"page": run.report_page.name})


def load_policy(recipe: Recipe, run: Run | None, stage: str) -> Policy:
    """The policy after a stage: the base with that stage's adapter, or the base alone ("base"), or with an
    adapter that nothing has trained ("fresh")."""
    base: Base = load(recipe.model.name)
    if stage == "base" or run is None:
        return policy(base.model, base.tokenizer)
    model = add_lora(base.model, recipe.model.lora.rank, recipe.model.lora.alpha, recipe.seed)
    if stage == "fresh":
        return policy(model, base.tokenizer)
    path = run.adapter(stage)
    if not path.is_file():
        raise ValueError(f"{run.root}: the stage {stage!r} has left no adapter; run it first")
    arrays, _ = load_adapter(path)
    set_adapter(model, arrays)
    return policy(model, base.tokenizer)


def evaluate_on(
    recipe: Recipe, sampler: Policy, tasks: Sequence[Task], on_batch: Callable[[Sequence[Graded]], None]
) -> list[Graded]:
    """The one way tasks are evaluated: greedy, graded, in batches of the recipe's size."""
    how = Sampling(temperature=0.0, max_tokens=recipe.evaluate.max_tokens)
    return evaluate(
        sampler, tasks, how, instruction=recipe.model.prompt, batch=recipe.evaluate.batch, on_batch=on_batch
    )


def _keep(run: Run, stage: str, recipe: Recipe, arrays: Any) -> None:
    about = {"stage": stage, "recipe": recipe.name, "recipe_hash": identity(recipe), "seed": recipe.seed}
    path = run.adapter(stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    content = save_adapter(partial, arrays, about)
    partial.unlink()
    write_bytes(path, content)


def tasks_of(run: Run, name: str) -> list[Task]:
    """The tasks of one of the run's sets: "dev", "test", "sft", "train_<source>"."""
    rows, _ = read_jsonl(run.data / f"{name}.jsonl")
    return [read_task(row) for row in rows]


def _train_files(run: Run) -> list[str]:
    return sorted(p.stem for p in run.data.glob("train_*.jsonl"))


def _pairs(summary: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {(a, b): summary["paired"][f"{b}_vs_{a}"] for a, b in itertools.pairwise(summary["stages"])}


TRAINING = {"sft": sft, "grpo": grpo}
