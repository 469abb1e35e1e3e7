"""The stages of a run, each `(Recipe, Run, Session, Screen) → None`, each done once: a stage whose
`done.json` is there is not done again. Everything a stage needs of another it reads from the run directory.

Order: preflight (real models) → prepare → evaluate base → sft → evaluate sft → grpo → evaluate grpo → summary
→ export (where the recipe says so) → report; without sft where GRPO starts at the base. Where SFT learns from
the model's own traces, they are made before it begins. What a person sees of them goes through `Screen`; when
they leave and from where they go on is the `Session`'s.
"""

import hashlib
import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from everystep.core.files import append_jsonl, read_json, write_bytes, write_json, write_jsonl
from everystep.core.provenance import provenance
from everystep.core.recipe import Recipe, identity
from everystep.core.record import Record, read_records, record, task_row
from everystep.core.relay import add_session
from everystep.core.run import TEST, Run, stages_of
from everystep.core.types import Graded
from everystep.data.corpus import tokenizer_lines
from everystep.data.prepare import prepare as prepare_data
from everystep.evaluate.harness import gold_bound, paired, require_gold, summarise
from everystep.evaluate.table import stage_table
from everystep.forecast.preflight import preflight
from everystep.model.io.load import device, load, save
from everystep.model.tiny import fresh, tiny_config
from everystep.model.tokenizer import load_tokenizer, train_tokenizer
from everystep.score.judge import score_judged
from everystep.score.mix import mix_of
from everystep.ship.export import export_stage
from everystep.show.preflight import findings as preflight_table
from everystep.show.screen import Screen
from everystep.train.metrics import metrics, require
from everystep.train.policies import evaluate_on, judge_of, load_policy, tasks_of
from everystep.train.pretrain import pretrain as train_base
from everystep.train.selfmade import self_made
from everystep.train.session import Session
from everystep.train.stages import grpo
from everystep.train.stages import sft as train_sft


def run_all(recipe: Recipe, run: Run, session: Session, screen: Screen, command: Sequence[str] = ()) -> dict[str, Any]:
    """Every stage in order; returns the summary that `evaluate/summary.json` holds. Raises Stopped where the
    session ends before the run does."""
    began = time.time()
    look_ahead(recipe, run, session, screen)
    if run.done("report") is None:
        here = provenance(device(), {}, command)
        add_session(run, {k: here[k] for k in ("everystep", "commit", "changes", "python", "device", "command")})
    session.pause()
    prepare(recipe, run, screen, command)
    for stage in stages_of(recipe):
        session.pause()
        if stage in TRAINING:
            TRAINING[stage](recipe, run, session, screen)
            session.pause()
        evaluate_stage(stage, recipe, run, session, screen)
    summary = summarise_run(recipe, run)
    session.pause()
    if session.first:
        export_stage(recipe, run, screen)
        report(run, screen)
    screen.table(stage_table(summary["stages"], _pairs(summary), title=f"{recipe.name}, seed {recipe.seed}"))
    screen.say(
        f"done in {(time.time() - began) / 60:.1f} min; everything is in {run.root}, the table's numbers in "
        f"{run.summary.relative_to(run.root)}"
    )
    return summary


def look_ahead(recipe: Recipe, run: Run, session: Session, screen: Screen) -> None:
    """Preflight, where the model is a real one and a mistake costs hours. Raises ValueError for what is red,
    unless the session accepts it; the run directory is then still free for a mended recipe."""
    if recipe.model.name == "tiny" or run.done("preflight") or run.done("data"):
        return
    screen.stage("preflight")
    found = preflight(recipe, run, screen.say)
    screen.table(preflight_table(found, f"preflight of {recipe.name}"))
    if found.red and "preflight" not in session.accept:
        first = found.red[0]
        raise ValueError(
            f"preflight: {len(found.red)} of {len(found.found)} checks are red; first {first.name}: "
            f"{first.measured}; {first.mend} (or go on all the same with --accept preflight)"
        )
    run.mark_done("preflight", {"minutes": found.minutes, "light": found.light})


def prepare(recipe: Recipe, run: Run, screen: Screen, command: Sequence[str] = ()) -> None:
    """Data: read, filter, split, and prove that the gold solutions pass their own evaluation."""
    if run.done("data"):
        return
    screen.stage("data")
    began, mix = time.time(), mix_of(recipe.reward)  # before anything else: a mix that cannot be is an error
    judge_of(recipe)
    require(recipe.log)
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


def evaluate_stage(stage: str, recipe: Recipe, run: Run, session: Session, screen: Screen) -> None:
    """The one evaluation of a stage's policy on the test tasks: records and summary. Completions are kept
    as they are done; a task's does not depend on its neighbours, so one that was kept is not made again."""
    where, partial = f"evaluate/{TEST}/{stage}", run.evaluation_partial(TEST, stage)
    if run.done(where):
        return
    screen.stage(f"evaluate {stage}")
    began, tasks = session.now(), tasks_of(run, TEST)
    kept = [_kept(r) for r in read_records(partial)] if partial.exists() else []
    found = {g.task.id: g for g in kept}
    left = [task for task in tasks if task.id not in found]
    with screen.progress(f"evaluate {stage}, {len(tasks)} tasks", len(tasks), len(kept)) as advance:

        def on_batch(graded: Sequence[Graded]) -> None:
            append_jsonl(partial, [record(g) for g in graded])
            advance(len(graded))
            session.pause()

        new = evaluate_on(recipe, load_policy(recipe, run, stage), left, on_batch) if left else []
    found |= {g.task.id: g for g in new}
    save_evaluation(run, TEST, stage, [found[task.id] for task in tasks], recipe)
    partial.unlink(missing_ok=True)
    run.mark_done(where, {"minutes": (session.now() - began) / 60})


def _kept(read: Record) -> Graded:
    """A completion as it was before it was written down: a record has of its tokens only their number."""
    completion = replace(read.graded.completion, tokens=(0,) * read.tokens)
    return replace(read.graded, completion=completion)


def save_evaluation(run: Run, dataset: str, stage: str, graded: Sequence[Graded], recipe: Recipe) -> dict[str, Any]:
    """Write the records and the summary of one evaluation; returns the summary."""
    mix = replace(mix_of(recipe.reward), normalise="total")  # each completion is a group by itself
    scores = [s for group in score_judged([[g] for g in graded], mix, judge_of(recipe)) for s in group]
    write_jsonl(run.evaluation_records(dataset, stage), [record(g, s) for g, s in zip(graded, scores, strict=True)])
    summary = summarise(graded, mix, [s.total for s in scores]).to_json()
    write_json(run.evaluation_summary(dataset, stage), summary)
    return summary


def summarise_run(recipe: Recipe, run: Run) -> dict[str, Any]:
    """Put the stages side by side, from the run directory alone, and write `evaluate/summary.json`."""
    graded: dict[str, list[Graded]] = {}
    stages = stages_of(recipe)
    for stage in stages:
        graded[stage] = [r.graded for r in read_records(run.evaluation_records(TEST, stage))]
    minutes = {"data": (run.done("data") or {}).get("minutes")}
    for stage in stages:
        if stage == "sft" and recipe.sft.data == "self":
            minutes["self"] = (run.done("self") or {}).get("minutes", 0.0)
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
    from everystep.show.report import (
        write_report,
    )  # with it comes matplotlib, which a resume need not wait for

    screen.say(f"{write_report(run)}: open it in a browser")
    run.mark_done("report", {"page": run.report_page.name})


def _pairs(summary: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {(a, b): summary["paired"][f"{b}_vs_{a}"] for a, b in itertools.pairwise(summary["stages"])}


def sft(recipe: Recipe, run: Run, session: Session, screen: Screen) -> None:
    """SFT, after the model has made its data where the recipe says so."""
    if recipe.sft.data == "self" and run.done("sft") is None:
        self_made(recipe, run, session, screen)
        session.pause()
    train_sft(recipe, run, session, screen)


TRAINING = {"sft": sft, "grpo": grpo}


def pretrain(recipe: Recipe, run: Run, session: Session, screen: Screen, command: Sequence[str] = ()) -> dict[str, Any]:
    """Train a tiny base from nothing: tokenizer, weights and card in `export/`. Returns the card's numbers.

    Raises ValueError where the recipe has no `pretrain` section.
    """
    if recipe.pretrain is None:
        raise ValueError(f"recipe {recipe.name}: has no section 'pretrain'; see recipes/tiny_base.yaml")
    if done := run.done("export"):
        return done
    screen.stage("pretrain")
    config = recipe.pretrain
    serialized = train_tokenizer(tokenizer_lines(recipe.seed), config.vocabulary)
    run.export.mkdir(parents=True, exist_ok=True)
    write_bytes(run.export / "tokenizer.model", serialized)
    tokenizer = load_tokenizer(run.export)
    write_json(run.provenance, provenance(device(), {}, command))
    stage_session = session.open_stage("pretrain", config.steps, recipe, run, screen)
    seen: dict[str, float] = {}
    with (
        metrics(run.metrics("pretrain"), stage_session.start, recipe.log) as log,
        screen.progress("pretrain", config.steps, stage_session.start) as advance,
    ):

        def on_step(step: int, values: dict[str, float]) -> None:
            seen.update(values)
            if values:
                log.log(step, values)
            advance(1, " ".join(f"{k} {v:.3f}" for k, v in seen.items()))

        model = fresh(tiny_config(tokenizer.size), recipe.seed)
        trained = train_base(model, tokenizer, config, recipe.seed, on_step, stage_session)
    save(trained, serialized, run.export)
    card = {
        "steps": config.steps,
        "tokens": config.steps * config.batch * config.length,
        "seed": recipe.seed,
        "minutes": round(stage_session.minutes, 1),
        "held_out_loss": round(seen["held_out_loss"], 4),
        "recipe": recipe.name,
    }
    run.mark_done("export", card)
    screen.say(f"{run.export}: model, tokenizer, config; use it as model.name")
    return card
