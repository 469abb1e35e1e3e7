"""Several processes that train one policy: joining them, agreeing, sharing the decoding, one run directory.

Every process does the same in the same order. Only the decoding is shared out: each has its own prompts, on
its own devices, with no exchange before its rows are done; the update is one program over all devices. What
could differ between processes (the time, a wish to stop, what the run directory holds) is the first one's for
all. One process needs none of this and pays nothing for it.
"""

import io
import json
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from everystep.core.types import Sampling
from everystep.model.chunk import Structure
from everystep.model.decode import Decoded, OnDone, decode

_PIECE = 1 << 26  # bytes sent at once
_OWN = (".lock", "report", "export", "grpo/records")  # of a run: only the first process has need of them
_ALONE = 60  # seconds without a sign of life after which JAX gives up a process


def join(place: str) -> None:
    """Join the other processes. `place` is "INDEX/COUNT@HOST:PORT" (the host is the first process's, and the
    port a free one there), or "auto" where the system says it (TPU pods, Slurm).

    Raises ValueError for a place that makes no sense, or where not all come within five minutes.
    """
    match = re.fullmatch(r"(\d{1,4})/(\d{1,4})@([^\s/@]+:\d{1,5})", place)
    if place != "auto" and (match is None or int(match[1]) >= int(match[2])):
        raise ValueError(f"--hosts {place!r}: give INDEX/COUNT@HOST:PORT with an index from 0, or auto")
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from us
    try:
        if match is None:
            jax.distributed.initialize(heartbeat_timeout_seconds=_ALONE)
        else:
            jax.distributed.initialize(match[3], int(match[2]), int(match[1]), heartbeat_timeout_seconds=_ALONE)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"--hosts {place}: the processes did not find each other ({error})") from None


def first() -> bool:
    """Whether this is the process that writes the run directory and speaks."""
    return jax.process_index() == 0


def alone() -> bool:
    """Whether this process trains by itself."""
    return jax.process_count() == 1


def time_of_first(now: Callable[[], float]) -> Callable[[], float]:
    """A clock that shows every process the first one's time. All must ask equally often."""
    return lambda: float(json.loads(_from_first(json.dumps(now()).encode())))


def stop_of_any(stop: Callable[[], str | None]) -> Callable[[], str | None]:
    """A reason to stop for all, where one of them has one. All must ask equally often."""

    def asked() -> str | None:
        own = stop()
        wishes = multihost_utils.process_allgather(np.array([own is not None], np.uint8))
        return own or ("another process was asked to stop" if wishes.any() else None)

    return asked


@contextmanager
def one_directory(root: Path) -> Iterator[Path]:
    """The run directory that this process works on: the first one's is `root`; every other has a copy of what
    that holds now, which is thrown away in the end. So all go on from the same state, whatever they had."""
    held = _from_first(_packed(root) if first() else b"")
    if first():
        yield root
        return
    with tempfile.TemporaryDirectory(prefix="everystep-") as folder:
        copy = Path(folder) / root.name
        if held:
            with tarfile.open(fileobj=io.BytesIO(held)) as archive:
                archive.extractall(copy, filter="data")
        yield copy


def decode_shared(
    graph: Structure,
    state: Any,
    prompts: Sequence[Sequence[int]],
    n: int,
    sampling: Sampling,
    *,
    pad: int,
    ends: tuple[int, ...],
    on_done: OnDone | None = None,
) -> list[list[Decoded]]:
    """`decode`, with the prompts shared out over the processes; every process gets all rows, with several
    processes when all are done. `state` lies on this process's own devices (`mesh.local`)."""
    count, index = jax.process_count(), jax.process_index()
    if count == 1:
        return decode(graph, state, prompts, n, sampling, pad=pad, ends=ends, on_done=on_done)
    own = prompts[index::count]
    most = -(-len(prompts) // count)
    tokens = np.full((most, n, sampling.max_tokens), pad, np.int32)
    logprobs = np.zeros(tokens.shape, np.float32)
    lengths, ended = np.zeros((most, n), np.int32), np.zeros((most, n), np.uint8)
    rows = decode(graph, state, own, n, sampling, pad=pad, ends=ends) if own else []
    for i, group in enumerate(rows):
        for k, row in enumerate(group):
            lengths[i, k], ended[i, k] = len(row.tokens), row.ended
            tokens[i, k, : len(row.tokens)], logprobs[i, k, : len(row.tokens)] = row.tokens, row.logprobs
    every = multihost_utils.process_allgather((tokens, logprobs, lengths, ended))
    groups = [
        [_row(*(np.asarray(x)[i % count, i // count, k] for x in every)) for k in range(n)] for i in range(len(prompts))
    ]
    if on_done is not None:
        on_done(list(enumerate(row for group in groups for row in group)))
    return groups


def _row(tokens: Any, logprobs: Any, length: Any, ended: Any) -> Decoded:
    return Decoded(tokens[:length].copy(), logprobs[:length].copy(), bool(ended))


def _from_first(content: bytes) -> bytes:
    """What the first process gives; what the others give is ignored."""
    size = np.frombuffer(np.int64(len(content)).tobytes(), np.uint8)
    total = int(np.asarray(multihost_utils.broadcast_one_to_all(size)).view(np.int64)[0])
    out = bytearray()
    for start in range(0, total, _PIECE):
        piece = np.zeros(min(_PIECE, total - start), np.uint8)
        if first():
            piece[:] = np.frombuffer(content[start : start + _PIECE], np.uint8)
        out += np.asarray(multihost_utils.broadcast_one_to_all(piece)).tobytes()
    return bytes(out)


def _packed(root: Path) -> bytes:
    """A run directory as an archive, without what others have no need of; nothing where there is none."""
    if not (root / "recipe.json").is_file():
        return b""

    def wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        inside = entry.name.removeprefix("./")
        plain = entry.isfile() or entry.isdir()
        return entry if plain and not inside.startswith(_OWN) else None

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(root, ".", filter=wanted)
    return content.getvalue()
