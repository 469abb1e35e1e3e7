"""The compiled programs of decoding: the prefill of prompts, and a chunk of decode steps.

What a batch is made of, how long it lives and what is read from it is the host's business (`decode.py`); how
keys and values are kept is `kv_cache.py`.
"""
# ruff: noqa: F722, F821 (shapes in annotations are strings)

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key, Shaped

from everystep.core.sizes import CHUNK
from everystep.model.config import Config
from everystep.model.gemma import Gemma
from everystep.model.kv_cache import GLOBAL, KINDS, SLIDING, KVCache, by_kind, flat, size_of
from everystep.model.logprobs import attention


@dataclass(frozen=True, eq=False, slots=True)
class Structure:
    """A model's graph without its weights, hashed by identity: what compiled functions are keyed by. Keep one
    for as long as the model's shape stays the same, or everything compiles again."""

    graph: Any
    config: Config


def structure(model: Gemma) -> Structure:
    return Structure(nnx.graphdef(model), model.config)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a compiled chunk is specialised to."""

    greedy: bool
    top_k: int
    top_p: float
    ends: tuple[int, ...]
    pad: int


@partial(jax.jit, static_argnames=("graph", "pad"))
def prefill(graph: Structure, state: Any, rows: Int[Array, "rows length"], pad: int) -> tuple[KVCache, Any]:
    """Keys and values of the prompts, and logits of the last token."""
    model = nnx.merge(graph.graph, state)
    positions, mask = attention(rows != pad)
    nothing: dict[str, Any] = {f"layer_{i}": {} for i in range(model.config.num_layers)}
    logits, kv_cache = model(rows, positions, nothing, mask, decode_only_last_token=True)
    return by_kind(kv_cache, graph.config), logits[:, -1].astype(jnp.float32)


@jax.jit
def row_keys(seed: Any, prompts: Any, samples: Any) -> Key[Array, "rows"]:
    def one(prompt: Any, sample: Any) -> Any:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), prompt), sample)

    return jax.vmap(one)(prompts, samples)


@partial(jax.jit, static_argnames=("graph", "settings"), donate_argnames=("carry",))
def chunk(
    graph: Structure,
    state: Any,
    prompts: KVCache | None,
    carry: Any,
    keys: Key[Array, "rows"],
    shift: Int[Array, "rows"],
    starts: dict[str, Int[Array, ""]],
    temperature: Float[Array, ""],
    settings: Settings,
) -> tuple[Any, Int[Array, "rows chunk"], Float[Array, "rows chunk"]]:
    """`CHUNK` decode steps: sample from the last logits, run the model on what was sampled. `prompts` are
    keys and values of which each is read by as many neighbouring rows; without, the KV cache holds them.

    A step's keys and values are written into the KV cache, from the start of its kind on. A slot's position is
    the slot plus the row's `shift`, in the sliding KV cache by as much more as its start is smaller.
    """
    ends = jnp.array(settings.ends)
    kv_cache, logits, done = carry
    key_positions = {}
    for kind in KINDS:
        before = 0 if prompts is None else size_of(prompts[kind])
        slots = jnp.arange(size_of(kv_cache[kind])) + (starts[GLOBAL] - starts[kind])
        key_positions[kind] = jnp.concatenate([jnp.arange(-before, 0), slots])[None] + shift[:, None]
    at = {name: starts[kind] for kind in KINDS for name in kv_cache[kind]}
    shared = {name: [layer] for name, layer in flat(prompts or {}).items()}

    def step(carry: Any, t: Int[Array, ""]) -> Any:
        held, logits, done = carry
        position = starts[GLOBAL] + t + shift
        scaled = jax.nn.log_softmax(logits / temperature)
        # Padding is never chosen: whoever reads the row again would take it for no token at all.
        choices = scaled.at[:, settings.pad].set(-jnp.inf)
        if not settings.greedy:
            choices = _truncate(choices, settings)
        token = _argmax(choices) if settings.greedy else drawn(choices, keys, position)
        logprob = jnp.take_along_axis(scaled, token[:, None], 1)[:, 0]
        token = jnp.where(done, settings.pad, token)
        done = done | jnp.any(token[:, None] == ends, 1)
        cache = {
            name: {"prefix": shared.get(name, []), "own": layer, "at": at[name] + t} for name, layer in held.items()
        }

        def seen(kind: str) -> Any:
            keys = key_positions[kind]
            return ((keys >= 0) & (keys <= position[:, None]))[:, None, :], keys

        model = nnx.merge(graph.graph, state)  # here: qwix writes to modules while it traces them
        mask, positions = seen(GLOBAL)
        logits, held = model(
            token[:, None], position[:, None], cache, mask, key_positions=positions, sliding=seen(SLIDING)
        )
        return (held, logits[:, 0].astype(jnp.float32), done), (token, logprob)

    carry, (tokens, logprobs) = jax.lax.scan(step, (flat(kv_cache), logits, done), jnp.arange(CHUNK))
    held, logits, done = carry
    return (by_kind(held, graph.config), logits, done), tokens.T, logprobs.T


def _argmax(x: Shaped[Array, "rows n"]) -> Int[Array, "rows"]:
    """`jnp.argmax` in two reductions of one operand: XLA's CPU backend does not vectorise the one of two."""
    at = jnp.where(x == x.max(axis=1, keepdims=True), jnp.arange(x.shape[1]), x.shape[1])
    return jnp.minimum(at.min(axis=1), x.shape[1] - 1).astype(jnp.int32)


def drawn(
    logprobs: Float[Array, "rows vocabulary"], keys: Key[Array, "rows"], position: Int[Array, "rows"]
) -> Int[Array, "rows"]:
    """A piece a row, each as likely as it says: first a stretch of pieces is drawn, then one of its pieces.
    Two random numbers a row instead of one a piece, and fine enough for any vocabulary."""
    rows, pieces = logprobs.shape
    width = 1 << (math.isqrt(pieces - 1).bit_length())
    odds = jnp.pad(jnp.exp(logprobs), [(0, 0), (0, -pieces % width)]).reshape(rows, -1, width)
    numbers = jax.vmap(lambda k, p: jax.random.uniform(jax.random.fold_in(k, p), (2,)))(keys, position)
    stretch = _chosen(odds.sum(axis=2), numbers[:, :1])
    own = jnp.take_along_axis(odds, stretch[:, None, None], axis=1)[:, 0]
    return stretch * width + _chosen(own, numbers[:, 1:])


def _chosen(odds: Float[Array, "rows n"], number: Float[Array, "rows 1"]) -> Int[Array, "rows"]:
    """The place in the distribution that a number in [0, 1) stands for; never one whose odds are 0."""
    until = jnp.cumsum(odds, axis=1)
    reached = (until > number * until[:, -1:]) & (odds > 0)
    # A sum whose parts were rounded may fall short of itself.
    return jnp.where(reached.any(axis=1), _argmax(reached), _argmax(odds))


def _truncate(logprobs: Float[Array, "rows vocabulary"], settings: Settings) -> Float[Array, "rows vocabulary"]:
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
