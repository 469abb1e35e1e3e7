"""The layers of our Gemma where they differ from Tunix's: same parameters, same numbers, other work.

Attention takes its mask ready-made (the model makes it once, not every layer), keeps its logits in float32,
and reads a cache of either kind: one of a fixed size that is written in place (decoding), or one that grows
by concatenation (a prefix that many rows share, through which gradients flow). The feed-forward is reshaped
for XLA's CPU backend and is Tunix's own elsewhere. Which layer is local and which global is the model's
business (`gemma.py`).
"""
# ruff: noqa: F722 (shapes in annotations are strings)

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from tunix.models.gemma3 import model as tunix


class Attention(tunix.Attention):
    """Grouped-query attention; `attn_mask` is a bias of 0 and very negative numbers."""

    def block(
        self,
        x: Float[Array, "batch time width"],
        segment_pos: Int[Array, "batch time"],
        cache: dict[str, Array] | None,
        attn_mask: Float[Array, "batch time 1 1 keys"],
    ) -> tuple[dict[str, Array] | None, Float[Array, "batch time width"]]:
        """The new cache (None without one) and what the keys' values add up to."""
        if self.use_qkv_einsum:
            query, key, value = self.qkv_einsum(x)
        else:
            query, (key, value) = self.q_einsum(x), self.kv_einsum(x)
        rope = {"head_dim": self.head_dim, "base_frequency": self.rope_base_frequency}
        rope |= {"scale_factor": self.rope_scale_factor}
        query = tunix.apply_rope(self._query_norm(query), segment_pos, **rope) * self.query_pre_attn_scalar
        key = tunix.apply_rope(self._key_norm(key), segment_pos, **rope)
        if cache is not None:
            cache = extended(cache, key, value)
            key, value = cache["k"], cache["v"]
        rows, time, heads, width = query.shape
        query = query.reshape(rows, time, key.shape[2], -1, width)
        logits = jnp.einsum("BTKGH,BSKH->BTKGS", query, key, preferred_element_type=jnp.float32)
        logits = logits + attn_mask
        # Divided after the sum over values: one pass over [time, keys] less.
        weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True)))
        out = jnp.einsum("BTKGS,BSKH->BTKGH", weights.astype(value.dtype), value)
        out = (out / weights.sum(axis=-1, keepdims=True)).astype(value.dtype)
        return cache, self.attn_vec_einsum(out.reshape(rows, time, heads, width))


def extended(cache: dict[str, Array], key: Array, value: Array) -> dict[str, Array]:
    """The cache with new keys and values: in place at `end_index` where it has one, else at its end."""
    if "end_index" not in cache:
        grown = {"k": key, "v": value}
        return {name: jnp.concatenate([cache[name], new], axis=1) for name, new in grown.items()}
    at = (0, cache["end_index"][0], 0, 0)
    return {
        "k": jax.lax.dynamic_update_slice(cache["k"], key, at),
        "v": jax.lax.dynamic_update_slice(cache["v"], value, at),
        "end_index": cache["end_index"] + key.shape[1],
    }


class FlatFeedForward(tunix.FeedForward):
    """Tunix's feed-forward on a flattened batch, for CPU."""

    def __call__(self, x: Any) -> Any:
        return super().__call__(x.reshape(-1, x.shape[-1])).reshape(x.shape)
