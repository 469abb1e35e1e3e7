"""The training stages of a run: SFT and GRPO, each from what the run directory holds to an adapter in it.

How a step is made is in `sft.py` and `grpo.py`; here are data, metrics, records, checkpoints, what is best on dev,
and what is done when a bound is broken.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from everystep.core.files import append_jsonl, read_jsonl, write_bytes, write_jsonl
from everystep.core.progress import Progress
from everystep.core.recipe import Recipe, identity
from everystep.core.record import record
from everystep.core.run import Run
from everystep.core.types import Graded, Score
from everystep.data.prepare import draws as training_draws
from everystep.forecast.work import shape_from
from everystep.model.gemma import Gemma
from everystep.model.io.load import load
from everystep.model.lora import adapter, add_lora, save_adapter
from everystep.model.sampler import Policy
from everystep.score.mix import mix_of
from everystep.train.checkpoint import Saved
from everystep.train.footprint import shape
from everystep.train.grpo import OnStep
from everystep.train.grpo import grpo as train_grpo
from everystep.train.metrics import Log, metrics
from everystep.train.policies import evaluate_on, judge_of, load_policy, tasks_of
from everystep.train.selfmade import traces
from everystep.train.session import Session
from everystep.train.sft import examples, planned_steps
from everystep.train.sft import sft as train_sft
from everystep.train.stage_session import StageSession
from everystep.train.throughput import reach, throughput
from everystep.train.timing import PhaseTimer, shares
from everystep.train.watch import RollBack, trouble

_DEV_TASKS = 128  # how many dev tasks training looks at while it runs


def sft(recipe: Recipe, run: Run, session: Session, screen: Progress) -> None:
    """Fine-tune the base on worked traces; leaves the stage's adapter."""
    if run.done("sft"):
        return
    screen.stage("sft")
    base, tasks, dev = (
        load(recipe.model.name, weights=recipe.model.weights),
        tasks_of(run, "sft"),
        tasks_of(run, "dev"),
    )
    if recipe.sft.data == "self":
        tasks = traces(run)
    lora = recipe.model.lora
    model = add_lora(base.model, lora.rank, lora.alpha, recipe.seed)
    rows = examples(tasks, base.tokenizer, recipe.model.prompt)
    worked_dev = [t for t in dev if t.solution and t.level in {s.level for s in tasks}][:_DEV_TASKS]
    planned = planned_steps(len(rows), recipe.sft)
    stage_session = session.open_stage("sft", planned, recipe, run, screen)
    with (
        metrics(run.metrics("sft"), stage_session.start, recipe.log) as log,
        screen.progress(f"sft, {len(rows)} traces", planned, stage_session.start) as advance,
    ):

        def on_step(step: int, values: dict[str, float]) -> None:
            log.log(step, values)
            append_jsonl(run.seconds("sft"), [{"step": step, **timer.take()}])
            advance(1, f"loss {values['loss']:.3f}")

        worked_rows = examples(worked_dev, base.tokenizer, recipe.model.prompt)
        timer = PhaseTimer()
        steps = train_sft(
            model, base.tokenizer, rows, worked_rows, recipe.sft, recipe.seed, on_step, stage_session, timer
        )
    _keep(run, "sft", recipe, stage_session.adapter())
    screen.say(f"sft: {_time_spent(run, 'sft')}")
    run.mark_done("sft", {"minutes": stage_session.minutes, "steps": steps})


def grpo(recipe: Recipe, run: Run, session: Session, screen: Progress) -> None:
    """Train the SFT policy by GRPO; leaves the stage's adapter and every completion."""
    if run.done("grpo"):
        return
    screen.stage("grpo")
    done = None
    while done is None:  # a second time at most: the second RollBack ends the training
        done = _grpo(recipe, run, session, screen)
    run.mark_done("grpo", done)


def _grpo(recipe: Recipe, run: Run, session: Session, screen: Progress) -> dict[str, Any] | None:
    """One attempt at the stage: what to note of it when it is done, None where it was rolled back."""
    policy, config = load_policy(recipe, run, "sft" if recipe.grpo.start == "sft" else "fresh"), recipe.grpo
    start = adapter(policy.model)
    train = {name.removeprefix("train_"): tasks_of(run, name) for name in _train_files(run)}
    draws, best = training_draws(recipe, train), _Best()

    def extra() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        values, arrays = best.held()
        return values, arrays | draws.state()

    stage_session = session.open_stage("grpo", config.steps, recipe, run, screen, extra)
    if stage_session.resumed:
        best.go_on(stage_session.resumed)
        draws.go_on(stage_session.resumed.arrays)
    rows = read_jsonl(run.metrics("grpo"))[0] if stage_session.start else []
    ended, timer = None, PhaseTimer()
    with (
        metrics(run.metrics("grpo"), stage_session.start, recipe.log) as log,
        screen.progress(f"grpo, {config.prompts} x {config.group}", config.steps, stage_session.start) as advance,
    ):
        try:
            steps = _engine(config.engine)(
                policy.model,
                policy.tokenizer,
                draws,
                config,
                mix_of(recipe.reward),
                recipe.seed,
                recipe.model.prompt,
                _recorder(recipe, run, policy, stage_session, best, rows, log.log, timer, advance),
                stage_session,
                judge_of(recipe),
                timer,
            )
        except RollBack as broken:
            if broken.trouble.action == "back" and stage_session.rolled_back is None:
                _roll_back(broken, rows, run, stage_session, best, screen)
                return None
            stage_session.close()
            steps, ended = broken.step, broken.trouble.reason
            screen.say(f"grpo ends at step {steps}: {ended} (watch.{broken.trouble.name})")
    screen.say(f"grpo: {_time_spent(run, 'grpo')}")
    _say_throughput(recipe, run, rows, policy.model, screen)
    if best.step == 0 and ended is not None:  # it went wrong before dev was looked at
        best.adapter = start
    kept = _keep_grpo(recipe, run, steps, stage_session, best, ended, screen)
    return {
        "minutes": stage_session.minutes,
        "steps": steps,
        "kept": kept,
        "rolled_back": stage_session.rolled_back,
        "ended": ended,
    }


def _engine(name: str) -> Callable[..., int]:
    """What makes the steps, by `grpo.engine`. Tunix's learner takes seconds to import and is seldom asked for."""
    if name == "everystep":
        return train_grpo
    from everystep.train.tunix import stock_grpo

    return stock_grpo


def _recorder(
    recipe: Recipe,
    run: Run,
    policy: Policy,
    stage_session: StageSession,
    best: "_Best",
    rows: list[Any],
    log: Log,
    timer: PhaseTimer,
    advance: Callable[[int, str], None],
) -> OnStep:
    """What is done after every step: dev now and then, records, metrics, seconds, bounds."""
    dev = tasks_of(run, "dev")[:_DEV_TASKS]

    def on_step(step: int, values: dict[str, float], graded: list[Graded], scores: list[Score]) -> None:
        if step % recipe.grpo.eval_every == 0 or step == stage_session.schedule.steps:
            with timer.phase("evaluate"):
                done = evaluate_on(recipe, policy, dev, lambda batch: None)
            values["dev/contract"] = sum(g.contract for g in done) / len(done)
            values["dev/format"] = sum(not g.trace.faults for g in done) / len(done)
            best.seen(step, values["dev/contract"], stage_session.adapter())
        write_jsonl(run.records(step), [record(g, s, step) for g, s in zip(graded, scores, strict=True)])
        log(step, values)
        append_jsonl(run.seconds("grpo"), [{"step": step, **timer.take()}])
        rows.append(values)
        advance(1, f"reward {values['reward']:.2f}, right {values['contract']:.0%}, dead {values['dead_groups']:.0%}")
        found = trouble(rows, recipe.watch)
        if found and found.action == "pause":
            stage_session.pause(found.reason)
        elif found:
            raise RollBack(found, step)

    return on_step


def _keep_grpo(
    recipe: Recipe,
    run: Run,
    steps: int,
    stage_session: StageSession,
    best: "_Best",
    ended: str | None,
    screen: Progress,
) -> int:
    """Leave the adapter that the recipe chooses; the step it is of. One that broke a bound is never the last."""
    last = recipe.grpo.choose == "last" and ended is None
    _keep(run, "grpo", recipe, stage_session.adapter() if last else best.adapter)
    if best.step and not last:
        screen.say(f"kept: the adapter of step {best.step}, best on dev with {best.value:.1%}")
    elif not last:
        screen.say("kept: the adapter that GRPO began with")
    return steps if last else best.step


def _say_throughput(recipe: Recipe, run: Run, rows: list[Any], model: Gemma, screen: Progress) -> None:
    config, spent = model.config, read_jsonl(run.seconds("grpo"))[0]
    of, peak = shape_from(shape(config)), reach(config.param_dtype)
    if rates := throughput(of, recipe.grpo.prompts, recipe.grpo.group, rows, spent, peak):
        screen.say(f"grpo: {rates.words()}")


def _time_spent(run: Run, stage: str) -> str:
    kept = read_jsonl(run.seconds(stage))[0] if run.seconds(stage).exists() else []
    rows = [{k: v for k, v in row.items() if k != "step"} for row in kept]
    return f"{sum(row['total'] for row in rows) / max(1, len(rows)):.2f} s a step: {shares(rows)}"


def _roll_back(
    broken: RollBack, rows: list[Any], run: Run, stage_session: StageSession, best: "_Best", screen: Progress
) -> None:
    """Give up the steps since the last checkpoint; kept are their metrics, beside, and the best on dev."""
    values, keep = best.held()
    about = {"step": broken.step, "name": broken.trouble.name, "reason": broken.trouble.reason}
    write_jsonl(run.abandoned("grpo"), [{"step": i, **row} for i, row in enumerate(rows, 1)])
    to = stage_session.roll_back(about, keep, values)
    screen.say(
        f"at step {broken.step} {broken.trouble.reason} (watch.{broken.trouble.name}): back to step {to}, with "
        f"half the learning rate; the second time, training ends"
    )


class _Best:
    """The adapter that did best on dev (the later one of two that did equally well)."""

    def __init__(self) -> None:
        self.step, self.value = 0, -1.0
        self.adapter: dict[str, np.ndarray] = {}

    def seen(self, step: int, value: float, held: dict[str, np.ndarray]) -> None:
        if value >= self.value:
            self.step, self.value, self.adapter = step, value, held

    def held(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What a checkpoint holds of it."""
        return {"best": [self.step, self.value]}, {f"best/{k}": v for k, v in self.adapter.items()}

    def go_on(self, saved: Saved) -> None:
        self.step, self.value = saved.about["best"]
        self.adapter = {k[5:]: v for k, v in saved.arrays.items() if k.startswith("best/")}


def _keep(run: Run, stage: str, recipe: Recipe, arrays: Any) -> None:
    about = {"stage": stage, "recipe": recipe.name, "recipe_hash": identity(recipe), "seed": recipe.seed}
    path = run.adapter(stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    content = save_adapter(partial, arrays, about)
    partial.unlink()
    write_bytes(path, content)


def _train_files(run: Run) -> list[str]:
    return sorted(p.stem for p in run.data.glob("train_*.jsonl"))
