"""What the real steps need in memory, by XLA's own analysis at abstract weights: a process of its own.

    python -m everystep.train.footprint < JSON      (`forecast/memory.py` starts it, and says which devices)

Reads which model, on how many devices, which steps at which sizes; compiles each (SFT's and GRPO's update,
the reference pass, prefill, decoding) at several numbers of layers without one real array, and writes what
XLA says as JSON. What is made of it is `plan/`.

All is compiled in float32: XLA for CPU computes bfloat16 by way of float32 copies of what a product takes,
the embedding too, which no accelerator makes. What a step is given and leaves is then counted in the dtype
that weights really have; what it holds meanwhile stays as float32 has it, the most it can be.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tunix.models.gemma3.model import RematConfig

from everystep.core.recipe import Grpo
from everystep.model.chunk import CHUNK, Settings, Structure, chunk, prefill, row_keys, structure
from everystep.model.config import Config
from everystep.model.gemma import Gemma
from everystep.model.io.known import shape_of
from everystep.model.keys import Keys
from everystep.model.kv_cache import at_most, moved
from everystep.model.lora import add_lora
from everystep.model.mesh import device_mesh, rows_sharding, weights_sharding
from everystep.train.losses import PolicyBatch, grouped, policy_loss
from everystep.train.optimizer import adapter_optimizer
from everystep.train.sft import SftBatch
from everystep.train.sft import loss as sft_loss
from everystep.train.step import dotted, gradient_programs, running_mean, updated

_WIDTHS = {"float32": 4, "bfloat16": 2}  # bytes
_PAD, _ENDS = 0, (1, 106)


@dataclasses.dataclass(frozen=True, slots=True)
class Shapes:
    """A policy without numbers: its graph, and its arrays as shapes on a mesh."""

    graph: Any
    model: Gemma
    adapter: Any
    rest: Any
    mesh: Mesh
    plain: Structure  # the same model without an adapter
    merged: Any  # and its arrays, whole on every device, as decoding has them


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """A lowered step; of what it takes and of what it leaves in new places, what is in the weights' dtype."""

    lowered: Any
    taken: Any
    left: Any = ()


def footprint(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked, for all devices of this process: `model`, `dtype`, `weights`, `rank`, `alpha`, `layers`
    (numbers of layers to compile at; None: two and four, or all where there are no more than six) and
    `steps`, a list of sizes with the `name` and `kind` (`KINDS`) of each.

    Returns the model's `shape`, and for each number of layers `held` (bytes a device of weights, adapter,
    optimizer and of what lies beside a decoding) and `steps`: bytes a device of arguments, results, results
    that take an argument's place, and what is held meanwhile. Raises ValueError for an unknown model.
    """
    config = shape_of(asked["model"], jnp.float32)
    width = _WIDTHS[asked["dtype"]]
    out: dict[str, Any] = {"shape": shape(config), "layers": {}}
    spread = asked["weights"] == "fsdp" and jax.device_count() > 1
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        waiting = []
        for count in asked["layers"] or _counts(config):
            # Two patterns of a Gemma 3 would be twelve layers. It has fewer global ones, whose past is
            # longer, so that its decoding holds less than is said here.
            part = dataclasses.replace(config, num_layers=int(count), pattern="LG")
            shapes = _shapes(part, asked)
            steps: dict[str, Any] = {}
            out["layers"][str(count)] = {"held": _held(shapes, spread, width), "steps": steps}
            for step in asked["steps"]:
                program = KINDS[step["kind"]](shapes, step)
                waiting.append((steps, step["name"], pool.submit(_memory, program, width)))
        for steps, name, done in waiting:
            steps[name] = done.result()
    return out


def _counts(config: Config) -> list[int]:
    return [2, 4] if config.num_layers > 6 else [config.num_layers]


def shape(config: Config) -> dict[str, Any]:
    """What is counted with: the model's numbers, as plain values."""
    return {
        "layers": config.num_layers,
        "vocabulary": config.num_embed,
        "width": config.embed_dim,
        "hidden": config.hidden_dim,
        "heads": config.num_heads,
        "kv": config.num_kv_heads,
        "head": config.head_dim,
        "remat": config.remat_config.name != "NONE",
    }


def _shapes(config: Config, asked: Mapping[str, Any]) -> Shapes:
    mesh = device_mesh()
    model: Gemma = nnx.eval_shape(lambda: add_lora(Gemma(config, rngs=Keys(0)), asked["rank"], asked["alpha"], 0))
    graph, adapter, rest = nnx.split(model, nnx.LoRAParam, ...)
    # Decoding has no backward pass, and flax cannot make remat's layers inside its loop.
    plain = nnx.eval_shape(lambda: Gemma(dataclasses.replace(config, remat_config=RematConfig.NONE), rngs=Keys(0)))

    def spread(x: Any) -> Any:
        return _at(x, weights_sharding(mesh, asked["weights"], x.shape))

    return Shapes(
        graph,
        model,
        _copied(mesh, adapter),
        jax.tree.map(spread, rest),
        mesh,
        structure(plain),
        _copied(mesh, nnx.state(plain)),
    )


def _optimizer(shapes: Shapes) -> Any:
    made = jax.eval_shape(adapter_optimizer().init, _flat(shapes.adapter))
    return _copied(shapes.mesh, made)


def _flat(state: Any) -> dict[str, Any]:
    return {dotted(path): leaf.get_value() for path, leaf in nnx.to_flat_state(state)}


def _at(x: Any, where: Any) -> Any:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)


def _copied(mesh: Mesh, tree: Any) -> Any:
    return jax.tree.map(lambda x: _at(x, NamedSharding(mesh, PartitionSpec())), tree)


def _rows(mesh: Mesh, tree: Any) -> Any:
    return jax.tree.map(lambda x: _at(x, rows_sharding(mesh, x.shape[0])), tree)


def _update(shapes: Shapes, accumulate: int | None, batch: Any, loss: Any) -> Program:
    """The trainer's programs (`step.py`) in one: the gradient of a micro-batch, folded into the running mean where
    there is more than one of them, and the update."""
    gradient, _ = gradient_programs(shapes.graph, shapes.adapter, shapes.rest, loss, shapes.mesh)
    adapter, rest = _flat(shapes.adapter), [leaf.get_value() for _, leaf in nnx.to_flat_state(shapes.rest)]

    def step(adapter: Any, rest: Any, state: Any, mean: Any, batch: Any) -> Any:
        found, reported = gradient(adapter, rest, batch)
        mean = running_mean(mean, [found], jnp.int32(1))
        return *updated(adapter, state, mean, jnp.float32(0)), reported

    mean = _copied(shapes.mesh, adapter) if accumulate else None  # float32, as all is here
    lowered = jax.jit(step, donate_argnums=(0, 2, 3)).lower(adapter, rest, _optimizer(shapes), mean, batch)
    return Program(lowered, (adapter, rest))


def _sft(shapes: Shapes, size: Mapping[str, Any]) -> Program:
    """`rows` of `length` tokens each."""
    dims = (size["rows"], size["length"])
    batch = _rows(shapes.mesh, SftBatch(_int(*dims), _float(*dims)))  # pyright: ignore[reportArgumentType]
    return _update(shapes, size["accumulate"], batch, partial(sft_loss, pad=_PAD))


def _grpo(shapes: Shapes, size: Mapping[str, Any]) -> Program:
    """`rows` completions of `last` tokens for prompts of `length`; `group` neighbours share a prompt."""
    rows, length, last = size["rows"], size["length"], size["last"]
    names = ("sampled", "reference", "weight", "share")
    arrays: Any = {name: _float(rows, last) for name in names}
    arrays |= {"prompts": _int(rows, length), "completions": _int(rows, last), "advantages": _float(rows)}
    batch = _rows(shapes.mesh, PolicyBatch(**arrays, group=size["group"]))
    return _update(shapes, size["accumulate"], batch, partial(policy_loss, config=Grpo(), pad=_PAD))


def _reference(shapes: Shapes, size: Mapping[str, Any]) -> Program:
    """The pass of the reference over what `_grpo` learns from."""

    def run(adapter: Any, rest: Any, prompts: Any, completions: Any) -> Any:
        model = nnx.merge(shapes.graph, adapter, rest)
        return grouped(model, prompts, completions, size["group"], _PAD, 1.0)

    rows = _rows(shapes.mesh, (_int(size["rows"], size["length"]), _int(size["rows"], size["last"])))
    taken = (shapes.adapter, shapes.rest)
    return Program(jax.jit(run).lower(*taken, *rows), taken)


def _prefill(shapes: Shapes, size: Mapping[str, Any]) -> Program:
    """`rows` prompts of `length` tokens."""
    rows = _rows(shapes.mesh, _int(size["rows"], size["length"]))
    made = jax.eval_shape(partial(prefill, shapes.plain, pad=_PAD), shapes.merged, rows)
    lowered = prefill.lower(shapes.plain, shapes.merged, rows, _PAD)
    return Program(lowered, shapes.merged, _rows(shapes.mesh, made)[0])


def _chunk(shapes: Shapes, size: Mapping[str, Any]) -> Program:
    """One chunk of decoding for `rows` rows with `size` positions."""
    rows = size["rows"]
    kv_cache, logits = _kv_cache(shapes, size)
    keys = jax.eval_shape(row_keys, _shape(jnp.uint32), *[_shape(jnp.uint32, rows)] * 2)
    done, keys, shift = _rows(shapes.mesh, (_shape(jnp.bool_, rows), keys, _int(rows)))
    settings = Settings(size["greedy"], 0, 1.0, _ENDS, _PAD)
    scalars = dict.fromkeys(kv_cache, _shape(jnp.int32)), _shape(jnp.float32)
    of = (shapes.plain, shapes.merged, None, (kv_cache, logits, done), keys, shift, *scalars, settings)
    return Program(chunk.lower(*of), (shapes.merged, kv_cache))


def _kv_cache(shapes: Shapes, size: Mapping[str, Any]) -> Any:
    """Keys and values with all the room that decoding comes to, and the last logits."""
    made = jax.eval_shape(partial(_grown, shapes.plain, size["size"]), shapes.merged, _int(size["rows"], 1))
    return _rows(shapes.mesh, made)


def _grown(graph: Any, size: int, state: Any, rows: Any) -> Any:
    kv_cache, logits = prefill(graph, state, rows, _PAD)
    slots = at_most(size, CHUNK, graph.config.sliding_window_size or 0)
    return {kind: moved(layers, jnp.int32(0), slots[kind]) for kind, layers in kv_cache.items()}, logits


KINDS: dict[str, Callable[[Shapes, Mapping[str, Any]], Program]] = {
    "sft": _sft,
    "grpo": _grpo,
    "reference": _reference,
    "prefill": _prefill,
    "chunk": _chunk,
}


def _shape(dtype: Any, *dims: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(dims, dtype)


def _int(*dims: int) -> jax.ShapeDtypeStruct:
    return _shape(jnp.int32, *dims)


def _float(*dims: int) -> jax.ShapeDtypeStruct:
    return _shape(jnp.float32, *dims)


def _memory(program: Program, width: int) -> dict[str, int]:
    said = program.lowered.compile().memory_analysis()
    return {
        "arguments": said.argument_size_in_bytes - _bytes(program.taken) * (4 - width) // 4,
        "results": said.output_size_in_bytes - _bytes(program.left) * (4 - width) // 4,
        "in_place": said.alias_size_in_bytes,
        "meanwhile": said.temp_size_in_bytes,
    }


def _held(shapes: Shapes, spread: bool, width: int) -> dict[str, int]:
    """Bytes a device, with weights of that width; the optimizer as GRPO has it. `beside`: of the policy's own
    weights, what decoding has a copy of: those with an adapter, or all where they are spread."""
    changed = {path[:-1] for path, _ in nnx.to_flat_state(shapes.adapter)}
    rest = nnx.to_flat_state(shapes.rest)
    held = {
        "weights": shapes.rest,
        "adapter": shapes.adapter,
        "beside": [leaf for path, leaf in rest if spread or path[:-1] in changed],
    }
    sizes = {name: _bytes(arrays) * width // 4 for name, arrays in held.items()}
    # With the running mean of the gradients, which is there while a step is made.
    return sizes | {"optimizer": _bytes((_optimizer(shapes), _copied(shapes.mesh, _flat(shapes.adapter))))}


def _bytes(tree: Any) -> int:
    total = 0
    for leaf in jax.tree.leaves(tree):
        held = 1
        for n in leaf.sharding.shard_shape(leaf.shape):
            held *= n
        total += held * leaf.dtype.itemsize
    return total


def main(asked: Mapping[str, Any]) -> int:
    """Write the answer to what is asked as one line; 2 where the user can mend what is wrong with it."""
    try:
        said = footprint(asked)
    except ValueError as error:
        if not str(error).startswith("model "):
            raise
        print(json.dumps({"error": str(error)}))
        return 2
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main(json.load(sys.stdin)))
