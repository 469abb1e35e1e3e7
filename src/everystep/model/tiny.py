"""The tiny Gemma: its shape, and fresh weights to train from scratch.

Gemma 3's architecture at six layers (five local, one global, the fewest that hold both kinds). Training it
is `train/pretrain.py`; its files are written and read by `load.py`.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from everystep.model.config import Config
from everystep.model.gemma import Gemma
from everystep.model.keys import Keys


def tiny_config(vocabulary: int) -> Config:
    """1.3 million parameters at a vocabulary of 1,024."""
    return Config(
        num_layers=6,
        num_embed=vocabulary,
        embed_dim=128,
        hidden_dim=384,
        num_heads=4,
        head_dim=32,
        num_kv_heads=1,
        sliding_window_size=128,
        local_base_frequency=10_000,
        global_base_frequency=1_000_000,
        param_dtype=jnp.float32,
    )


def fresh(config: Config, seed: int) -> Gemma:
    """Random weights. Tunix leaves the MLP kernels at zero, where gate, up and down give each other zero
    gradients for ever; every matrix gets a normal of variance 1 / fan-in instead."""
    model = Gemma(config, rngs=Keys(seed))
    key = jax.random.key(seed)
    for i, (path, leaf) in enumerate(nnx.to_flat_state(nnx.state(model, nnx.Param))):
        value = leaf.get_value()
        if value.ndim == 1:  # norm scales: zero means a factor of one
            continue
        noise = jax.random.normal(jax.random.fold_in(key, i), value.shape, value.dtype)
        leaf.set_value(noise * _fan_in(path, value.shape) ** -0.5)
    return model


def _fan_in(path: tuple[object, ...], shape: tuple[int, ...]) -> int:
    if "input_embedding" in path:
        return shape[1]  # scaled by sqrt(d) on the way in, tied on the way out
    if "attn_vec_einsum" in path:
        return shape[0] * shape[1]
    return shape[-2]
