"""The policy loss, and the log-probabilities of the policy it is held to.

The loss (Shao et al. 2024, "DeepSeekMath", eq. 3, with the token-level mean of Yu et al. 2025, "DAPO"): the
clipped ratio to the sampling policy times the group-normalised reward, plus β times Schulman's low-variance
estimate of the KL divergence from the *SFT* policy. Groups and advantages are made elsewhere (`groups.py`).
"""
# ruff: noqa: F722 (shapes in annotations are strings)

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int
from tunix.rl import function_registry
from tunix.rl.common import TrainExample

from everystep.model.gemma import Gemma
from everystep.model.logprobs import group_logprobs
from everystep.model.lora import fused
from everystep.model.mesh import spread_rows

LOSS = "everystep"  # our name in Tunix's registry of policy losses


@flax.struct.dataclass
class Examples(TrainExample):
    """Tunix's training rows, and a weight for every token: zero at padding; over an optimizer batch the
    weights sum to the number of micro-batches, so that the mean over micro-batches is the mean over
    tokens. `size`: how many neighbouring rows have the same prompt, which is then computed once for them."""

    weight: Any = None
    size: int = flax.struct.field(pytree_node=False, default=1)


@function_registry.register_policy_loss_fn(LOSS)
def policy_loss(
    model: Gemma, train_example: Examples, algo_config: Any, pad_id: int, eos_id: int
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The loss in the module's docstring; the auxiliary values are means over tokens."""
    x: Any = train_example
    new = grouped(model, x.prompt_ids, x.completion_ids, x.size, pad_id, algo_config.temperature)
    ratio = jnp.exp(new - x.old_per_token_logps)
    gain = x.advantages[:, None]
    clipped = jnp.clip(ratio, 1 - algo_config.epsilon, 1 + algo_config.epsilon)
    per_token = -jnp.minimum(ratio * gain, clipped * gain)
    apart = x.ref_per_token_logps - new
    kl = jnp.exp(apart) - apart - 1
    aux = {
        "pg_clipfrac": jnp.sum((ratio * gain > clipped * gain) * x.weight),
        "entropy": -jnp.sum(new * x.weight),
        "disagreement": jnp.max(jnp.abs(new - x.old_per_token_logps) * (x.weight > 0)),
    }
    if algo_config.beta:  # without, there is no reference to be apart from
        aux["kl"] = jnp.sum(kl * x.weight)
    return jnp.sum((per_token + algo_config.beta * kl) * x.weight), aux


def grouped(
    model: Gemma,
    prompts: Int[Array, "rows length"],
    completions: Int[Array, "rows last"],
    size: int,
    pad: int,
    temperature: float,
) -> Float[Array, "rows last"]:
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
