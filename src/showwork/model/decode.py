"""Decoding: token ids in, sampled token ids and their log-probabilities out, in compiled chunks.

Each distinct prompt is prefilled once and its keys and values are repeated for its samples. Decoding runs
in compiled chunks of `CHUNK` steps; between chunks the host drops finished rows (to the next smaller
bucket), so that a batch does not compute for rows that are done. Batches have 16, 32, 64, … rows, the spare
ones repeated and ignored, so that few shapes are compiled. The noise of a row depends on (seed, prompt,
sample, position) alone, hence not on its neighbours in the batch nor on the dropping.
Text, prompts and the engine's interfaces are elsewhere (`sampler.py`, `rollout.py`).
"""
# ruff: noqa: F722, F821 (shapes in annotations are strings)

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from showwork.model.gemma import Gemma
from showwork.model.logprobs import attention
from showwork.model.mesh import spread_rows
from showwork.types import Sampling

CHUNK = 16  # decode steps between two looks of the host
_PROMPT_BUCKET = 32  # prompt lengths are padded to multiples of this
_FEWEST = 16  # below so many rows a smaller batch saves no time worth a compilation


@dataclass(frozen=True, slots=True)
class Decoded:
    """One sampled row: ids up to and including the end id (if one was written), the natural log-probability
    of each at the sampling temperature (before any truncation by top-p or top-k), and whether it ended.
    Padding is never among them."""

    tokens: Int[np.ndarray, "time"]
    logprobs: Float[np.ndarray, "time"]
    ended: bool


def prompt_length(prompts: Sequence[Sequence[int]]) -> int:
    """The padded length that `decode` uses for these prompts."""
    longest = max(len(p) for p in prompts)
    return -(-longest // _PROMPT_BUCKET) * _PROMPT_BUCKET


def left_pad(prompts: Sequence[Sequence[int]], length: int, pad: int) -> Int[np.ndarray, "rows length"]:
    """Prompts as one array, padded on the left."""
    rows = np.full((len(prompts), length), pad, np.int32)
    for row, ids in zip(rows, prompts, strict=True):
        row[length - len(ids) :] = ids
    return rows


@dataclass(frozen=True, eq=False, slots=True)
class Structure:
    """A model's graph without its weights, hashed by identity: what compiled functions are keyed by. Keep one
    for as long as the model's shape stays the same, or everything compiles again."""

    graph: Any


def structure(model: Gemma) -> Structure:
    return Structure(nnx.graphdef(model))


def decode(
    graph: Structure,
    state: Any,
    prompts: Sequence[Sequence[int]],
    n: int,
    how: Sampling,
    *,
    pad: int,
    ends: tuple[int, ...],
    on_chunk: Callable[[list[list[Decoded]]], None] | None = None,
) -> list[list[Decoded]]:
    """Sample `n` rows for each prompt (ids with their beginning-of-sequence id), in the prompts' order.

    `state` is `nnx.state(model)` of a model of that structure, on the devices over which the rows are to be
    spread. Greedy at temperature 0; at most
    `how.max_tokens` ids a row. `on_chunk` gets the rows as far as they are after each chunk; what it raises
    ends the decoding.
    """
    length = prompt_length(prompts)
    chunks = -(-how.max_tokens // CHUNK)
    rows = left_pad(prompts, length, pad)[np.resize(np.arange(len(prompts)), _bucket(len(prompts)))]
    past, logits = _prefill(graph, state, spread_rows(rows, state), pad, size=length + chunks * CHUNK)
    index = [p for p in range(len(prompts)) for _ in range(n)]  # the prompt of each row
    spread = np.resize(np.arange(len(index)), _bucket(len(index)))  # the output row of each device row
    of = np.asarray(index)[spread]
    if len(of) != len(rows) or n > 1:
        past, logits = spread_rows(_take((past, logits), jnp.asarray(of)), state)
    keys = _row_keys(
        np.uint32(how.seed & 0xFFFFFFFF),
        np.array([zlib.crc32(np.asarray(prompts[p], np.int32).tobytes()) for p in of], np.uint32),
        (spread % n).astype(np.uint32),
    )
    shift = jnp.array([len(prompts[p]) - length for p in of], jnp.int32)
    live = np.arange(len(index))  # which output row each device row is; spare device rows come after these
    tokens = np.full((len(index), chunks * CHUNK), pad, np.int32)
    logprobs = np.zeros((len(index), chunks * CHUNK), np.float32)
    keys, shift, done = spread_rows((keys, shift, jnp.zeros(len(of), bool)), state)
    carry = (past, logits, done)
    settings = _Settings(how.temperature == 0, how.top_k, how.top_p, ends, pad)

    def rows_until(step: int) -> list[list[Decoded]]:
        out = [_cut(tokens[r, :step], logprobs[r, :step], ends) for r in range(len(index))]
        return [out[p * n : (p + 1) * n] for p in range(len(prompts))]

    for chunk in range(chunks):
        carry, new_tokens, new_logprobs = _chunk(
            graph,
            state,
            carry,
            keys,
            shift,
            jnp.int32(length + chunk * CHUNK),
            jnp.float32(how.temperature or 1),
            settings,
        )
        columns = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        tokens[live, columns] = np.asarray(new_tokens)[: len(live)]
        logprobs[live, columns] = np.asarray(new_logprobs)[: len(live)]
        if on_chunk is not None:
            on_chunk(rows_until(min(columns.stop, how.max_tokens)))
        alive = np.flatnonzero(~np.asarray(carry[2])[: len(live)])
        if not len(alive):
            break
        bucket = _bucket(len(alive))
        if bucket < len(carry[2]):
            keep = np.resize(alive, bucket)  # the bucket's spare rows repeat live ones and are ignored
            carry = spread_rows(_take(carry, jnp.asarray(keep)), state)
            keys, shift = spread_rows((keys[keep], shift[keep]), state)
            live = live[alive]
    return rows_until(how.max_tokens)


@dataclass(frozen=True, slots=True)
class _Settings:
    """What a compiled chunk is specialised to."""

    greedy: bool
    top_k: int
    top_p: float
    ends: tuple[int, ...]
    pad: int


def _bucket(rows: int) -> int:
    """The smallest of 16, 32, 64, … that holds the rows."""
    return max(_FEWEST, 1 << (rows - 1).bit_length())


def _cut(tokens: np.ndarray, logprobs: np.ndarray, ends: tuple[int, ...]) -> Decoded:
    at = np.flatnonzero(np.isin(tokens, ends))
    stop = int(at[0]) + 1 if len(at) else len(tokens)
    return Decoded(tokens[:stop].copy(), logprobs[:stop].copy(), bool(len(at)))


@partial(jax.jit, static_argnames=("graph", "size", "pad"))
def _prefill(graph: Structure, state: Any, rows: Int[Array, "rows length"], pad: int, size: int) -> Any:
    """Keys and values of the prompts, with room for `size` positions, and logits of the last token."""
    model = nnx.merge(graph.graph, state)
    positions, mask = attention(rows != pad)
    nothing: dict[str, Any] = {f"layer_{i}": {} for i in range(model.config.num_layers)}
    logits, past = model(rows, positions, nothing, mask, decode_only_last_token=True)
    more = (0, size - rows.shape[1])
    room = {"k": ((0, 0), (0, 0), (0, 0), more), "v": ((0, 0), (0, 0), more, (0, 0))}
    past = {name: {n: jnp.pad(x, room[n]) for n, x in layer.items()} for name, layer in past.items()}
    return past, logits[:, -1].astype(jnp.float32)


@jax.jit
def _take(tree: Any, index: Int[Array, "rows"]) -> Any:
    return jax.tree.map(lambda x: x[index], tree)


@jax.jit
def _row_keys(seed: Any, prompts: Any, samples: Any) -> Key[Array, "rows"]:
    def one(prompt: Any, sample: Any) -> Any:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), prompt), sample)

    return jax.vmap(one)(prompts, samples)


@partial(jax.jit, static_argnames=("graph", "settings"), donate_argnames=("carry",))
def _chunk(
    graph: Structure,
    state: Any,
    carry: Any,
    keys: Key[Array, "rows"],
    shift: Int[Array, "rows"],
    start: Int[Array, ""],
    temperature: Float[Array, ""],
    settings: _Settings,
) -> tuple[Any, Int[Array, "rows chunk"], Float[Array, "rows chunk"]]:
    """`CHUNK` decode steps: sample from the last logits, then run the model on what was sampled.

    The past (slots before `start`) stays as it is while the chunk runs; the chunk's own keys and values are
    collected in small buffers and written into it at the end. A slot's position is the slot plus the row's
    `shift`, which is minus the number of its padding slots.
    """
    ends = jnp.array(settings.ends)
    past, logits, done = carry
    size = past["layer_0"]["v"].shape[2]
    slots = jnp.concatenate([jnp.arange(size), start + jnp.arange(CHUNK)])
    key_positions = slots + shift[:, None]
    held = (key_positions >= 0) & ((slots < start) | (jnp.arange(size + CHUNK) >= size))
    buffers = {
        name: {"k": jnp.zeros_like(layer["k"][..., :CHUNK]), "v": jnp.zeros_like(layer["v"][:, :, :CHUNK])}
        for name, layer in past.items()
    }

    def step(carry: Any, t: Int[Array, ""]) -> Any:
        buffers, logits, done = carry
        position = start + t + shift
        scaled = jax.nn.log_softmax(logits / temperature)
        # Padding is never chosen: whoever reads the row again would take it for no token at all.
        choices = scaled.at[:, settings.pad].set(-jnp.inf)
        if not settings.greedy:
            choices = _truncate(choices, settings) + jax.vmap(
                lambda k, p: jax.random.gumbel(jax.random.fold_in(k, p), logits.shape[1:])
            )(keys, position)
        token = _argmax(choices)
        logprob = jnp.take_along_axis(scaled, token[:, None], 1)[:, 0]
        token = jnp.where(done, settings.pad, token)
        done = done | jnp.any(token[:, None] == ends, 1)
        cache = {
            name: {**layer, "new_k": buffers[name]["k"], "new_v": buffers[name]["v"], "at": t}
            for name, layer in past.items()
        }
        model = nnx.merge(graph.graph, state)  # here: qwix writes to modules while it traces them
        logits, buffers = model(
            token[:, None],
            position[:, None],
            cache,
            (held & (slots <= start + t))[:, None, :],
            key_positions=key_positions,
        )
        return (buffers, logits[:, 0].astype(jnp.float32), done), (token, logprob)

    carry, (tokens, logprobs) = jax.lax.scan(step, (buffers, logits, done), jnp.arange(CHUNK))
    buffers, logits, done = carry
    at = {"k": (0, 0, 0, start), "v": (0, 0, start, 0)}
    past = {
        name: {n: jax.lax.dynamic_update_slice(layer[n], buffers[name][n], at[n]) for n in at}
        for name, layer in past.items()
    }
    return (past, logits, done), tokens.T, logprobs.T


def _argmax(x: Float[Array, "rows vocabulary"]) -> Int[Array, "rows"]:
    """`jnp.argmax` in two reductions of one operand: XLA's CPU backend does not vectorise the one of two."""
    at = jnp.where(x == x.max(axis=1, keepdims=True), jnp.arange(x.shape[1]), x.shape[1])
    return jnp.minimum(at.min(axis=1), x.shape[1] - 1).astype(jnp.int32)


def _truncate(
    logprobs: Float[Array, "rows vocabulary"], settings: _Settings
) -> Float[Array, "rows vocabulary"]:
    """Keep the top-k pieces, and of those the smallest set whose probability reaches top-p."""
    if settings.top_k:
        kth = jax.lax.top_k(logprobs, min(settings.top_k, logprobs.shape[1]))[0][:, -1:]
        logprobs = jnp.where(logprobs < kth, -jnp.inf, logprobs)
    if settings.top_p < 1:
        ordered = jnp.sort(logprobs, axis=1, descending=True)
        before = jnp.cumsum(jnp.exp(ordered), axis=1) - jnp.exp(ordered)
        inside = (before < settings.top_p).at[:, 0].set(True)  # the likeliest piece always is
        least = jnp.min(jnp.where(inside, ordered, jnp.inf), axis=1, keepdims=True)
        logprobs = jnp.where(logprobs < least, -jnp.inf, logprobs)
    return logprobs
