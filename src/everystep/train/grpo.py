"""Group relative policy optimisation (GRPO): the whole of it is the loop in `grpo`.

A step: tasks are drawn, completions sampled, graded and scored (`groups.py`), their advantages taken
(`advantages.py`), the adapter updated by the loss (`losses.py`, `step.py`), and all of it recorded and saved.
Which tasks there are, where metrics and records go, and when to stop is left to the caller.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Array

from everystep.core.recipe import Grpo
from everystep.core.sizes import padded
from everystep.core.trace import prompt
from everystep.core.types import Graded, Score, Stop
from everystep.data.difficulty import Draws
from everystep.model.decode import left_pad, prompt_length
from everystep.model.gemma import Gemma
from everystep.model.mesh import device_mesh, fetch, place
from everystep.model.tokenizer import Tokenizer
from everystep.model.workers import Workers, worker_count
from everystep.score.judge import Judge
from everystep.score.mix import Mix
from everystep.train.advantages import advantages
from everystep.train.groups import Groups, GroupSource
from everystep.train.losses import LOSSES, PolicyBatch, policy_loss, reference
from everystep.train.rollouts import ROLLOUTS
from everystep.train.stage_session import StageSession
from everystep.train.step import Trainer
from everystep.train.timing import PhaseTimer

OnStep = Callable[[int, dict[str, float], list[Graded], list[Score]], None]


def grpo(
    model: Gemma,
    tokenizer: Tokenizer,
    draws: Draws,
    config: Grpo,
    mix: Mix,
    seed: int,
    instruction: str,
    on_step: OnStep,
    session: StageSession | None = None,
    judge: Judge | None = None,
    timer: PhaseTimer | None = None,
) -> int:
    """Train the model's adapter in place, from where the session begins, against the adapter it comes with; the
    number of steps made in all.

    `draws` says which tasks a step has. `on_step(step, metrics, graded, scores)` after each update, steps
    counted from 1; what it raises ends the training, the step unsaved. Raises Stopped where the session ends
    before the stage does, and ValueError for sizes that do not divide.
    """
    shared = rows_with_one_prompt(config, device_mesh().size)
    place(model, device_mesh())
    session, timer = session or StageSession(config.steps), timer or PhaseTimer()
    workers = Workers(worker_count(nnx.state(model)))
    rollout = ROLLOUTS[config.rollout](model, tokenizer)
    source = GroupSource(rollout, draws, config, mix, tokenizer, instruction, seed, judge, timer)
    frozen = reference(model, shared, tokenizer.pad, config.temperature)
    trainer = Trainer(model, partial(policy_loss, config=config, pad=tokenizer.pad), workers)
    session.begin(trainer, save=True)
    for step in session.steps():
        groups, drawn = source.groups(step)  # draw, sample, grade, score
        batch = policy_batch(groups, config, mix.floor, tokenizer, instruction, shared)  # advantages
        micro_batches = list(split(batch, config, workers))
        if config.beta:
            with timer.phase("reference"):
                micro_batches = with_reference(micro_batches, frozen, workers)
        rate, skipped = session.schedule.rate(config.learning_rate, config.warmup, step), trainer.skipped()
        with timer.phase("update"):
            learned = trainer.step(micro_batches, rate)  # update
        learned |= {"learning_rate": rate, "skipped": float(trainer.skipped() - skipped)}
        graded = [g for group in groups.graded for g in group]
        scores = [s for group in groups.scores for s in group]
        on_step(step + 1, drawn | learned | measured(graded, scores), graded, scores)  # record
        with timer.phase("checkpoint"):
            session.after(step + 1, trainer.snapshot)  # save
    session.close()
    return session.schedule.steps


def rows_with_one_prompt(config: Grpo, devices: int) -> int:
    """For how many rows of a micro-batch a prompt is computed once: the group, where each device has whole
    groups. Raises ValueError where the micro-batches do not divide the prompts, or the devices a micro-batch."""
    prompts = config.micro_prompts or config.prompts
    if config.prompts % prompts:
        raise ValueError(f"grpo.micro_prompts is {prompts}, which does not divide grpo.prompts, {config.prompts}")
    if prompts * config.group % devices:
        raise ValueError(
            f"grpo: {prompts} prompts x group {config.group} cannot be spread over {devices} devices; make "
            f"grpo.micro_prompts (or grpo.prompts without it) a multiple of {devices}"
        )
    return 1 if prompts % devices else config.group


def policy_batch(
    groups: Groups, config: Grpo, floor: float, tokenizer: Tokenizer, instruction: str, shared: int
) -> PolicyBatch:
    """A step's rows as arrays on the host, group by group, groups with short completions first, so that a
    micro-batch holds rows of similar length. `reference` is as `sampled`, for `with_reference` to fill."""
    pad = tokenizer.pad
    order = np.argsort([max(len(r.tokens) for r in rows) for rows in groups.rows], kind="stable")
    rows = [row for i in order for row in groups.rows[i]]
    prompts = [tokenizer.encode_prompt(prompt(groups.tasks[i], instruction).text) for i in order]
    lengths = np.array([len(r.tokens) for r in rows])
    completions = np.full((len(rows), padded(lengths.max())), pad, np.int32)
    sampled = np.zeros(completions.shape, np.float32)
    for i, row in enumerate(rows):
        completions[i, : len(row.tokens)], sampled[i, : len(row.tokens)] = row.tokens, row.logprobs
    inside = np.arange(completions.shape[1]) < lengths[:, None]
    micros = config.prompts // (config.micro_prompts or config.prompts)
    divisor = LOSSES[config.loss].divisor(lengths, config.max_tokens)
    gains = advantages(groups.scores, floor, config.advantage).reshape(-1, config.group)[order]
    arrays: dict[str, Any] = {
        "prompts": np.repeat(left_pad(prompts, prompt_length(prompts), pad), config.group, axis=0),
        "completions": completions,
        "advantages": gains.reshape(-1),
        "sampled": sampled,
        "reference": sampled,
        "weight": inside * (micros / divisor).astype(np.float32)[:, None],
        "share": inside * np.float32(micros / lengths.sum()),
    }
    return PolicyBatch(**arrays, group=shared)


def split(batch: PolicyBatch, config: Grpo, workers: Workers) -> Iterator[list[PolicyBatch]]:
    """The micro-batches of a step, each in the parts that are computed side by side (whole groups), and each part
    without the columns in which no row has a token."""
    rows = len(batch.prompts)
    size = rows * (config.micro_prompts or config.prompts) // config.prompts
    for start in range(0, rows, size):
        parts = []
        for part in workers.parts(size, units=size // batch.group):
            at = slice(start + part.start, start + part.stop)
            last = padded(int((batch.share[at] > 0).sum(axis=1).max()))
            cut = {
                name: getattr(batch, name)[at] if name in ("prompts", "advantages") else getattr(batch, name)[at, :last]
                for name in PolicyBatch.__dataclass_fields__
                if name != "group"
            }
            parts.append(batch.replace(**cut))  # pyright: ignore[reportAttributeAccessIssue]  (flax adds it)
        yield parts


def with_reference(
    micro_batches: list[list[PolicyBatch]], frozen: Callable[[Any, Any], Array], workers: Workers
) -> list[list[PolicyBatch]]:
    """The same with the log-probabilities of the policy that training began with."""
    parts = [part for micro in micro_batches for part in micro]
    begun = workers.each(lambda part: frozen(part.prompts, part.completions), parts)
    found = iter([fetch(x) for x in begun])
    replaced: Any = [[(part, next(found)) for part in micro] for micro in micro_batches]
    return [[part.replace(reference=x) for part, x in micro] for micro in replaced]


def measured(graded: Sequence[Graded], scores: Sequence[Score]) -> dict[str, float]:
    """What the completions of a step come to, by the names of docs/metrics.md."""
    out = {"reward": _mean([s.total for s in scores])}
    for name in scores[0].parts:
        out[f"reward/{name}"] = _mean([s.parts[name] for s in scores])
        out[f"coverage/{name}"] = float(np.mean([s.parts[name] is not None for s in scores]))
    return (
        out
        | judged(graded, scores)
        | {
            "contract": float(np.mean([g.contract for g in graded])),
            "format": float(np.mean([not g.trace.faults for g in graded])),
            "tokens": float(np.mean([len(g.completion.tokens) for g in graded])),
            "truncated": float(np.mean([g.completion.stop is Stop.LENGTH for g in graded])),
        }
    )


def judged(graded: Sequence[Graded], scores: Sequence[Score]) -> dict[str, float]:
    """Where a judge is asked, the share of the completions in form that it has scored: about others it is not
    asked. NaN where none is in form."""
    parts = [name for name in scores[0].parts if name.startswith("judge/")]
    asked = [s for g, s in zip(graded, scores, strict=True) if not g.trace.faults]
    return {"judged": _mean([float(any(s.parts[p] is not None for p in parts)) for s in asked])} if parts else {}


def _mean(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else math.nan
