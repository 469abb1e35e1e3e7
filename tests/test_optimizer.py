"""Laws of the optimizer: float32 masters move what bfloat16 cannot, the rate is the one given, and what is no
number changes nothing."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from everystep.train.optimizer import MasterState, adapter_optimizer, float32_master
from model_fixtures import TUNIX

pytestmark = TUNIX


def at(rate: float, state: Any) -> MasterState:
    return state._replace(rate=jnp.float32(rate))


def walk(tx: optax.GradientTransformation, steps: int) -> float:
    """Where a bfloat16 weight of 0.04 is after so many steps down a constant slope."""
    weight = jnp.full((4,), 0.04, jnp.bfloat16)

    def step(carry: tuple, _: None) -> tuple:
        weight, state = carry
        if isinstance(state, MasterState):
            state = at(3e-6, state)
        change, state = tx.update(jnp.full((4,), -0.5, jnp.bfloat16), state, weight)
        return (optax.apply_updates(weight, change), state), None

    (weight, _), _ = jax.lax.scan(step, (weight, tx.init(weight)), None, steps)
    return float(weight[0])


def test_masters_move_what_bfloat16_cannot() -> None:
    start = float(jnp.bfloat16(0.04))
    assert walk(optax.adam(3e-6), 2000) == start
    assert walk(adapter_optimizer(), 2000) == pytest.approx(start + 2000 * 3e-6, rel=0.01)


def test_in_float32_masters_change_nothing() -> None:
    weight = jnp.linspace(-1, 1, 7)
    plain, ours = optax.adam(1e-2), float32_master(optax.scale_by_adam())
    a, b, sa, sb = weight, weight, plain.init(weight), ours.init(weight)
    for k in range(5):
        slope = jnp.sin(weight * k)
        change, sa = plain.update(slope, sa, a)
        a = optax.apply_updates(a, change)
        change, sb = ours.update(slope, at(1e-2, sb), b)
        b = optax.apply_updates(b, change)
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-6)


@pytest.mark.parametrize("kind", [jnp.float32, jnp.bfloat16])
def test_a_master_is_no_alias(kind: type) -> None:
    """Parameters and masters are both donated at every step; one buffer cannot be given away twice."""
    weight = jnp.ones((3,), kind)
    tx = adapter_optimizer()
    state: Any = tx.init(weight)
    assert state.master.unsafe_buffer_pointer() != weight.unsafe_buffer_pointer()
    step = jax.jit(lambda w, s: tx.update(jnp.ones_like(w), s, w), donate_argnums=(0, 1))
    change, state = step(weight, state)
    assert change.dtype == jnp.float32 and jax.tree.leaves(state)[0].dtype == jnp.float32


def test_gradients_are_clipped_to_a_global_norm() -> None:
    tx = adapter_optimizer()
    weight = jnp.zeros(4)
    small, big = jnp.array([1.0, 0, 0, 0]), jnp.array([1e6, 0, 0, 0])
    one, _ = tx.update(small, at(1e-3, tx.init(weight)), weight)
    two, _ = tx.update(big, at(1e-3, tx.init(weight)), weight)
    assert float(jnp.abs(one).max()) > 1e-4
    np.testing.assert_allclose(np.asarray(one), np.asarray(two))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_no_number_changes_nothing_and_is_counted(bad: float) -> None:
    tx, weight = adapter_optimizer(), jnp.ones(4)
    state: Any = at(1e-3, tx.init(weight))
    _, state = tx.update(jnp.ones(4), state, weight)
    change, after = tx.update(jnp.array([1.0, bad, 0, 0]), state, state.master)
    assert not np.asarray(change).any() and int(after.skipped) == 1 and int(state.skipped) == 0
    for x, y in zip(jax.tree.leaves(after[:3]), jax.tree.leaves(state[:3]), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))
