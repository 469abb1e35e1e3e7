"""From a model folder to a Tunix model, and back: Hugging Face's layout of a text-only Gemma 3.

A folder holds `config.json`, `model.safetensors` and `tokenizer.model`. The name "tiny" is the folder that
ships with the package. LoRA, sampling and training are elsewhere.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tunix.models.gemma3.model import ModelConfig

from showwork.model.gemma import Gemma
from showwork.model.tokenizer import Tokenizer, load_tokenizer

# What the module computes whatever a config says: a config that says otherwise is refused.
_ONLY = {
    "attention_bias": False,
    "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,
    "sliding_window_pattern": 6,
    "tie_word_embeddings": True,
    "rope_scaling": None,
    "final_logit_softcapping": None,
    "attn_logit_softcapping": None,
}

TINY = Path(__file__).resolve().parents[1] / "assets" / "tiny"


@dataclass(frozen=True, slots=True)
class Base:
    """A base model as loaded: the module, its tokenizer and where it came from."""

    model: Gemma
    tokenizer: Tokenizer
    folder: Path


def fingerprint(name: str) -> str:
    """A hash of the bytes of a model folder's weights, config and tokenizer."""
    folder = TINY if name == "tiny" else Path(name)
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix in (".safetensors", ".json", ".model"):
            digest.update(path.name.encode() + b"\0")
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()[:16]


def load(name: str) -> Base:
    """Load the model folder `name` ("tiny": the shipped one), in float32.

    Raises ValueError, one line, for an unknown name, a missing or broken file, another model family, or
    tensors that do not fit the config.
    """
    folder = TINY if name == "tiny" else Path(name)
    if not folder.is_dir():
        raise ValueError(
            f"model {name!r}: not a folder; give 'tiny' or a folder with config.json, model.safetensors"
        )
    config = read_config(folder)
    tokenizer = load_tokenizer(folder)
    if tokenizer.size > config.num_embed:
        raise ValueError(
            f"model {folder}: the tokenizer has {tokenizer.size} pieces, "
            f"the embedding only {config.num_embed} rows"
        )
    file = folder / "model.safetensors"
    if not file.is_file():
        raise ValueError(f"model {folder}: no model.safetensors there")
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"model {folder}: model.safetensors cannot be read ({error})") from None
    wanted = {name: shape for name, (_, shape) in _layout(config).items()}
    missing = sorted(set(wanted) - set(tensors))
    if missing:
        raise ValueError(f"model {folder}: {len(missing)} tensors are missing, the first is {missing[0]}")
    more = sorted(set(tensors) - set(wanted) - {"lm_head.weight"})  # tied, but some writers store it
    if more:
        raise ValueError(
            f"model {folder}: {len(more)} tensors have no place in the model, the first is {more[0]}"
        )
    for key, shape in wanted.items():
        if tensors[key].shape != shape:
            raise ValueError(
                f"model {folder}: {key} has shape {tensors[key].shape}, config.json asks for {shape}"
            )
    model = nnx.eval_shape(lambda: Gemma(config, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(model)
    flat = nnx.to_flat_state(state)
    values = {path: _from_files(path, leaf, tensors, config) for path, leaf in flat}
    for path, leaf in flat:
        leaf.set_value(jnp.asarray(values[path], jnp.float32))
    return Base(nnx.merge(graph, state), tokenizer, folder)


def save(model: Gemma, tokenizer_model: bytes, folder: Path) -> None:
    """Write the folder (float32); `load` reads the same numbers back."""
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config
    flat = {
        path: np.asarray(leaf.get_value(), np.float32)
        for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param))
    }
    tensors = {}
    for name, (path, shape) in _layout(config).items():
        tensors[name] = np.ascontiguousarray(_to_file(name, flat[path], shape))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "tokenizer.model").write_bytes(tokenizer_model)
    (folder / "config.json").write_text(json.dumps(_config_json(config), indent=1) + "\n")


def device() -> str:
    """The accelerators at hand, in words, e.g. "1 x cpu"."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def read_config(folder: Path) -> ModelConfig:
    """`config.json` of a text-only Gemma 3 as Tunix's ModelConfig (float32)."""
    try:
        raw: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:  # ValueError: no JSON, or no UTF-8
        raise ValueError(f"model {folder}: config.json cannot be read ({error})") from None
    if not isinstance(raw, dict):
        raise ValueError(f"model {folder}: config.json must hold an object, not a {type(raw).__name__}")
    if raw.get("model_type") != "gemma3_text":
        raise ValueError(
            f"model {folder}: model_type is {raw.get('model_type')!r}, only 'gemma3_text' can be loaded"
        )
    for key, only in _ONLY.items():
        if raw.get(key, only) != only:
            raise ValueError(
                f"model {folder}: config.json has {key} {raw[key]!r}, only {only!r} is supported"
            )
    if raw.get("query_pre_attn_scalar", raw.get("head_dim")) != raw.get("head_dim"):
        raise ValueError(f"model {folder}: config.json has a query_pre_attn_scalar that is not head_dim")
    try:
        return ModelConfig(
            num_layers=int(raw["num_hidden_layers"]),
            num_embed=int(raw["vocab_size"]),
            embed_dim=int(raw["hidden_size"]),
            hidden_dim=int(raw["intermediate_size"]),
            num_heads=int(raw["num_attention_heads"]),
            head_dim=int(raw["head_dim"]),
            num_kv_heads=int(raw["num_key_value_heads"]),
            sliding_window_size=int(raw["sliding_window"]),
            local_base_frequency=int(raw["rope_local_base_freq"]),
            global_base_frequency=int(raw["rope_theta"]),
            param_dtype=jnp.float32,
        )
    except KeyError as error:
        raise ValueError(f"model {folder}: config.json lacks {error.args[0]!r}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"model {folder}: config.json has a value of the wrong kind ({error})") from None


def _config_json(config: ModelConfig) -> dict[str, Any]:
    """The inverse of `read_config`, with what `transformers` wants besides."""
    return {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "vocab_size": config.num_embed,
        "hidden_size": config.embed_dim,
        "intermediate_size": config.hidden_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "query_pre_attn_scalar": config.head_dim,
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-6,
        "rope_theta": config.global_base_frequency,
        "rope_local_base_freq": config.local_base_frequency,
        "sliding_window": config.sliding_window_size,
        "sliding_window_pattern": 6,
        "attention_bias": False,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "eos_token_id": [1, 106],
        "bos_token_id": 2,
        "torch_dtype": "float32",
    }


Path_ = tuple[Any, ...]


def _layout(c: ModelConfig) -> dict[str, tuple[Path_, tuple[int, ...]]]:
    """File tensor name -> (path of the parameter in the module, the tensor's shape in the file)."""
    d, f, h = c.embed_dim, c.hidden_dim, c.head_dim
    names: dict[str, tuple[Path_, tuple[int, ...]]] = {
        "model.embed_tokens.weight": (("embedder", "input_embedding"), (c.num_embed, d)),
        "model.norm.weight": (("final_norm", "scale"), (d,)),
    }
    for i in range(c.num_layers):
        at, layer = f"model.layers.{i}.", ("layers", i)
        names |= {
            at + "self_attn.q_proj.weight": ((*layer, "attn", "q_einsum", "w"), (c.num_heads * h, d)),
            at + "self_attn.k_proj.weight": ((*layer, "attn", "kv_einsum", "w"), (c.num_kv_heads * h, d)),
            at + "self_attn.v_proj.weight": ((*layer, "attn", "kv_einsum", "w"), (c.num_kv_heads * h, d)),
            at + "self_attn.o_proj.weight": ((*layer, "attn", "attn_vec_einsum", "w"), (d, c.num_heads * h)),
            at + "self_attn.q_norm.weight": ((*layer, "attn", "_query_norm", "scale"), (h,)),
            at + "self_attn.k_norm.weight": ((*layer, "attn", "_key_norm", "scale"), (h,)),
            at + "mlp.gate_proj.weight": ((*layer, "mlp", "gate_proj", "kernel"), (f, d)),
            at + "mlp.up_proj.weight": ((*layer, "mlp", "up_proj", "kernel"), (f, d)),
            at + "mlp.down_proj.weight": ((*layer, "mlp", "down_proj", "kernel"), (d, f)),
            at + "input_layernorm.weight": ((*layer, "pre_attention_norm", "scale"), (d,)),
            at + "post_attention_layernorm.weight": ((*layer, "post_attention_norm", "scale"), (d,)),
            at + "pre_feedforward_layernorm.weight": ((*layer, "pre_ffw_norm", "scale"), (d,)),
            at + "post_feedforward_layernorm.weight": ((*layer, "post_ffw_norm", "scale"), (d,)),
        }
    return names


def _to_file(name: str, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A module parameter in the file's orientation (rows are outputs)."""
    kind = name.rsplit(".", 2)[-2]
    if kind == "q_proj":  # (heads, d, h)
        return value.transpose(0, 2, 1).reshape(shape)
    if kind in ("k_proj", "v_proj"):  # (2, kv heads, d, h)
        return value[0 if kind == "k_proj" else 1].transpose(0, 2, 1).reshape(shape)
    if kind == "o_proj":  # (heads, h, d)
        return value.reshape(-1, value.shape[-1]).T
    if kind in ("gate_proj", "up_proj", "down_proj"):
        return value.T
    return value


def _from_files(path: Path_, leaf: Any, tensors: dict[str, np.ndarray], c: ModelConfig) -> np.ndarray:
    """The inverse of `_to_file` for the parameter at `path`."""
    names = [n for n, (p, _) in _layout(c).items() if p == path]
    if not names:
        raise ValueError(f"no tensor is known for parameter {'.'.join(map(str, path))}")
    files = [tensors[n] for n in names]
    kind = names[0].rsplit(".", 2)[-2]
    d, h = c.embed_dim, c.head_dim
    if kind == "q_proj":
        return files[0].reshape(c.num_heads, h, d).transpose(0, 2, 1)
    if kind == "k_proj":
        return np.stack([t.reshape(c.num_kv_heads, h, d).transpose(0, 2, 1) for t in files])
    if kind == "o_proj":
        return files[0].T.reshape(c.num_heads, h, d)
    if kind in ("gate_proj", "up_proj", "down_proj"):
        return files[0].T
    return files[0]
