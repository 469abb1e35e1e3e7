"""Supervised fine-tuning (SFT): teach a LoRA policy the format on worked traces.

Only the completion is trained on, the end-of-turn token included; every real token of an optimizer batch
weighs the same, however the batch is split. Which tasks are seen is the caller's decision.
"""
# ruff: noqa: F722 (shapes in annotations are strings)

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import flax.struct
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from everystep.core.recipe import Sft
from everystep.core.trace import gold, prompt, render
from everystep.core.types import Task
from everystep.model.gemma import Gemma
from everystep.model.logprobs import token_logprobs
from everystep.model.lora import fused
from everystep.model.mesh import device_mesh, place
from everystep.model.tokenizer import Tokenizer
from everystep.model.workers import Workers, worker_count
from everystep.train.stage_session import StageSession
from everystep.train.step import Trainer
from everystep.train.timing import PhaseTimer

_SHAPES = 4  # so many lengths of a batch are compiled
_TILE = 8  # they are multiples of this
_NEIGHBOURS = 8  # batches whose rows are sorted by length together

OnStep = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class Example:
    """A task as ids: the prompt, and the completion with its end of turn."""

    prompt: list[int]
    completion: list[int]


@flax.struct.dataclass
class SftBatch:
    """Rows padded on the right. `weight` is zero on prompts and padding; over an optimizer batch it sums to
    the number of micro-batches, so that the mean over micro-batches is the mean over tokens."""

    tokens: Int[Array, "rows time"]
    weight: Float[Array, "rows time"]


def examples(tasks: Sequence[Task], tokenizer: Tokenizer, instruction: str) -> list[Example]:
    """The tasks' gold traces as training rows. Raises ValueError for a task without a solution."""
    return [
        Example(tokenizer.encode_prompt(prompt(t, instruction).text), tokenizer.encode_completion(render(gold(t))))
        for t in tasks
    ]


def planned_steps(count: int, config: Sft) -> int:
    """Optimizer steps for `count` examples: whole batches, epochs rounded up."""
    return max(1, math.ceil(count * config.epochs / (config.batch * config.accumulate)))


def batches(
    rows: Sequence[Example], config: Sft, seed: int, pad: int, steps: int, parts: int = 1
) -> list[list[tuple[SftBatch, ...]]]:
    """For each optimizer step its micro-batches, each in so many parts: a seeded permutation per epoch, rows
    of similar length side by side."""
    size = config.batch * config.accumulate
    order: list[int] = []
    epoch = 0
    while len(order) < steps * size:
        rng = np.random.default_rng((seed, epoch))
        index = rng.permutation(len(rows))
        for start in range(0, len(index), size * _NEIGHBOURS):
            near = sorted(index[start : start + size * _NEIGHBOURS], key=lambda i: _length(rows[i]))
            groups = [near[at : at + size] for at in range(0, len(near), size)]
            order += [int(i) for g in rng.permutation(len(groups)) for i in groups[g]]
        epoch += 1
    each = config.batch // parts
    picked = [[rows[i] for i in order[at : at + each]] for at in range(0, steps * size, each)]
    lengths = padded_lengths([max(map(_length, part)) for part in picked])
    weights = [
        config.accumulate / sum(len(rows[i].completion) for i in order[at : at + size])
        for at in range(0, steps * size, size)
    ]
    made = [_batch(part, pad, weights[k * each // size], lengths) for k, part in enumerate(picked)]
    micros = [tuple(made[k : k + parts]) for k in range(0, len(made), parts)]
    return [micros[k : k + config.accumulate] for k in range(0, len(micros), config.accumulate)]


def padded_lengths(longest: Sequence[int]) -> list[int]:
    """The lengths to which batches with these longest rows are padded: at most `_SHAPES` different ones,
    multiples of `_TILE` from shortest to longest, chosen so that in all the least is padded.

    >>> padded_lengths([61, 62, 64, 90, 91, 95, 96, 118, 120, 150])
    [64, 96, 120, 152]
    """
    count = Counter(-(-n // _TILE) * _TILE for n in longest)
    tops = sorted(count)
    before = [0, *accumulate(count[n] for n in tops)]
    best: list[tuple[float, list[int]]] = [(0, []), *[(math.inf, [])] * len(tops)]
    for _ in range(_SHAPES):  # best[end]: positions of the first lengths padded to that many, and these
        longer = best[:1]
        for end, top in enumerate(tops, 1):
            ways = [best[start][0] + (before[end] - before[start]) * top for start in range(end)]
            start = ways.index(min(ways))
            longer.append((ways[start], [*best[start][1], top]))
        best = longer
    return best[-1][1]


def _length(row: Example) -> int:
    return len(row.prompt) + len(row.completion)


def _batch(rows: Sequence[Example], pad: int, weight: float, lengths: Sequence[int]) -> SftBatch:
    """The rows, padded to the shortest of the lengths that holds them."""
    longest = max(_length(r) for r in rows)
    length = min(n for n in lengths if n >= longest)
    tokens = np.full((len(rows), length), pad, np.int32)
    weights = np.zeros((len(rows), length), np.float32)
    for i, row in enumerate(rows):
        start, end = len(row.prompt), _length(row)
        tokens[i, :end] = row.prompt + row.completion
        weights[i, start:end] = weight
    return SftBatch(jnp.asarray(tokens), jnp.asarray(weights))


def loss(model: Gemma, batch: SftBatch, pad: int) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Weighted negative log-likelihood in nats; with uniform weights summing to one, the mean over tokens."""
    logprobs = token_logprobs(fused(model), batch.tokens, pad, batch.tokens.shape[1] - 1)
    value = -jnp.sum(logprobs * batch.weight[:, 1:])
    return value, {"loss": value}


def sft(
    model: Gemma,
    tokenizer: Tokenizer,
    train: Sequence[Example],
    dev: Sequence[Example],
    config: Sft,
    seed: int,
    on_step: OnStep,
    session: StageSession | None = None,
    timer: PhaseTimer | None = None,
) -> int:
    """Train the model's adapter in place, from where the session begins; the number of steps made in all.
    `on_step(step, {"loss", "dev_loss"?})` after each optimizer step; losses in nats a token. Raises
    ValueError where there is nothing to train on, and Stopped where the session ends before the stage does."""
    if not train:
        raise ValueError("sft: there is no worked task to train on; give a source whose tasks have solutions")
    mesh = device_mesh()
    if config.batch % mesh.size:
        raise ValueError(
            f"sft: batches of {config.batch} rows cannot be spread over {mesh.size} devices; make sft.batch a "
            f"multiple of {mesh.size}"
        )
    place(model, mesh)
    session, timer = session or StageSession(planned_steps(len(train), config)), timer or PhaseTimer()
    workers = Workers(worker_count(nnx.state(model)))
    trainer = Trainer(model, partial(loss, pad=tokenizer.pad), workers)
    session.begin(trainer)
    parts = len(workers.parts(config.batch, units=config.batch))
    made = batches(train, config, seed, tokenizer.pad, session.schedule.planned, parts)
    held_out = dev_batches(dev, config.batch, tokenizer.pad)
    for step in session.steps():
        rate = session.schedule.rate(config.learning_rate, config.warmup, step)
        with timer.phase("update"):
            metrics = trainer.step(made[step], rate)
        if held_out and ((step + 1) % config.eval_every == 0 or step + 1 == session.schedule.steps):
            with timer.phase("evaluate"):
                metrics["dev_loss"] = sum(map(trainer.evaluate, held_out))
        on_step(step + 1, metrics)
        with timer.phase("checkpoint"):
            session.after(step + 1, trainer.snapshot)
    session.close()
    return session.schedule.steps


def dev_batches(dev: Sequence[Example], size: int, pad: int) -> list[SftBatch]:
    """Batches of one size over all of dev; the sum of their losses is the mean over dev's tokens."""
    tokens = sum(len(e.completion) for e in dev)
    ordered = sorted(dev, key=_length)
    ordered += [Example([], [])] * (-len(ordered) % size)  # of no weight
    parts = [ordered[i : i + size] for i in range(0, len(ordered), size)]
    lengths = padded_lengths([max(map(_length, part)) for part in parts])
    return [_batch(part, pad, 1 / tokens, lengths) for part in parts]
