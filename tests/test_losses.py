"""Every loss and every advantage against plain NumPy, one token after the other, and against its paper's own words."""

import math
from typing import Any, get_args

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from everystep.core.recipe import Grpo, validate
from everystep.core.strict import RecipeError
from everystep.core.types import Score
from everystep.train.advantages import ADVANTAGES, advantages
from everystep.train.losses import LOSSES, PolicyBatch, policy_loss
from everystep.train.rollouts import ROLLOUTS
from model_fixtures import TUNIX, logprobs, lora

pytestmark = TUNIX
MOST, TEMPERATURE = 9, 0.7
LENGTHS = (6, 2, 5, 1)
GAINS = (1.5, -0.5, 0.0, -2.0)


def config(**changes: Any) -> Grpo:
    return Grpo(temperature=TEMPERATURE, max_tokens=MOST, beta=0.04, **changes)


def by_hand(x: Grpo, new: Any, old: Any, ref: Any, sampled: Any) -> float:
    """The formulas in the docstring of `losses.py`, token by token."""
    low, high = 1 - x.epsilon, 1 + (x.epsilon_high or x.epsilon)
    total = 0.0
    for i, (count, gain) in enumerate(zip(LENGTHS, GAINS, strict=True)):
        whole = math.exp(sum(new[i][t] - old[i][t] for t in range(count)) / count)
        for t in range(count):
            ratio = whole if x.loss == "gspo" else math.exp(new[i][t] - old[i][t])
            value = -min(ratio * gain, min(max(ratio, low), high) * gain)
            if x.loss == "cispo":
                value = -min(max(ratio, low), high) * gain * new[i][t]
            if x.sampler_cap is not None:
                value *= min(math.exp(old[i][t] - sampled[i][t]), x.sampler_cap)
            kl = math.exp(ref[i][t] - new[i][t]) - (ref[i][t] - new[i][t]) - 1
            weigh = {
                "dapo": 1 / sum(LENGTHS),
                "cispo": 1 / sum(LENGTHS),
                "grpo": 1 / (len(LENGTHS) * count),
                "gspo": 1 / (len(LENGTHS) * count),
                "dr_grpo": 1 / (len(LENGTHS) * MOST),
            }[x.loss]
            total += weigh * (value + x.beta * kl)
    return total


def arrays() -> tuple[Any, dict[str, np.ndarray], np.ndarray]:
    """A policy, two prompts with two completions each, and the policy's log-probabilities of them."""
    model, rng = lora(seed=8, moved=True, layers=2), np.random.default_rng(0)
    prompts = np.repeat(rng.integers(4, 500, (2, 8)), 2, axis=0)
    prompts[:2, :3] = 0
    completions = rng.integers(4, 500, (4, 6)) * (np.arange(6) < np.array(LENGTHS)[:, None])
    new = logprobs(model, np.concatenate([prompts, completions], 1), 0, 6, TEMPERATURE).astype(np.float64)
    held = {"prompts": prompts, "completions": completions}
    held |= {name: new + rng.normal(0, 0.3, new.shape) for name in ("sampled", "reference")}
    return model, held, new


@pytest.mark.parametrize("cap", [None, 1.1])
@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_by_hand(name: str, cap: float | None) -> None:
    """With clipped and unclipped ratios, and both signs of advantage."""
    model, held, new = arrays()
    x = config(loss=name, epsilon_high=0.3, sampler_cap=cap)
    inside = np.arange(6) < np.array(LENGTHS)[:, None]
    divisor = LOSSES[name].divisor(np.array(LENGTHS), MOST)
    batch: Any = PolicyBatch(
        prompts=jnp.asarray(held["prompts"], jnp.int32),
        completions=jnp.asarray(held["completions"], jnp.int32),
        advantages=jnp.asarray(GAINS, jnp.float32),
        sampled=jnp.asarray(held["sampled"], jnp.float32),
        reference=jnp.asarray(held["reference"], jnp.float32),
        weight=jnp.asarray(inside / divisor[:, None], jnp.float32),
        share=jnp.asarray(inside / sum(LENGTHS), jnp.float32),
        group=2,
    )
    value, reported = nnx.jit(lambda m, b: policy_loss(m, b, x, 0))(model, batch)
    old = held["sampled"] if cap is None else new
    expected = by_hand(x, new, old, held["reference"], held["sampled"])
    assert float(value) == pytest.approx(expected, rel=1e-4)
    assert (0 < float(reported["pg_clipfrac"]) < 1) is (cap is None)


def test_a_clipped_ratio_still_moves_cispo_and_not_the_others() -> None:
    """A ratio of e with a positive advantage is above every bound."""
    from everystep.train.losses import Tokens

    def slope(name: str) -> float:
        def total(new: Any) -> Any:
            x = Tokens(new, jnp.zeros((1, 1)), jnp.ones((1, 1)), jnp.ones((1, 1), bool))
            return LOSSES[name].per_token(x, 0.2, 0.3)[0].sum()

        return float(nnx.grad(total)(jnp.ones((1, 1)))[0, 0])

    assert {name: slope(name) for name in LOSSES} == {
        "grpo": 0.0,
        "dapo": 0.0,
        "dr_grpo": 0.0,
        "gspo": 0.0,
        "cispo": pytest.approx(-1.3),
    }


def test_every_choice_of_a_recipe_is_there_and_a_typo_lists_them() -> None:
    for key, choices in {"loss": LOSSES, "advantage": ADVANTAGES, "rollout": ROLLOUTS}.items():
        assert set(get_args(Grpo.model_fields[key].annotation)) == set(choices)
    tree = {"name": "x", "data": {"worked": {}}}
    with pytest.raises(RecipeError, match=r"grpo\.loss.*'grpo', 'dapo', 'dr_grpo', 'gspo' or 'cispo'"):
        validate(tree | {"grpo": {"loss": "dppo"}}, "here")
    for bad in ({"epsilon_high": 0}, {"sampler_cap": 0.5}, {"advantage": "gae"}):
        with pytest.raises(RecipeError, match=f"grpo.{next(iter(bad))}"):
            validate(tree | {"grpo": bad}, "here")
    for odd in ({"loss": "cispo"}, {"sampler_cap": 2.0}, {"refill": True}):
        with pytest.raises(RecipeError, match="engine tunix-stock"):
            validate(tree | {"grpo": {"engine": "tunix-stock"} | odd}, "here")


def scores(*totals: float | None) -> list[Score]:
    return [Score("t", i, {"p": t}, t) for i, t in enumerate(totals)]


@pytest.mark.parametrize(
    ("totals", "expected"),
    [
        ((1, 1, 1, 1), (0, 0, 0, 0)),
        ((0.1, 0.1, 0.1), (0, 0, 0)),  # whose mean is not 0.1
        ((0, 0, 0, 0), (0, 0, 0, 0)),
        ((1, 0), (1, -1)),
        ((1, 0, None), (1, -1, 0)),
        ((None, 1, None, 0), (0, 1, 0, -1)),
        ((None, None), (0, 0)),
        ((None, 1), (0, 0)),
        ((3, 1, 1, 3), (1, -1, -1, 1)),
        ((0.01, 0.0), (0.1, -0.1)),  # deviation 0.005, below the floor of 0.05
        ((1, 0, 0, 0), (math.sqrt(3), *[-1 / math.sqrt(3)] * 3)),
    ],
)
def test_advantages(totals: tuple[float | None, ...], expected: tuple[float, ...]) -> None:
    got = advantages([scores(*totals)])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert [g == 0 for g, e in zip(got, expected, strict=True) if e == 0] == [True] * expected.count(0)


@pytest.mark.parametrize("kind", ADVANTAGES)
def test_groups_do_not_touch_each_other(kind: str) -> None:
    a, b = scores(1, 0, 0), scores(None, 5, 9)
    both = advantages([a, b], kind=kind)
    np.testing.assert_array_equal(both, np.concatenate([advantages([a], kind=kind), advantages([b], kind=kind)]))


def test_other_advantages_by_hand() -> None:
    totals = (4.0, None, 1.0, 1.0)
    np.testing.assert_allclose(advantages([scores(*totals)], kind="dr_grpo"), (2, 0, -1, -1))
    np.testing.assert_allclose(advantages([scores(*totals)], kind="rloo"), (3, 0, -1.5, -1.5))
