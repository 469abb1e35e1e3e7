"""Laws of the optimizer: float32 masters move what bfloat16 cannot, and the schedule has the planned
steps."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from model_fixtures import TUNIX
from showwork.train.optimizer import adapter_optimizer, float32_master, schedule

pytestmark = TUNIX


def walk(tx: optax.GradientTransformation, steps: int) -> float:
    """Where a bfloat16 weight of 0.04 is after so many steps down a constant slope."""
    weight = jnp.full((4,), 0.04, jnp.bfloat16)

    def step(carry: tuple, _: None) -> tuple:
        weight, state = carry
        change, state = tx.update(jnp.full((4,), -0.5, jnp.bfloat16), state, weight)
        return (optax.apply_updates(weight, change), state), None

    (weight, _), _ = jax.lax.scan(step, (weight, tx.init(weight)), None, steps)
    return float(weight[0])


def test_masters_move_what_bfloat16_cannot() -> None:
    start = float(jnp.bfloat16(0.04))
    assert walk(optax.adam(3e-6), 2000) == start
    assert walk(float32_master(optax.adam(3e-6)), 2000) == pytest.approx(start + 2000 * 3e-6, rel=0.01)


def test_in_float32_masters_change_nothing() -> None:
    weight = jnp.linspace(-1, 1, 7)
    plain, ours = optax.adam(1e-2), float32_master(optax.adam(1e-2))
    a, b, sa, sb = weight, weight, plain.init(weight), ours.init(weight)
    for k in range(5):
        slope = jnp.sin(weight * k)
        change, sa = plain.update(slope, sa, a)
        a = optax.apply_updates(a, change)
        change, sb = ours.update(slope, sb, b)
        b = optax.apply_updates(b, change)
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-6)


@pytest.mark.parametrize("kind", [jnp.float32, jnp.bfloat16])
def test_a_master_is_no_alias(kind: type) -> None:
    """Parameters and masters are both donated at every step; one buffer cannot be given away twice."""
    weight = jnp.ones((3,), kind)
    tx = adapter_optimizer(schedule(1e-3, 0.1, 10))
    state: Any = tx.init(weight)
    assert state.master.unsafe_buffer_pointer() != weight.unsafe_buffer_pointer()
    step = jax.jit(lambda w, s: tx.update(jnp.ones_like(w), s, w), donate_argnums=(0, 1))
    change, state = step(weight, state)
    assert change.dtype == jnp.float32 and jax.tree.leaves(state)[0].dtype == jnp.float32


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.1), (7, 0.0), (20, 0.25), (1, 0.1), (2, 0.9)])
def test_the_schedule_has_exactly_the_planned_steps(steps: int, warmup: float) -> None:
    rate = schedule(2e-3, warmup, steps)
    values = [float(np.asarray(rate(k))) for k in range(steps + 1)]
    peak = max(1, round(warmup * steps))
    assert 0 < values[0] <= 2e-3 / 2 + 1e-9
    assert max(values) == pytest.approx(2e-3) and values.index(max(values)) == min(peak, steps)
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)
    if steps > peak:
        assert values[steps] == pytest.approx(2e-4)
    assert float(np.asarray(rate(steps + 50))) == pytest.approx(2e-4)


def test_gradients_are_clipped_to_a_global_norm() -> None:
    tx = adapter_optimizer(schedule(1e-3, 0.1, 10))
    weight = jnp.zeros(4)
    small, big = jnp.array([1.0, 0, 0, 0]), jnp.array([1e6, 0, 0, 0])
    one, _ = tx.update(small, tx.init(weight), weight)
    two, _ = tx.update(big, tx.init(weight), weight)
    np.testing.assert_allclose(np.asarray(one), np.asarray(two))
