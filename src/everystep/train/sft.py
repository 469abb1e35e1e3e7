"""Supervised fine-tuning: teach a LoRA policy the format on worked traces, with Tunix's PeftTrainer.

Only the completion is trained on, the end-of-turn token included; every real token of an optimizer batch
weighs the same, however the batch is split. Which tasks are seen is the caller's decision.
"""
# ruff: noqa: F722 (shapes in annotations are strings)

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig

from everystep.core.recipe import Sft
from everystep.core.trace import gold, prompt, render
from everystep.core.types import Task
from everystep.model.gemma import Gemma
from everystep.model.logprobs import token_logprobs
from everystep.model.lora import fused
from everystep.model.mesh import device_mesh, place, spread_rows
from everystep.model.tokenizer import Tokenizer
from everystep.model.workers import Workers, worker_count
from everystep.train.engine import keep_base, restore, snapshot, trained_adapter
from everystep.train.optimizer import adapter_optimizer
from everystep.train.stage_session import StageSession
from everystep.train.timing import Ledger

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
class Batch:
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
) -> list[list[tuple[Batch, ...]]]:
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


def _batch(rows: Sequence[Example], pad: int, weight: float, lengths: Sequence[int]) -> Batch:
    """The rows, padded to the shortest of the lengths that holds them."""
    longest = max(_length(r) for r in rows)
    length = min(n for n in lengths if n >= longest)
    tokens = np.full((len(rows), length), pad, np.int32)
    weights = np.zeros((len(rows), length), np.float32)
    for i, row in enumerate(rows):
        start, end = len(row.prompt), _length(row)
        tokens[i, :end] = row.prompt + row.completion
        weights[i, start:end] = weight
    return Batch(jnp.asarray(tokens), jnp.asarray(weights))


def loss(model: Any, tokens: Array, weight: Array, pad: int) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Weighted negative log-likelihood in nats; with uniform weights summing to one, the mean over tokens."""
    logprobs = token_logprobs(fused(model), tokens, pad, tokens.shape[1] - 1)
    value = -jnp.sum(logprobs * weight[:, 1:])
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
    ledger: Ledger | None = None,
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
    session, ledger = session or StageSession(planned_steps(len(train), config)), ledger or Ledger()
    planned = session.horizon.planned
    trainer_config = TrainingConfig(
        eval_every_n_steps=10**9,
        max_steps=planned,
        gradient_accumulation_steps=config.accumulate if config.accumulate > 1 else None,
    )
    trainer = PeftTrainer(model, adapter_optimizer(), trainer_config)
    pad = tokenizer.pad
    report = _Report(trainer, dev, config, pad, session, on_step, ledger)
    side_by_side = Workers(worker_count(nnx.state(model)))
    keep_base(trainer, report.rate, ledger, side_by_side)
    if session.resumed:
        restore(trainer, session.resumed.arrays)
    session.adapter = lambda: trained_adapter(trainer)
    trainer.with_gen_model_input_fn(lambda b: {"tokens": b.tokens, "weight": b.weight, "pad": pad})
    trainer.with_loss_fn(loss, has_aux=True)
    trainer._post_process_train_step = report.after
    parts = len(side_by_side.parts(config.batch, units=config.batch))
    steps = batches(train, config, seed, pad, planned, parts)[session.start :]
    # The plan can shrink while it runs: the horizon is asked for at every step.
    wanted = (step for k, step in enumerate(steps, session.start) if k < session.horizon.steps)
    with mesh:
        trainer.train((b for step in wanted for b in step), skip_jit=True)
    session.close()
    return session.horizon.steps


class _Report:
    """Counts micro-steps and reports whole ones: Tunix's own hooks run a step late and miss the last."""

    def __init__(
        self,
        trainer: PeftTrainer,
        dev: Sequence[Example],
        config: Sft,
        pad: int,
        session: StageSession,
        on_step: OnStep,
        ledger: Ledger,
    ):
        self.config, self.on_step, self.session, self.ledger = config, on_step, session, ledger
        self.micro = session.start * config.accumulate
        self.losses: list[Array] = []  # of the step's parts
        size = config.batch
        tokens = sum(len(e.completion) for e in dev)
        ordered = sorted(dev, key=_length)
        ordered += [Example([], [])] * (-len(ordered) % size)  # of no weight; all batches have one size
        parts = [ordered[i : i + size] for i in range(0, len(ordered), size)]
        lengths = padded_lengths([max(map(_length, part)) for part in parts])
        self.dev = [_batch(part, pad, 1 / tokens, lengths) for part in parts]
        self.trainer: Any = trainer

    def rate(self) -> float:
        step = self.micro // self.config.accumulate
        return self.session.horizon.rate(self.config.learning_rate, self.config.warmup, step)

    def dev_loss(self) -> float:
        evaluate = self.trainer.jit_train_and_eval_step(skip_jit=True)[1]
        with self.ledger.phase("evaluate"):
            return sum(float(evaluate(spread_rows(b, self.trainer.model))[0]) for b in self.dev)

    def after(self, aux: list[dict[str, Array]]) -> None:
        self.losses += [part["loss"] for part in aux]  # which may still be computed
        self.micro += 1
        if self.micro % self.config.accumulate:
            return
        step = self.micro // self.config.accumulate
        with self.ledger.phase("update"):  # dispatched before; this waits for it
            metrics = {"loss": sum(map(float, self.losses)) / self.config.accumulate}
        self.losses.clear()
        if self.dev and (step % self.config.eval_every == 0 or step == self.session.horizon.steps):
            metrics["dev_loss"] = self.dev_loss()
        self.on_step(step, metrics)
        with self.ledger.phase("checkpoint"):
            self.session.after(step, lambda: snapshot(self.trainer))
