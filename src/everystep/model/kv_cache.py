"""Keys and values of what was decoded: a stretch of slots by kind of layer, which moves along with the rows.

All rows end at the same slot, `start`, so that a step's keys are written with one copy; a row that began
later has fewer slots. As long as a batch holds whole groups, their prompts are kept apart, once for each
group, and are joined to the rows' own slots later. Layers with a sliding window ("sliding") need the last slots
only, the others ("global") as many as the longest row has: what no row looks at any more is let go when room is
wanted. Which rows there are and when room is wanted is the decoder's business (`decode.py`).
"""
# ruff: noqa: F722, F821 (shapes in annotations are strings)

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from everystep.core.sizes import room
from everystep.model.config import Config

GLOBAL, SLIDING = KINDS = ("global", "sliding")  # layers that look at everything, and those with a window
_AXIS = {"k": 2, "v": 1}  # that of the slots: k [rows*kv, width, slots], v [rows*kv, slots, width]

Layers = dict[str, dict[str, Array]]  # k and v by layer
KVCache = dict[str, Layers]  # by kind


def by_kind(layers: Layers, config: Config) -> KVCache:
    """The layers' keys and values, those of each kind together."""
    sliding = {f"layer_{i}" for i in range(config.num_layers) if config.local(i)}
    return {
        GLOBAL: {name: layer for name, layer in layers.items() if name not in sliding},
        SLIDING: {name: layer for name, layer in layers.items() if name in sliding},
    }


def flat(kv_cache: KVCache) -> Layers:
    """The keys and values by layer, of whatever kind."""
    return {name: layer for layers in kv_cache.values() for name, layer in layers.items()}


def size_of(layers: Layers) -> int:
    """How many slots there are; 0 where there is no layer."""
    return max((layer["v"].shape[_AXIS["v"]] for layer in layers.values()), default=0)


def slack(window: int, chunk: int) -> int:
    """The most slots that layers with that window have: some chunks more than they look at, so that they are
    not moved before every chunk."""
    return window + 4 * chunk


def at_most(longest: int, chunk: int, window: int) -> dict[str, int]:
    """The slots that decoding in chunks comes to, by kind, where the longest row has so many ids.

    >>> at_most(1024, 16, 512)
    {'global': 1024, 'sliding': 576}
    """
    sliding = min(longest, window - 1 + chunk)
    return {GLOBAL: room(longest), SLIDING: room(sliding, slack(window, chunk))}


@partial(jax.jit, static_argnames=("size",))
def moved(layers: Layers, drop: Int[Array, ""], size: int) -> Layers:
    """The same without the first `drop` slots, as `size` slots in all."""

    def one(name: str, x: Array) -> Array:
        axis = _AXIS[name]
        x = jnp.pad(x, [(0, size if a == axis else 0) for a in range(x.ndim)])
        return jax.lax.dynamic_slice_in_dim(x, drop, size, axis)

    return {layer: {n: one(n, x) for n, x in kept.items()} for layer, kept in layers.items()}


@partial(jax.jit, static_argnames=("size",))
def stacked(parts: Sequence[KVCache], size: int) -> KVCache:
    """The rows of all, ending at the same slot of so many."""

    def one(name: str, xs: Sequence[Array]) -> Array:
        axis = _AXIS[name]
        gap = [[(size - x.shape[axis] if a == axis else 0, 0) for a in range(x.ndim)] for x in xs]
        return jnp.concatenate([jnp.pad(x, g) for x, g in zip(xs, gap, strict=True)])

    first = parts[0]
    return {
        kind: {
            layer: {n: one(n, [part[kind][layer][n] for part in parts]) for n in kept} for layer, kept in layers.items()
        }
        for kind, layers in first.items()
    }


@partial(jax.jit, static_argnames=("times",))
def empty(layers: Layers, times: int) -> Layers:
    """No slots yet, for so many rows to each of these."""

    def one(name: str, x: Array) -> Array:
        shape = [0 if axis == _AXIS[name] else n for axis, n in enumerate(x.shape)]
        return jnp.zeros([len(x) * times, *shape[1:]], x.dtype)

    return {layer: {n: one(n, x) for n, x in kept.items()} for layer, kept in layers.items()}


@partial(jax.jit, static_argnames=("rows", "size"))
def joined(prompts: Layers, own: Layers, of: Int[Array, "some"], rows: int, size: int) -> Layers:
    """The prompt `of` each row, of so many prompts, in front of its own keys and values; `size` slots,
    of which the last may be spare."""

    def one(name: str, x: Array, y: Array) -> Array:
        axis = _AXIS[name]
        whole = jnp.concatenate([_some(x, of, rows), y], axis)
        spare = max(0, size - whole.shape[axis])
        whole = jnp.pad(whole, [(0, spare if a == axis else 0) for a in range(whole.ndim)])
        return jax.lax.slice_in_dim(whole, 0, size, axis=axis)

    return {layer: {n: one(n, x, own[layer][n]) for n, x in kept.items()} for layer, kept in prompts.items()}


@partial(jax.jit, static_argnames=("rows",))
def taken(tree: Any, index: Int[Array, "some"], rows: int) -> Any:
    """Some of so many rows, in another order or several times; of a KV cache, or of anything by row."""
    return jax.tree.map(lambda x: _some(x, index, rows), tree)


def _some(x: Array, index: Int[Array, "some"], rows: int) -> Array:
    apart = x.reshape(rows, -1, *x.shape[1:])[index]
    return apart.reshape(-1, *x.shape[1:])


@partial(jax.jit, donate_argnames=("kv_cache", "logits", "done"))
def inserted(
    kv_cache: KVCache,
    logits: Any,
    done: Any,
    new: KVCache,
    new_logits: Any,
    of: Any,
    to: Any,
    starts: Mapping[str, Any],
) -> tuple[KVCache, Any, Any]:
    """Fresh rows `of` the prefilled ones put at places `to`, their last slot just before the start. What the
    places held before is overwritten as far as the new rows reach, and out of sight beyond."""

    def one(name: str, x: Array, y: Array, start: Any) -> Array:
        axis = _AXIS[name]
        old, fresh = _some(x, to, len(logits)), _some(y, of, len(new_logits))
        rows = jax.lax.dynamic_update_slice_in_dim(old, fresh, start - y.shape[axis], axis)
        apart = x.reshape(len(logits), -1, *x.shape[1:])
        return apart.at[to].set(rows.reshape(len(to), *apart.shape[1:])).reshape(x.shape)

    put = {
        kind: {
            layer: {n: one(n, x, new[kind][layer][n], starts[kind]) for n, x in kept.items()}
            for layer, kept in kv_cache[kind].items()
        }
        for kind in KINDS
    }
    return put, logits.at[to].set(new_logits[of]), done.at[to].set(False)
