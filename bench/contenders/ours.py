"""everystep as it runs: the rollout, the one evaluation, a GRPO step and an SFT step.

The rollout decodes the texts too. The evaluation and the GRPO step read, check and grade every completion,
which no other contender does. Nothing is kept of what a run writes (records, checkpoints).
"""

from collections.abc import Callable
from dataclasses import replace

import jax
from worker import Done, Once, Spec, serve, stepped

from everystep import __version__
from everystep.cli.process import set_up_jax
from everystep.core.recipe import Grpo, RewardMix, Sft
from everystep.core.record import read_task
from everystep.core.types import Graded, Prompt, Sampling
from everystep.data.difficulty import Draws
from everystep.evaluate.harness import evaluate
from everystep.model.io.load import Base, load
from everystep.model.lora import add_lora
from everystep.model.sampler import Policy, policy
from everystep.score.mix import mix_of
from everystep.train.grpo import grpo
from everystep.train.sft import Example, sft
from everystep.train.stage_session import StageSession

NEVER = 10**9  # steps of a training that is left when it has been measured


def base_of(spec: Spec) -> Base:
    """The checkpoint; where nothing ends a completion, padding is named as its end, which is never drawn."""
    base = load(spec["model"])
    return replace(base, tokenizer=replace(base.tokenizer, ends=tuple(spec["ends"]) or (spec["pad"],)))


def policy_of(spec: Spec) -> Policy:
    base = base_of(spec)
    return policy(base.model, base.tokenizer)


def rollout(spec: Spec) -> Once:
    ours = policy_of(spec)
    prompts = [Prompt(str(i), text) for i, text in enumerate(spec["texts"])]
    how = Sampling(temperature=spec["temperature"], max_tokens=spec["max_tokens"])

    def once(repeat: int) -> Done:
        groups = ours.sample(prompts, spec["group"], replace(how, seed=repeat))
        lengths = [len(c.tokens) for group in groups for c in group]
        return {"rows": len(lengths), "tokens": sum(lengths), "longest": max(lengths)}

    return once


def evaluation(spec: Spec) -> Once:
    ours, tasks = policy_of(spec), [read_task(row) for row in spec["tasks"]]
    how = Sampling(temperature=0.0, max_tokens=spec["max_tokens"])

    def once(repeat: int) -> Done:
        graded = evaluate(ours, tasks, how, instruction="none", batch=spec["batch"], on_batch=lambda done: None)
        lengths = [len(g.completion.tokens) for g in graded]
        return {"rows": len(lengths), "tokens": sum(lengths), "longest": max(lengths)}

    return once


def grpo_step(spec: Spec) -> Once:
    base = base_of(spec)
    model = add_lora(base.model, spec["rank"], spec["alpha"], 0)
    tasks = [read_task(row) for row in spec["tasks"]]
    how = Grpo(
        steps=NEVER,
        prompts=len(tasks),
        group=spec["group"],
        micro_prompts=spec["micro"] // spec["group"],
        learning_rate=spec["learning_rate"],
        warmup=0,
        beta=spec["beta"],
        epsilon=spec["epsilon"],
        temperature=spec["temperature"],
        max_tokens=spec["max_tokens"],
    )
    draws = Draws({"dev": tasks}, {"dev": 1.0}, how.prompts, how.group, seed=0, mode="even")

    def run(pause: Callable[[Done], None]) -> None:
        def on_step(step: int, values: dict[str, float], graded: list[Graded], scores: object) -> None:
            lengths = [len(g.completion.tokens) for g in graded]
            done: Done = {"rows": len(lengths), "tokens": sum(lengths), "longest": max(lengths)}
            pause(done)

        mix = mix_of(RewardMix(preset="verified"))
        grpo(model, base.tokenizer, draws, how, mix, 0, "none", on_step, StageSession(how.steps))

    return stepped(run)


def sft_step(spec: Spec) -> Once:
    base = base_of(spec)
    model = add_lora(base.model, spec["rank"], spec["alpha"], 0)
    rows = [Example(prompt, completion) for prompt, completion in spec["examples"]]
    epochs = 100_000 // len(rows)
    how = Sft(epochs=epochs, batch=spec["batch"], learning_rate=spec["learning_rate"], warmup=0, eval_every=NEVER)
    mean = sum(len(r.completion) for r in rows) / len(rows)

    def run(pause: Callable[[Done], None]) -> None:
        def on_step(step: int, values: dict[str, float]) -> None:
            done: Done = {"rows": how.batch, "tokens": round(how.batch * mean), "longest": 0}
            pause(done)

        sft(model, base.tokenizer, rows, [], how, 0, on_step)

    return stepped(run)


if __name__ == "__main__":
    set_up_jax()
    serve(
        {"rollout": rollout, "evaluate": evaluation, "grpo": grpo_step, "sft": sft_step},
        {"everystep": __version__, "jax": jax.__version__},
    )
