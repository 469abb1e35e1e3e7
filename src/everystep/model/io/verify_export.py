"""An export read again and held against the policy it was made of: logits on a few prompts, and greedy text.

Writing is `ship/export.py`. Nothing here is sampled with luck, so that what fails once fails again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import nnx

from everystep.core.types import Prompt, Sampling
from everystep.model.chunk import Structure, structure
from everystep.model.decode import left_pad, prompt_length
from everystep.model.gemma import Gemma
from everystep.model.io.export import arrays_of, read_peft, read_tunix
from everystep.model.io.load import Base, load
from everystep.model.logprobs import attention
from everystep.model.lora import adapter, add_lora, merged, set_adapter
from everystep.model.sampler import Policy

# How far a logit may be from the policy's, as a share of the deviation of all its logits. Exact: the same
# weights in the same program. Float32: the same numbers, added up in another order. Rounded: weights or
# activations of 8 bits, a relative error of up to 2^-8 in each.
EXACT, FLOAT32, ROUNDED = 1e-4, 1e-3, 0.1
GREEDY = 32  # tokens that are compared of each greedy text


@dataclass(frozen=True, slots=True)
class Agreement:
    """How an export that was read again agrees with the policy in memory.

    `logits`: the largest difference of a logit, as a share of the deviation of the policy's logits, of which
    `tolerance` is allowed. `weights`: the same against the policy's own merged weights, rounded as the file's
    are (None where the file's are an adapter's). `lost`: the mean difference from the policy as a share of
    that between policy and base; near 1, what was trained is drowned by rounding; None where there is no
    difference. `tokens`: greedy tokens compared; `ties`: texts that part at two tokens which are equally
    likely within the tolerance.
    """

    logits: float
    tolerance: float
    weights: float | None
    lost: float | None
    tokens: int
    ties: int


@dataclass(frozen=True, slots=True)
class Reference:
    """What an export is compared with: the policy, the base it stands on, and what they say to the prompts.
    `spread`: the standard deviation of the policy's logits."""

    policy: Policy
    base: Base
    prompts: Sequence[Prompt]
    rows: np.ndarray
    graph: Structure
    logits: np.ndarray
    spread: float
    effect: float
    greedy: list[Any]


def reference(policy: Policy, base: Base, prompts: Sequence[Prompt]) -> Reference:
    """Ask policy and base. `policy` is `base` with an adapter."""
    ids = [policy.tokenizer.encode_prompt(p.text) for p in prompts]
    rows = left_pad(ids, prompt_length(ids), policy.tokenizer.pad)
    graph, pad = structure(policy.model), policy.tokenizer.pad
    own = _logits(graph, nnx.state(policy.model), rows, pad)
    plain = _logits(policy.structure, merged(base.model), rows, pad)
    effect = float(np.abs(own - plain).mean())
    greedy = _greedy(policy, prompts)
    return Reference(policy, base, prompts, rows, graph, own, float(own.std()), effect, greedy)


def reread(kind: str, folder: Path, ref: Reference, dtype: str = "float32") -> Agreement:
    """Read an export of `kind` "hf", "peft" or "tunix" and compare it; `dtype` is that of the merged weights.

    Raises ValueError, one line, where it cannot be read or is not the policy.
    """
    policy, pad = ref.policy, ref.policy.tokenizer.pad
    rounded = jnp.dtype(policy.model.config.param_dtype) != jnp.float32 or dtype != "float32"
    # On accelerators a product of float32 is made of shorter ones, in an order of each program's own.
    tolerance = ROUNDED if rounded or jax.default_backend() != "cpu" else FLOAT32
    weights = None
    if kind == "hf":
        here = "bfloat16" if jnp.dtype(policy.model.config.param_dtype) == jnp.bfloat16 else "float32"
        read = load(str(folder), dtype=here)
        again = replace(policy, model=read.model, tokenizer=read.tokenizer)
        for prompt in ref.prompts:
            if read.tokenizer.encode(prompt.text) != policy.tokenizer.encode(prompt.text):
                raise ValueError(f"{folder}: its tokenizer reads a prompt in other tokens")
        logits = _logits(policy.structure, merged(read.model), ref.rows, pad)
        own = _logits(policy.structure, _rounded(policy.model, dtype), ref.rows, pad)
        weights = float(np.abs(logits - own).max()) / ref.spread
        sliding = EXACT if dtype == "float32" else FLOAT32  # a sum in another order may round to the other side
        if not weights <= (sliding if here == "float32" else tolerance):
            raise ValueError(f"{folder}: its weights are not the policy's (logits differ by {weights:.2g} σ)")
    else:
        again = replace(policy, model=_adapted(kind, folder, ref))
        logits = _logits(ref.graph, nnx.state(again.model), ref.rows, pad)
    worst = float(np.abs(logits - ref.logits).max()) / ref.spread
    if not worst <= tolerance:  # also where it is not a number
        raise ValueError(
            f"{folder}: is not the policy: logits differ by {worst:.2g} of their deviation, not {tolerance}"
        )
    lost = float(np.abs(logits - ref.logits).mean()) / ref.effect if ref.effect else None
    tokens, ties = _same_text(ref, _greedy(again, ref.prompts), tolerance * ref.spread, folder)
    return Agreement(worst, tolerance, weights, lost, tokens, ties)


def _adapted(kind: str, folder: Path, ref: Reference) -> Gemma:
    """The base with the adapter that a folder holds, at the scale that it says."""
    here = ref.policy.model
    like = adapter(here)
    if kind == "peft":
        found, rank, alpha = read_peft(folder)
        arrays = arrays_of(found, like)
    else:  # Tunix's files do not say their scale: whoever loads them gives it
        arrays = read_tunix(here, folder)
        rank = min(v.shape[-1] for k, v in like.items() if k.endswith("_a"))
        alpha = here.lora_scale * rank
    model = add_lora(ref.base.model, rank, alpha, None)
    set_adapter(model, arrays)
    if abs(model.lora_scale - here.lora_scale) > 1e-9:
        raise ValueError(f"{folder}: scales by {model.lora_scale}, the policy by {here.lora_scale}")
    return model


def _rounded(model: Gemma, dtype: str) -> nnx.State:
    """The policy's merged weights, those that an adapter changes rounded to `dtype` and widened again."""
    state = merged(model)
    adapted = {k.rpartition("_lora_")[0] for k in adapter(model)}
    for path, leaf in nnx.to_flat_state(state):
        if ".".join(map(str, path)) in adapted and dtype != "float32":
            value = leaf.get_value()
            narrow = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float16
            leaf.set_value(jnp.asarray(np.asarray(value, np.float32).astype(narrow), value.dtype))
    return state


@partial(jax.jit, static_argnames=("graph", "pad"))
def _run(graph: Structure, state: Any, rows: Any, pad: int) -> Any:
    positions, mask = attention(rows != pad)
    return nnx.merge(graph.graph, state)(rows, positions, None, mask)[0].astype(jnp.float32)


def _logits(graph: Structure, state: Any, rows: np.ndarray, pad: int) -> np.ndarray:
    """Logits at every token of the rows that is no padding, [tokens, vocabulary]."""
    return np.asarray(_run(graph, state, jnp.asarray(rows), pad))[rows != pad]


def _greedy(policy: Policy, prompts: Sequence[Prompt]) -> list[Any]:
    return [group[0] for group in policy.sample(prompts, 1, Sampling(temperature=0.0, max_tokens=GREEDY))]


def _same_text(ref: Reference, found: Sequence[Any], sliding: float, folder: Path) -> tuple[int, int]:
    """How many greedy tokens were compared, and how many texts part at a tie. ValueError where one parts at
    what is no tie: each side prefers its own token by more than both could be wrong."""
    tokens = ties = 0
    for prompt, own, other in zip(ref.prompts, ref.greedy, found, strict=True):
        same = next((i for i, (a, b) in enumerate(zip(own.tokens, other.tokens, strict=False)) if a != b), None)
        tokens += len(own.tokens) if same is None else same
        if same is None and len(own.tokens) == len(other.tokens):
            continue
        if same is None or abs(own.logprobs[same] - other.logprobs[same]) > 3 * sliding:
            raise ValueError(
                f"{folder}: is not the policy: asked {prompt.text[:60]!r} it says {other.text[:60]!r}, "
                f"the policy {own.text[:60]!r}"
            )
        ties += 1
    return tokens, ties
