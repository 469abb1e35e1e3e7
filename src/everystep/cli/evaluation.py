"""What `eval` evaluates: a run's stage, a model, or a file of completions. JAX is loaded for models only."""

from pathlib import Path
from typing import Any

from everystep.cli.process import set_up_jax
from everystep.core.files import read_jsonl
from everystep.core.progress import Progress
from everystep.core.recipe import Data, Model, Recipe, WorkedSource
from everystep.core.record import read_task
from everystep.core.run import STAGES, TEST, read_run
from everystep.core.types import Graded, Task
from everystep.data import jsonl
from everystep.data.sources import SOURCES
from everystep.evaluate.harness import grade_completions, read_completions, summarise
from everystep.evaluate.table import stage_table
from everystep.score.mix import mix_of


def evaluate_only(model: str, data: str | None, stage: str | None, screen: Progress) -> dict[str, Any]:
    """The one evaluation by itself: of a run's stage, of a base model, or of a file of completions.

    `data` is a set of the run ("test", "dev"), a file of tasks (rows as in the run's `data/`, or `jsonl`
    rows), or "worked". A run's default is its test set, anything else's is `worked`. Nothing is written.
    """
    path = Path(model)
    if path.is_file():
        recipe, name = _bare("tiny"), stage or path.stem
        tasks = _named_tasks(data or "worked", recipe)
        graded = grade_completions(tasks, read_completions(path, tasks))
    else:
        recipe, name, graded = _sampled(model, data, stage, screen)
    summary = summarise(graded, mix_of(recipe.reward)).to_json()
    screen.table(stage_table({name: summary}))
    return summary


def _sampled(model: str, data: str | None, stage: str | None, screen: Progress) -> tuple[Recipe, str, list[Graded]]:
    """The completions of a model or of a run's stage, with the recipe and the name of the row."""
    set_up_jax()
    from everystep.train.policies import evaluate_on, load_policy, tasks_of

    path = Path(model)
    run = read_run(path) if path.is_dir() and not (path / "config.json").exists() else None
    recipe = run.recipe() if run else _bare(model)
    if run and (data is None or data in (TEST, "dev")):
        tasks = tasks_of(run, data or TEST)
    else:
        tasks = _named_tasks(data or "worked", recipe)
    wanted = stage or next((s for s in reversed(STAGES) if run and run.done(s)), "base")
    if wanted not in STAGES:
        raise ValueError(f"stage {wanted!r} does not exist; there are {', '.join(STAGES)}")
    with screen.progress(f"evaluate {wanted}, {len(tasks)} tasks", len(tasks)) as advance:
        graded = evaluate_on(recipe, load_policy(recipe, run, wanted), tasks, lambda batch: advance(len(batch)))
    return recipe, stage or path.stem, graded


def _bare(model: str) -> Recipe:
    """The recipe of an evaluation without a run."""
    return Recipe(name="eval", model=Model(name=model), data=Data(worked=WorkedSource()))


def _named_tasks(data: str, recipe: Recipe) -> list[Task]:
    if data == "worked":
        return SOURCES["worked"](recipe.data.worked or WorkedSource(), TEST, recipe.seed)
    path = Path(data)
    if not path.is_file():
        raise ValueError(f"data {data!r}: no such file; give 'worked', a file of tasks, or a set of the run")
    rows, _ = read_jsonl(path)
    return [read_task(row) for row in rows] if rows and "question" in rows[0] else jsonl.load(data)
