"""Tunix's trainer with two defects mended from outside: the frozen base is not copied at every step, and our
own callback sees every optimizer step.

`nnx.jit` returns every variable of the model, so Tunix's stock step copies the whole frozen base each time
and separates the policy's base arrays from the reference's. Here the jitted step takes and returns the
adapter and the optimizer only; everything else of the trainer is Tunix's.
"""

import types
from typing import Any

import jax
from flax import nnx
from tunix.sft.peft_trainer import PeftTrainer


def keep_base(trainer: PeftTrainer) -> None:
    """Replace the trainer's jitted step by one over (adapter, rest, optimizer state, batch). Call its
    `train` with `skip_jit=True`, which selects what this installs."""
    cell: dict[str, Any] = {}

    def build(self: PeftTrainer) -> None:
        graph = nnx.graphdef(self.model)
        optimizer_graph = nnx.graphdef(self.optimizer)

        def step(adapter: Any, rest: Any, optimizer: Any, batch: Any) -> Any:
            model = nnx.merge(graph, adapter, rest)
            inner = nnx.merge(optimizer_graph, optimizer)
            out = self._train_step(model, inner, batch)
            return nnx.state(model, nnx.LoRAParam), nnx.state(inner), out

        def evaluate(adapter: Any, rest: Any, batch: Any) -> Any:
            return self._eval_step(nnx.merge(graph, adapter, rest), batch)

        cell["step"], cell["eval"] = jax.jit(step, donate_argnums=(0, 2)), jax.jit(evaluate)

    def jit_train_and_eval_step(
        self: PeftTrainer, skip_jit: bool = False, cache_nnx_graph: bool = False
    ) -> Any:
        if not cell:
            build(self)

        def train(batch: Any) -> Any:
            _, adapter, rest = nnx.split(self.model, nnx.LoRAParam, ...)
            adapter, optimizer, out = cell["step"](adapter, rest, nnx.state(self.optimizer), batch)
            nnx.update(self.model, adapter)
            nnx.update(self.optimizer, optimizer)
            return out

        def evaluate(batch: Any) -> Any:
            _, adapter, rest = nnx.split(self.model, nnx.LoRAParam, ...)
            return cell["eval"](adapter, rest, batch)

        return train, evaluate

    def clear_jit_cache(self: PeftTrainer) -> None:
        cell.clear()

    trainer.jit_train_and_eval_step = types.MethodType(jit_train_and_eval_step, trainer)
    trainer.clear_jit_cache = types.MethodType(clear_jit_cache, trainer)
