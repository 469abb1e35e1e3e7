"""Our Gemma, 2 or 3: Tunix's Gemma 3 with what the engine asks of it and what Gemma 2 has otherwise.

Logits of the last position only (a prefill needs no others, and at 262,144 pieces the others are most of
its memory), masks and angles made once instead of in every layer, and a KV cache that is read where it lies, so
that many rows can share a prefix. The layers that differ from Tunix's are in `layers.py`; parameters are
Tunix's, by name and shape. A subclass, not a function of ours, because qwix adds LoRA only to what the root's
`__call__` reaches.
"""
# ruff: noqa: F722 (shapes in annotations are strings)

from dataclasses import replace
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int
from tunix.models.gemma3.model import AttentionType, Gemma3, RematConfig

from everystep.model.config import Config
from everystep.model.layers import Attention, FlatFeedForward, Norm, Rotation, rotation

_NEVER = -2.0e38  # what a masked key's logit becomes; finite, so that a row without keys is not NaN


class Gemma(Gemma3):
    """A Gemma as its config says; `decode_only_last_token` is the parameter Tunix's sampler looks for."""

    lora_scale = 0.0  # what the product of an adapter's factors is multiplied with; set where one is added

    def __init__(self, config: Config, *, rngs: nnx.Rngs, plain: bool = False):
        """`plain`: no adapter will be added, so that linear maps may be computed together."""
        # Tunix's own way to compute a layer again writes back into it, which no outer trace allows.
        super().__init__(replace(config, remat_config=RematConfig.NONE), rngs=rngs)
        self.config, self.remat = config, config.remat_config != RematConfig.NONE
        on_cpu = jax.default_backend() == "cpu"
        for i, layer in enumerate(self.layers):
            layer.attn = Attention(config, config.local(i), rngs=rngs, plain=plain and on_cpu)
            for name in ("pre_attention_norm", "post_attention_norm", "pre_ffw_norm", "post_ffw_norm"):
                setattr(layer, name, _norm(config, rngs))
            if on_cpu:
                layer.mlp = FlatFeedForward(config, rngs=rngs)
        self.final_norm = _norm(config, rngs)

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
        key_positions: Int[Array, "batch keys"] | None = None,
        sliding: tuple[Bool[Array, "batch time window"], Int[Array, "batch window"]] | None = None,
    ) -> tuple[Float[Array, "batch time vocabulary"], dict[str, Any] | None]:
        """Logits in float32 (of the last position only with `decode_only_last_token`; with
        `output_hidden_states` not they but what `logits` makes them of), and each layer's own keys and values
        (None without a cache). A cache is one dict a layer, see `layers.Attention`; `key_positions` says
        where past and own keys stand, and can be left out where there are only own ones. `sliding` has mask and
        positions for the layers with a sliding window, where those hold another KV cache than the rest.
        """
        keys = positions if key_positions is None else key_positions
        near_mask, near_keys = (attention_mask, keys) if sliding is None else sliding
        inside = positions[:, :, None] - near_keys[:, None, :] < (self.config.sliding_window_size or 0)
        bias = {
            AttentionType.GLOBAL: _bias(attention_mask),
            AttentionType.LOCAL_SLIDING: _bias(near_mask & inside),
        }
        turn = {
            AttentionType.GLOBAL: self._rotation(positions, local=False),
            AttentionType.LOCAL_SLIDING: self._rotation(positions, local=True),
        }
        own: dict[str, Any] = {}
        x = self.embedder.encode(last_tokens)
        for i, layer in enumerate(self.layers):
            name = f"layer_{i}"
            with jax.named_scope(name):
                kv_cache = None if cache is None else cache[name]
                run = _again if self.remat else _once
                kind = layer.attn.attn_type
                own[name], x = run(layer, x, turn[kind], kv_cache, bias[kind])
        if decode_only_last_token:
            x = x[:, -1:]
        x = self.final_norm(x)
        if not output_hidden_states:
            x = logits(x, self.embedder.input_embedding.get_value(), self.config.logits_cap)
        return x, None if cache is None else own

    def _rotation(self, positions: Int[Array, "batch time"], local: bool) -> Rotation:
        c = self.config
        base = c.local_base_frequency if local else c.global_base_frequency
        scale = c.local_scale_factor if local else c.global_scale_factor
        return rotation(positions, c.head_dim, base, scale)


def _once(layer: nnx.Module, *given: Any) -> Any:
    return cast(Any, layer)(*given)


def _again(layer: nnx.Module, *given: Any) -> Any:
    """The layer, of whose inside nothing is kept for the backward pass: it is computed again there."""
    graph, state = nnx.split(layer)
    return jax.checkpoint(lambda state, *given: _once(nnx.merge(graph, state), *given))(state, *given)


def logits(
    hidden: Float[Array, "batch time width"], pieces: Float[Array, "pieces width"], cap: float | None
) -> Float[Array, "batch time pieces"]:
    """Logits in float32 of some (or all) rows of the embedding, capped as the config says."""
    out = jnp.einsum("btd,vd->btv", hidden, pieces, preferred_element_type=jnp.float32)
    return out if cap is None else cap * jnp.tanh(out / cap)


def _norm(config: Config, rngs: nnx.Rngs) -> Norm:
    sharding: Any = config.shd_config.rms_norm_weight
    return Norm(config.embed_dim, rngs=rngs, sharding=sharding, param_dtype=config.param_dtype)


def _bias(mask: Bool[Array, "batch time keys"]) -> Float[Array, "batch 1 time 1 keys"]:
    return jnp.where(mask, 0.0, _NEVER).astype(jnp.float32)[:, None, :, None, :]
