"""Log-probabilities of given tokens under a model: one function for SFT, the reference and the policy.

With Gemma's 262,144 pieces the logits of all positions would be most of a step's memory (16 rows of 1,024
tokens: 17 GB in float32). So they are made for a part of the vocabulary at a time, and made again in the
backward pass: one product with the embedding more, and never an array of positions by vocabulary.
"""
# ruff: noqa: F722 (shapes in annotations are strings)

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from everystep.model.gemma import Gemma, logits

_AT_A_TIME = 1 << 26  # logits held at once: 256 MiB in float32


def attention(
    real: Bool[Array, "rows time"],
) -> tuple[Int[Array, "rows time"], Bool[Array, "rows time time"]]:
    """Positions counted over real tokens, and the causal mask over them, for rows padded on either side."""
    positions = jnp.maximum(jnp.cumsum(real, axis=1) - 1, 0)
    causal = jnp.tril(jnp.ones((real.shape[1], real.shape[1]), bool))
    return positions, causal[None] & real[:, None, :]


def token_logprobs(
    model: Gemma, tokens: Int[Array, "rows time"], pad: int, last: int, temperature: float = 1.0
) -> Float[Array, "rows last"]:
    """Natural log-probability, in float32 at `temperature`, of each of the last `last` tokens of every row
    given all tokens before it. Values at padding are meaningless; mask them."""
    positions, mask = attention(tokens != pad)
    hidden, _ = model(tokens, positions, None, mask, output_hidden_states=True)
    return _picked(model, hidden[:, -last - 1 : -1], tokens[:, -last:], temperature)


def group_logprobs(
    model: Gemma,
    prompts: Int[Array, "groups length"],
    completions: Int[Array, "rows last"],
    pad: int,
    temperature: float = 1.0,
) -> Float[Array, "rows last"]:
    """The same for completions (padded on the right) of prompts (padded on the left) that come in groups of
    equal size, one group for each prompt. Each prompt is computed once, and gradients flow through it.
    """
    size = len(completions) // len(prompts)
    real = prompts != pad
    positions, mask = attention(real[:, :-1])
    nothing: dict[str, Any] = {f"layer_{i}": {} for i in range(model.config.num_layers)}
    _, kv_cache = model(prompts[:, :-1], positions, nothing, mask, decode_only_last_token=True)
    # A prompt's last token is each row's own first: its logits are those of the first completion token.
    each = partial(jnp.repeat, repeats=size, axis=0)
    tokens = jnp.concatenate([each(prompts[:, -1:]), completions[:, :-1]], axis=1)
    own = jnp.tril(jnp.ones((tokens.shape[1],) * 2, bool))[None] & (tokens != pad)[:, None, :]
    before = jnp.broadcast_to(each(real[:, None, :-1]), (*tokens.shape, real.shape[1] - 1))
    own_positions = each(real.sum(axis=1, keepdims=True) - 1) + jnp.arange(tokens.shape[1])[None]
    hidden, _ = model(
        tokens,
        own_positions,
        {name: {"prefix": [layer]} for name, layer in (kv_cache or {}).items()},
        jnp.concatenate([before, own], axis=2),
        output_hidden_states=True,
        key_positions=jnp.concatenate([each(positions), own_positions], axis=1),
    )
    return _picked(model, hidden, completions, temperature)


def _picked(model: Gemma, hidden: Array, tokens: Array, temperature: float) -> Array:
    table, cap = model.embedder.input_embedding.get_value(), model.config.logits_cap
    part = _part(len(table), tokens.size)
    return chosen_logprobs(hidden, table, tokens, part, temperature, cap)


def _part(pieces: int, positions: int) -> int:
    """How many pieces are looked at together: the most that divide the vocabulary and fit the memory."""
    most = max(1, _AT_A_TIME // max(1, positions))
    return max(n for n in _divisors(pieces) if n <= most)


def _divisors(n: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return small + [n // d for d in small]


def chosen_logprobs(
    hidden: Float[Array, "rows time width"],
    table: Float[Array, "vocabulary width"],
    tokens: Int[Array, "rows time"],
    part: int,
    temperature: float = 1.0,
    cap: float | None = None,
) -> Float[Array, "rows time"]:
    """log softmax of the logits, in float32, at the tokens: `part` rows of the embedding at a time, with the
    running log-sum-exp of Milakov and Gimelshein (2018, "Online normalizer calculation for softmax",
    algorithm 3). `part` must divide the vocabulary; the value and its gradient do not depend on it but for
    rounding."""
    if part == len(table):
        whole = logits(hidden, table, cap) / temperature
        picked = jnp.take_along_axis(whole, tokens[..., None], axis=-1)[..., 0]
        return picked - jax.nn.logsumexp(whole, axis=-1)
    wide = hidden.astype(jnp.float32)  # so that the parts' gradients are summed in float32

    def score(pieces: Array) -> Array:
        return logits(wide.astype(hidden.dtype), pieces, cap) / temperature

    @jax.checkpoint
    def more(sums: tuple[Array, Array], pieces: Array) -> tuple[tuple[Array, Array], None]:
        top, total = sums
        new = score(pieces)
        highest = jax.lax.stop_gradient(jnp.maximum(top, new.max(axis=-1)))
        total = total * jnp.exp(top - highest) + jnp.exp(new - highest[..., None]).sum(axis=-1)
        return (highest, total), None

    none = (jnp.full(tokens.shape, -jnp.inf, jnp.float32), jnp.zeros(tokens.shape, jnp.float32))
    (top, total), _ = jax.lax.scan(more, none, table.reshape(-1, part, table.shape[1]))
    own = jnp.einsum("btd,btd->bt", wide.astype(hidden.dtype), table[tokens], preferred_element_type=jnp.float32)
    if cap is not None:
        own = cap * jnp.tanh(own / cap)
    return own / temperature - (top + jnp.log(total))
