"""The Sampler of a Tunix policy: prompts as text in, completions out, decoded in batches of bounded size."""

from collections.abc import Sequence
from dataclasses import dataclass

from showwork.model.decode import Structure, decode, structure
from showwork.model.gemma import Gemma
from showwork.model.lora import merged, without
from showwork.model.tokenizer import Tokenizer
from showwork.types import Completion, Prompt, Sampling, Stop


@dataclass(frozen=True, slots=True)
class Policy:
    """A model with its tokenizer, as a `Sampler`. The model's weights are read at each call, so a policy that
    is being trained is sampled as it is."""

    model: Gemma
    tokenizer: Tokenizer
    structure: Structure

    def sample(self, prompts: Sequence[Prompt], n: int, how: Sampling) -> list[list[Completion]]:
        """`n` completions for each prompt, in order; log-probabilities at the sampling temperature."""
        if not prompts:
            return []
        ids = [self.tokenizer.encode_prompt(p.text) for p in prompts]
        pad, ends = self.tokenizer.pad, self.tokenizer.ends
        rows = decode(self.structure, merged(self.model), ids, n, how, pad=pad, ends=ends)
        return [
            [
                Completion(
                    task_id=prompt.task_id,
                    sample=i,
                    text=self.tokenizer.decode(row.tokens.tolist()),
                    tokens=tuple(row.tokens.tolist()),
                    logprobs=tuple(row.logprobs.tolist()),
                    stop=Stop.END if row.ended else Stop.LENGTH,
                )
                for i, row in enumerate(group)
            ]
            for prompt, group in zip(prompts, rows, strict=True)
        ]


def policy(model: Gemma, tokenizer: Tokenizer) -> Policy:
    """A policy around a model; keep it while the model lives, it owns the compiled decoder."""
    return Policy(model, tokenizer, structure(without(model)))
