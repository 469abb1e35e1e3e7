"""Decoding: token ids in, sampled token ids and their log-probabilities out, in compiled chunks.

Each distinct prompt is prefilled once. While a batch holds all samples of all its prompts they read the
prompt's keys and values where they lie; otherwise those are repeated for each. Decoding runs in compiled
chunks of `CHUNK` steps. Between chunks the host looks: the batch shrinks to the next smaller bucket, so that
nothing is computed for rows that are done, or, where more are wanted than are decoded at once, a row that is
done makes room for one that waits; the KV cache has room for what is held and not for what may come (`kv_cache.py`).
Batches have 16, 32, 64, … rows, so that few shapes are compiled. A processor decodes several batches side by
side, one a core, since the small products of decoding do not fill two; and there rows that wait are later
batches, since rows of one age have a short KV cache, whose reading is what a step costs there. The noise of a row
depends on (seed, prompt, sample, position) alone, hence not on its neighbours, on when it got its place, nor
on the shrinking.
The compiled programs are `chunk.py`; text, prompts and the engine's interfaces are elsewhere (`sampler.py`,
`rollout.py`).
"""
# ruff: noqa: F722, F821 (shapes in annotations are strings)

import zlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from everystep.core.sizes import CHUNK, bucket, padded, room
from everystep.core.types import Sampling
from everystep.model.chunk import Settings, Structure, chunk, prefill, row_keys
from everystep.model.kv_cache import (
    GLOBAL,
    KINDS,
    SLIDING,
    KVCache,
    empty,
    inserted,
    joined,
    moved,
    size_of,
    slack,
    stacked,
    taken,
)
from everystep.model.mesh import spread_rows
from everystep.model.workers import LAUNCH, worker_count

_ALONE_BUCKET = 16  # those of prompts that are read by one row only
_PREFILLED = 32  # prompts at a time: on a processor four times as many take a third longer each
_FREE = 4  # rows that wait get their places when one in so many is free


@dataclass(frozen=True, slots=True)
class Decoded:
    """One sampled row: ids up to and including the end id (if one was written), the natural log-probability
    of each at the sampling temperature (before any truncation by top-p or top-k), and whether it ended.
    Padding is never among them."""

    tokens: Int[np.ndarray, "time"]
    logprobs: Float[np.ndarray, "time"]
    ended: bool


def prompt_length(prompts: Sequence[Sequence[int]]) -> int:
    """The padded length that `decode` uses for these prompts."""
    return padded(max(map(len, prompts)))


def _rounded(length: int, to: int) -> int:
    return -(-length // to) * to


def left_pad(prompts: Sequence[Sequence[int]], length: int, pad: int) -> Int[np.ndarray, "rows length"]:
    """Prompts as one array, padded on the left."""
    rows = np.full((len(prompts), length), pad, np.int32)
    for row, ids in zip(rows, prompts, strict=True):
        row[length - len(ids) :] = ids
    return rows


OnDone = Callable[[list[tuple[int, Decoded]]], None]


def decode(
    graph: Structure,
    state: Any,
    prompts: Sequence[Sequence[int]],
    n: int,
    sampling: Sampling,
    *,
    pad: int,
    ends: tuple[int, ...],
    at_once: int | None = None,
    refill: bool | None = None,
    on_chunk: Callable[[list[list[Decoded]]], None] | None = None,
    on_done: OnDone | None = None,
) -> list[list[Decoded]]:
    """Sample `n` rows for each prompt (ids with their beginning-of-sequence id), in the prompts' order.

    `state` is `nnx.state(model)` of a model of that structure, on the devices over which the rows are to be
    spread. Greedy at temperature 0; at most `how.max_tokens` ids a row. `at_once` is how many rows are
    decoded side by side (all of them by default); the others wait, with `refill` (which an accelerator does
    by default) for a free place in a batch and without for a batch of their own. `on_chunk` gets the rows as
    far as they are after each chunk; `on_done` each row once, with its number (in the prompts' order, samples
    side by side), while later chunks are computed, in the same order every time. What they raise ends the
    decoding.
    """
    chunks = -(-sampling.max_tokens // CHUNK)
    wanted = len(prompts) * n
    tokens = np.full((wanted, chunks * CHUNK), pad, np.int32)
    logprobs = np.zeros(tokens.shape, np.float32)
    made = np.zeros(wanted, np.int32)
    settings = Settings(sampling.temperature == 0, sampling.top_k, sampling.top_p, ends, pad)
    at_once = min(at_once or wanted, wanted)
    side = max(1, min(worker_count(state), at_once // bucket(1), len(prompts)))
    refill = jax.default_backend() != "cpu" if refill is None else refill
    together = len(prompts) if refill else max(side, at_once // n)  # prompts whose batches are side by side
    waves = [range(at, min(at + together, len(prompts))) for at in range(0, len(prompts), together)]
    most = at_once // side if refill else None
    queues = [
        [_Batch(graph, state, prompts, part, n, sampling.seed, pad, most) for part in parts if part]
        for parts in ([wave[worker::side] for wave in waves] for worker in range(side))
    ]

    rows: list[Decoded | None] = [None] * wanted  # those that are done

    def row(r: int) -> Decoded:
        until = min(made[r], sampling.max_tokens)
        return rows[r] or _cut(tokens[r, :until], logprobs[r, :until], ends)

    def so_far() -> list[list[Decoded]]:
        return [[row(p * n + s) for s in range(n)] for p in range(len(prompts))]

    ended = Event()

    def run(batches: list[_Batch], found: SimpleQueue[_Turn | None]) -> None:
        """A worker's batches, one after the other; it waits for nobody."""
        try:
            while batches and not ended.is_set():
                turn = batches[0].turn(sampling.temperature or 1, settings, sampling.max_tokens)
                if turn is None:
                    del batches[0]
                else:
                    found.put(turn)
        finally:
            found.put(None)

    with ThreadPoolExecutor(side) as pool:
        found = [SimpleQueue[_Turn | None]() for _ in queues]
        running = deque(zip(found, [pool.submit(run, *one) for one in zip(queues, found, strict=True)], strict=True))
        try:
            while running:
                queue, future = running.popleft()
                if (turn := queue.get()) is None:
                    future.result()
                    continue
                running.append((queue, future))
                columns = made[turn.rows][:, None] + np.arange(CHUNK)
                tokens[turn.rows[:, None], columns] = turn.tokens
                logprobs[turn.rows[:, None], columns] = turn.logprobs
                made[turn.rows] += CHUNK
                if on_chunk is not None:
                    on_chunk(so_far())
                told = [(int(r), row(r)) for r in turn.done]
                for r, decoded in told:
                    rows[r] = decoded
                if on_done is not None and told:
                    on_done(told)
        finally:
            ended.set()
    return so_far()


@dataclass(frozen=True, slots=True)
class _Turn:
    """A chunk's yield: which rows it has, what they got, and which of them are done."""

    rows: Int[np.ndarray, "some"]
    tokens: Int[np.ndarray, "some chunk"]
    logprobs: Float[np.ndarray, "some chunk"]
    done: Int[np.ndarray, "few"]


class _Batch:
    """The rows of one batch, `n` for each of some prompts. `rows` says which of all prompts' rows each is
    (-1: none); `at_once` of them have a place at the same time (None: all)."""

    def __init__(
        self,
        graph: Structure,
        state: Any,
        prompts: Sequence[Sequence[int]],
        some: Sequence[int],
        n: int,
        seed: int,
        pad: int,
        at_once: int | None,
    ):
        self.graph, self.state, self.pad, self.seed = graph, state, pad, np.uint32(seed & 0xFFFFFFFF)
        self.prompts, self.groups, self.n = prompts, len(some), n
        own = [prompts[p] for p in some]
        # What neighbouring rows share is a shape of every chunk's program, and padded to fewer lengths.
        self.length = prompt_length(own) if n > 1 else _rounded(max(map(len, own)), _ALONE_BUCKET)
        self.wanted = [p * n + sample for p in some for sample in range(n)]
        self.next = 0  # of the wanted rows
        size = bucket(min(at_once or len(self.wanted), len(self.wanted)))
        self.rows = np.full(size, -1)
        self.made = np.zeros(size, np.int32)  # tokens of each
        self.shift = np.zeros(size, np.int32)  # a slot's position is the slot plus the row's shift
        # The prompt and the sample that a row's noise is made of.
        self.origin = np.zeros((2, size), np.uint32)
        self.starts: dict[str, int] = dict.fromkeys(KINDS, self.length)
        self.shared: KVCache | None = None  # the prompts' past, while neighbouring rows read it together
        self.kv_cache: KVCache | None = None
        self.logits: Any = None
        self.done: Any = None
        self.keys: Any = None

    def turn(self, temperature: float, settings: Settings, most: int) -> _Turn | None:
        """Decode a chunk of rows of at most so many ids; None where no row is left."""
        with LAUNCH:
            if not self.fill():
                return None
            out = self.start(temperature, settings)
        tokens, logprobs, done = (np.asarray(x) for x in out)
        live = self.rows >= 0
        rows = self.rows[live]
        self.made[live] += CHUNK
        left = live & (done | (self.made >= most))
        gone = self.rows[left]
        self.rows[left] = -1
        return _Turn(rows, tokens[live], logprobs[live], gone)

    def fill(self) -> bool:
        """Give places to rows that wait, where enough are free, or shrink; whether any row is left."""
        free = np.flatnonzero(self.rows < 0)
        # All places at first, then always as many at a time: two sizes of a prefill.
        unit = len(free) if self.kv_cache is None else -(-len(self.rows) // _FREE)
        while (waiting := len(self.wanted) - self.next) and len(free) >= unit:
            self._admit(free[: min(unit, waiting)])
            free = free[unit:]
        if not waiting and (size := bucket(len(self.rows) - len(free))) < len(self.rows):
            self._keep(size)
        return bool((self.rows >= 0).any())

    def start(self, temperature: float, settings: Settings) -> tuple[Array, Array, Array]:
        """Begin to decode a chunk: the ids and log-probabilities by row, and which rows are done. The device
        works on until one of them is read."""
        self._make_room()
        (self.kv_cache, self.logits, self.done), tokens, logprobs = chunk(
            self.graph,
            self.state,
            self.shared,
            (self.kv_cache, self.logits, self.done),
            self.keys,
            self._spread(self.shift),
            {kind: np.int32(start) for kind, start in self.starts.items()},
            jnp.float32(temperature),
            settings,
        )
        self.starts = {kind: start + CHUNK for kind, start in self.starts.items()}
        return tokens, logprobs, self.done

    def _spread(self, tree: Any) -> Any:
        return spread_rows(jax.tree.map(jnp.asarray, tree), self.state)

    def _admit(self, places: np.ndarray) -> None:
        """Prefill the next rows' prompts, once each, and put them at these places."""
        some = self.wanted[self.next : self.next + len(places)]
        self.next += len(some)
        distinct = list(dict.fromkeys(r // self.n for r in some))
        which = np.resize(np.arange(len(distinct)), bucket(len(distinct)))
        own = [self.prompts[p] for p in distinct]
        length = self.length if self.kv_cache is None else _rounded(max(map(len, own)), _ALONE_BUCKET)
        kv_cache, logits = self._prefilled(own, length, which)
        at = {p: i for i, p in enumerate(distinct)}
        for place, r in zip(places, some, strict=True):
            p, sample = divmod(r, self.n)
            self.rows[place], self.made[place] = r, 0
            self.shift[place] = len(self.prompts[p]) - self.starts[GLOBAL]
            self.origin[:, place] = zlib.crc32(np.asarray(self.prompts[p], np.int32).tobytes()), sample
        if self.kv_cache is None:
            # Spare rows repeat others and are ignored: whatever they hold, they must not be empty.
            index = np.resize([at[r // self.n] for r in some], len(self.rows))
            spare = self.rows < 0
            self.shift[spare] = np.resize(self.shift[~spare], len(self.rows))[spare]
            each = len(index) // len(distinct)  # rows to a prompt
            alone = self.next == len(self.wanted)
            if alone and each > 1 and np.array_equal(index, np.repeat(np.arange(len(distinct)), each)):
                shared = self._spread(taken(kv_cache, jnp.arange(len(distinct)), len(which)))
                kv_cache = self._spread({kind: empty(layers, each) for kind, layers in shared.items()})
                self.shared = shared
                self.starts = dict.fromkeys(KINDS, 0)
                self.shift = self.shift + np.int32(self.length)
            elif len(index) != len(which) or not np.array_equal(index, which):
                kv_cache = self._spread(taken(kv_cache, jnp.asarray(index), len(which)))
            logits = self._spread(taken(logits, jnp.asarray(index), len(which)))
            self.kv_cache, self.logits, self.done = kv_cache, logits, self._spread(spare)
        else:
            to = np.resize(places, bucket(len(places)))  # the spare ones say the same once more
            of = np.resize([at[r // self.n] for r in some], len(to))
            starts = {kind: np.int32(start) for kind, start in self.starts.items()}
            put = inserted(self.kv_cache, self.logits, self.done, kv_cache, logits, of, to, starts)
            self.kv_cache, self.logits, self.done = self._spread(put)
        self.keys = self._spread(row_keys(self.seed, *self.origin))

    def _prefilled(self, prompts: Sequence[Sequence[int]], length: int, which: np.ndarray) -> tuple[KVCache, Any]:
        """Keys and values of these of the prompts, ending at that slot, and the logits of their last token:
        some at a time, each time as many slots as those need."""
        made = []
        for at in range(0, len(which), _PREFILLED):
            some = [prompts[i] for i in which[at : at + _PREFILLED]]
            own = length if self.n > 1 else _rounded(max(map(len, some)), _ALONE_BUCKET)
            made.append(prefill(self.graph, self.state, self._spread(left_pad(some, own, self.pad)), self.pad))
        if len(made) == 1 and size_of(made[0][0][GLOBAL]) == length:
            return made[0]
        kv_cache, logits = zip(*made, strict=True)
        return self._spread(stacked(kv_cache, length)), self._spread(jnp.concatenate(logits))

    def _keep(self, size: int) -> None:
        """A smaller batch of the rows that are left; its spare rows repeat them and are ignored."""
        live = np.flatnonzero(self.rows >= 0)
        if not len(live):
            return
        keep = np.resize(live, size)
        self.kv_cache = self._join(keep)
        tree = taken((self.logits, self.done, self.keys), jnp.asarray(keep), len(self.rows))
        self.logits, self.done, self.keys = self._spread(tree)
        self.rows, self.made = self.rows[keep], self.made[keep]
        self.shift, self.origin = self.shift[keep], self.origin[:, keep]
        self.rows[len(live) :] = -1

    def _join(self, keep: np.ndarray) -> KVCache:
        """The past of the rows that are kept, each with its prompt's keys and values: they need not be
        neighbours any more."""
        own = dict(self._spread(taken(self.kv_cache, jnp.asarray(keep), len(self.rows))))
        if self.shared is None:
            return own
        window, starts = self.graph.config.sliding_window_size or 0, dict(self.starts)
        of = self._spread(keep // (len(self.rows) // self.groups))
        for kind, start in self.starts.items():
            if start < self.starts[GLOBAL]:
                continue  # moved on beyond its window: no row looks at the prompts
            size = room(self.length + start + CHUNK, slack(window, CHUNK) if kind == SLIDING else None)
            own[kind] = self._spread(joined(self.shared[kind], own[kind], of, self.groups, size))
            starts[kind] = start + self.length
        self.starts, self.shift, self.shared = starts, self.shift - np.int32(self.length), None
        return own

    def _make_room(self) -> None:
        """Room for a chunk in the KV cache, of which what no row looks at any more is let go."""
        # The ids of a row, its prompt's included.
        longest = int(self.starts[GLOBAL] + self.shift[self.rows >= 0].max())
        keep = self.length if self.next < len(self.wanted) else 0  # a prompt that waits needs so many slots
        window = self.graph.config.sliding_window_size or 0
        kv_cache, starts = dict(self.kv_cache or {}), dict(self.starts)
        for kind, start in self.starts.items():
            held = size_of(kv_cache[kind])
            if start + CHUNK <= held:
                continue
            seen = min(longest, window - 1) if kind == SLIDING else longest
            drop = max(0, start - max(seen, keep))
            size = room(start - drop + CHUNK, slack(window, CHUNK) if kind == SLIDING else None)
            kv_cache[kind] = moved(kv_cache[kind], np.int32(drop), max(size, held))
            starts[kind] = start - drop
            if kind == GLOBAL:
                self.shift = self.shift + np.int32(drop)
        self.kv_cache, self.starts = kv_cache, starts


def _cut(tokens: np.ndarray, logprobs: np.ndarray, ends: tuple[int, ...]) -> Decoded:
    at = np.flatnonzero(np.isin(tokens, ends))
    stop = int(at[0]) + 1 if len(at) else len(tokens)
    return Decoded(tokens[:stop].copy(), logprobs[:stop].copy(), bool(len(at)))
