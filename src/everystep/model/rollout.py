"""Our rollout engine behind Tunix's interface: what `RLCluster` builds and `GRPOLearner` draws from.

It keeps the end-of-turn token in the sampled ids (Tunix's own sampler cuts it, so that stopping is never
trained), draws fresh noise for every step, and gives the log-probabilities of sampling. The decoding
itself is `decode.py`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from tunix.rl.rollout.base_rollout import BaseRollout, RolloutConfig, RolloutOutput

from everystep.core.types import Sampling
from everystep.model.chunk import structure
from everystep.model.decode import Decoded, OnDone, left_pad, prompt_length
from everystep.model.gemma import Gemma
from everystep.model.hosts import decode_shared
from everystep.model.logprobs import token_logprobs
from everystep.model.lora import merged, without
from everystep.model.mesh import local
from everystep.model.tokenizer import Tokenizer


class Rollout(BaseRollout):
    """A `BaseRollout` over a model that shares its variables with the trainer's, so that updates are seen
    at once.

    `seed` is set by the learner before each call; `tokenizer` is the adapter Tunix hands around, which holds
    ours as `.inner`.
    """

    def __init__(self, rollout_actor: Gemma, tokenizer: Any, mesh: Any, rollout_config: RolloutConfig):
        self._model = rollout_actor
        self._tokenizer: Tokenizer = tokenizer.inner
        self._structure = structure(without(rollout_actor))
        self._temperature = rollout_config.temperature
        self.seed = 0

    def sample(
        self, prompts: Sequence[str], n: int, sampling: Sampling, on_done: OnDone | None = None
    ) -> list[list[Decoded]]:
        """`n` rows for each distinct prompt; `on_done` gets them as they end (`decode`)."""
        ids = [self._tokenizer.encode_prompt(p) for p in prompts]
        ends = self._tokenizer.ends
        state = local(merged(self._model))
        return decode_shared(
            self._structure, state, ids, n, sampling, pad=self._tokenizer.pad, ends=ends, on_done=on_done
        )

    def generate(  # pyright: ignore[reportIncompatibleMethodOverride]  (Tunix passes no more than this)
        self, prompts: list[str], rollout_config: RolloutConfig
    ) -> RolloutOutput:
        """Tunix's call: prompts repeated group-wise, one completion for each."""
        distinct = list(dict.fromkeys(prompts))
        n = len(prompts) // len(distinct)
        if [p for p in distinct for _ in range(n)] != list(prompts):
            raise ValueError("rollout prompts must come in groups of equal size")
        sampling = Sampling(
            temperature=rollout_config.temperature,
            max_tokens=rollout_config.max_tokens_to_generate,
            seed=self.seed,
        )
        rows = [row for group in self.sample(distinct, n, sampling) for row in group]
        ids = [self._tokenizer.encode_prompt(p) for p in prompts]
        return RolloutOutput(
            text=[self._tokenizer.decode(r.tokens.tolist()) for r in rows],
            logits=[],
            tokens=[r.tokens for r in rows],
            left_padded_prompt_tokens=left_pad(ids, prompt_length(ids), self._tokenizer.pad),
            logprobs=[r.logprobs for r in rows],
        )

    def get_per_token_logps(self, prompt_tokens: jax.Array, completion_tokens: jax.Array) -> jax.Array:
        """Log-probabilities of the completions at the sampling temperature (Tunix's own forgets it)."""
        tokens = np.concatenate([np.asarray(prompt_tokens), np.asarray(completion_tokens)], axis=1)
        last = completion_tokens.shape[1]
        return token_logprobs(self._model, jax.numpy.asarray(tokens), self.pad_id(), last, self._temperature)

    def update_params(self, params: Any, filter_types: Any = None) -> None:
        nnx.update(self._model, params)

    def pad_id(self) -> int:
        return self._tokenizer.pad

    def eos_id(self) -> int:
        return self._tokenizer.ends[-1]

    def model(self) -> Gemma:
        return self._model
