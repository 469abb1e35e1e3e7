"""The layers of our Gemma where they differ from Tunix's: same parameters, same numbers, other work.

Attention takes its mask and its positions' angles ready-made (the model makes them once, not every layer),
keeps its logits in float32, knows Gemma 2's soft cap and queries without a norm, and reads a past that is not
copied: a prefix that many rows share, through which gradients flow, or what was decoded before the present
chunk. Norms are computed in float32 whatever the weights are. The feed-forward is reshaped for XLA's CPU
backend and is Tunix's own elsewhere. Which layer is local and which global is the config's business
(`config.py`).
"""
# ruff: noqa: F722 (shapes in annotations are strings)

from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int
from tunix.models.gemma3 import model as tunix

from everystep.model.config import Config

Rotation = tuple[Float[Array, "batch time 1 width"], Float[Array, "batch time 1 width"]]


def rotation(positions: Int[Array, "batch time"], width: int, base: float, scale: float) -> Rotation:
    """Sine and cosine of the angles by which positions turn heads of that width (Su et al. 2021, "RoFormer",
    section 3.2.2), as Tunix's `apply_rope` has them, for both halves of a head: the sine with its sign."""
    timescale = base ** (2 * jnp.arange(0, width // 2) / width)
    angle = (positions[..., None] / timescale[None, None, :])[..., None, :] / scale
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    return jnp.concatenate([-sine, sine], axis=-1), jnp.concatenate([cosine, cosine], axis=-1)


def rotated(x: Float[Array, "batch time heads width"], by: Rotation) -> Float[Array, "batch time heads width"]:
    """Each pair of a head's halves, turned. (Halves that are swapped instead of computed apart and put
    together: XLA's CPU backend takes a tenth of the time.)"""
    sine, cosine = by
    return (x * cosine + jnp.roll(x, x.shape[-1] // 2, axis=-1) * sine).astype(x.dtype)


class Norm(tunix.RMSNorm):
    """The RMS norm in float32, in the dtype of what it is given (Tunix's takes the mean in bfloat16)."""

    def __call__(self, x: Any) -> Any:
        return super().__call__(x.astype(jnp.float32)).astype(x.dtype)


class Attention(tunix.Attention):
    """Grouped-query attention; `attn_mask` is a bias of 0 and very negative numbers over past and own keys.

    `cache` may hold the `prefix`, stretches of keys in their order, each `k` [entries*kv, width, keys] and `v`
    [entries*kv, keys, width] (as the products want them): one entry for each row, or one for several
    neighbouring rows that share it. With `own` of the same form, the keys and values of this call are written
    into it at `at`, and it is what is attended to and returned; without, they are returned as they are.
    Where it is `plain`, nothing (an adapter) reaches into its projections, and they are products of matrices:
    what XLA's CPU backend makes of the einsums it turns around afterwards, which takes longer than they do.
    """

    def __init__(self, config: Config, local: bool, *, rngs: nnx.Rngs, plain: bool = False):
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
        self.plain = plain
        if config.normalised:
            self._query_norm = Norm(config.head_dim, rngs=rngs, param_dtype=config.param_dtype)
            self._key_norm = Norm(config.head_dim, rngs=rngs, param_dtype=config.param_dtype)
        else:
            del self._query_norm, self._key_norm

    def block(  # pyright: ignore[reportIncompatibleMethodOverride]  (positions come as their angles)
        self,
        x: Float[Array, "batch time width"],
        segment_pos: Rotation,
        cache: dict[str, Any] | None,
        attn_mask: Float[Array, "batch 1 time 1 keys"],
    ) -> tuple[dict[str, Array] | None, Float[Array, "batch time width"]]:
        """The own keys and values (None without a cache), and what attention adds to the residual."""
        query, key, value = self._projected(x)
        if self.normalised:
            query, key = self._query_norm(query), self._key_norm(key)
        query = rotated(query, segment_pos) * self.scale
        key = rotated(key, segment_pos)
        # Rows and heads are one axis: what a loop carries is not copied only where no product reshapes it.
        own = {
            "k": key.transpose(0, 2, 3, 1).reshape(-1, key.shape[3], key.shape[1]),
            "v": turned(value.swapaxes(1, 2).reshape(-1, value.shape[1], value.shape[3])),
        }
        if cache and "own" in cache:
            at, held = cache["at"], cache["own"]
            own = {
                "k": jax.lax.dynamic_update_slice(held["k"], own["k"], (0, 0, at)),
                "v": jax.lax.dynamic_update_slice(held["v"], own["v"], (0, at, 0)),
            }
        stretches = [*(cache.get("prefix", ()) if cache else ()), own]
        rows, time, heads, width = query.shape
        query = query.reshape(rows, time, key.shape[2], -1, width).swapaxes(1, 2)
        ends = np.cumsum([s["v"].shape[1] for s in stretches])
        masks = jnp.split(attn_mask, ends[:-1], axis=-1)
        # Stretch by stretch: what is as long as all of them is never put together.
        logits = [self._logits(query, s["k"]) + mask for s, mask in zip(stretches, masks, strict=True)]
        top = jax.lax.stop_gradient(reduce(jnp.maximum, [x.max(axis=-1, keepdims=True) for x in logits]))
        weights = [jnp.exp(x - top) for x in logits]
        values = [s["v"] for s in stretches]
        parts = [_product(w.astype(v.dtype), v, v.dtype) for w, v in zip(weights, values, strict=True)]
        # Divided after the sum over values: one pass over [time, keys] less.
        whole = reduce(jnp.add, [w.sum(axis=-1, keepdims=True) for w in weights])
        out = (reduce(jnp.add, parts) / whole).astype(value.dtype)
        out = out.swapaxes(1, 2).reshape(rows, time, heads, width)
        if self.plain:
            weight = self.attn_vec_einsum.w.get_value()
            return None if cache is None else own, _flat(out, weight.reshape(-1, weight.shape[-1]))
        return None if cache is None else own, self.attn_vec_einsum(out)

    def _projected(self, x: Float[Array, "batch time width"]) -> list[Float[Array, "batch time heads head"]]:
        """Queries, keys and values; of a plain model with one product."""
        if self.plain:
            held = [self.qkv_einsum.w] if self.use_qkv_einsum else [self.q_einsum.w, self.kv_einsum.w]
            # One [heads, width, head] for the queries, the keys and the values each.
            heads = [one for w in held for one in w.get_value().reshape(-1, *w.shape[-3:])]
            columns = [w.swapaxes(0, 1).reshape(w.shape[1], -1) for w in heads]
            ends = np.cumsum([w.shape[1] for w in columns])
            parts = jnp.split(_flat(x, jnp.concatenate(columns, axis=1)), ends[:-1], axis=-1)
            return [part.reshape(*x.shape[:2], -1, heads[0].shape[-1]) for part in parts]
        if self.use_qkv_einsum:
            return list(self.qkv_einsum(x))
        return [self.q_einsum(x), *self.kv_einsum(x)]

    def _logits(self, query: Array, k: Array) -> Float[Array, "rows kv time group keys"]:
        logits = _product(query, k, jnp.float32)
        return logits if self.cap is None else self.cap * jnp.tanh(logits / self.cap)


def _product(
    left: Float[Array, "rows kv time group inner"], right: Float[Array, "entries*kv inner outer"], dtype: Any
) -> Float[Array, "rows kv time group outer"]:
    """left @ right, where neighbouring rows that share their right side are one longer row meanwhile."""
    rows, kv, time, group, inner = left.shape
    entries = len(right) // kv
    if entries != rows:
        left = left.reshape(entries, rows // entries, kv, -1, inner).swapaxes(1, 2)
    out = jnp.matmul(left.reshape(entries * kv, -1, inner), right, preferred_element_type=dtype)
    if entries != rows:
        out = out.reshape(entries, kv, rows // entries, -1, right.shape[-1]).swapaxes(1, 2)
    return out.reshape(rows, kv, time, group, right.shape[-1])


@jax.custom_vjp
def turned(x: Float[Array, "*batch long short"]) -> Float[Array, "*batch long short"]:
    """x itself, whose gradient is made as [short, long] and then turned: XLA's CPU backend makes a long sum
    of outer products in two thirds of the time or less where the left side is the shorter one, and would not
    choose so by itself."""
    return x


def _turned_back(_: None, gradient: Array) -> tuple[Array]:
    if jax.default_backend() != "cpu":
        return (gradient,)
    return (jax.lax.optimization_barrier(gradient.swapaxes(-1, -2)).swapaxes(-1, -2),)


turned.defvjp(lambda x: (x, None), _turned_back)


def _flat(x: Float[Array, "batch time ..."], weight: Float[Array, "inner outer"]) -> Float[Array, "batch time outer"]:
    """x @ weight as a product of two matrices."""
    batch, time = x.shape[:2]
    return (x.reshape(batch * time, -1) @ weight).reshape(batch, time, -1)


class FlatFeedForward(tunix.FeedForward):
    """Tunix's feed-forward on a flattened batch, for CPU."""

    def __call__(self, x: Any) -> Any:
        return super().__call__(x.reshape(-1, x.shape[-1])).reshape(x.shape)
