"""Which devices hold what: the mesh, weights on every device of it (or spread), a batch's rows over them.

The axes are called as Tunix's partition specs call them; `tp` has one device. With several processes the mesh
spans all of them, and `local` gives what one process holds, so that it can decode by itself. What is computed
is elsewhere; nothing here changes a number but by the order in which sums are made.
"""

from typing import Any, Literal

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

Weights = Literal["replicated", "fsdp"]

_SPREAD_FROM = 1 << 20  # elements; a smaller array costs more to gather than to hold


def device_mesh() -> Mesh:
    """All devices of all processes, as (devices, 1) over ("fsdp", "tp")."""
    return Mesh(np.array(jax.devices()).reshape(-1, 1), ("fsdp", "tp"))


def weights_sharding(mesh: Mesh, weights: Weights, shape: tuple[int, ...], least: int = _SPREAD_FROM) -> NamedSharding:
    """Where an array of the model lies: on every device, or ("fsdp") in equal parts along its longest axis
    that the devices divide. Those of fewer than `least` elements are always on every device."""
    count, spec = mesh.shape["fsdp"], list[str | None]([None] * len(shape))
    axes = [i for i, n in enumerate(shape) if n % count == 0]
    if weights == "fsdp" and axes and np.prod(shape, dtype=np.int64) >= least:
        spec[max(axes, key=lambda i: shape[i])] = "fsdp"
    return NamedSharding(mesh, PartitionSpec(*spec))


def place(model: Any, mesh: Mesh) -> None:
    """Put the arrays of a model or an optimizer on the mesh, in place: those on it stay, others come to every
    device."""
    state = nnx.state(model)
    whole = NamedSharding(mesh, PartitionSpec())
    where = jax.tree.map(lambda x: x.sharding if mesh_of(x) == mesh else whole, state)
    nnx.update(model, jax.tree.map(put, state, where))


def put(x: Any, where: Sharding) -> jax.Array:
    """An array where it belongs. With several processes each gives the whole of it, the same in all."""
    if isinstance(x, jax.Array) and x.sharding == where:
        return x
    if where.is_fully_addressable:
        return jax.device_put(x, where)
    whole = np.asarray(x)
    return jax.make_array_from_callback(whole.shape, where, lambda part: whole[part])


def fetch(x: jax.Array) -> np.ndarray:
    """An array on the host, whole, also where parts of it are on other processes' devices."""
    if x.is_fully_addressable or x.is_fully_replicated:
        return np.asarray(x)
    return np.asarray(multihost_utils.process_allgather(x, tiled=True))


def rows_sharding(mesh: Mesh, rows: int) -> NamedSharding:
    """An array's first axis spread over the devices, where they divide it; on every device otherwise."""
    return NamedSharding(mesh, PartitionSpec("fsdp") if rows % mesh.shape["fsdp"] == 0 else PartitionSpec())


def spread_rows(tree: Any, like: Any) -> Any:
    """Arrays with the same first axis, over the devices of the mesh on which the arrays of `like` lie; where
    those are on none, as they are. On one device too: a program is compiled anew for an array that is on no
    mesh where one on a mesh was."""
    mesh = mesh_of(like)
    if mesh is None:
        return tree
    return jax.tree.map(lambda x: put(x, rows_sharding(mesh, x.shape[0])), tree)


def mesh_of(tree: Any) -> Mesh | None:
    """The mesh that the first array of a tree lies on; None where it lies on a device that is in none."""
    for leaf in jax.tree.leaves(tree):
        sharding: Sharding | None = getattr(leaf, "sharding", None)
        return sharding.mesh if isinstance(sharding, NamedSharding) else None  # pyright: ignore
    return None


def local(tree: Any) -> Any:
    """Arrays as this process's own, whole on each of its own devices: spread ones are gathered, the others
    are not copied."""
    mesh = mesh_of(tree)
    if mesh is None or mesh.size == 1:
        return tree
    whole = NamedSharding(mesh, PartitionSpec())
    if not all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(tree)):
        tree = jax.jit(lambda x: x, out_shardings=whole)(tree)
    own = NamedSharding(Mesh(np.array(jax.local_devices()).reshape(-1, 1), ("fsdp", "tp")), PartitionSpec())

    def one(x: jax.Array) -> jax.Array:
        return jax.make_array_from_single_device_arrays(x.shape, own, [part.data for part in x.addressable_shards])

    return tree if jax.process_count() == 1 else jax.tree.map(one, tree)
