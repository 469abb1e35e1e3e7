"""Checkpoints: named arrays and a few values at a step, written so that none is ever half there.

A checkpoint is one file whose name holds its step and the hash of its bytes: renamed into place when it is
on the disk, found to be whole or damaged by reading it. Writing happens in a thread. What the arrays mean is
the stage's business; when to write is the session's (`stage_session.py`).

A safetensors file of our own and not Orbax: adapters are small, the exact bytes can be hashed and compared,
and a test can end the process between any two system calls.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from everystep.core.files import write_bytes

_NAME = re.compile(r"step-(\d{8})\.([0-9a-f]{16})\.safetensors")
_WIDE = {"bfloat16": (ml_dtypes.bfloat16, np.uint16)}  # what safetensors' numpy side has no name for


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or used; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What a checkpoint holds. `about` are plain JSON values."""

    step: int
    arrays: dict[str, np.ndarray]
    about: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of one stage in `folder`: the newest `keep`, and for good those at multiples of
    `keep_every` steps.

    `identity` names everything that a resume must find unchanged (base, recipe, data, code, …), but for what
    `accept` lets differ.
    """

    folder: Path
    identity: Mapping[str, str]
    keep: int = 2
    keep_every: int | None = None
    accept: frozenset[str] = frozenset()

    def files(self) -> list[Path]:
        """The files that are there, oldest first."""
        return sorted(p for p in self.folder.glob("step-*") if _NAME.fullmatch(p.name))

    def write(self, step: int, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Path:
        """Write a checkpoint, then remove what need not be kept. Raises CheckpointError where it cannot be
        written; those before it stay as they were."""
        content = _packed(step, arrays, {"identity": dict(self.identity), "about": dict(about)})
        path = self.folder / f"step-{step:08d}.{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
        try:
            write_bytes(path, content)
            self._prune(path)
        except OSError as error:
            raise CheckpointError(
                f"checkpoint of step {step}: cannot be written in {self.folder} ({error.strerror}); the ones "
                f"before it are whole: make room or give the permission, and the same command goes on"
            ) from None
        return path

    def newest(self, say: Callable[[str], None]) -> Saved | None:
        """The newest whole checkpoint; None where there is none. A damaged one is said, set aside and passed
        over. Raises CheckpointError where the newest whole one is of other base weights, data or code."""
        for path in reversed(self.files()):
            try:
                saved, identity = _unpacked(path)
            except CheckpointError as error:
                say(f"{error}; going back to the one before")
                os.replace(path, path.with_name(f"{path.name}.damaged"))
                continue
            self._same(path, identity)
            return saved
        return None

    def _prune(self, written: Path) -> None:
        files = self.files()
        for path in files[: -self.keep]:
            step = _step(path)
            if path != written and not (self.keep_every and step % self.keep_every == 0):
                path.unlink()
        for path in files:  # the same step, written again after a resume
            if path != written and _step(path) == _step(written):
                path.unlink(missing_ok=True)

    def _same(self, path: Path, identity: Mapping[str, str]) -> None:
        keys = self.identity.keys() | identity.keys()
        other = sorted(k for k in keys - self.accept if self.identity.get(k) != identity.get(k))
        if other:
            raise CheckpointError(
                f"{path.name}: was made with other {', '.join(other)}, so the run would not end in the same "
                f"numbers; bring these back, or go on all the same with --accept {','.join(other)}"
            )


class Writer:
    """Writes checkpoints in a thread, one at a time. `close` waits for the last and raises what it raised."""

    def __init__(self, checkpoints: Checkpoints):
        self.checkpoints = checkpoints
        self._pool = ThreadPoolExecutor(1)
        self._last: Future[Path] | None = None

    def write(self, step: int, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
        self.wait()
        self._last = self._pool.submit(self.checkpoints.write, step, arrays, about)

    def wait(self) -> None:
        if self._last is not None:
            last, self._last = self._last, None
            last.result()

    def close(self) -> None:
        try:
            self.wait()
        finally:
            self._pool.shutdown()


def _packed(step: int, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> bytes:
    plain: dict[str, np.ndarray] = {}
    wide: dict[str, str] = {}
    for name, array in sorted(arrays.items()):
        if str(array.dtype) in _WIDE:
            wide[name] = str(array.dtype)
            array = array.view(_WIDE[str(array.dtype)][1])
        plain[name] = np.array(array, order="C")  # ascontiguousarray would give a scalar a dimension
    text = json.dumps({"step": step, "wide": wide, **about}, sort_keys=True)
    return save(plain, {"checkpoint": text})


def _unpacked(path: Path) -> tuple[Saved, dict[str, str]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint {path.name}: cannot be read ({error.strerror})") from None
    match = _NAME.fullmatch(path.name)
    if match is None or hashlib.sha256(content).hexdigest()[:16] != match[2]:
        raise CheckpointError(f"checkpoint {path.name}: is damaged (its bytes are not those of its name)")
    try:
        size = int.from_bytes(content[:8], "little")
        head = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["checkpoint"])
        arrays = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"checkpoint {path.name}: cannot be understood ({error})") from None
    for name, dtype in head["wide"].items():
        arrays[name] = arrays[name].view(_WIDE[dtype][0])
    return Saved(head["step"], arrays, head["about"]), head["identity"]


def _step(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])
