"""From a name to a model, and back to a folder: Gemma 2 and Gemma 3 in Hugging Face's layout.

Headers are read and checked first, so that what is wrong is said within seconds; then tensors go one by one
to the device, so that the host never holds more than the largest of them twice. What a name may be is
`source.py`, the config `config.py`, the tensors' names `layout.py`; LoRA, sampling and training are
elsewhere.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Sharding
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from everystep.model.config import FAMILIES, Config, config_json, read_config
from everystep.model.gemma import Gemma
from everystep.model.io.layout import HEAD, ParameterPath, Shape, from_file, layout, to_file
from everystep.model.io.source import TINY, Source, find
from everystep.model.keys import Keys
from everystep.model.lora import add_lora, load_adapter, merged, set_adapter
from everystep.model.mesh import Weights, device_mesh, put, weights_sharding
from everystep.model.tokenizer import Tokenizer, load_tokenizer

Placement = Sharding | Callable[[ParameterPath, Shape], Sharding]
Dtype = Literal["auto", "float32", "bfloat16"]

_PREFIXES = ("model.", "language_model.model.", "model.language_model.")
_VISION = ("vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector.")
_DTYPES = ("F32", "F16", "BF16")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Base:
    """A base model as loaded: the module, its tokenizer and where it came from."""

    model: Gemma
    tokenizer: Tokenizer
    folder: Path


def fingerprint(name: str) -> str:
    """A hash of the bytes of a model's weights, config and tokenizer, and of an adapter that is part of it.

    Raises ValueError, one line, for a name that is nothing.
    """
    source = find(name)
    digest = hashlib.sha256()
    files = [p for p in sorted(source.folder.iterdir()) if p.suffix in (".safetensors", ".json", ".model")]
    for path in files + [adapter.file for adapter in source.adapters]:
        digest.update(path.name.encode() + b"\0")
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def load(
    name: str, *, dtype: Dtype = "auto", weights: Weights = "replicated", placement: Placement | None = None
) -> Base:
    """Load the model `name` (see `source.find`): "tiny", a folder, a hub id, a Kaggle handle, a run.

    `dtype` "auto": float32 on CPU and for the shipped tiny model, bfloat16 on accelerators. `weights`: whole
    on every device, or spread over them (`mesh.weights_sharding`). `placement`, where that is not enough: the
    sharding of all parameters, or a function of a parameter's path and shape that gives it.

    Raises ValueError, one line, for an unknown name, a missing or broken file, another model family, or
    tensors that do not fit the config.
    """
    source = find(name)
    folder = source.folder
    config = read_config(folder, _dtype(dtype, folder))
    tokenizer = load_tokenizer(folder)
    _check_tokenizer(tokenizer, config, folder)
    model = nnx.eval_shape(lambda: Gemma(config, rngs=Keys(0)))
    graph, state = nnx.split(model)
    wanted = layout(config)
    files = _files(folder, {k: shape for k, (_, shape) in wanted.items()})
    at: dict[ParameterPath, list[str]] = {}
    for key, (path, _) in wanted.items():
        at.setdefault(path, []).append(key)
    # File by file, not layer by layer: on a slow disk each file is read once and in order.
    for path, leaf in sorted(nnx.to_flat_state(state), key=lambda item: str(files[at[item[0]][0]].path)):
        value = _value([files[key] for key in at[path]], at[path], config)
        leaf.set_value(put(value, _sharding(placement, weights, path, value.shape)))
        del value
    return Base(_with_adapters(nnx.merge(graph, state), source), tokenizer, folder)


def save(model: Gemma, tokenizer_model: bytes, folder: Path) -> None:
    """Write the folder (float32); `load` reads the same numbers back."""
    folder.mkdir(parents=True, exist_ok=True)
    config: Config = model.config
    flat = {
        path: np.asarray(leaf.get_value(), np.float32) for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param))
    }
    tensors = {}
    for name, (path, shape) in layout(config).items():
        tensors[name] = np.ascontiguousarray(to_file(name, flat[path], shape))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "tokenizer.model").write_bytes(tokenizer_model)
    (folder / "config.json").write_text(json.dumps(config_json(config), indent=1) + "\n")


def device() -> str:
    """The accelerators at hand, in words, e.g. "1 x cpu"."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def _dtype(dtype: Dtype, folder: Path) -> Any:
    if dtype == "auto":
        dtype = "float32" if jax.default_backend() == "cpu" or folder == TINY else "bfloat16"
    return {"float32": jnp.float32, "bfloat16": jnp.bfloat16}[dtype]


def _sharding(placement: Placement | None, weights: Weights, path: ParameterPath, shape: Shape) -> Sharding:
    if placement is None:
        return weights_sharding(device_mesh(), weights, shape)
    return placement if isinstance(placement, Sharding) else placement(path, shape)


def _value(tensors: Sequence["_Tensor"], keys: Sequence[str], config: Config) -> np.ndarray:
    """A parameter in its dtype, out of its tensors, read one by one (each may have another dtype)."""
    made: np.ndarray | None = None
    for i, (tensor, key) in enumerate(zip(tensors, keys, strict=True)):
        part = from_file(key, tensor.read(), config)
        if len(tensors) == 1:
            return np.ascontiguousarray(part, config.param_dtype)
        if made is None:
            made = np.empty((len(tensors), *part.shape), config.param_dtype)
        made[i] = part
    assert made is not None
    return made


def _check_tokenizer(tokenizer: Tokenizer, config: Config, folder: Path) -> None:
    """Raises ValueError where tokenizer and weights cannot belong together."""
    family = FAMILIES[config.family]
    if tokenizer.size > config.num_embed:
        raise ValueError(
            f"model {folder}: the tokenizer has {tokenizer.size} pieces, the embedding only {config.num_embed} rows"
        )
    if tokenizer.ends != family.ends:
        raise ValueError(
            f"model {folder}: the tokenizer ends at the ids {tokenizer.ends}, a {family.title} at "
            f"{family.ends}; is it another model's tokenizer?"
        )


@dataclass(frozen=True, slots=True)
class _Tensor:
    """One tensor of a file. Every reading opens the file anew: nothing stays mapped in between."""

    path: Path
    key: str

    def read(self) -> np.ndarray:
        try:
            with safe_open(self.path, "numpy") as file:
                return file.get_tensor(self.key)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"model {self.path.parent}: {self.path.name} cannot be read ({error})") from None


def _files(folder: Path, wanted: Mapping[str, Shape]) -> dict[str, _Tensor]:
    """Where each tensor of the layout lies. Raises ValueError, one line, for anything missing, surplus, of
    another shape, or of a dtype that is no plain float; no weights have been read by then."""
    found: dict[str, tuple[_Tensor, Shape]] = {}
    for path, keys in _shards(folder).items():
        try:
            with safe_open(path, "numpy") as file:
                held = set(file.keys())
                for key in sorted(keys - held if keys else ()):
                    raise ValueError(f"model {folder}: {path.name} lacks {key}, which the index puts there")
                for key in sorted(keys or held):
                    about = file.get_slice(key)
                    if about.get_dtype() not in _DTYPES and not key.startswith(_VISION):
                        raise ValueError(
                            f"model {folder}: {key} is of dtype {about.get_dtype()}; only float32, float16 "
                            "and bfloat16 can be loaded, not quantised weights"
                        )
                    found[key] = (_Tensor(path, key), tuple(about.get_shape()))
        except (SafetensorError, OSError) as error:
            raise ValueError(f"model {folder}: {path.name} cannot be read ({error})") from None
    prefix = next((p for p in _PREFIXES if p + "embed_tokens.weight" in found), "model.")
    own = {"model." + k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
    rest = {k for k in found if not k.startswith(prefix) and k.rpartition("language_model.")[2] != HEAD}
    vision = {k for k in rest | set(own) if k.startswith(_VISION)}
    if vision:
        _log.warning("model %s: %d vision tensors are left out; only text is read", folder, len(vision))
    missing = sorted(set(wanted) - set(own))
    if missing:
        raise ValueError(f"model {folder}: {len(missing)} tensors are missing, the first is {missing[0]}")
    more = sorted((set(own) - set(wanted) | rest) - vision)
    if more:
        raise ValueError(f"model {folder}: {len(more)} tensors have no place in the model, the first is {more[0]}")
    for key, shape in wanted.items():
        if own[key][1] != shape:
            raise ValueError(f"model {folder}: {key} has shape {own[key][1]}, config.json asks for {shape}")
    return {key: own[key][0] for key in wanted}


def _shards(folder: Path) -> dict[Path, set[str]]:
    """The files that hold the weights, each with what the index puts there (nothing said: all it has)."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if not index.is_file():
        if not single.is_file():
            others = sorted(p.name for p in folder.glob("*") if p.suffix in (".bin", ".safetensors", ".gguf"))
            hint = f"; {others[0]} is there, but nothing says what is in it" if others else ""
            raise ValueError(f"model {folder}: no model.safetensors and no index of parts there{hint}")
        return {single: set()}
    try:
        places = json.loads(index.read_bytes())["weight_map"]
        shards: dict[Path, set[str]] = {}
        for key, name in places.items():
            if Path(name).name != name:
                raise ValueError(f"{name!r} is no plain file name")
            shards.setdefault(folder / name, set()).add(key)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"model {folder}: {index.name} cannot be read ({error})") from None
    for path in shards:
        if not path.is_file():
            raise ValueError(f"model {folder}: {path.name} is missing, which {index.name} names")
    return shards


def _with_adapters(model: Gemma, source: Source) -> Gemma:
    """The model with the adapters of the runs that the name stands for added to its weights."""
    for adapter in source.adapters:
        lora = add_lora(model, adapter.rank, adapter.alpha, None)
        set_adapter(lora, load_adapter(adapter.file)[0])
        model = nnx.merge(nnx.graphdef(model), merged(lora))
    return model
