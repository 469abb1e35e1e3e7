"""The policy loss: what an update makes smaller. A new one is an entry in `LOSSES`, with what it needs beside it,
and its name in `core/recipe.py` (`grpo.loss`).

Every loss here is a mean, by its own weights, of a value for every token, plus β times Schulman's low-variance
estimate of the KL divergence from the policy that training began with (DeepSeekMath, arXiv:2402.03300, eq. 4).
With r = exp(new - old), A the completion's advantage, and the completions i = 1 … N of a step of |o_i| tokens:

    grpo      1/N Σ_i 1/|o_i| Σ_t  -min(r A, clip(r, 1-ε, 1+ε_high) A)     DeepSeekMath, arXiv:2402.03300, eq. 3
    dapo      1/Σ_i|o_i| Σ_i Σ_t   the same                                DAPO, arXiv:2503.14476, eq. 8
    dr_grpo   1/(N L) Σ_i Σ_t      the same, L the most tokens allowed     Dr. GRPO, arXiv:2503.20783, section 3.2
    gspo      1/N Σ_i              the same, with one ratio for the whole  GSPO, arXiv:2507.18071, eq. 5 and 7
              completion: exp(1/|o_i| Σ_t (new - old))
    cispo     1/Σ_i|o_i| Σ_i Σ_t   -sg(clip(r, 1-ε, 1+ε_high)) A new       MiniMax-M1, arXiv:2506.13585, eq. 4 and 5

`grpo.sampler_cap` corrects any of them for completions that another engine has sampled: `old` is then the
trainer's own policy, and a token's value is multiplied by min(exp(old - sampled), cap), which has no gradient
(truncated importance weights: IMPALA, arXiv:1802.01561, section 4.1; Ionides 2008).
"""
# ruff: noqa: F722, F821 (shapes in annotations are strings)

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from everystep.core.recipe import Grpo
from everystep.model.gemma import Gemma
from everystep.model.logprobs import group_logprobs
from everystep.model.lora import fused
from everystep.model.mesh import spread_rows


@flax.struct.dataclass
class PolicyBatch:
    """Rows to learn from. `sampled` and `reference` are log-probabilities at the sampling temperature, under the
    policy that sampled and under the one that training began with. `weight` is how much each token counts in the
    loss, `share` how much in a mean over the step's tokens; both are zero at padding, and sum over a step to the
    number of its micro-batches, so that a mean over micro-batches is the step's. `group` neighbours have the same
    prompt, which is then computed once for them."""

    prompts: Int[Array, "rows length"]  # padded on the left
    completions: Int[Array, "rows time"]  # padded on the right
    advantages: Float[Array, "rows"]
    sampled: Float[Array, "rows time"]
    reference: Float[Array, "rows time"]
    weight: Float[Array, "rows time"]
    share: Float[Array, "rows time"]
    group: int = flax.struct.field(pytree_node=False, default=1)


class Tokens(NamedTuple):
    """What a loss is made of: log-probabilities of the policy as it is and as it sampled, advantages (one a row,
    as a column), and which tokens are no padding."""

    new: Float[Array, "rows time"]
    old: Float[Array, "rows time"]
    advantage: Float[Array, "rows 1"]
    inside: Bool[Array, "rows time"]


# Tokens and how far below and above 1 a ratio may be, to each token's value and whether it was clipped.
PerToken = Callable[[Tokens, float, float], tuple[Float[Array, "rows time"], Bool[Array, "rows time"]]]


def clipped_surrogate(x: Tokens, low: float, high: float) -> tuple[Array, Array]:
    """-min(r A, clip(r, 1-low, 1+high) A)."""
    return _pessimistic(jnp.exp(x.new - x.old), x.advantage, low, high)


def sequence_surrogate(x: Tokens, low: float, high: float) -> tuple[Array, Array]:
    """The same with a row's geometric mean ratio, which all of the row's tokens share."""
    count = jnp.maximum(x.inside.sum(axis=1, keepdims=True), 1)
    ratio = jnp.exp(jnp.sum(jnp.where(x.inside, x.new - x.old, 0), axis=1, keepdims=True) / count)
    value, clipped = _pessimistic(ratio, x.advantage, low, high)
    return jnp.broadcast_to(value, x.new.shape), jnp.broadcast_to(clipped, x.new.shape)


def clipped_weight(x: Tokens, low: float, high: float) -> tuple[Array, Array]:
    """-sg(clip(r, 1-low, 1+high)) A new: a ratio that is clipped still leaves a gradient."""
    ratio = jnp.exp(x.new - x.old)
    kept = jax.lax.stop_gradient(jnp.clip(ratio, 1 - low, 1 + high))
    return -kept * x.advantage * x.new, kept != ratio


def _pessimistic(ratio: Array, gain: Array, low: float, high: float) -> tuple[Array, Array]:
    clipped = jnp.clip(ratio, 1 - low, 1 + high)
    return -jnp.minimum(ratio * gain, clipped * gain), ratio * gain > clipped * gain


def token_mean(lengths: Int[np.ndarray, "rows"], most: int) -> Float[np.ndarray, "rows"]:
    """Σ|o_i|: every token of a step weighs the same."""
    return np.full(len(lengths), lengths.sum(), np.float64)


def sequence_mean(lengths: Int[np.ndarray, "rows"], most: int) -> Float[np.ndarray, "rows"]:
    """N |o_i|: every completion weighs the same."""
    return np.float64(len(lengths)) * lengths


def constant(lengths: Int[np.ndarray, "rows"], most: int) -> Float[np.ndarray, "rows"]:
    """N L: what a token weighs does not depend on any completion's length."""
    return np.full(len(lengths), len(lengths) * most, np.float64)


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """A loss: the value of a token, and by what each row's tokens are divided, given the lengths of all of a
    step's completions and the most tokens that one may have."""

    per_token: PerToken
    divisor: Callable[[Int[np.ndarray, "rows"], int], Float[np.ndarray, "rows"]]


LOSSES: dict[str, PolicyLoss] = {
    "grpo": PolicyLoss(clipped_surrogate, sequence_mean),
    "dapo": PolicyLoss(clipped_surrogate, token_mean),
    "dr_grpo": PolicyLoss(clipped_surrogate, constant),
    "gspo": PolicyLoss(sequence_surrogate, sequence_mean),
    "cispo": PolicyLoss(clipped_weight, token_mean),
}


def policy_loss(
    model: Gemma, batch: PolicyBatch, config: Grpo, pad: int
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The loss that `config` names, with its penalty; reported are means over tokens, and the largest
    disagreement of sampler and trainer, in nats."""
    new = grouped(model, batch.prompts, batch.completions, batch.group, pad, config.temperature)
    held = jax.lax.stop_gradient(new)
    old = batch.sampled if config.sampler_cap is None else held
    inside = batch.share > 0
    high = config.epsilon if config.epsilon_high is None else config.epsilon_high
    tokens = Tokens(new, old, batch.advantages[:, None], inside)
    per_token, clipped = LOSSES[config.loss].per_token(tokens, config.epsilon, high)
    if config.sampler_cap is not None:
        per_token = per_token * jnp.minimum(jnp.exp(held - batch.sampled), config.sampler_cap)
    apart = batch.reference - new
    kl = jnp.exp(apart) - apart - 1
    reported = {
        "pg_clipfrac": jnp.sum(clipped * batch.share),
        "entropy": -jnp.sum(new * batch.share),
        "disagreement": jnp.max(jnp.abs(new - batch.sampled) * inside),
    }
    if config.beta:  # without, there is no reference to be apart from
        reported["kl"] = jnp.sum(kl * batch.share)
    return jnp.sum((per_token + config.beta * kl) * batch.weight), reported


def grouped(
    model: Gemma,
    prompts: Int[Array, "rows length"],
    completions: Int[Array, "rows time"],
    size: int,
    pad: int,
    temperature: float,
) -> Float[Array, "rows time"]:
    """Log-probabilities of completions that come in groups of `size` rows with the same prompt."""
    return group_logprobs(fused(model), prompts[::size], completions, pad, temperature)


def reference(model: Gemma, size: int, pad: int, temperature: float) -> Callable[[Any, Any], Array]:
    """`grouped` under the policy as it is now: a function of prompts and completions, which does not wait for
    its result (`mesh.fetch` does). The adapter is copied; the base's arrays are shared."""
    graph, adapter, rest = nnx.split(model, nnx.LoRAParam, ...)
    adapter = jax.jit(lambda arrays: jax.tree.map(jnp.copy, arrays))(adapter)

    @jax.jit
    def run(adapter: Any, rest: Any, prompts: Array, completions: Array) -> Array:
        return grouped(nnx.merge(graph, adapter, rest), prompts, completions, size, pad, temperature)

    def on_devices(prompts: Any, completions: Any) -> Array:
        return run(adapter, rest, *spread_rows((prompts, completions), adapter))

    return on_devices
