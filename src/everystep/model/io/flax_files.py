"""A Gemma in DeepMind's own layout (Flax, written by Orbax), as Kaggle's other variation has it, written once
as a Hugging Face folder: what is loaded, compared and exported is then always that.

The folder lies in the user's cache and is named after the checkpoint's own metadata. One tensor at a time is
read and written. Finding the checkpoint is `source.py`, reading the folder `load.py`.
"""

import dataclasses
import functools
import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore

from everystep.core.files import cache_folder
from everystep.model.config import Config, config_json, read_config
from everystep.model.io.layout import ParameterPath, Shape, layout, to_file
from everystep.model.io.published import KNOWN
from everystep.model.io.shards import FLOATS, Tensor, write_tensors

_ROOT = "transformer/"
_VISION = ("siglip", "embedder/mm_")  # in small letters: it is spelled in several ways
_TOKENIZER = "tokenizer.model"
_SHARD = 2 << 30  # bytes
_NAMES = {np.dtype(dtype).name: name for name, dtype in FLOATS.items()}
_log = logging.getLogger(__name__)


def as_folder(checkpoint: Path) -> Path:
    """The checkpoint as a Hugging Face folder, written now or found where it was written before.

    `tokenizer.model` must lie in the checkpoint or beside it; a `config.json` there says the shape where it
    is not that of a published model. Raises ValueError, one line, for what is missing, broken or not a Gemma.
    """
    tokenizer = _beside(checkpoint, _TOKENIZER)
    if tokenizer is None:
        raise ValueError(f"model {checkpoint}: a Flax checkpoint without {_TOKENIZER}, which Kaggle has beside it")
    said = _beside(checkpoint, "config.json")
    parts = [(checkpoint / "_METADATA").read_bytes(), tokenizer.read_bytes()]
    parts += [said.read_bytes()] if said else []
    # The metadata alone may be that of another checkpoint of the same shape.
    parts += [
        f"{p.relative_to(checkpoint)} {p.stat().st_size} {p.stat().st_mtime_ns}".encode()
        for p in sorted(checkpoint.rglob("*"))
        if p.is_file()
    ]
    name = f"{checkpoint.name}-{hashlib.sha256(bytes(0).join(parts)).hexdigest()[:16]}"
    cache = cache_folder("flax")
    if not (cache / name / "config.json").is_file():
        cache.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache))
        try:
            _write(checkpoint, tokenizer, said, partial)
            partial.rename(cache / name)
        except OSError:
            if not (cache / name / "config.json").is_file():  # else another process was faster
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return cache / name


def _beside(checkpoint: Path, name: str) -> Path | None:
    return next((p for p in (checkpoint / name, checkpoint.parent / name) if p.is_file()), None)


def _write(checkpoint: Path, tokenizer: Path, said: Path | None, folder: Path) -> None:
    held = dict(_held(checkpoint))
    shapes = {key: tuple(array.shape) for key, array in held.items()}
    config = read_config(said.parent) if said else shape_of_arrays(shapes, checkpoint)
    wanted = layout(config)
    given: dict[str, Tensor] = {}
    for name, (path, shape) in wanted.items():
        key = flax_name(path)
        if key not in held:
            raise ValueError(f"model {checkpoint}: {key} is missing, which a Gemma of this shape has")
        dtype = held[key].dtype.name
        if dtype not in _NAMES:
            raise ValueError(f"model {checkpoint}: {key} is of type {dtype}, which is not known here")
        given[name] = Tensor(checkpoint, key, _NAMES[dtype], shape)
    more = sorted(held.keys() - {t.key for t in given.values()})
    if more:
        raise ValueError(f"model {checkpoint}: {len(more)} arrays have no place in the model, the first is {more[0]}")

    # The two or three tensors that an array holds come one after the other.
    @functools.lru_cache(maxsize=1)
    def read(key: str) -> np.ndarray:
        try:
            return held[key].read().result()
        except (ValueError, OSError, RuntimeError) as error:
            raise ValueError(f"model {checkpoint}: {key} cannot be read ({_line(error)})") from None

    def value(name: str, tensor: Tensor) -> np.ndarray:
        path, shape = wanted[name]
        array = read(tensor.key)
        try:
            out = to_file(name, _module_array(path, array, config), shape)
        except (ValueError, IndexError):  # axes that are not there
            out = np.empty(0)
        if out.shape != shape:
            raise ValueError(
                f"model {checkpoint}: {tensor.key} has shape {shapes[tensor.key]}, which does not make "
                f"{name} of shape {shape}"
            )
        return out

    write_tensors(folder, given, value, _SHARD)
    shutil.copyfile(tokenizer, folder / _TOKENIZER)
    text = json.dumps(config_json(config, _dtype_name(given)), indent=1)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")  # last: with it the folder is whole


def _dtype_name(given: Mapping[str, Tensor]) -> str:
    return np.dtype(FLOATS[max(given.values(), key=lambda t: t.size).dtype]).name


def flax_name(path: ParameterPath) -> str:
    """Where DeepMind's layout has a parameter of the module.

    >>> flax_name(("layers", 3, "mlp", "up_proj", "kernel")), flax_name(("final_norm", "scale"))
    ('layer_3/mlp/gating_einsum/w', 'final_norm/scale')
    """
    if path[0] != "layers":
        return "/".join(path)
    _, layer, *rest = path
    if rest[0] == "mlp":
        rest = ["mlp", "linear" if rest[1] == "down_proj" else "gating_einsum", "w"]
    return "/".join([f"layer_{layer}", *rest])


def _module_array(path: ParameterPath, array: np.ndarray, config: Config) -> np.ndarray:
    """An array of the checkpoint as the module has it: gate and up are one array there, in either order of
    its axes (Gemma 2 has other ones than Gemma 3)."""
    if path[-2] in ("gate_proj", "up_proj"):
        half = array[0 if path[-2] == "gate_proj" else 1]
        return half if half.shape == (config.embed_dim, config.hidden_dim) else half.T
    return array


def shape_of_arrays(shapes: Mapping[str, Shape], where: Path = Path("checkpoint")) -> Config:
    """The published model whose arrays have these shapes. Raises ValueError where there is none."""
    layers = len({key.split("/")[0] for key in shapes if key.startswith("layer_")})
    rows, width = shapes.get("embedder/input_embedding", (0, 0))
    normalised = "layer_0/attn/_query_norm/scale" in shapes
    for config in KNOWN.values():
        if (config.num_layers, config.embed_dim, config.normalised) == (layers, width, normalised):
            return dataclasses.replace(config, num_embed=rows)
    raise ValueError(
        f"model {where}: {layers} layers of width {width} are no Gemma that is known here; put the "
        "config.json of its transformers variation beside it"
    )


def _held(checkpoint: Path) -> Iterator[tuple[str, Any]]:
    """Every array of the text model by its name, opened and not read."""
    try:
        said = json.loads((checkpoint / "_METADATA").read_bytes())
        driver = "zarr3" if said.get("use_zarr3") else "zarr"
        leaves = said["tree_metadata"].values()
        names = [[str(part["key"]) for part in leaf["key_metadata"]] for leaf in leaves]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = _line(error)
        raise ValueError(f"model {checkpoint}: no Orbax checkpoint that can be read ({why})") from None
    vision = 0
    for keys in names:
        name = "/".join(keys).removeprefix(_ROOT)
        if name.lower().startswith(_VISION):
            vision += 1
        else:
            yield name, _opened(checkpoint, name, ".".join(keys), driver)
    if vision:
        _log.warning("model %s: %d vision arrays are left out; only text is read", checkpoint, vision)


def _opened(checkpoint: Path, name: str, stored: str, driver: str) -> Any:
    """By TensorStore, as Orbax does it; what Orbax itself starts where a file is torn goes on complaining
    after the error."""
    root = checkpoint.resolve()
    store = {"driver": "ocdbt", "base": f"file://{root}/", "path": f"{stored}/"}
    if not (root / "manifest.ocdbt").is_file():
        store = {"driver": "file", "path": f"{root / stored}/"}
    try:
        return tensorstore.open({"driver": driver, "kvstore": store}).result()
    except (ValueError, OSError, RuntimeError) as error:
        raise ValueError(f"model {checkpoint}: {name} cannot be read ({_line(error)})") from None


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
