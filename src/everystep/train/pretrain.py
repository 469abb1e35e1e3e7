"""Training the tiny Gemma from scratch: next-token prediction over packed documents, in plain JAX.

Not the trainer of `step.py`, which is for adapters: here every parameter moves, and the loop is the whole page.
"""
# ruff: noqa: F722, F821 (shapes in annotations are strings)

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int
from optax.contrib import MuonDimensionNumbers, muon

from everystep.core.recipe import Pretrain
from everystep.data.corpus import document
from everystep.model.gemma import Gemma
from everystep.model.tokenizer import Tokenizer
from everystep.train.stage_session import StageSession
from everystep.train.step import named, restored

HELD_OUT = 2**40  # documents from this index on are never trained on
_AHEAD = 2  # batches made ahead of the device


class State(NamedTuple):
    """All that a pretraining run is: parameters, optimizer, the next step's number, and which pieces of the
    vocabulary have been shown."""

    params: Any
    optimizer: Any
    step: Int[Array, ""]
    shown: Bool[Array, "pieces"]


def batch(tokenizer: Tokenizer, config: Pretrain, seed: int, k: int, start: int = 0) -> Int[np.ndarray, "batch length"]:
    """Batch `k`: rows filled with whole documents from a place that depends on (seed, k, row) alone; the last
    document of a row is cut at its end."""
    rows = np.full((config.batch, config.length + 1), tokenizer.pad, np.int32)
    for row in range(config.batch):
        ids: list[int] = []
        at = start + (k * config.batch + row) * 64  # a row never needs as many as 64 documents
        while len(ids) <= config.length:
            ids += tokenizer.encode_prompt(document(seed, at))
            at += 1
        rows[row] = ids[: config.length + 1]
    return rows


def optimizer(config: Pretrain) -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024, orthogonalised momentum) for matrices, Adam for embeddings and scales;
    warm-up, then cosine to a twentieth."""
    rise = max(1, int(config.warmup * config.steps))
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, rise, max(config.steps, rise + 1), 0.05 * config.learning_rate
    )
    ratio = 0.2  # Adam's rate relative to Muon's
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        muon(
            schedule,
            weight_decay=0.01,
            adam_b2=0.95,
            adam_learning_rate=lambda step: ratio * schedule(step),
            muon_weight_dimension_numbers=lambda params: jax.tree_util.tree_map_with_path(_axes, params),
        ),
    )


def _axes(path: Any, leaf: Any) -> MuonDimensionNumbers | None:
    names = [str(getattr(part, "key", part)) for part in path]
    if "q_einsum" in names:
        return MuonDimensionNumbers((1,), (0, 2))
    if "kv_einsum" in names:
        return MuonDimensionNumbers((2,), (1, 3))
    if "attn_vec_einsum" in names:
        return MuonDimensionNumbers((0, 1), (2,))
    if "kernel" in names:
        return MuonDimensionNumbers((0,), (1,))
    return None


def pretrain(
    model: Gemma,
    tokenizer: Tokenizer,
    config: Pretrain,
    seed: int,
    on_step: Callable[[int, dict[str, float]], None],
    session: StageSession | None = None,
    eval_every: int = 250,
) -> Gemma:
    """Train for `config.steps` steps, from where the session begins. `on_step(step, metrics)` gets the loss in nats
    a token, and every `eval_every` steps the held-out loss. Raises Stopped where the session ends earlier."""
    session = session or StageSession(config.steps)
    graph, params = nnx.split(model, nnx.Param)
    tx = optimizer(config)
    params = nnx.to_pure_dict(params)
    shown = jnp.zeros(len(params["embedder"]["input_embedding"]), bool)
    state = State(params, tx.init(params), jnp.zeros((), jnp.int32), shown)
    if session.resumed:
        state = restored(state, session.resumed.arrays)
    positions = jnp.broadcast_to(jnp.arange(config.length), (config.batch, config.length))
    mask = jnp.broadcast_to(
        jnp.tril(jnp.ones((config.length, config.length), bool)), (config.batch, config.length, config.length)
    )

    def loss_of(params: Any, rows: Int[Array, "batch time"]) -> Float[Array, ""]:
        logits, _ = nnx.merge(graph, nnx.State(params))(rows[:, :-1], positions, None, mask)
        return optax.softmax_cross_entropy_with_integer_labels(logits, rows[:, 1:]).mean()

    def update(state: State, rows: Int[Array, "batch time"]) -> tuple[State, Float[Array, ""]]:
        loss, gradient = jax.value_and_grad(loss_of)(state.params, rows)
        change, inner = tx.update(gradient, state.optimizer, state.params)
        shown = state.shown.at[rows].set(True)
        return State(optax.apply_updates(state.params, change), inner, state.step + 1, shown), loss

    step_fn = jax.jit(update, donate_argnums=0)
    held_out = [jnp.asarray(batch(tokenizer, config, seed, k, HELD_OUT)) for k in range(4)]
    eval_fn = jax.jit(loss_of)
    for k, rows in _ahead(lambda k: batch(tokenizer, config, seed, k), session.start, config.steps):
        state, loss = step_fn(state, jnp.asarray(rows))
        last = k + 1 == config.steps
        metrics = {}
        if (k + 1) % 10 == 0 or last:
            metrics["loss"] = float(loss)
        if (k + 1) % eval_every == 0 or last:
            metrics["held_out_loss"] = float(np.mean([float(eval_fn(state.params, rows)) for rows in held_out]))
        on_step(k + 1, metrics)
        session.after(k + 1, partial(named, state))
    session.close()
    embedder = state.params["embedder"]
    table = parted(np.asarray(embedder["input_embedding"]), np.asarray(state.shown), seed)
    params = {**state.params, "embedder": {**embedder, "input_embedding": jnp.asarray(table)}}
    return nnx.merge(graph, nnx.State(params))


def parted(
    table: Float[np.ndarray, "pieces width"], shown: Bool[np.ndarray, "pieces"], seed: int
) -> Float[np.ndarray, "pieces width"]:
    """The embedding with the rows of pieces that no text has shown moved apart. All that training does with
    them is to make them unlikely, so that they come to lie side by side (at a cosine of 0.99), where no
    adapter can part them; each gets a direction of its own, as far from their middle as other rows are from
    theirs."""
    if shown.all() or not shown.any():
        return table
    known, middle = table[shown], table[~shown].mean(axis=0)
    far = np.linalg.norm(known - known.mean(axis=0), axis=1).mean()
    away = np.random.default_rng(seed).standard_normal((int((~shown).sum()), table.shape[1]))
    out = table.copy()
    out[~shown] = middle + far * away / np.linalg.norm(away, axis=1, keepdims=True)
    return out


def _ahead(make: Callable[[int], np.ndarray], start: int, steps: int) -> Iterator[tuple[int, np.ndarray]]:
    """Batches `start` to `steps` in order, made in a thread while the device works."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(make, k) for k in range(start, min(start + _AHEAD, steps))]
        for k in range(start, steps):
            rows = waiting.pop(0).result()
            if k + _AHEAD < steps:
                waiting.append(pool.submit(make, k + _AHEAD))
            yield k, rows
