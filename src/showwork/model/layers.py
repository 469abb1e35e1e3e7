"""The layers of our Gemma where they differ from Tunix's: same parameters, same numbers, other work.

Attention takes its mask and its positions' angles ready-made (the model makes them once, not every layer),
keeps its logits in float32, knows Gemma 2's soft cap and queries without a norm, and reads a past that is not
copied: a prefix that many rows share, through which gradients flow, or what was decoded before the present
chunk. Norms are computed in float32 whatever the weights are. The feed-forward is reshaped for XLA's CPU
backend and is Tunix's own elsewhere. Which layer is local and which global is the config's business
(`config.py`).
"""
# ruff: noqa: F722 (shapes in annotations are strings)

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int
from tunix.models.gemma3 import model as tunix

from showwork.model.config import Config

Rotation = tuple[Float[Array, "batch time 1 half"], Float[Array, "batch time 1 half"]]


def rotation(positions: Int[Array, "batch time"], width: int, base: float, scale: float) -> Rotation:
    """Sine and cosine of the angles by which positions turn heads of that width (Su et al. 2021, "RoFormer",
    section 3.2.2), as Tunix's `apply_rope` has them."""
    timescale = base ** (2 * jnp.arange(0, width // 2) / width)
    angle = (positions[..., None] / timescale[None, None, :])[..., None, :] / scale
    return jnp.sin(angle), jnp.cos(angle)


def rotated(
    x: Float[Array, "batch time heads width"], by: Rotation
) -> Float[Array, "batch time heads width"]:
    """Each pair of a head's halves, turned."""
    (sin, cos), (first, second) = by, jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


class Norm(tunix.RMSNorm):
    """The RMS norm in float32, in the dtype of what it is given (Tunix's takes the mean in bfloat16)."""

    def __call__(self, x: Any) -> Any:
        return super().__call__(x.astype(jnp.float32)).astype(x.dtype)


class Attention(tunix.Attention):
    """Grouped-query attention; `attn_mask` is a bias of 0 and very negative numbers over past and own keys.

    `cache` may hold the past, `k` [past, kv, width, keys] and `v` [past, kv, keys, width] (as the products
    want them): one entry for each row, or one for several neighbouring rows that share it. With buffers,
    `new_k` and `new_v`, the keys and values of this call are written into them at `at`, and the buffers are
    what is attended to and returned; without, they are returned as they are.
    """

    def __init__(self, config: Config, local: bool, *, rngs: nnx.Rngs):
        super().__init__(
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            features=config.embed_dim,
            head_dim=config.head_dim,
            attn_type=tunix.AttentionType.LOCAL_SLIDING if local else tunix.AttentionType.GLOBAL,
            sliding_window_size=config.sliding_window_size,
            rope_base_frequency=config.local_base_frequency if local else config.global_base_frequency,
            rope_scale_factor=config.local_scale_factor if local else config.global_scale_factor,
            query_pre_attn_norm=config.query_pre_attn_norm,
            rngs=rngs,
            shd_config=config.shd_config,
            remat_config=config.remat_config,
            param_dtype=config.param_dtype,
        )
        self.scale = config.query_scalar**-0.5
        self.cap = config.attention_cap
        self.normalised = config.normalised
        if config.normalised:
            self._query_norm = Norm(config.head_dim, rngs=rngs, param_dtype=config.param_dtype)
            self._key_norm = Norm(config.head_dim, rngs=rngs, param_dtype=config.param_dtype)
        else:
            del self._query_norm, self._key_norm

    def block(  # pyright: ignore[reportIncompatibleMethodOverride]  (positions come as their angles)
        self,
        x: Float[Array, "batch time width"],
        segment_pos: Rotation,
        cache: dict[str, Array] | None,
        attn_mask: Float[Array, "batch 1 time 1 keys"],
    ) -> tuple[dict[str, Array] | None, Float[Array, "batch time width"]]:
        """The own keys and values (None without a cache), and what attention adds to the residual."""
        if self.use_qkv_einsum:
            query, key, value = self.qkv_einsum(x)
        else:
            query, (key, value) = self.q_einsum(x), self.kv_einsum(x)
        if self.normalised:
            query, key = self._query_norm(query), self._key_norm(key)
        query = rotated(query, segment_pos) * self.scale
        key = rotated(key, segment_pos)
        own = {"k": key.transpose(0, 2, 3, 1), "v": value.swapaxes(1, 2)}
        if cache and "new_k" in cache:
            at = cache["at"]
            own = {
                "k": jax.lax.dynamic_update_slice(cache["new_k"], own["k"], (0, 0, 0, at)),
                "v": jax.lax.dynamic_update_slice(cache["new_v"], own["v"], (0, 0, at, 0)),
            }
        segments = [(cache["k"], cache["v"])] if cache and "k" in cache else []
        segments.append((own["k"], own["v"]))
        rows, time, heads, width = query.shape
        query = query.reshape(rows, time, key.shape[2], -1, width).swapaxes(1, 2)
        logits = jnp.concatenate([_product(query, k, jnp.float32) for k, _ in segments], axis=-1)
        if self.cap is not None:
            logits = self.cap * jnp.tanh(logits / self.cap)
        logits += attn_mask
        # Divided after the sum over values: one pass over [time, keys] less.
        weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True)))
        total, begin = jnp.zeros_like(query), 0
        for _, v in segments:
            total += _product(weights[..., begin : begin + v.shape[2]].astype(v.dtype), v, v.dtype)
            begin += v.shape[2]
        out = (total / weights.sum(axis=-1, keepdims=True)).astype(value.dtype)
        out = out.swapaxes(1, 2).reshape(rows, time, heads, width)
        return None if cache is None else own, self.attn_vec_einsum(out)


def _product(
    left: Float[Array, "rows kv time group inner"], right: Float[Array, "past kv inner outer"], dtype: Any
) -> Float[Array, "rows kv time group outer"]:
    """left @ right, where neighbouring rows that share their right side are one longer row meanwhile."""
    rows, kv, time, group, inner = left.shape
    past = len(right)
    if past != rows:
        left = left.reshape(past, rows // past, kv, -1, inner).swapaxes(1, 2)
    out = jnp.matmul(left.reshape(past, kv, -1, inner), right, preferred_element_type=dtype)
    if past != rows:
        out = out.reshape(past, kv, rows // past, -1, right.shape[-1]).swapaxes(1, 2)
    return out.reshape(rows, kv, time, group, right.shape[-1])


class FlatFeedForward(tunix.FeedForward):
    """Tunix's feed-forward on a flattened batch, for CPU."""

    def __call__(self, x: Any) -> Any:
        return super().__call__(x.reshape(-1, x.shape[-1])).reshape(x.shape)
