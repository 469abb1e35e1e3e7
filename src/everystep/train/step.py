"""One update of an adapter: the gradients of its micro-batches, their mean, one step of the optimizer.

Plain JAX, flax and optax; nothing of Tunix's trainer is used here. Three programs are compiled. `gradient`, once
for every shape of a batch, takes the adapter, the frozen rest of the model and a micro-batch. `mean` folds a
micro-batch's gradient into the running mean, in float32 whatever the adapter's dtype. `update` is what the
optimizer does with that mean. None of them returns the frozen base, so it is never copied.

A micro-batch may come in parts, whose losses and gradients are added: on a CPU they are computed side by side
(`model/workers.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array

from everystep.model.gemma import Gemma
from everystep.model.mesh import mesh_of, put, spread_rows
from everystep.model.workers import ONE_WORKER, Workers
from everystep.train.checkpoint import CheckpointError
from everystep.train.optimizer import adapter_optimizer

# A model and a micro-batch (or a part of one) to the loss and values to be reported.
Loss = Callable[[Gemma, Any], tuple[Array, dict[str, Array]]]
_OPTIMIZER = adapter_optimizer()
MAXIMA = {"disagreement"}  # reported values that are the largest of a micro-batch; all others are sums over its tokens


class Trainer:
    """Trains the adapter of a model in place: what samples from the model sees every update at once.

    The model must be on its devices already (`mesh.place`). The base's arrays are shared with it, and are
    neither copied nor moved.
    """

    def __init__(self, model: Gemma, loss: Loss, workers: Workers = ONE_WORKER):
        graph, adapter, rest = nnx.split(model, nnx.LoRAParam, ...)
        held = dict(nnx.iter_graph(model))
        variables = {dotted(path): held[path] for path, _ in nnx.to_flat_state(adapter)}
        self.variables: dict[str, nnx.Variable[Any]] = variables
        self.workers, self.mesh = workers, mesh_of(adapter)
        # Flat, since to walk through a module takes the host as long as a small program.
        self.rest = [leaf.get_value() for _, leaf in nnx.to_flat_state(rest)]
        self.gradient, self.evaluation = gradient_programs(graph, adapter, rest, loss, self.mesh)
        self.mean = jax.jit(running_mean, donate_argnums=0)
        self.update = jax.jit(updated, donate_argnums=(0, 1))
        self.state = _OPTIMIZER.init(self.adapter())
        if self.mesh is not None:  # a program is compiled again for an array that it finds elsewhere the second time
            whole = NamedSharding(self.mesh, PartitionSpec())
            self.state = jax.tree.map(lambda x: x if mesh_of(x) == self.mesh else put(x, whole), self.state)

    def adapter(self) -> dict[str, Array]:
        """The adapter's arrays by dotted path, as the model holds them."""
        return {name: variable.get_value() for name, variable in self.variables.items()}

    def step(self, micro_batches: Sequence[Sequence[Any]], rate: float) -> dict[str, float]:
        """One update, at learning rate `rate`, by the mean over the micro-batches (each a sequence of parts) of
        their gradients. Returns the means over the micro-batches of what the loss reports."""
        adapter, seen, mean = self.adapter(), [], None
        with self.mesh or nullcontext():
            for n, parts in enumerate(micro_batches):
                placed = [spread_rows(part, adapter) for part in parts]
                made = self.workers.each(lambda part: self.gradient(adapter, self.rest, part), placed)
                mean = self.mean(mean, [gradient for gradient, _ in made], jnp.int32(n))
                seen.append([reported for _, reported in made])
                # A device always has the next micro-batch, and never the memory of more than two.
                jax.block_until_ready(seen[-2:-1])
            new, self.state = self.update(adapter, self.state, mean, jnp.float32(rate))
        for name, x in new.items():
            self.variables[name].set_value(x)
        whole = [_whole(parts) for parts in seen]
        return {name: float(np.mean([micro[name] for micro in whole])) for name in whole[0]}

    def evaluate(self, batch: Any) -> float:
        """The loss of a batch, without an update."""
        adapter = self.adapter()
        with self.mesh or nullcontext():
            return float(self.evaluation(adapter, self.rest, spread_rows(batch, adapter))[0])

    def skipped(self) -> int:
        """How many updates were left out so far because a gradient was not finite."""
        return int(self.state.skipped)

    def masters(self) -> dict[str, np.ndarray]:
        """The adapter in float32, as copies on the host; the model holds it rounded to its own dtype."""
        return {name: np.array(x) for name, x in self.state.master.items()}

    def snapshot(self) -> dict[str, np.ndarray]:
        """All that training changes, by name, as copies on the host: the adapter and the optimizer's state."""
        return named({"adapter": self.adapter(), "optimizer": self.state})

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put a snapshot back. Raises CheckpointError, having changed nothing, where it is another model's."""
        held = restored({"adapter": self.adapter(), "optimizer": self.state}, arrays)
        self.state = held["optimizer"]
        for name, x in held["adapter"].items():
            self.variables[name].set_value(x)


def gradient_programs(graph: Any, adapter: nnx.State, rest: nnx.State, loss: Loss, mesh: Any) -> tuple[Any, Any]:
    """The compiled gradient of the loss in the adapter, and the loss alone; both take the adapter by dotted path,
    the rest as a list, and a batch."""
    adapter_leaves, rest_leaves = nnx.to_flat_state(adapter), nnx.to_flat_state(rest)
    whole = None if mesh is None else NamedSharding(mesh, PartitionSpec())

    def value(adapter: dict[str, Array], rest: list[Array], batch: Any) -> tuple[Array, dict[str, Array]]:
        states = [
            nnx.from_flat_state([(path, leaf.replace(adapter[dotted(path)])) for path, leaf in adapter_leaves]),
            nnx.from_flat_state([(path, leaf.replace(x)) for (path, leaf), x in zip(rest_leaves, rest, strict=True)]),
        ]
        return loss(nnx.merge(graph, *states), batch)

    def gradient(adapter: dict[str, Array], rest: list[Array], batch: Any) -> tuple[Any, dict[str, Array]]:
        (_, reported), found = jax.value_and_grad(value, has_aux=True)(adapter, rest, batch)
        # Like the adapter on every device: what comes of both is then where they were.
        return (jax.lax.with_sharding_constraint(found, whole) if whole else found), reported

    return jax.jit(gradient), jax.jit(value)


def updated(adapter: Any, state: Any, gradient: Any, rate: Array) -> tuple[Any, Any]:
    """The adapter and the optimizer's state after one step along the gradient."""
    change, state = _OPTIMIZER.update(gradient, state._replace(rate=rate), adapter)
    return optax.apply_updates(adapter, change), state


def running_mean(mean: Any, gradients: list[Any], n: Array) -> Any:
    """The mean of `n` gradients with one more, which is the sum of its parts (Welford's update)."""
    total = jax.tree.map(lambda *parts: sum(parts[1:], parts[0]).astype(jnp.float32), *gradients)
    return total if mean is None else jax.tree.map(lambda m, x: m + (x - m) / (n + 1), mean, total)


def _whole(parts: Sequence[dict[str, Array]]) -> dict[str, float]:
    """A micro-batch's reported values from its parts'."""
    return {name: (max if name in MAXIMA else sum)(float(part[name]) for part in parts) for name in parts[0]}


def dotted(path: Any) -> str:
    """A parameter's name, as adapters are written: its path with dots."""
    return ".".join(map(str, path))


def named(tree: Any) -> dict[str, np.ndarray]:
    """A tree's arrays by path, as copies on the host."""
    return {_name(path): np.array(x) for path, x in jax.tree_util.tree_leaves_with_path(tree)}


def restored(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The tree with the arrays that `named` gave of one like it, each where the tree's own lies. Arrays under
    another first name are somebody else's. Raises CheckpointError where a name, shape or dtype differs."""
    leaves = {_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(tree)}
    own = {name.partition("/")[0] for name in leaves}
    for name in sorted(leaves.keys() | {name for name in arrays if name.partition("/")[0] in own}):
        have, given = leaves.get(name), arrays.get(name)
        if have is None or given is None or (have.shape, have.dtype) != (given.shape, given.dtype):
            raise CheckpointError(f"the checkpoint is not of this model and optimizer: {name} differs")
    return jax.tree.unflatten(jax.tree.structure(tree), [put(arrays[name], x.sharding) for name, x in leaves.items()])


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
