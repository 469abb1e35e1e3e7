"""The optimizer of adapters: AdamW on float32 masters, warm-up and cosine over exactly the planned steps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class MasterState(NamedTuple):
    """Float32 copies of the parameters, and the inner optimizer's state over them."""

    master: Any
    inner: Any


def schedule(learning_rate: float, warmup: float, steps: int) -> optax.Schedule:
    """Linear over the first `warmup` share of the steps (the first one moves already), then half a cosine
    to a tenth of the peak at the last step."""
    rise = max(1, round(warmup * steps))
    return optax.warmup_cosine_decay_schedule(
        learning_rate / (rise + 1), learning_rate, rise, max(steps, rise + 1), 0.1 * learning_rate
    )


def adapter_optimizer(rate: optax.Schedule, clip: float = 1.0) -> optax.GradientTransformation:
    """AdamW without decay, gradients clipped to a global norm of `clip`, on float32 masters."""
    return float32_master(optax.chain(optax.clip_by_global_norm(clip), optax.adam(rate, b1=0.9, b2=0.99)))


def float32_master(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Keep float32 masters beside low-precision parameters.

    qwix makes adapters in the base's dtype; in bfloat16 a weight of 0.04 has no neighbour closer than 1e-4,
    so that steps of 1e-6 are lost one by one. The update returned lands each parameter exactly on its
    master's rounding.
    """

    def wide(tree: Any) -> Any:
        return jax.tree.map(lambda x: x.astype(jnp.float32), tree)

    def init(params: Any) -> MasterState:
        # A copy even where nothing is widened: both buffers are donated at every step.
        master = jax.tree.map(lambda x: jnp.array(x, jnp.float32, copy=True), params)
        return MasterState(master, inner.init(master))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        change, new = inner.update(wide(updates), state.inner, state.master)
        master = optax.apply_updates(state.master, change)
        delta = jax.tree.map(
            lambda m, p: m.astype(p.dtype).astype(jnp.float32) - p.astype(jnp.float32), master, params
        )
        return delta, MasterState(master, new)

    return optax.GradientTransformation(init, update)
