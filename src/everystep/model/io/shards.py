"""Weights of a Hugging Face folder copied to another, one tensor at a time: a model of many gigabytes needs
the memory of its largest matrix.

The library writes a file only from all its tensors at once; the format itself is a length, a header of JSON
and the bytes. What the tensors mean is the callers' business.
"""

import json
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

INDEX = "model.safetensors.index.json"
FLOATS: dict[str, Any] = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}

Change = Callable[[str, "Tensor"], np.ndarray | None]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor in a file; `dtype` as the format names it ("F32", "BF16", …)."""

    file: Path
    key: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        """Bytes of one value. Raises ValueError for what is no plain float."""
        if self.dtype not in FLOATS:
            raise ValueError(f"model {self.file}: {self.key} is of type {self.dtype}, which is not known here")
        return np.dtype(FLOATS[self.dtype]).itemsize

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.width

    def array(self) -> np.ndarray:
        """The values, in the dtype they have in the file."""
        try:
            with safe_open(self.file, "numpy") as file:
                return file.get_tensor(self.key)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"model {self.file}: cannot be read ({error})") from None


def tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a model folder, of one file or of shards with an index, layer by layer.

    Raises ValueError, one line, where files are missing or broken.
    """
    index, found = folder / INDEX, {}
    try:
        names = ["model.safetensors"]
        if index.is_file():
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        for name in names:
            path = folder / name
            with safe_open(path, "numpy") as file:
                for key in file.keys():  # noqa: SIM118
                    about = file.get_slice(key)
                    found[key] = Tensor(path, key, about.get_dtype(), tuple(about.get_shape()))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"model {folder}: its weights cannot be read ({error})") from None
    return {key: found[key] for key in sorted(found, key=_natural)}


def write_tensors(folder: Path, given: dict[str, Tensor], change: Change, shard_bytes: int) -> None:
    """Write copies of tensors into an existing folder, as one file or, beyond `shard_bytes`, as shards with
    an index. `change(name, tensor)` gives the values to write instead (of the same shape; they are rounded to
    the tensor's dtype, once), or None to write it as it is."""
    parts = list(_shares(given, shard_bytes))
    where: dict[str, str] = {}
    for number, names in enumerate(parts, 1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors" if len(parts) > 1 else "model.safetensors"
        _write(folder / file, {name: given[name] for name in names}, change)
        where |= dict.fromkeys(names, file)
    if len(parts) > 1:
        index = {"metadata": {"total_size": sum(t.size for t in given.values())}, "weight_map": where}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _write(path: Path, given: dict[str, Tensor], change: Change) -> None:
    # The widest first: every tensor then begins at a multiple of its own width.
    names = sorted(given, key=lambda name: -given[name].width)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in names:
        t = given[name]
        header[name] = {"dtype": t.dtype, "shape": list(t.shape), "data_offsets": [at, at + t.size]}
        at += t.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in names:
            t = given[name]
            values = change(name, t)
            if values is None:
                values = t.array()
            elif values.shape != t.shape:
                raise ValueError(f"{name} has shape {t.shape}, not {values.shape}")
            # As bytes: buffers of bfloat16 have no name in Python's buffer protocol.
            plain = np.ascontiguousarray(values.astype(FLOATS[t.dtype], copy=False))
            file.write(plain.reshape(-1).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())


def _shares(given: dict[str, Tensor], most: int) -> Iterator[list[str]]:
    """Names in their order, as many to a shard as fit; a tensor that is larger than a shard has its own."""
    share: list[str] = []
    size = 0
    for name, t in given.items():
        if share and size + t.size > most:
            yield share
            share, size = [], 0
        share.append(name)
        size += t.size
    yield share


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers in a name are compared as numbers: layer 2 before layer 10."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name)]
