"""Tunix's trainer with defects mended from outside: the frozen base is not copied at every step, the learning
rate is given at every step, and all that a step changes can be taken out and put back.

`nnx.jit` returns every variable of the model, so Tunix's stock step copies the whole frozen base each time
and separates the policy's base arrays from the reference's. Here the jitted step takes and returns the
adapter and the optimizer only; everything else of the trainer is Tunix's. The step is two programs, since the
gradient is compiled for every length of a batch and what the optimizer does with it once. What they are given
is found once too: to walk through the modules took the host some 15 ms a micro-batch with the tiny model.
A micro-batch may come in parts, whose gradients are added: they are computed side by side (`model/workers.py`).
"""

import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from tunix.sft.peft_trainer import PeftTrainer

from everystep.model.mesh import mesh_of, place, put, spread_rows
from everystep.model.workers import ONE_WORKER, Workers
from everystep.train.checkpoint import CheckpointError
from everystep.train.optimizer import MASTER, RATE, SKIPPED
from everystep.train.timing import Ledger


def keep_base(
    trainer: PeftTrainer, rate: Callable[[], float], ledger: Ledger, side_by_side: Workers = ONE_WORKER
) -> None:
    """Replace the trainer's jitted step by ours over (adapter, rest, optimizer state, batch), at the learning
    rate that `rate` gives; its time is the `ledger`'s phase "update". Call the trainer's `train` with
    `skip_jit=True`, which selects what this installs.

    A micro-batch is what the loss function takes, or a tuple of such parts (`Workers.parts`), over which loss
    and gradient are sums. The trainer's `_post_process_train_step` gets the auxiliary values as a list, one
    entry a part.
    """
    cell: dict[str, Any] = {}
    # A step that finds its counters off the mesh, and returns them on it, is compiled a second time.
    if (mesh := mesh_of(nnx.state(trainer.model))) is not None:
        place(trainer.optimizer, mesh)
    whole = None if mesh is None else NamedSharding(mesh, PartitionSpec())

    def build(self: PeftTrainer) -> None:
        adapter = _Variables(self.model, nnx.LoRAParam)
        rest = _Variables(self.model, nnx.Not(nnx.LoRAParam))
        optimizer = _Variables(self.optimizer)
        graph, optimizer_graph = nnx.graphdef(self.model), nnx.graphdef(self.optimizer)

        def gradient(adapter_: Any, rest_: Any, batch: Any) -> Any:
            caught = _Caught()
            model = nnx.merge(graph, adapter.state(adapter_), rest.state(rest_))
            loss, aux, _ = self._train_step(model, caught, batch)  # pyright: ignore
            # Like the adapter on every device: what comes of both is then where they were.
            found = jax.lax.with_sharding_constraint(caught.gradient, whole) if whole else caught.gradient
            return found, loss, aux

        def update(adapter_: Any, rest_: Any, optimizer_: Any, gradients: Any, losses: Any) -> Any:
            model = nnx.merge(graph, adapter.state(adapter_), rest.state(rest_))
            inner = nnx.merge(optimizer_graph, optimizer.state(optimizer_))
            gradient = jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *gradients)
            inner.update(model, gradient)
            return adapter.of(model), optimizer.of(inner), sum(losses), optax.global_norm(gradient)

        def evaluate(adapter_: Any, rest_: Any, batch: Any) -> Any:
            return self._eval_step(nnx.merge(graph, adapter.state(adapter_), rest.state(rest_)), batch)

        cell["gradient"], cell["eval"] = jax.jit(gradient), jax.jit(evaluate)
        cell["update"] = jax.jit(update, donate_argnums=(0, 2))
        cell["variables"] = adapter, rest, optimizer

    def jit_train_and_eval_step(self: PeftTrainer, skip_jit: bool = False, cache_nnx_graph: bool = False) -> Any:
        if not cell:
            build(self)
        adapter, rest, optimizer = cell["variables"]

        def train(batch: Any) -> Any:
            optimizer.set(RATE, jnp.float32(rate()))
            model = adapter.get(), rest.get()
            with ledger.phase("update"):
                parts = batch if isinstance(batch, tuple) else (batch,)
                made = side_by_side.each(lambda part: cell["gradient"](*model, part), parts)
                gradients, losses, aux = map(list, zip(*made, strict=True))
                new = cell["update"](*model, optimizer.get(), gradients, losses)
            adapter.put(new[0])
            optimizer.put(new[1])
            return new[2], aux, new[3]

        def evaluate(batch: Any) -> Any:
            return cell["eval"](adapter.get(), rest.get(), batch)

        return train, evaluate

    def clear_jit_cache(self: PeftTrainer) -> None:
        cell.clear()

    like = jax.tree.leaves(nnx.state(trainer.model))[:1]  # the mesh of one is that of all

    def on_devices(self: PeftTrainer, batch: Any) -> Any:
        return spread_rows(batch, like)

    trainer._prepare_inputs = types.MethodType(on_devices, trainer)
    trainer.jit_train_and_eval_step = types.MethodType(jit_train_and_eval_step, trainer)
    trainer.clear_jit_cache = types.MethodType(clear_jit_cache, trainer)


class _Variables:
    """Those variables of a module that a filter of nnx selects, found once. A list of their arrays is what
    jitted functions take and return."""

    def __init__(self, module: Any, which: Any = ...):
        self.leaves = nnx.to_flat_state(nnx.state(module, which))
        held = dict(nnx.iter_graph(module))
        self.variables: list[nnx.Variable[Any]] = [held[path] for path, _ in self.leaves]

    def get(self) -> list[Any]:
        return [variable.get_value() for variable in self.variables]

    def put(self, arrays: list[Any]) -> None:
        for variable, x in zip(self.variables, arrays, strict=True):
            variable.set_value(x)

    def set(self, name: str, x: Any) -> None:
        """One value for all variables of that last name."""
        for (path, _), variable in zip(self.leaves, self.variables, strict=True):
            if path[-1] == name:
                variable.set_value(x)

    def state(self, arrays: list[Any]) -> nnx.State:
        """The state that these arrays are, for `nnx.merge`."""
        given = zip(self.leaves, arrays, strict=True)
        return nnx.from_flat_state([(path, leaf.replace(x)) for (path, leaf), x in given])

    def of(self, module: Any) -> list[Any]:
        """The same variables' arrays in another module of that structure."""
        held = dict(nnx.to_flat_state(nnx.state(module)))
        return [held[path].get_value() for path, _ in self.leaves]


class _Caught:
    """What stands in an optimizer's place where only the gradient is wanted."""

    gradient: Any = None

    def update(self, model: Any, gradient: Any) -> None:
        self.gradient = gradient


def snapshot(trainer: PeftTrainer) -> dict[str, np.ndarray]:
    """All that training has changed, by name: the adapter, and the optimizer with its float32 masters."""
    return {name: np.array(leaf.get_value()) for name, leaf in _leaves(trainer).items()}


def trained_adapter(trainer: PeftTrainer) -> dict[str, np.ndarray]:
    """The adapter's float32 masters by dotted path, as copies on the host: what the model itself holds in its
    own dtype."""
    held = nnx.to_flat_state(nnx.state(trainer.optimizer))
    return {
        ".".join(map(str, path[path.index(MASTER) + 1 :])): np.array(leaf.get_value())
        for path, leaf in held
        if MASTER in path
    }


def restore(trainer: PeftTrainer, arrays: Mapping[str, np.ndarray]) -> None:
    """Put a snapshot back (arrays of other names are the stage's). Raises CheckpointError, having changed
    nothing, where names, shapes or types are not this trainer's."""
    leaves = _leaves(trainer)
    ours = {name for name in arrays if name.startswith(("model/", "optimizer/"))}
    for name in sorted(leaves.keys() | ours):
        have = leaves[name].get_value() if name in leaves else None
        given = arrays.get(name)
        if have is None or given is None or (have.shape, have.dtype) != (given.shape, given.dtype):
            raise CheckpointError(f"the checkpoint is not of this model and optimizer: {name} differs")
    for part, state in _states(trainer).items():
        for path, leaf in nnx.to_flat_state(state):
            leaf.set_value(put(arrays[_name(part, path)], leaf.get_value().sharding))
        nnx.update(trainer.model if part == "model" else trainer.optimizer, state)


def skipped(trainer: PeftTrainer) -> float:
    """How many gradients were thrown away so far because they were not finite (`optimizer.MasterState`)."""
    state = nnx.to_flat_state(nnx.state(trainer.optimizer))
    return float(sum(int(leaf.get_value()) for path, leaf in state if path[-1] == SKIPPED))


def _states(trainer: PeftTrainer) -> dict[str, nnx.State]:
    return {"model": nnx.state(trainer.model, nnx.LoRAParam), "optimizer": nnx.state(trainer.optimizer)}


def _leaves(trainer: PeftTrainer) -> dict[str, Any]:
    return {
        _name(part, path): leaf for part, state in _states(trainer).items() for path, leaf in nnx.to_flat_state(state)
    }


def _name(part: str, path: Any) -> str:
    return "/".join((part, *map(str, path)))
