"""The shape of a Gemma, and the `config.json` that says it: Gemma 2 and Gemma 3, text only.

One dataclass for both families, Tunix's with what Gemma 2 does otherwise. Weights are `layout.py` and
`load.py`; what is computed with the shape is `gemma.py`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from tunix.models.gemma3.model import ModelConfig, RematConfig

# What the module computes whatever a config says: a config that says otherwise is refused.
_ONLY = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
# Left out of the files of the multimodal Gemma 3 (4B and larger): what `transformers` takes for them.
_GEMMA3 = {
    "vocab_size": 262_208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "max_position_embeddings": 131_072,
    "rope_theta": 1_000_000,
    "rope_local_base_freq": 10_000,
}
# Layers times width from which on a layer's inside is computed again in the backward pass instead of kept:
# half of the smallest real Gemma.
_LARGE = 5_760
_KINDS = {"L": "sliding_attention", "G": "full_attention"}


@dataclass(slots=True, kw_only=True)
class Config(ModelConfig):
    """Tunix's shape of a Gemma 3, with what a Gemma 2 has otherwise.

    `pattern`: one letter a layer, L for a local layer and G for a global one, repeated. `query_scalar`:
    queries are divided by its square root (0, the default: the head's width). `attention_cap` and
    `logits_cap`: c in c·tanh(x / c) over the attention's and the final logits (Gemma 2 report, arXiv
    2408.00118, section 2); None: no cap. `normalised`: whether queries and keys go through an RMS norm, as
    in Gemma 3. `positions`: how long a text the checkpoint was made for.
    """

    family: str = "gemma3"
    pattern: str = "LLLLLG"
    query_scalar: float = 0
    attention_cap: float | None = None
    logits_cap: float | None = None
    normalised: bool = True
    positions: int = 1024

    def __post_init__(self) -> None:
        self.query_scalar = self.query_scalar or self.head_dim

    def local(self, layer: int) -> bool:
        """Whether a layer attends to its window only."""
        return self.pattern[layer % len(self.pattern)] == "L"


@dataclass(frozen=True, slots=True)
class Family:
    """What a model family has that its `config.json` does not say. `ends`: end of sequence, end of turn."""

    title: str
    pattern: str
    ends: tuple[int, int]
    caps: tuple[float | None, float | None]


FAMILIES = {
    "gemma2": Family("Gemma 2", "LG", (1, 107), (50.0, 30.0)),
    "gemma3": Family("Gemma 3", "LLLLLG", (1, 106), (None, None)),
}
_TYPES = {"gemma2": "gemma2", "gemma3_text": "gemma3", "gemma3": "gemma3"}


def read_config(folder: Path, dtype: Any = jnp.float32) -> Config:
    """`config.json` of a folder; parameters are to have `dtype`. Of a multimodal Gemma 3 its text half.

    Raises ValueError, one line, for a file that cannot be read, another family, or what we do not compute.
    """
    try:
        raw: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:  # ValueError: no JSON, or no UTF-8
        raise ValueError(f"model {folder}: config.json cannot be read ({error})") from None
    if not isinstance(raw, dict):
        raise ValueError(f"model {folder}: config.json must hold an object, not a {type(raw).__name__}")
    kind = raw.get("model_type")
    if kind not in _TYPES:
        raise ValueError(
            f"model {folder}: model_type is {kind!r}, only Gemma 2 ('gemma2') and Gemma 3 ('gemma3_text', "
            "'gemma3') can be loaded"
        )
    if kind == "gemma3":
        text = raw.get("text_config")
        if not isinstance(text, dict):
            raise ValueError(f"model {folder}: config.json of a multimodal Gemma 3 lacks 'text_config'")
        raw = _GEMMA3 | text
    family = _TYPES[kind]
    try:
        return _config(raw, family, dtype)
    except KeyError as error:
        raise ValueError(f"model {folder}: config.json lacks {error.args[0]!r}") from None
    except _Other as error:
        raise ValueError(f"model {folder}: config.json has {error}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"model {folder}: config.json has a value of the wrong kind ({error})") from None


class _Other(Exception):
    """A config that asks for what we do not compute."""


def _config(raw: dict[str, Any], family: str, dtype: Any) -> Config:
    for key, only in _ONLY.items():
        if raw.get(key, only) != only:
            raise _Other(f"{key} {raw[key]!r}, only {only!r} is supported")
    if raw.get("use_bidirectional_attention"):
        raise _Other("use_bidirectional_attention, only causal attention is supported")
    about, count = FAMILIES[family], int(raw["num_hidden_layers"])
    for key in ("sliding_window_pattern", "_sliding_window_pattern"):
        if raw.get(key, len(about.pattern)) != len(about.pattern):
            raise _Other(f"{key} {raw[key]!r}, only {len(about.pattern)} is supported")
    said = raw.get("layer_types")
    if said is not None and said != [_KINDS[about.pattern[i % len(about.pattern)]] for i in range(count)]:
        raise _Other(f"layer_types that are not those of a {about.title}")
    sliding, full, factor = _rope(raw, family)
    caps = [raw.get(f"{k}_logit_softcapping", v) for k, v in zip(("attn", "final"), about.caps, strict=True)]
    scalar, width = float(raw.get("query_pre_attn_scalar", 256)), int(raw["hidden_size"])
    if scalar <= 0 or any(c is not None and float(c) <= 0 for c in caps):
        raise ValueError("query_pre_attn_scalar and soft caps must be positive")
    return Config(
        family=family,
        num_layers=count,
        num_embed=int(raw["vocab_size"]),
        embed_dim=width,
        hidden_dim=int(raw["intermediate_size"]),
        num_heads=int(raw["num_attention_heads"]),
        head_dim=int(raw["head_dim"]),
        num_kv_heads=int(raw["num_key_value_heads"]),
        sliding_window_size=int(raw["sliding_window"]),
        local_base_frequency=sliding,
        global_base_frequency=full,
        global_scale_factor=factor,
        pattern=about.pattern,
        query_scalar=scalar,
        attention_cap=None if caps[0] is None else float(caps[0]),
        logits_cap=None if caps[1] is None else float(caps[1]),
        normalised=family == "gemma3",
        positions=int(raw.get("max_position_embeddings", 1024)),
        param_dtype=dtype,
        remat_config=RematConfig.DECODER if count * width >= _LARGE else RematConfig.NONE,
    )


def _rope(raw: dict[str, Any], family: str) -> tuple[int, int, float]:
    """Base frequencies of local and global layers, and by what the global positions are divided."""
    given = raw.get("rope_parameters")  # transformers 5; before, three keys of their own
    if family == "gemma2":
        given = given or {"rope_theta": raw.get("rope_theta", 10_000)} | (raw.get("rope_scaling") or {})
        sliding = full = given
    elif given:
        sliding, full = given["sliding_attention"], given["full_attention"]
    else:
        sliding = {"rope_theta": raw["rope_local_base_freq"]}
        full = {"rope_theta": raw["rope_theta"]} | (raw.get("rope_scaling") or {})
    kind = full.get("rope_type", full.get("type", "default"))
    if sliding.get("rope_type", "default") != "default" or kind not in ("default", "linear"):
        raise _Other(f"rope_scaling of type {kind!r}, only 'linear' over global layers is supported")
    factor = float(full["factor"]) if kind == "linear" else 1.0
    if factor < 1 or (family == "gemma2" and kind != "default"):
        raise _Other(f"rope_scaling {full!r}, which no {FAMILIES[family].title} has")
    return int(sliding["rope_theta"]), int(full["rope_theta"]), factor


def config_json(config: Config, dtype: str = "float32") -> dict[str, Any]:
    """The inverse of `read_config`, with what `transformers` wants besides; weights are stored as `dtype`."""
    gemma3 = config.family == "gemma3"
    both = {
        "architectures": ["Gemma3ForCausalLM" if gemma3 else "Gemma2ForCausalLM"],
        "model_type": "gemma3_text" if gemma3 else "gemma2",
        "vocab_size": config.num_embed,
        "hidden_size": config.embed_dim,
        "intermediate_size": config.hidden_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "query_pre_attn_scalar": _plain(config.query_scalar),
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": config.positions,
        "rms_norm_eps": 1e-6,
        "rope_theta": config.global_base_frequency,
    }
    if gemma3:
        both |= {"rope_local_base_freq": config.local_base_frequency}
        if config.global_scale_factor != 1:
            both |= {"rope_scaling": {"rope_type": "linear", "factor": config.global_scale_factor}}
    both |= {"sliding_window": config.sliding_window_size}
    if gemma3:
        both |= {"sliding_window_pattern": len(config.pattern)}
    if not gemma3 or config.attention_cap is not None or config.logits_cap is not None:
        both |= {
            "attn_logit_softcapping": config.attention_cap,
            "final_logit_softcapping": config.logits_cap,
        }
    return both | {
        "attention_bias": False,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "eos_token_id": list(FAMILIES[config.family].ends),
        "bos_token_id": 2,
        "torch_dtype": dtype,
    }


def _plain(value: float) -> int | float:
    return int(value) if float(value).is_integer() else value
