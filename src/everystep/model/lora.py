"""LoRA adapters: added by qwix to every linear map of the attention and the feed-forward, read and written
whole.

An adapter's file is one safetensors file of float32 arrays by parameter path, with what it was trained on
in its metadata. `merged` adds them to the base's weights.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import qwix
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from tunix.models.gemma3.model import RematConfig

from everystep.model.gemma import Gemma
from everystep.model.keys import Keys
from everystep.model.layers import turned
from everystep.model.mesh import mesh_of, put

_SMALL = 1 << 24  # numbers of a model that is small
MODULES = ".*q_einsum|.*kv_einsum|.*qkv_einsum|.*gate_proj|.*down_proj|.*up_proj|.*attn_vec_einsum"


def add_lora(model: Gemma, rank: int, alpha: float, seed: int | None) -> Gemma:
    """A model that shares the base's arrays and adds adapters scaled by alpha / rank; B is zero, so the
    numbers are the base's until training moves them. Without a seed A is zero too: `set_adapter` follows."""
    provider = qwix.LoraProvider(module_path=MODULES, rank=rank, alpha=alpha)
    base, weights = nnx.split(model)
    made: list[nnx.GraphDef[Gemma]] = []

    # Traced and not run: qwix computes a whole forward pass to see where the linear maps are, which one
    # operation at a time takes seconds (and on a large model memory).
    def adapters(weights: Any, seed: Any) -> nnx.State:
        given = nnx.merge(base, weights)
        given.remat = False  # qwix adds to the layers that it sees; those would be copies
        added: Any = qwix.apply_lora_to_model(given, provider, rngs=Keys(seed), **given.get_model_input())
        graph, factors, _ = nnx.split(added, nnx.LoRAParam, ...)
        made.append(graph)
        return factors

    if seed is None:
        shapes = jax.eval_shape(adapters, weights, np.uint32(0))
        factors = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    else:
        factors = jax.jit(adapters)(weights, np.uint32(seed))
    if (mesh := mesh_of(weights)) is not None:
        factors = jax.tree.map(lambda x: put(x, NamedSharding(mesh, PartitionSpec())), factors)
    added = nnx.merge(made[0], factors, weights)
    added.lora_scale, added.remat = alpha / rank, model.remat
    return added


def without(model: Gemma) -> Gemma:
    """A model of the same shape that has no adapter, and no weights either: `merged` gives them. Nothing of
    it is computed twice (`remat_config`): it is for decoding, which has no backward pass."""
    config = replace(model.config, remat_config=RematConfig.NONE)
    return nnx.eval_shape(lambda: Gemma(config, rngs=Keys(0), plain=True))


def merged(model: Gemma) -> nnx.State:
    """The weights of the model with its adapter added to them (in float32, then in the weights' dtype): a
    decode step needs half the operations that way. Arrays without an adapter are shared with the model.
    """
    flat = dict(nnx.to_flat_state(nnx.state(model)))
    factors = {path: leaf for path, leaf in flat.items() if "_lora_" in str(path[-1])}
    weights = {path: leaf for path, leaf in flat.items() if path not in factors}
    changed = {}
    for path, leaf in weights.items():
        names = [(*path[:-1], f"{path[-1]}_lora_{x}") for x in "ab"]
        if names[0] in factors:
            changed[path] = (leaf.get_value(), *(factors[name].get_value() for name in names))
    if changed:
        specs = tuple(_DELTA[str(path[-2])] for path in changed)
        new = _added(tuple(changed.values()), specs, model.lora_scale)
        weights |= {path: weights[path].replace(x) for path, x in zip(changed, new, strict=True)}
    return nnx.from_flat_state(sorted(weights.items(), key=lambda item: tuple(map(str, item[0]))))


def fused(model: Gemma) -> Gemma:
    """The same policy as it is cheapest to train. A small model's adapter is added to its weights first, with
    gradients flowing through the sum: two products fewer for each linear map, and so much less to trace and
    to compile. That makes a gradient of each whole weight on the way, so a large model (or one whose layers
    are computed again to save memory) is itself."""
    sizes = [leaf.size for leaf in jax.tree.leaves(nnx.state(model))]
    if not model.lora_scale or model.remat or sum(sizes) > _SMALL:
        return model
    return nnx.merge(nnx.graphdef(without(model)), merged(model))


# How the two factors make a weight's change, by the name of the module.
_DELTA = {
    "q_einsum": "Dr,rNH->NDH",
    "kv_einsum": "Dr,rCKH->CKDH",
    "qkv_einsum": "Dr,rSNH->SNDH",
    "attn_vec_einsum": "NHr,rD->NHD",
    "gate_proj": "Dr,rF->DF",
    "up_proj": "Dr,rF->DF",
    "down_proj": "Dr,rF->DF",
}


@partial(jax.jit, static_argnames=("specs", "scale"))
def _added(parts: tuple[Any, ...], specs: tuple[str, ...], scale: float) -> list[Any]:
    def one(spec: str, weight: Any, a: Any, b: Any) -> Any:
        delta = jnp.einsum(spec, a.astype(jnp.float32), b.astype(jnp.float32))
        new = (weight.astype(jnp.float32) + scale * delta).astype(weight.dtype)
        return turned(new) if new.ndim == 2 and new.shape[0] > new.shape[1] else new

    return [one(spec, *part) for spec, part in zip(specs, parts, strict=True)]


def adapter(model: Gemma) -> dict[str, np.ndarray]:
    """The adapter's arrays by dotted path, as copies on the host."""
    flat = nnx.to_flat_state(nnx.state(model, nnx.LoRAParam))
    return {".".join(map(str, path)): np.array(leaf.get_value()) for path, leaf in flat}


def set_adapter(model: Gemma, arrays: dict[str, np.ndarray]) -> None:
    """Put an adapter's arrays into the model, in the model's dtype.

    Raises ValueError where the names or shapes are not the model's; then nothing was changed.
    """
    state = nnx.state(model, nnx.LoRAParam)
    flat = nnx.to_flat_state(state)
    names = {".".join(map(str, path)) for path, _ in flat}
    if names != set(arrays):
        odd = sorted(names ^ set(arrays))[0]
        raise ValueError(f"the adapter does not fit the model: {odd} is only in one of them")
    for path, leaf in flat:
        name, shape = ".".join(map(str, path)), leaf.get_value().shape
        if arrays[name].shape != shape:
            raise ValueError(f"the adapter does not fit the model: {name} is {arrays[name].shape}, not {shape}")
    for path, leaf in flat:
        value = arrays[".".join(map(str, path))]
        held = leaf.get_value()
        if mesh_of(held) is not None:
            leaf.set_value(put(np.asarray(value, held.dtype), held.sharding))
        else:
            leaf.set_value(jnp.asarray(value, held.dtype))
    nnx.update(model, state)


def save_adapter(path: Path, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> bytes:
    """Write the adapter's file (the caller chooses a place beside the final name and renames)."""
    save_file({k: np.ascontiguousarray(v) for k, v in sorted(arrays.items())}, path, {"about": json.dumps(about)})
    return path.read_bytes()


def load_adapter(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """An adapter's arrays and what it says of itself. ValueError, one line, where the file is broken."""
    try:
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            return {key: file.get_tensor(key) for key in file.keys()}, about  # noqa: SIM118
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise ValueError(f"adapter {path}: cannot be read ({error})") from None
