"""Files of real checkpoints, made small: what the tests of loading and of the reference share."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file
from sentencepiece import sentencepiece_model_pb2

from model_fixtures import VOCABULARY, tokenizer_model

proto: Any = sentencepiece_model_pb2  # made by protobuf, without types
LAYERS, WIDTH, INNER, HEADS, KV, HEAD = 6, 16, 24, 4, 2, 8
GEMMA3 = {
    "model_type": "gemma3_text",
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV,
    "head_dim": HEAD,
    "query_pre_attn_scalar": HEAD,
    "hidden_activation": "gelu_pytorch_tanh",
    "rope_theta": 1_000_000.0,
    "rope_local_base_freq": 10_000.0,
    "sliding_window": 8,
    "sliding_window_pattern": 6,
    "eos_token_id": [1, 106],
}
GEMMA2 = {
    **{k: v for k, v in GEMMA3.items() if k not in ("rope_local_base_freq", "sliding_window_pattern")},
    "model_type": "gemma2",
    "rope_theta": 10_000.0,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "eos_token_id": 1,
}


def named(config: Mapping[str, Any], prefix: str = "model.") -> dict[str, np.ndarray]:
    """Random float32 tensors by the names that Hugging Face gives them, written down here by hand."""
    rng = np.random.default_rng(11)
    c = config
    d, h = c["hidden_size"], c["head_dim"]
    q, kv, f = c["num_attention_heads"] * h, c["num_key_value_heads"] * h, c["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {"embed_tokens.weight": (c["vocab_size"], d), "norm.weight": (d,)}
    for i in range(c["num_hidden_layers"]):
        at = f"layers.{i}."
        shapes |= {
            at + "self_attn.q_proj.weight": (q, d),
            at + "self_attn.k_proj.weight": (kv, d),
            at + "self_attn.v_proj.weight": (kv, d),
            at + "self_attn.o_proj.weight": (d, q),
            at + "mlp.gate_proj.weight": (f, d),
            at + "mlp.up_proj.weight": (f, d),
            at + "mlp.down_proj.weight": (d, f),
        }
        norms = ["input", "post_attention", "pre_feedforward", "post_feedforward"]
        shapes |= {f"{at}{name}_layernorm.weight": (d,) for name in norms}
        if c["model_type"] == "gemma3_text":
            shapes |= {at + "self_attn.q_norm.weight": (h,), at + "self_attn.k_norm.weight": (h,)}
    return {
        prefix + name: (rng.normal(size=shape) / max(1, shape[-1] ** 0.5 * (len(shape) - 1))).astype(np.float32)
        for name, shape in shapes.items()
    }


def write(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    parts: int = 1,
    dtypes: tuple[Any, ...] = (np.float32,),
    tokenizer: bytes | None = None,
) -> None:
    """A folder as it comes from the hub: tensors dealt out over the parts, dtypes taken in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    made = gemma2_tokenizer_model() if config["model_type"] == "gemma2" else tokenizer_model()
    (folder / "tokenizer.model").write_bytes(tokenizer or made)
    stored = {k: v.astype(dtypes[i % len(dtypes)]) for i, (k, v) in enumerate(tensors.items())}
    if parts == 1:
        save_file(stored, folder / "model.safetensors", {"format": "pt"})
        return
    places = {k: f"model-{i % parts + 1:05d}-of-{parts:05d}.safetensors" for i, k in enumerate(stored)}
    for name in set(places.values()):
        save_file({k: v for k, v in stored.items() if places[k] == name}, folder / name, {"format": "pt"})
    index = {"metadata": {"total_size": sum(v.nbytes for v in stored.values())}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def rounded(value: np.ndarray, dtype: Any) -> np.ndarray:
    return value.astype(dtype).astype(np.float32)


MIXED = (np.float32, ml_dtypes.bfloat16, np.float16)


@cache
def gemma2_tokenizer_model() -> bytes:
    """The tests' tokenizer with Gemma 2's turn marks, at 106 and 107."""
    made = proto.ModelProto()
    made.ParseFromString(tokenizer_model())
    names = [p.piece for p in made.pieces]
    assert names[105:108] == ["<start_of_turn>", "<end_of_turn>", "\n"]
    made.pieces[105].piece = "<unused99>"
    made.pieces[106].piece = "<start_of_turn>"
    made.pieces[107].piece = "<end_of_turn>"
    last = made.pieces[len(names) - 1]
    last.piece, last.type = "\n", made.pieces[107].type
    return made.SerializeToString()


@cache
def tokenizer_json() -> str:
    """The tests' tokenizer as `transformers` would write it, with the piece that only an image has."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

    made = proto.ModelProto()
    made.ParseFromString(tokenizer_model())
    vocabulary = {p.piece: i for i, p in enumerate(made.pieces)}
    scores = {p.piece: p.score for p in made.pieces if p.type == 1}  # what was merged, best first
    merges = [
        (score, text[:k], text[k:])
        for text, score in scores.items()
        for k in range(1, len(text))
        if text[:k] in vocabulary and text[k:] in vocabulary
    ]
    merges.sort(key=lambda merge: -merge[0])
    model = models.BPE(vocabulary, [m[1:] for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")  # type: ignore[assignment]
    tokenizer.decoder = decoders.Sequence(  # type: ignore[assignment]
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    special = [p.piece for p in made.pieces if p.type in (3, 4)]
    tokenizer.add_special_tokens([AddedToken(p, normalized=False) for p in special])
    tokenizer.add_special_tokens([AddedToken("<image_soft_token>", normalized=False)])
    assert tokenizer.token_to_id("<image_soft_token>") == VOCABULARY
    return tokenizer.to_str()
