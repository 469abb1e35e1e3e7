"""Safetensors files read and written one tensor at a time: a model of many gigabytes is copied with the memory
of one matrix.

The library writes a file only from all its tensors at once, and gives bfloat16 to torch but not to numpy; the
format itself is a length, a header of JSON and the bytes. What the tensors mean is the callers' business.
"""

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

INDEX = "model.safetensors.index.json"
_DTYPES: dict[str, Any] = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F64": np.float64}
_BLOCK = 1 << 24
_MOST = 100_000_000  # bytes of a header, as the format's own readers allow


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor in a file: `dtype` as the format names it ("F32", "BF16", …), where its bytes begin, how many
    they are."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int

    def array(self) -> np.ndarray:
        """The values, in the dtype they have in the file. Raises ValueError for what is no float."""
        if self.dtype not in _DTYPES:
            raise ValueError(f"model {self.file}: tensors of type {self.dtype} are not known")
        with open(self.file, "rb") as file:
            file.seek(self.start)
            return np.frombuffer(file.read(self.size), _DTYPES[self.dtype]).reshape(self.shape)

    def blocks(self) -> Iterator[bytes]:
        """The bytes, some megabytes at a time."""
        with open(self.file, "rb") as file:
            file.seek(self.start)
            left = self.size
            while left:
                block = file.read(min(left, _BLOCK))
                if not block:
                    raise ValueError(f"model {self.file}: ends before its tensors do")
                left -= len(block)
                yield block


def tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a model folder, of one file or of shards with an index, in the order of layers and
    names. Raises ValueError, one line, where files are missing or broken."""
    index = folder / INDEX
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"model {folder}: {INDEX} cannot be read ({error})") from None
        if any(not isinstance(n, str) or "/" in n or not n.endswith(".safetensors") for n in names):
            raise ValueError(f"model {folder}: {INDEX} names files that are no shards of this folder")
    elif (folder / "model.safetensors").is_file():
        names = ["model.safetensors"]
    else:
        raise ValueError(f"model {folder}: no model.safetensors there, and no {INDEX}")
    found: dict[str, Tensor] = {}
    for name in names:
        found |= read_header(folder / name)
    return {name: found[name] for name in sorted(found, key=_natural)}


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors of one file. Raises ValueError where it is missing, cut or not of the format."""
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 2 <= size <= _MOST:
                raise ValueError("it has no header")
            header: dict[str, Any] = json.loads(file.read(size))
        whole, first = path.stat().st_size, 8 + size
        found = {}
        for name, about in header.items():
            if name == "__metadata__":
                continue
            begin, end = about["data_offsets"]
            if not 0 <= begin <= end <= whole - first:
                raise ValueError(f"{name} lies beyond its end")
            found[name] = Tensor(path, about["dtype"], tuple(about["shape"]), first + begin, end - begin)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"model {path}: cannot be read ({error})") from None
    return found


def write_tensors(
    folder: Path,
    given: dict[str, Tensor],
    change: Callable[[str, Tensor], np.ndarray | None],
    shard_bytes: int,
) -> list[Path]:
    """Write copies of tensors into an existing folder, as one file or, beyond `shard_bytes`, as shards with an
    index. `change(name, tensor)` gives the values to write instead (of the same shape; they are rounded to the
    tensor's dtype, once), or None for its bytes as they are. Returns the files, the index among them."""
    parts = list(_shares(given, shard_bytes))
    paths = []
    for number, names in enumerate(parts, 1):
        one = len(parts) == 1
        path = folder / ("model.safetensors" if one else f"model-{number:05d}-of-{len(parts):05d}.safetensors")
        _write(path, {name: given[name] for name in names}, change)
        paths.append(path)
    if len(parts) > 1:
        total = sum(t.size for t in given.values())
        where = {name: path.name for path, names in zip(paths, parts, strict=True) for name in names}
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
        paths.append(folder / INDEX)
        paths[-1].write_text(json.dumps(index, indent=2) + "\n")
    return paths


def _write(path: Path, given: dict[str, Tensor], change: Callable[[str, Tensor], np.ndarray | None]) -> None:
    # The widest first: every tensor then begins at a multiple of its own width.
    names = sorted(given, key=lambda name: -_width(given[name]))
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
                for block in t.blocks():
                    file.write(block)
            elif values.shape != t.shape:
                raise ValueError(f"{name} has shape {t.shape}, not {values.shape}")
            else:
                file.write(np.ascontiguousarray(values.astype(_DTYPES[t.dtype])).tobytes())
        file.flush()
        os.fsync(file.fileno())


def _shares(given: dict[str, Tensor], most: int) -> Iterable[list[str]]:
    """Names in their order, as many to a shard as fit; a tensor that is larger than a shard has its own."""
    share: list[str] = []
    size = 0
    for name, t in given.items():
        if share and size + t.size > most:
            yield share
            share, size = [], 0
        share.append(name)
        size += t.size
    if share:
        yield share


def _width(t: Tensor) -> int:
    return t.size // max(1, math.prod(t.shape))


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers in a name are compared as numbers: layer 2 before layer 10."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name)]
