"""The data of a run: read every source of the recipe, filter, keep the splits apart, choose what SFT may see.

Writing it down is the stage's business (`stages.prepare`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from everystep.core.recipe import Data, Recipe
from everystep.core.trace import INSTRUCTIONS
from everystep.core.types import Task
from everystep.data.clean import Dropped, Limits, clean
from everystep.data.difficulty import Draws
from everystep.data.mixture import Mixture, mixture
from everystep.data.near import without_near
from everystep.data.sources import SOURCES, SPLITS


@dataclass(frozen=True, slots=True)
class Prepared:
    """Tasks by split and source. `sft` are the worked traces, or with `sft.data: self` the questions whose
    traces are still to be made (with the solutions that they have); `train` holds questions and answers only,
    as GRPO may see them. `dropped` says for each "source/split" what the filters took out."""

    train: dict[str, list[Task]]
    sft: list[Task]
    dev: list[Task]
    test: list[Task]
    dropped: dict[str, list[Dropped]]


def prepare(recipe: Recipe, count_tokens: Callable[[str], int], say: Callable[[str], None]) -> Prepared:
    """Read and filter everything the recipe names. `say` gets one line a source.

    Raises ValueError, one line, for a source that cannot be read, is empty, or loses more rows than
    `data.max_dropped`, and for an instruction that there is not.
    """
    for name in recipe.sft.self_made.prompts:
        if name not in INSTRUCTIONS:
            raise ValueError(
                f"sft.self_made.prompts: there is no instruction {name!r}; known: {', '.join(INSTRUCTIONS)}"
            )
    limits = Limits(recipe.data.max_prompt_tokens, recipe.data.max_trace_tokens, recipe.data.max_dropped)
    kept: dict[str, dict[str, list[Task]]] = {}
    dropped: dict[str, list[Dropped]] = {}
    for name in enabled(recipe.data):
        settings = getattr(recipe.data, name)
        split: dict[str, list[Task]] = {}
        for part in SPLITS:
            tasks = SOURCES[name](settings, part, recipe.seed)
            split[part], dropped[f"{name}/{part}"] = clean(tasks, limits, count_tokens, recipe.model.prompt)
        train, pairs = without_near(split["train"], split["dev"] + split["test"])
        if pairs:
            example = f"{pairs[0].train} ~ {pairs[0].held_out}"
            near = Dropped("near-duplicate of a held-out question", len(split["train"]) - len(train), (example,))
            dropped[f"{name}/train"].append(near)
        kept[name] = split | {"train": train}
        lost = sum(d.count for part in SPLITS for d in dropped[f"{name}/{part}"])
        say(f"{name}: {len(train)} train, {len(split['dev'])} dev, {len(split['test'])} test, {lost} dropped")
    if not kept:
        raise ValueError("the recipe's data section names no source; add one, e.g. data.worked={}")
    return Prepared(
        train={name: [replace(t, solution=None) for t in split["train"]] for name, split in kept.items()},
        sft=_worked_traces(recipe, {name: split["train"] for name, split in kept.items()}),
        dev=_joined(split["dev"] for split in kept.values()),
        test=_joined(split["test"] for split in kept.values()),
        dropped={k: v for k, v in dropped.items() if v},
    )


def enabled(data: Data) -> list[str]:
    """The names of the sources the recipe switches on."""
    return [name for name in SOURCES if getattr(data, name) is not None]


def draws(recipe: Recipe, train: dict[str, list[Task]]) -> Draws:
    """What GRPO draws its tasks from, as the recipe says."""
    shares, config = {name: getattr(recipe.data, name).weight for name in train}, recipe.grpo
    return Draws(train, shares, config.prompts, config.group, recipe.seed, config.draw)


def training_mixture(recipe: Recipe, train: dict[str, list[Task]], size: int, seed: int) -> Mixture:
    """The order in which tasks of several sources are seen, each by its weight."""
    return mixture(train, {name: getattr(recipe.data, name).weight for name in train}, size, seed)


def _worked_traces(recipe: Recipe, train: dict[str, list[Task]]) -> list[Task]:
    """At most `sft.traces` tasks that have a solution, of the levels SFT may see, in the mixture's order;
    where the model makes the solutions, at most `sft.self_made.tasks` tasks, with a solution or without."""
    own = recipe.sft.data == "self"
    allowed = {
        name: [
            t
            for t in tasks
            if (own or t.solution) and t.level in getattr(getattr(recipe.data, name), "sft_levels", (t.level,))
        ]
        for name, tasks in train.items()
    }
    allowed = {name: tasks for name, tasks in allowed.items() if tasks}
    if not allowed:
        lack = "a task of the levels that SFT may see" if own else "a worked solution"
        raise ValueError(f"no source has {lack}, so there is nothing for SFT to learn from")
    order = training_mixture(recipe, allowed, 1, recipe.seed)
    found: dict[str, Task] = {}
    total = min(recipe.sft.self_made.tasks if own else recipe.sft.traces, sum(map(len, allowed.values())))
    k = 0
    while len(found) < total and k < 50 * total:
        (task,) = order.batch(k)
        found.setdefault(task.id, task)
        k += 1
    return list(found.values())


def _joined(parts: Iterable[list[Task]]) -> list[Task]:
    return [task for part in parts for task in part]
