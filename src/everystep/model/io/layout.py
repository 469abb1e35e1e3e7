"""Hugging Face's names and orientations of a Gemma's tensors, and where each belongs in the module.

Files hold matrices with outputs as rows, queries, keys and values one by one; the module holds what Tunix's
does. Reading files is `load.py`.
"""

from typing import Any

import numpy as np

from everystep.model.config import Config

ParameterPath = tuple[Any, ...]
Shape = tuple[int, ...]

HEAD = "lm_head.weight"  # tied to the embedding, but some writers store it


def layout(c: Config) -> dict[str, tuple[ParameterPath, Shape]]:
    """File tensor name -> (path of the parameter in the module, the tensor's shape in the file). Tensors that
    share a path are the slices of its first axis, in this order."""
    d, f, h = c.embed_dim, c.hidden_dim, c.head_dim
    names: dict[str, tuple[ParameterPath, Shape]] = {
        "model.embed_tokens.weight": (("embedder", "input_embedding"), (c.num_embed, d)),
        "model.norm.weight": (("final_norm", "scale"), (d,)),
    }
    fused = c.num_heads == c.num_kv_heads  # Tunix then keeps all three in one parameter
    q, kv = ("qkv_einsum", "qkv_einsum") if fused else ("q_einsum", "kv_einsum")
    for i in range(c.num_layers):
        at, layer = f"model.layers.{i}.", ("layers", i)
        names |= {
            at + "self_attn.q_proj.weight": ((*layer, "attn", q, "w"), (c.num_heads * h, d)),
            at + "self_attn.k_proj.weight": ((*layer, "attn", kv, "w"), (c.num_kv_heads * h, d)),
            at + "self_attn.v_proj.weight": ((*layer, "attn", kv, "w"), (c.num_kv_heads * h, d)),
            at + "self_attn.o_proj.weight": ((*layer, "attn", "attn_vec_einsum", "w"), (d, c.num_heads * h)),
        }
        if c.normalised:
            names |= {
                at + "self_attn.q_norm.weight": ((*layer, "attn", "_query_norm", "scale"), (h,)),
                at + "self_attn.k_norm.weight": ((*layer, "attn", "_key_norm", "scale"), (h,)),
            }
        names |= {
            at + "mlp.gate_proj.weight": ((*layer, "mlp", "gate_proj", "kernel"), (f, d)),
            at + "mlp.up_proj.weight": ((*layer, "mlp", "up_proj", "kernel"), (f, d)),
            at + "mlp.down_proj.weight": ((*layer, "mlp", "down_proj", "kernel"), (d, f)),
            at + "input_layernorm.weight": ((*layer, "pre_attention_norm", "scale"), (d,)),
            at + "post_attention_layernorm.weight": ((*layer, "post_attention_norm", "scale"), (d,)),
            at + "pre_feedforward_layernorm.weight": ((*layer, "pre_ffw_norm", "scale"), (d,)),
            at + "post_feedforward_layernorm.weight": ((*layer, "post_ffw_norm", "scale"), (d,)),
        }
    return names


def to_file(name: str, value: np.ndarray, shape: Shape) -> np.ndarray:
    """The tensor `name` out of its module parameter, in the file's orientation."""
    kind = name.rsplit(".", 2)[-2]
    if kind in ("q_proj", "k_proj", "v_proj"):
        if value.ndim == 4:  # (2 or 3, heads, d, h)
            value = value["qkv".index(kind[0]) - 3 + len(value)]
        return value.transpose(0, 2, 1).reshape(shape)
    if kind == "o_proj":  # (heads, h, d)
        return value.reshape(-1, value.shape[-1]).T
    if kind in ("gate_proj", "up_proj", "down_proj"):
        return value.T
    return value


def from_file(name: str, tensor: np.ndarray, c: Config) -> np.ndarray:
    """The inverse of `to_file`: a tensor in the module's orientation, a slice of its parameter where several
    tensors share one. A view, not a copy."""
    kind = name.rsplit(".", 2)[-2]
    if kind in ("q_proj", "k_proj", "v_proj"):
        return tensor.reshape(-1, c.head_dim, c.embed_dim).transpose(0, 2, 1)
    if kind == "o_proj":
        return tensor.T.reshape(c.num_heads, c.head_dim, c.embed_dim)
    if kind in ("gate_proj", "up_proj", "down_proj"):
        return tensor.T
    return tensor
