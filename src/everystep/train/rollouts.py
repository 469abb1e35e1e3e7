"""What samples the completions of a step. A new one is a function here, an entry in `ROLLOUTS`, and its name in
`core/recipe.py` (`grpo.rollout`).

A rollout gives the ids of every completion with its end token, and the natural log-probability of each id at the
sampling temperature. Where those come from another engine than the trainer's, set `grpo.sampler_cap`.
"""

from collections.abc import Callable, Sequence

from everystep.core.types import Sampling
from everystep.model.chunk import structure
from everystep.model.decode import Decoded, OnDone
from everystep.model.gemma import Gemma
from everystep.model.hosts import decode_shared
from everystep.model.lora import merged, without
from everystep.model.mesh import local
from everystep.model.tokenizer import Tokenizer

# Prompts, completions of each, how to sample, and who is given each row once when it has ended.
Rollout = Callable[[Sequence[str], int, Sampling, OnDone], list[list[Decoded]]]


def ours(model: Gemma, tokenizer: Tokenizer) -> Rollout:
    """Our decoder (`model/decode.py`), on the trainer's own devices. The weights are read at every call, so that
    each update is seen at once and nothing has to be sent."""
    graph = structure(without(model))

    def sample(prompts: Sequence[str], n: int, sampling: Sampling, on_done: OnDone) -> list[list[Decoded]]:
        ids, pad, ends = [tokenizer.encode_prompt(p) for p in prompts], tokenizer.pad, tokenizer.ends
        return decode_shared(graph, local(merged(model)), ids, n, sampling, pad=pad, ends=ends, on_done=on_done)

    return sample


ROLLOUTS: dict[str, Callable[[Gemma, Tokenizer], Rollout]] = {"ours": ours}
