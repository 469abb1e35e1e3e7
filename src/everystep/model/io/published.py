"""The shapes of the published models.

The numbers are those of their `config.json`; that they are the shapes Tunix knows and give the published
numbers of parameters is a test. Which of them a name stands for is `known.py`.
"""

import dataclasses

from tunix.models.gemma3.model import RematConfig

from everystep.model.config import FAMILIES, Config

_GEMMA3 = FAMILIES["gemma3"]
_GEMMA2 = FAMILIES["gemma2"]


def _gemma3(layers: int, width: int, hidden: int, heads: int, kv: int, window: int) -> Config:
    return Config(
        num_layers=layers,
        num_embed=262_144,
        embed_dim=width,
        hidden_dim=hidden,
        num_heads=heads,
        head_dim=256,
        num_kv_heads=kv,
        sliding_window_size=window,
        local_base_frequency=10_000,
        global_base_frequency=1_000_000,
        pattern=_GEMMA3.pattern,
        query_scalar=256,
        positions=32_768,
        remat_config=RematConfig.DECODER,
    )


KNOWN: dict[str, Config] = {
    "gemma-3-270m": _gemma3(18, 640, 2_048, 4, 1, 512),
    "gemma-3-1b": _gemma3(26, 1_152, 6_912, 4, 1, 512),
    # The text half of a multimodal model, whose config says 262,208 pieces.
    "gemma-3-4b": dataclasses.replace(
        _gemma3(34, 2_560, 10_240, 8, 4, 1_024),
        num_embed=262_208,
        global_scale_factor=8.0,
        positions=131_072,
    ),
    "gemma-2-2b": Config(
        family="gemma2",
        num_layers=26,
        num_embed=256_000,
        embed_dim=2_304,
        hidden_dim=9_216,
        num_heads=8,
        head_dim=256,
        num_kv_heads=4,
        sliding_window_size=4_096,
        local_base_frequency=10_000,
        global_base_frequency=10_000,
        pattern=_GEMMA2.pattern,
        query_scalar=256,
        attention_cap=_GEMMA2.caps[0],
        logits_cap=_GEMMA2.caps[1],
        normalised=False,
        positions=8_192,
        remat_config=RematConfig.DECODER,
    ),
}
"""By the part of a hub id or Kaggle handle that says the size; pre-trained and tuned are alike."""
