"""The stages of a run, each `(Recipe, Run, …) → None`, each done once: a stage whose `done.json` is there is
not done again. Everything a stage needs of another it reads from the run directory.

Order: prepare → evaluate base → sft → evaluate sft → grpo → evaluate grpo → summary → report. What a person
sees of them goes through `Screen`; what they know of time through `Deadline`.
"""

import hashlib
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from showwork.clock import Deadline
from showwork.data import jsonl
from showwork.data.corpus import tokenizer_lines
from showwork.data.prepare import prepare as prepare_data
from showwork.data.prepare import training_mixture
from showwork.data.sources import SOURCES
from showwork.evaluate.harness import (
    evaluate,
    gold_bound,
    grade_completions,
    paired,
    read_completions,
    require_gold,
    summarise,
)
from showwork.evaluate.table import stage_table
from showwork.model.load import Base, device, load, save
from showwork.model.lora import adapter, add_lora, load_adapter, save_adapter, set_adapter
from showwork.model.sampler import Policy, policy
from showwork.model.tiny import fresh as fresh_model
from showwork.model.tiny import tiny_config
from showwork.model.tokenizer import load_tokenizer, train_tokenizer
from showwork.provenance import provenance
from showwork.recipe import Data, Model, Recipe, WorkedSource, identity, validate
from showwork.record import read_record, read_task, record, task_row
from showwork.run import Run, read_json, read_jsonl, read_run, write_bytes, write_json, write_jsonl
from showwork.score.groups import score_groups
from showwork.score.mix import mix_of
from showwork.show.report import write_report
from showwork.show.screen import Screen
from showwork.train.grpo import grpo as train_grpo
from showwork.train.metrics import metrics
from showwork.train.pretrain import pretrain as train_base
from showwork.train.sft import examples, planned_steps
from showwork.train.sft import sft as train_sft
from showwork.types import Graded, Sampling, Score, Task

STAGES = ("base", "sft", "grpo")
TEST = "test"  # the name of the evaluation set in the run directory
_DEV_TASKS = 128  # how many dev tasks training looks at while it runs


def run_all(
    recipe: Recipe, run: Run, deadline: Deadline, screen: Screen, command: Sequence[str] = ()
) -> dict[str, Any]:
    """Every stage in order; returns the summary that `evaluate/summary.json` holds."""
    began = time.time()
    for stage in (
        lambda: prepare(recipe, run, screen, command),
        lambda: evaluate_stage("base", recipe, run, screen),
        lambda: sft(recipe, run, screen),
        lambda: evaluate_stage("sft", recipe, run, screen),
        lambda: grpo(recipe, run, screen),
        lambda: evaluate_stage("grpo", recipe, run, screen),
    ):
        if deadline.must_stop(time.time()):
            raise ValueError(
                f"{recipe.hours:g} hours are over; the same command goes on after the last stage done"
            )
        stage()
    summary = summarise_run(recipe, run)
    report(run, screen)
    screen.table(stage_table(summary["stages"], _pairs(summary), title=f"{recipe.name}, seed {recipe.seed}"))
    screen.say(
        f"done in {(time.time() - began) / 60:.1f} min; everything is in {run.root}, the table's numbers in "
        f"{run.summary.relative_to(run.root)}"
    )
    return summary


def prepare(recipe: Recipe, run: Run, screen: Screen, command: Sequence[str] = ()) -> None:
    """Data: read, filter, split, and prove that the gold solutions pass their own evaluation."""
    if run.done("data"):
        return
    screen.stage("data")
    began, mix = time.time(), mix_of(recipe.reward)  # before anything else: a mix that cannot be is an error
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


def sft(recipe: Recipe, run: Run, screen: Screen) -> None:
    """Fine-tune the base on worked traces; leaves `checkpoints/sft/adapter.safetensors`."""
    if run.done("sft"):
        return
    screen.stage("sft")
    began = time.time()
    base, tasks, dev = load(recipe.model.name), _tasks(run, "sft"), _tasks(run, "dev")
    lora = recipe.model.lora
    model = add_lora(base.model, lora.rank, lora.alpha, recipe.seed)
    rows = examples(tasks, base.tokenizer, recipe.model.prompt)
    worked_dev = [t for t in dev if t.solution and t.level in {s.level for s in tasks}][:_DEV_TASKS]
    steps = planned_steps(len(rows), recipe.sft)
    fresh(run.metrics("sft"))
    with metrics(run.metrics("sft")) as log, screen.progress(f"sft, {len(rows)} traces", steps) as advance:

        def on_step(step: int, values: dict[str, float]) -> None:
            log.log(step, values)
            advance(1, f"loss {values['loss']:.3f}")

        train_sft(
            model,
            base.tokenizer,
            rows,
            examples(worked_dev, base.tokenizer, recipe.model.prompt),
            recipe.sft,
            recipe.seed,
            on_step,
        )
    _keep(run, "sft", recipe, adapter(model))
    run.mark_done("sft", {"minutes": (time.time() - began) / 60, "steps": steps})


def grpo(recipe: Recipe, run: Run, screen: Screen) -> None:
    """Train the SFT policy by GRPO; leaves `checkpoints/grpo/adapter.safetensors` and every completion."""
    if run.done("grpo"):
        return
    screen.stage("grpo")
    began = time.time()
    policy_ = load_policy(recipe, run, "sft")
    dev = _tasks(run, "dev")[:_DEV_TASKS]
    train = {name.removeprefix("train_"): _tasks(run, name) for name in _train_files(run)}
    order = training_mixture(recipe, train, recipe.grpo.prompts, recipe.seed)
    spare = training_mixture(recipe, train, recipe.grpo.prompts, recipe.seed + 1)
    how = recipe.grpo
    fresh(run.metrics("grpo"))
    with (
        metrics(run.metrics("grpo")) as log,
        screen.progress(f"grpo, {how.prompts} x {how.group}", how.steps) as advance,
    ):

        def on_step(step: int, values: dict[str, float], graded: list[Graded], scores: list[Score]) -> None:
            if step % how.eval_every == 0 or step == how.steps:
                done = _evaluate(recipe, policy_, dev, lambda n: None)
                values = values | {"dev/contract": sum(g.contract for g in done) / len(done)}
            log.log(step, values)
            rows = [record(g, s, step) for g, s in zip(graded, scores, strict=True)]
            write_jsonl(run.records(step), rows)
            advance(
                1,
                f"reward {values['reward']:.2f}, right {values['contract']:.0%}, "
                f"dead {values['dead_groups']:.0%}",
            )

        train_grpo(
            policy_.model,
            policy_.tokenizer,
            order.batch,
            spare.batch,
            how,
            mix_of(recipe.reward),
            recipe.seed,
            recipe.model.prompt,
            on_step,
        )
    _keep(run, "grpo", recipe, adapter(policy_.model))
    run.mark_done("grpo", {"minutes": (time.time() - began) / 60, "steps": how.steps})


def evaluate_stage(stage: str, recipe: Recipe, run: Run, screen: Screen) -> None:
    """The one evaluation of a stage's policy on the test tasks: records and summary."""
    where = f"evaluate/{TEST}/{stage}"
    if run.done(where):
        return
    screen.stage(f"evaluate {stage}")
    began = time.time()
    tasks = _tasks(run, TEST)
    with screen.progress(f"evaluate {stage}, {len(tasks)} tasks", len(tasks)) as advance:
        graded = _evaluate(recipe, load_policy(recipe, run, stage), tasks, _counted(advance))
    save_evaluation(run, TEST, stage, graded, recipe)
    run.mark_done(where, {"minutes": (time.time() - began) / 60})


def save_evaluation(
    run: Run, dataset: str, stage: str, graded: Sequence[Graded], recipe: Recipe
) -> dict[str, Any]:
    """Write the records and the summary of one evaluation; returns the summary."""
    mix = replace(mix_of(recipe.reward), normalise="total")  # each completion is a group by itself
    scores = [s for group in score_groups([[g] for g in graded], mix) for s in group]
    write_jsonl(
        run.evaluation_records(dataset, stage), [record(g, s) for g, s in zip(graded, scores, strict=True)]
    )
    summary = summarise(graded, mix_of(recipe.reward)).to_json()
    write_json(run.evaluation_summary(dataset, stage), summary)
    return summary


def summarise_run(recipe: Recipe, run: Run) -> dict[str, Any]:
    """Put the stages side by side, from the run directory alone, and write `evaluate/summary.json`."""
    graded: dict[str, list[Graded]] = {}
    for stage in STAGES:
        rows, _ = read_jsonl(run.evaluation_records(TEST, stage))
        graded[stage] = [read_record(row).graded for row in rows]
    minutes = {"data": (run.done("data") or {}).get("minutes")}
    for stage in STAGES:
        minutes[stage] = (run.done(stage) or {}).get("minutes", 0.0) if stage != "base" else 0.0
        minutes[f"evaluate_{stage}"] = (run.done(f"evaluate/{TEST}/{stage}") or {}).get("minutes")
    summary = {
        "stages": {stage: read_json(run.evaluation_summary(TEST, stage)) for stage in STAGES},
        "paired": {f"{b}_vs_{a}": paired(graded[a], graded[b]) for a, b in itertools.pairwise(STAGES)},
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


def load_policy(recipe: Recipe, run: Run | None, stage: str) -> Policy:
    """The policy after a stage: the base with that stage's adapter, or the base alone."""
    base: Base = load(recipe.model.name)
    if stage == "base" or run is None:
        return policy(base.model, base.tokenizer)
    model = add_lora(base.model, recipe.model.lora.rank, recipe.model.lora.alpha, recipe.seed)
    path = run.checkpoints(stage) / "adapter.safetensors"
    if not path.is_file():
        raise ValueError(f"{run.root}: the stage {stage!r} has left no adapter; run it first")
    arrays, _ = load_adapter(path)
    set_adapter(model, arrays)
    return policy(model, base.tokenizer)


def pretrain(
    recipe: Recipe, run: Run, deadline: Deadline, screen: Screen, command: Sequence[str] = ()
) -> dict[str, Any]:
    """Train a tiny base from nothing: tokenizer, weights and card in `export/`. Returns the card's numbers.

    Raises ValueError where the recipe has no `pretrain` section.
    """
    if recipe.pretrain is None:
        raise ValueError(f"recipe {recipe.name}: has no section 'pretrain'; see recipes/tiny_base.yaml")
    if done := run.done("export"):
        return done
    screen.stage("pretrain")
    began, how = time.time(), recipe.pretrain
    serialized = train_tokenizer(tokenizer_lines(recipe.seed), how.vocabulary)
    run.export.mkdir(parents=True, exist_ok=True)
    write_bytes(run.export / "tokenizer.model", serialized)
    tokenizer = load_tokenizer(run.export)
    write_json(run.provenance, provenance(device(), {}, command))
    fresh(run.metrics("pretrain"))
    seen: dict[str, float] = {}
    with metrics(run.metrics("pretrain")) as log, screen.progress("pretrain", how.steps) as advance:

        def on_step(step: int, values: dict[str, float]) -> None:
            seen.update(values)
            if values:
                log.log(step, values)
            advance(1, " ".join(f"{k} {v:.3f}" for k, v in seen.items()))

        model = fresh_model(tiny_config(tokenizer.size), recipe.seed)
        trained = train_base(
            model, tokenizer, how, recipe.seed, on_step, lambda step, m: save(m, serialized, run.export)
        )
    save(trained, serialized, run.export)
    card = {
        "steps": how.steps,
        "tokens": how.steps * how.batch * how.length,
        "seed": recipe.seed,
        "minutes": round((time.time() - began) / 60, 1),
        "held_out_loss": round(seen["held_out_loss"], 4),
        "recipe": recipe.name,
    }
    run.mark_done("export", card)
    screen.say(f"{run.export}: model, tokenizer, config; use it as model.name")
    return card


def evaluate_only(model: str, data: str | None, stage: str | None, screen: Screen) -> dict[str, Any]:
    """The one evaluation by itself: of a run's stage, of a base model, or of a file of completions.

    `data` is a set of the run ("test", "dev"), a file of tasks (rows as in the run's `data/`, or `jsonl`
    rows), or "worked". A run's default is its test set, anything else's is `worked`. Nothing is written.
    """
    path = Path(model)
    run = read_run(path) if path.is_dir() and not (path / "config.json").exists() else None
    recipe = validate(read_json(run.recipe_resolved), str(path)) if run else _bare(model)
    tasks = (
        _tasks(run, data or TEST)
        if run and (data is None or data in (TEST, "dev"))
        else _named_tasks(data or "worked", recipe)
    )
    if path.is_file():
        graded = grade_completions(tasks, read_completions(path, tasks))
    else:
        last = next((s for s in reversed(STAGES) if run and run.done(s)), "base")
        wanted = stage or last
        if wanted not in STAGES:
            raise ValueError(f"stage {wanted!r} does not exist; there are {', '.join(STAGES)}")
        with screen.progress(f"evaluate {wanted}, {len(tasks)} tasks", len(tasks)) as advance:
            graded = _evaluate(recipe, load_policy(recipe, run, wanted), tasks, _counted(advance))
    summary = summarise(graded, mix_of(recipe.reward)).to_json()
    screen.table(stage_table({stage or path.stem: summary}))
    return summary


def _bare(model: str) -> Recipe:
    """The recipe of an evaluation without a run."""
    name = "tiny" if Path(model).is_file() else model
    return Recipe(name="eval", model=Model(name=name), data=Data(worked=WorkedSource()))


def _named_tasks(data: str, recipe: Recipe) -> list[Task]:
    if data == "worked":
        return SOURCES["worked"](recipe.data.worked or WorkedSource(), TEST, recipe.seed)
    path = Path(data)
    if not path.is_file():
        raise ValueError(f"data {data!r}: no such file; give 'worked', a file of tasks, or a set of the run")
    rows, _ = read_jsonl(path)
    return [read_task(row) for row in rows] if rows and "question" in rows[0] else jsonl.load(data)


def _counted(advance: Callable[..., None]) -> Callable[[int], None]:
    """Progress in steps, from a count of what is done."""
    seen = 0

    def on_batch(done: int) -> None:
        nonlocal seen
        advance(done - seen)
        seen = done

    return on_batch


def fresh(path: Path) -> None:
    """A stage that was cut off begins again: what it had logged is set aside."""
    path.unlink(missing_ok=True)


def _evaluate(
    recipe: Recipe, sampler: Policy, tasks: Sequence[Task], on_batch: Callable[[int], None]
) -> list[Graded]:
    how = Sampling(temperature=0.0, max_tokens=recipe.evaluate.max_tokens)
    return evaluate(
        sampler, tasks, how, instruction=recipe.model.prompt, batch=recipe.evaluate.batch, on_batch=on_batch
    )


def _keep(run: Run, stage: str, recipe: Recipe, arrays: Any) -> None:
    about = {"stage": stage, "recipe": recipe.name, "recipe_hash": identity(recipe), "seed": recipe.seed}
    path = run.checkpoints(stage) / "adapter.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    content = save_adapter(partial, arrays, about)
    partial.unlink()
    write_bytes(path, content)


def _tasks(run: Run, name: str) -> list[Task]:
    rows, _ = read_jsonl(run.data / f"{name}.jsonl")
    return [read_task(row) for row in rows]


def _train_files(run: Run) -> list[str]:
    return sorted(p.stem for p in run.data.glob("train_*.jsonl"))


def _pairs(summary: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {(a, b): summary["paired"][f"{b}_vs_{a}"] for a, b in itertools.pairwise(STAGES)}
