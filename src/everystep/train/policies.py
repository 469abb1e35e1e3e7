"""What stages work with, as a recipe and a run directory give it: policies, tasks, the judge, the one way to
evaluate.

Left to the stages: when, and what is written.
"""

from collections.abc import Callable, Sequence

from everystep.core.recipe import Recipe
from everystep.core.record import read_tasks
from everystep.core.run import Run
from everystep.core.types import Graded, Sampling, Task
from everystep.evaluate.harness import evaluate
from everystep.evaluate.judged import open_judge
from everystep.model.io.load import Base, load
from everystep.model.lora import add_lora, load_adapter, set_adapter
from everystep.model.sampler import Policy, policy
from everystep.score.judge import Judge
from everystep.score.mix import mix_of


def load_policy(recipe: Recipe, run: Run | None, stage: str) -> Policy:
    """The policy after a stage: the base with that stage's adapter, or the base alone ("base"), or with an
    adapter that nothing has trained ("fresh")."""
    base: Base = load(recipe.model.name, weights=recipe.model.weights)
    if stage == "base" or run is None:
        return policy(base.model, base.tokenizer)
    lora = recipe.model.lora
    if stage == "fresh":
        return policy(add_lora(base.model, lora.rank, lora.alpha, recipe.seed), base.tokenizer)
    model = add_lora(base.model, lora.rank, lora.alpha, None)
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
    sampling = Sampling(temperature=0.0, max_tokens=recipe.evaluate.max_tokens)
    return evaluate(
        sampler, tasks, sampling, instruction=recipe.model.prompt, batch=recipe.evaluate.batch, on_batch=on_batch
    )


def tasks_of(run: Run, name: str) -> list[Task]:
    """The tasks of one of the run's sets: "dev", "test", "sft", "train_<source>"."""
    return read_tasks(run.data / f"{name}.jsonl")


def judge_of(recipe: Recipe) -> Judge | None:
    """Who judges, where the reward has parts that only a judge can give."""
    if not mix_of(recipe.reward).judged:
        return None
    if recipe.judge is None:
        raise ValueError("the reward needs a judge, and the recipe has no section judge; see docs/judge.md")
    return open_judge(recipe.judge, recipe.seed, blind=False)
