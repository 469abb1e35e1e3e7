"""Log-probabilities of given tokens under a model: one function for SFT, the reference and the policy."""
# ruff: noqa: F722 (shapes in annotations are strings)

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from showwork.model.gemma import Gemma


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
    _, past = model(prompts[:, :-1], positions, nothing, mask, decode_only_last_token=True)
    # A prompt's last token is each row's own first: its logits are those of the first completion token.
    each = partial(jnp.repeat, repeats=size, axis=0)
    tokens = jnp.concatenate([each(prompts[:, -1:]), completions[:, :-1]], axis=1)
    own = jnp.tril(jnp.ones((tokens.shape[1],) * 2, bool))[None] & (tokens != pad)[:, None, :]
    before = jnp.broadcast_to(each(real[:, None, :-1]), (*tokens.shape, real.shape[1] - 1))
    own_positions = each(real.sum(axis=1, keepdims=True) - 1) + jnp.arange(tokens.shape[1])[None]
    logits, _ = model(
        tokens,
        own_positions,
        past,
        jnp.concatenate([before, own], axis=2),
        key_positions=jnp.concatenate([each(positions), own_positions], axis=1),
    )
    return _picked(logits, completions, temperature)


def _picked(logits: Array, tokens: Array, temperature: float) -> Array:
    logits = logits.astype(jnp.float32) / temperature
    picked = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    return picked - jax.nn.logsumexp(logits, axis=-1)
