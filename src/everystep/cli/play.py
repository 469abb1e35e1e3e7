"""The verb `play`: models and runs named on the command line, opened and put on the playground's page."""

import importlib.util
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everystep.cli.options import Debug, Quiet
from everystep.core.extras import install_hint

if TYPE_CHECKING:
    from everystep.core.run import Run
    from everystep.core.types import Task
    from everystep.show.ask import Model
    from everystep.show.cards import Book


EXAMPLES = 6
_SHORT = 170  # characters of a question that is an example
_PATIENT = 600.0  # seconds for a first answer, which compiles

Targets = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RUN|MODEL]...", help="runs, tiny, or models' folders [tiny]", show_default=False),
]


@dataclass(frozen=True, slots=True)
class Opened:
    """What one argument of the command has: models that take questions, records, and tasks to try."""

    models: "list[Model]"
    books: "list[Book]"
    tasks: "list[Task]"


def play(
    targets: Targets = None,
    host: Annotated[str, typer.Option("--host", help="who may come: 0.0.0.0 is everybody")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="[7860, or the next one that is free]")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="a model's time for an answer")] = 60.0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Open the playground: a page to ask models, see each claim checked, and browse records.

    Of a run it takes base, SFT and GRPO, side by side. Ctrl-C ends it.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ValueError(f"the playground needs gradio, which is not installed: {install_hint('play')}")
    from everystep.cli.process import asked_to_stop, set_up_jax

    set_up_jax()
    from everystep.show.ask import close_model
    from everystep.show.playground import Limits, build, serve

    names = targets or ["tiny"]
    if len(set(names)) < len(names):
        raise ValueError("a run or a model is given twice")
    opened = [open_target(name, label, len(names) == 1) for name, label in zip(names, labels(names), strict=True)]
    models = [model for one in opened for model in one.models]
    known = _examples([task for one in opened for task in one.tasks])
    page = build(models, [book for one in opened for book in one.books], known, Limits(seconds=seconds))
    stop = asked_to_stop()
    url = serve(page, host, port)
    print(
        f"{url} ({', '.join(model.name for model in models)}); Ctrl-C ends it" if not quiet else url,
        flush=True,
    )
    _warm(models, known)
    while stop() is None:
        time.sleep(0.2)
    page.close(verbose=False)
    for model in models:
        close_model(model)
    if threading.active_count() > 1:
        # A thread may still compile or decode, and Python's orderly end would abort in the middle of it.
        # There is nothing to save.
        sys.stdout.flush()
        os._exit(0)


def labels(names: Sequence[str]) -> list[str]:
    """What targets are called on the page: the last part of their path, where that tells them apart.

    >>> labels(["runs/a", "runs/b/", "tiny"]), labels(["a/export", "b/export"])
    (['a', 'b', 'tiny'], ['a/export', 'b/export'])
    """
    short = [name if name == "tiny" else Path(name).resolve().name for name in names]
    return short if len(set(short)) == len(short) else list(names)


def open_target(name: str, label: str, alone: bool) -> Opened:
    """A run (its stages, as far as it has them) or a model by itself. `alone`: names need not say which run's
    a stage is. Raises ValueError for what is neither."""
    from everystep.core.recipe import Model as Settings
    from everystep.core.recipe import WorkedSource
    from everystep.core.run import read_run
    from everystep.data.sources import SOURCES
    from everystep.model.io.load import load
    from everystep.model.sampler import policy
    from everystep.show.ask import open_model

    path = Path(name)
    if path.is_dir() and not (path / "config.json").exists():
        return _open_run(read_run(path), label, "" if alone else f"{label}/")
    base = load(name)
    # The tiny model was never told the format in words, and would not understand them.
    prompt = Settings().prompt if name == "tiny" else "format"
    about = "as it ships, before SFT and GRPO" if name == "tiny" else ""
    model = open_model(label, policy(base.model, base.tokenizer).stream, prompt, about)
    return Opened([model], [], SOURCES["worked"](WorkedSource(test=60), "test", 0))


def _open_run(run: "Run", label: str, prefix: str) -> Opened:
    """The policies of a run share its base's weights and compiled programs."""
    from everystep.core.run import TRAINED
    from everystep.model.lora import add_lora, load_adapter, set_adapter
    from everystep.model.sampler import Policy
    from everystep.show.ask import open_model
    from everystep.show.cards import Book
    from everystep.train.policies import load_policy, tasks_of

    recipe = run.recipe()
    if recipe.kind != "run":
        raise ValueError(f"{run.root}: is no run with stages; give its model, {run.export}")
    base = load_policy(recipe, run, "base")
    models = [open_model(f"{prefix}base", base.stream, recipe.model.prompt)]
    for stage in TRAINED:
        if not run.adapter(stage).is_file():
            continue
        model = add_lora(base.model, recipe.model.lora.rank, recipe.model.lora.alpha, None)
        set_adapter(model, load_adapter(run.adapter(stage))[0])
        policy = Policy(model, base.tokenizer, base.structure)
        models.append(open_model(f"{prefix}{stage}", policy.stream, recipe.model.prompt))
    books = [Book(run.root, label)] if run.evaluations() else []
    tasks = tasks_of(run, "test") if (run.data / "test.jsonl").is_file() else []
    return Opened(models, books, tasks)


def _examples(tasks: "Sequence[Task]") -> "list[Task]":
    """Some short tasks, the domains in turn."""
    by_domain: dict[str, list[Task]] = {}
    for task in tasks:
        if len(task.question) <= _SHORT:
            by_domain.setdefault(task.domain, []).append(task)
    turns = [own[i] for i in range(EXAMPLES) for own in by_domain.values() if i < len(own)]
    return turns[:EXAMPLES]


def _warm(models: "Sequence[Model]", known: "Sequence[Task]") -> None:
    """Let the models answer once, greedily and sampled, while nobody waits: a first answer compiles."""
    from everystep.core.types import Sampling
    from everystep.show.ask import ask
    from everystep.show.playground import Limits

    def warm() -> None:
        for temperature in (0.0, 1.0):
            sampling = Sampling(temperature, max_tokens=Limits().usual)
            for _ in ask(models, known[0], 1, sampling, _PATIENT):
                pass

    if known:
        threading.Thread(target=warm, name="warm", daemon=True).start()
