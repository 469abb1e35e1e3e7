"""What an adapter is to others: a merged Hugging Face folder, a PEFT adapter, a checkpoint of Tunix's own.

Each function writes one format into an empty folder, from the base's folder and the adapter's float32 arrays.
Reading them back and comparing is `reread.py`; when an export counts as done, and where it lies, is not
decided here.

qwix keeps a factor as the module's einsum wants it: A is [in…, rank], B is [rank, out…], and the weight's
change is alpha / rank times their product. Hugging Face and PEFT have rows for outputs: `lora_A` [rank, in],
`lora_B` [out, rank]. Keys and values are one module in Tunix and share their A; here each has its own copy.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from everystep.core.trace import END_OF_TURN
from everystep.model.gemma import Gemma
from everystep.model.io.shards import FLOATS, Tensor, tensors, write_tensors
from everystep.model.tokenizer import Tokenizer

SHARD = 5_000_000_000  # bytes of a file of weights, at most, where nobody says otherwise

Factors = dict[str, tuple[np.ndarray, np.ndarray]]

# Where the text layers are in a file, for text-only models and for those that also see.
_LAYER = re.compile(r"(?:language_model\.)?model\.(?:language_model\.)?(layers\.\d+\..+)\.weight")
# A module's name in Tunix -> its parts in Hugging Face, in the order in which Tunix stacks them.
_PARTS = {
    "q_einsum": ("q_proj",),
    "kv_einsum": ("k_proj", "v_proj"),
    "qkv_einsum": ("q_proj", "k_proj", "v_proj"),
    "attn_vec_einsum": ("o_proj",),
    "gate_proj": ("gate_proj",),
    "up_proj": ("up_proj",),
    "down_proj": ("down_proj",),
}
# What of a base's folder goes along with its weights: all that says how text becomes tokens and back.
_ALONG = (
    "tokenizer.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
)
# Gemma's turns, for a base that comes with the bare SentencePiece file; the same text as `trace.prompt`.
_TURNS = (
    "{{ bos_token }}{% for message in messages %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ message['content'] | trim }}" + END_OF_TURN + "\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def factors(arrays: Mapping[str, np.ndarray]) -> Factors:
    """An adapter's arrays as matrices: "layers.0.self_attn.q_proj" -> (A [rank, in], B [out, rank]), float32.

    Raises ValueError for an array that is no factor of a module that is known.
    """
    found: Factors = {}
    for name in sorted(arrays):
        if name.endswith("_lora_b"):
            continue
        layer, number, block, module, _ = _path(name)
        a, b = (np.asarray(arrays[n], np.float32) for n in (name, name[:-1] + "b"))
        parts = _PARTS[module]
        flat = np.ascontiguousarray(a.reshape(-1, a.shape[-1]).T)
        stacked = b[:, None] if len(parts) == 1 else b
        for part, own in zip(parts, np.moveaxis(stacked, 1, 0), strict=True):
            where = "self_attn" if block == "attn" else block
            found[f"{layer}.{number}.{where}.{part}"] = (
                flat,
                np.ascontiguousarray(own.reshape(len(own), -1).T),
            )
    return found


def arrays_of(found: Factors, like: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `factors`: arrays of the names and shapes of `like`.

    Raises ValueError where a part is missing, does not fit, or parts that share an A in Tunix do not here.
    """
    arrays: dict[str, np.ndarray] = {}
    left = set(found)
    for name, example in like.items():
        layer, number, block, module, _ = _path(name)
        where = "self_attn" if block == "attn" else block
        keys = [f"{layer}.{number}.{where}.{part}" for part in _PARTS[module]]
        missing = [k for k in keys if k not in found]
        if missing:
            raise ValueError(f"the adapter lacks {missing[0]}")
        left -= set(keys)
        first, shape = [found[k][0] for k in keys], np.shape(example)
        if name.endswith("_a"):
            if any(not np.array_equal(first[0], other) for other in first[1:]):
                raise ValueError(f"{', '.join(keys)} have an A each; in Tunix they share one")
            value = first[0].T
        else:
            value = np.stack([found[k][1].T for k in keys], axis=1)
        if value.size != np.prod(shape, dtype=int):
            raise ValueError(f"{keys[0]}: the adapter's matrices have other sizes than the model's")
        arrays[name] = np.ascontiguousarray(value.reshape(shape))
    if left:
        raise ValueError(f"the adapter has {min(left)}, which the model does not adapt")
    return arrays


def _path(name: str) -> list[str]:
    parts = name.split(".")
    if len(parts) != 5 or parts[3] not in _PARTS or not re.fullmatch(r"(w|kernel)_lora_[ab]", parts[4]):
        raise ValueError(f"the adapter's array {name} is of no module that can be exported")
    return parts


def write_merged(
    base: Path,
    tokenizer: Tokenizer,
    adapters: Sequence[tuple[Mapping[str, np.ndarray], float]],
    folder: Path,
    shard_bytes: int = SHARD,
) -> str:
    """The base's folder with adapters added to its weights: W + Σ scale · B A for each (arrays, scale), in
    float32, rounded once to the dtype that the tensor has in the base. All else is copied as it is, the tower
    of a model that sees among it. Returns the dtype of the weights that were changed.

    Raises ValueError where the base has no such files or an adapter does not fit it.
    """
    given = tensors(base)
    added = [(factors(arrays), np.float32(scale)) for arrays, scale in adapters]
    layers = {m[1]: name for name in given if (m := _LAYER.fullmatch(name))}
    changes: dict[str, list[tuple[np.ndarray, np.ndarray, np.float32]]] = {}
    for found, scale in added:
        for module, (a, b) in found.items():
            name = layers.get(module)
            if name is None:
                raise ValueError(f"model {base}: has no tensor for {module}, which the adapter changes")
            if given[name].shape != (len(b), a.shape[1]):
                raise ValueError(f"model {base}: {name} is {given[name].shape}, not {(len(b), a.shape[1])}")
            changes.setdefault(name, []).append((a, b, scale))

    def change(name: str, tensor: Tensor) -> np.ndarray | None:
        if name not in changes:
            return None
        weight = tensor.array().astype(np.float32)
        for a, b, scale in changes[name]:
            weight += scale * (b @ a)
        return weight

    write_tensors(folder, given, change, shard_bytes)
    (folder / "config.json").write_text(_json(_read(base / "config.json")))
    generation = _read(base / "generation_config.json")
    ends = generation.get("eos_token_id", ())
    ends = ends if isinstance(ends, (list, tuple)) else (ends,)
    generation |= {
        "bos_token_id": tokenizer.bos,
        "eos_token_id": sorted({*ends, *tokenizer.ends}),
        "pad_token_id": tokenizer.pad,
    }
    (folder / "generation_config.json").write_text(_json(generation))
    write_tokenizer(base, folder)
    return np.dtype(FLOATS[given[next(iter(changes))].dtype]).name


def write_tokenizer(base: Path, folder: Path) -> None:
    """The base's tokenizer files and chat template; a base that has only `tokenizer.model` gets what
    `transformers` needs besides."""
    for name in _ALONG:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    if not (base / "tokenizer_config.json").is_file():
        about = {
            "tokenizer_class": "GemmaTokenizer",
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            # The older name: transformers 5 reads it too, 4 fails on a list under the newer one.
            "additional_special_tokens": ["<start_of_turn>", END_OF_TURN],
            "add_bos_token": True,
            "add_eos_token": False,
            "clean_up_tokenization_spaces": False,
        }
        (folder / "tokenizer_config.json").write_text(_json(about))
    own = "chat_template" in _read(folder / "tokenizer_config.json")
    if not own and not any((folder / n).is_file() for n in ("chat_template.jinja", "chat_template.json")):
        (folder / "chat_template.jinja").write_text(_TURNS)


def write_peft(base: Path, name: str, arrays: Mapping[str, np.ndarray], rank: int, alpha: float, folder: Path) -> None:
    """A PEFT adapter, `adapter_config.json` and `adapter_model.safetensors` in float32. PEFT scales by
    lora_alpha / r, as qwix does. `name` is what it says it was trained on."""
    # In a model that also sees, transformers keeps the text model one level deeper.
    sees = _read(base / "config.json").get("model_type") == "gemma3"
    at = "base_model.model.model." + ("language_model." if sees else "")
    found = factors(arrays)
    matrices = {}
    for module, (a, b) in found.items():
        matrices[f"{at}{module}.lora_A.weight"] = a
        matrices[f"{at}{module}.lora_B.weight"] = b
    targets = sorted({module.rpartition(".")[2] for module in found})
    about = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": name,
        "r": rank,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        # A tower that sees has modules of the same names, which are not adapted.
        "target_modules": rf".*\.language_model\.layers\.\d+\..*\.({'|'.join(targets)})" if sees else targets,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "inference_mode": True,
    }
    (folder / "adapter_model.safetensors").write_bytes(save(matrices, {"format": "pt"}))
    (folder / "adapter_config.json").write_text(_json(about))
    write_tokenizer(base, folder)


def read_peft(folder: Path) -> tuple[Factors, int, float]:
    """A PEFT adapter's matrices by module, its rank and its alpha.

    Raises ValueError, one line, for what cannot be read or is scaled in a way that qwix has not.
    """
    about = _read(folder / "adapter_config.json")
    try:
        rank, alpha = int(about["r"]), float(about["lora_alpha"])
        matrices = load_file(folder / "adapter_model.safetensors")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"adapter {folder}: cannot be read ({error})") from None
    if about.get("use_rslora") or about.get("use_dora"):
        raise ValueError(f"adapter {folder}: uses rslora or dora, which LoRA here is not")
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, matrix in matrices.items():
        match = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])(\.weight)", name)
        layer = _LAYER.fullmatch(match[1] + match[3]) if match else None
        if match is None or layer is None:
            raise ValueError(f"adapter {folder}: {name} is no factor of a text layer")
        found.setdefault(layer[1], {})[match[2]] = matrix
    odd = [module for module, both in found.items() if len(both) != 2]
    if odd:
        raise ValueError(f"adapter {folder}: {odd[0]} has only one of its two matrices")
    return {module: (both["A"], both["B"]) for module, both in found.items()}, rank, alpha


def write_tunix(model: Gemma, arrays: Mapping[str, np.ndarray], step: int, folder: Path) -> None:
    """Tunix's layout of a trained actor, `actor/<step>/model_params`, in float32, as its own checkpoint
    manager writes it and as the public notebooks restore it: into the LoRA parameters of a model.

    From host arrays, so that no device is named in it: what is saved from device arrays can be restored
    without a sharding only where a device of the same name exists, a TPU's file never on a CPU.
    """
    state = nnx.state(model, nnx.LoRAParam)
    for path, leaf in nnx.to_flat_state(state):
        leaf.set_value(np.asarray(arrays[".".join(map(str, path))], np.float32))
    save_args = jax.tree.map(lambda _: ocp.SaveArgs(), state)
    content = ocp.args.Composite(model_params=ocp.args.PyTreeSave(item=state, save_args=save_args))
    # What Tunix notes for an actor: where a training that goes on from here counts from.
    about = {"global_step": step, "role": "actor"}
    loud = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)  # Orbax logs a traceback of what it raises besides
    try:
        with ocp.CheckpointManager((folder / "actor").absolute()) as manager:
            manager.save(step, args=content, custom_metadata=about, force=True)
            manager.wait_until_finished()
    except Exception as error:  # of tensorstore, with the system's error in its text
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from None
    finally:
        logging.set_verbosity(loud)


def read_tunix(model: Gemma, folder: Path) -> dict[str, np.ndarray]:
    """The arrays of the latest step of a folder of `write_tunix` (or of Tunix), float32, for a model of that
    shape. Raises ValueError where there is none."""
    steps = [int(p.name) for p in (folder / "actor").glob("*") if p.name.isdigit()]
    if not steps:
        raise ValueError(f"{folder}: holds no checkpoint of an actor")
    path = (folder / "actor" / str(max(steps)) / "model_params").absolute()
    want = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, np.float32), nnx.state(model, nnx.LoRAParam))
    with ocp.StandardCheckpointer() as checkpointer:
        state: Any = checkpointer.restore(path, target=want)
    return {".".join(map(str, p)): np.array(leaf.get_value()) for p, leaf in nnx.to_flat_state(state)}


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: must hold an object")
    return value


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
