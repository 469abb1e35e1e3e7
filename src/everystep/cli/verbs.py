"""What the command does besides whole runs: train a tiny base, and evaluate anything by itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from everystep.core.files import read_json, read_jsonl, write_bytes, write_json
from everystep.core.provenance import provenance
from everystep.core.recipe import Data, Model, Recipe, WorkedSource, validate
from everystep.core.record import read_task
from everystep.core.run import TEST, Run, read_run
from everystep.core.types import Task
from everystep.data import jsonl
from everystep.data.corpus import tokenizer_lines
from everystep.data.sources import SOURCES
from everystep.evaluate.harness import grade_completions, read_completions, summarise
from everystep.evaluate.table import stage_table
from everystep.model.io.load import device, save
from everystep.model.tiny import fresh as fresh_model
from everystep.model.tiny import tiny_config
from everystep.model.tokenizer import load_tokenizer, train_tokenizer
from everystep.pipeline import STAGES
from everystep.score.mix import mix_of
from everystep.show.screen import Screen
from everystep.train.metrics import metrics
from everystep.train.policies import evaluate_on, load_policy, tasks_of
from everystep.train.pretrain import pretrain as train_base
from everystep.train.session import Session


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

        model = fresh_model(tiny_config(tokenizer.size), recipe.seed)
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


def evaluate_only(model: str, data: str | None, stage: str | None, screen: Screen) -> dict[str, Any]:
    """The one evaluation by itself: of a run's stage, of a base model, or of a file of completions.

    `data` is a set of the run ("test", "dev"), a file of tasks (rows as in the run's `data/`, or `jsonl`
    rows), or "worked". A run's default is its test set, anything else's is `worked`. Nothing is written.
    """
    path = Path(model)
    run = read_run(path) if path.is_dir() and not (path / "config.json").exists() else None
    recipe = validate(read_json(run.recipe_resolved), str(path)) if run else _bare(model)
    tasks = (
        tasks_of(run, data or TEST)
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
            graded = evaluate_on(recipe, load_policy(recipe, run, wanted), tasks, lambda batch: advance(len(batch)))
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
