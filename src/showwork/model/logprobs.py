"""Log-probabilities of given tokens under a model: one function for SFT, the reference and the policy."""
# ruff: noqa: F722 (shapes in annotations are strings)

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
    logits = logits[:, -last - 1 : -1].astype(jnp.float32) / temperature
    picked = jnp.take_along_axis(logits, tokens[:, -last:, None], axis=-1)[..., 0]
    return picked - jax.nn.logsumexp(logits, axis=-1)
