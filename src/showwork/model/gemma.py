"""Our Gemma 3: Tunix's module with what the engine asks of it.

Logits of the last position only (a prefill needs no others, and at 262,144 pieces the others are most of
its memory), masks made once instead of in every layer, and a cache that grows, so that many rows can share a
prefix that is computed once. The layers that differ from Tunix's are in `layers.py`; parameters are Tunix's,
by name and shape. A subclass, not a function of ours, because qwix adds LoRA only to what the root's
`__call__` reaches.
"""
# ruff: noqa: F722 (shapes in annotations are strings)

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int
from tunix.models.gemma3.model import AttentionType, Gemma3, ModelConfig

from showwork.model.layers import Attention, FlatFeedForward

_NEVER = -2.0e38  # what a masked key's logit becomes; finite, so that a row without keys is not NaN


class Gemma(Gemma3):
    """Gemma 3; `decode_only_last_token` is the parameter Tunix's sampler looks for."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        for layer in self.layers:
            stock = layer.attn
            layer.attn = Attention(
                num_heads=config.num_heads,
                num_kv_heads=config.num_kv_heads,
                features=config.embed_dim,
                head_dim=config.head_dim,
                attn_type=stock.attn_type,
                sliding_window_size=stock.sliding_window_size,
                rope_base_frequency=stock.rope_base_frequency,
                rope_scale_factor=stock.rope_scale_factor,
                query_pre_attn_norm=config.query_pre_attn_norm,
                rngs=rngs,
                shd_config=config.shd_config,
                remat_config=config.remat_config,
                param_dtype=config.param_dtype,
            )
            if jax.default_backend() == "cpu":
                layer.mlp = FlatFeedForward(config, rngs=rngs)

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]  (a mask is always given)
        self,
        last_tokens: Int[Array, "batch time"],
        positions: Int[Array, "batch time"],
        cache: dict[str, Any] | None,
        attention_mask: Bool[Array, "batch time keys"],
        output_hidden_states: bool = False,
        *,
        images: Any = None,
        decode_only_last_token: bool = False,
    ) -> tuple[Float[Array, "batch time vocabulary"], dict[str, Any] | None]:
        """Logits (of the last position only with `decode_only_last_token`) and the new cache.

        A cache is one dict a layer. With `end_index` it has a fixed size and is written in place, one slot
        after another. Without, it grows: `positions` beside the layers says where its keys stand.
        """
        keys = _key_positions(positions, cache, attention_mask.shape[-1])
        near = positions[:, :, None] - keys[:, None, :] < (self.config.sliding_window_size or 0)
        bias = {
            AttentionType.GLOBAL: _bias(attention_mask),
            AttentionType.LOCAL_SLIDING: _bias(attention_mask & near),
        }
        new_cache: dict[str, Any] | None = None
        if cache is not None:
            new_cache = {"positions": keys} if "positions" in cache else {}
        x = self.embedder.encode(last_tokens)
        for i, layer in enumerate(self.layers):
            name = f"layer_{i}"
            with jax.named_scope(name):
                layer_cache, x = layer(
                    x, positions, cache[name] if cache else None, bias[layer.attn.attn_type]
                )
            if new_cache is not None:
                new_cache[name] = layer_cache
        if decode_only_last_token:
            x = x[:, -1:]
        return self.embedder.decode(self.final_norm(x)), new_cache


def empty_cache(config: ModelConfig, rows: int, dtype: Any) -> dict[str, Any]:
    """A cache that holds nothing and grows."""
    shape = (rows, 0, config.num_kv_heads, config.head_dim)
    layer = {"k": jnp.zeros(shape, dtype), "v": jnp.zeros(shape, dtype)}
    return {f"layer_{i}": dict(layer) for i in range(config.num_layers)} | {
        "positions": jnp.zeros((rows, 0), jnp.int32)
    }


def _bias(mask: Bool[Array, "batch time keys"]) -> Float[Array, "batch time 1 1 keys"]:
    return jnp.where(mask, 0.0, _NEVER).astype(jnp.float32)[:, :, None, None, :]


def _key_positions(positions: Array, cache: dict[str, Any] | None, size: int) -> Int[Array, "batch keys"]:
    """The position of every key. In a cache of fixed size, rows are padded on the left only: slots and
    positions run in step, and the last query's slot is known."""
    if cache is None:
        return positions
    if "positions" in cache:
        return jnp.concatenate([cache["positions"], positions], axis=1)
    last = cache["layer_0"]["end_index"][0] + positions.shape[1] - 1
    return positions[:, -1:] + jnp.arange(size)[None] - last
