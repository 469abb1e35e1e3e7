"""The optimizer of adapters: AdamW on float32 masters, at a rate that is given from outside at every step.

The rate is a leaf of the state (`MasterState.rate`) and not a schedule of the compiled step, so that a plan can shrink
while it runs (`stage_session.Schedule`). A gradient that is not finite changes nothing and is counted.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class MasterState(NamedTuple):
    """Float32 copies of the parameters, the inner optimizer's state over them, the learning rate, and how
    many gradients were thrown away because they were not finite."""

    master: Any
    inner: Any
    rate: Any
    skipped: Any


def adapter_optimizer(clip: float = 1.0) -> optax.GradientTransformation:
    """AdamW without decay, gradients clipped to a global norm of `clip`, on float32 masters."""
    return float32_master(optax.chain(optax.clip_by_global_norm(clip), optax.scale_by_adam(b1=0.9, b2=0.99)))


def float32_master(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Keep float32 masters beside low-precision parameters.

    qwix makes adapters in the base's dtype; in bfloat16 a weight of 0.04 has no neighbour closer than 1e-4,
    so that steps of 1e-6 are lost one by one. The update returned lands each parameter exactly on its
    master's rounding. `inner` gives the direction; the step is minus the state's `rate` times it.
    """

    def wide(tree: Any) -> Any:
        return jax.tree.map(lambda x: x.astype(jnp.float32), tree)

    @jax.jit  # one program instead of one for every shape
    def init(params: Any) -> MasterState:
        # A copy even where nothing is widened: both buffers are donated at every step.
        master = jax.tree.map(lambda x: jnp.array(x, jnp.float32, copy=True), params)
        return MasterState(master, inner.init(master), jnp.float32(0), jnp.int32(0))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        wanted = wide(updates)
        finite = jnp.isfinite(optax.global_norm(wanted))
        direction, moved = inner.update(wanted, state.inner, state.master)
        master = jax.tree.map(lambda m, d: m - state.rate * d, state.master, direction)
        master, moved = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), (master, moved), (state.master, state.inner)
        )
        delta = jax.tree.map(lambda m, p: m.astype(p.dtype).astype(jnp.float32) - p.astype(jnp.float32), master, params)
        skipped = state.skipped + (~finite).astype(jnp.int32)
        return delta, MasterState(master, moved, state.rate, skipped)

    return optax.GradientTransformation(init, update)
