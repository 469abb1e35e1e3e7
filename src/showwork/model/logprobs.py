"""Log-probabilities of given tokens under a model: one function for SFT, the reference and the policy."""
# ruff: noqa: F722, F821 (shapes in annotations are strings)

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from showwork.model.gemma import Gemma, empty_cache


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
    logits, _ = model(tokens, positions, None, mask)
    return _picked(logits[:, -last - 1 : -1], tokens[:, -last:], temperature)


def group_logprobs(
    model: Gemma,
    prompts: Int[Array, "groups length"],
    completions: Int[Array, "rows last"],
    group: Int[Array, "rows"],
    pad: int,
    temperature: float = 1.0,
) -> Float[Array, "rows last"]:
    """The same for completions (padded on the right) of prompts (padded on the left) that many of them share:
    row i follows prompt `group[i]`. Each prompt is computed once, and gradients flow through it.
    """
    real = prompts != pad
    positions, mask = attention(real[:, :-1])
    dtype = model.embedder.input_embedding.get_value().dtype
    cache = empty_cache(model.config, len(prompts), dtype)
    _, cache = model(prompts[:, :-1], positions, cache, mask, decode_only_last_token=True)
    cache = jax.tree.map(lambda x: x[group], cache)
    # A prompt's last token is each row's own first: what it says is the logits of the first completion token.
    tokens = jnp.concatenate([prompts[group][:, -1:], completions[:, :-1]], axis=1)
    own = jnp.tril(jnp.ones((tokens.shape[1],) * 2, bool))[None] & (tokens != pad)[:, None, :]
    before = jnp.broadcast_to(real[group][:, None, :-1], (*tokens.shape, real.shape[1] - 1))
    positions = (real.sum(axis=1) - 1)[group][:, None] + jnp.arange(tokens.shape[1])[None]
    logits, _ = model(tokens, positions, cache, jnp.concatenate([before, own], axis=2))
    return _picked(logits, completions, temperature)


def _picked(logits: Array, tokens: Array, temperature: float) -> Array:
    logits = logits.astype(jnp.float32) / temperature
    picked = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    return picked - jax.nn.logsumexp(logits, axis=-1)
