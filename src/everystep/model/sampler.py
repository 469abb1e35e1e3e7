"""The Sampler of a Tunix policy: prompts as text in, completions out, decoded in batches of bounded size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax

from everystep.core.types import Completion, Prompt, Sampling, Stop
from everystep.model.chunk import Structure, structure
from everystep.model.decode import Decoded, decode
from everystep.model.gemma import Gemma
from everystep.model.hosts import decode_shared
from everystep.model.lora import merged, without
from everystep.model.mesh import local
from everystep.model.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Policy:
    """A model with its tokenizer, as a `Sampler`. The model's weights are read at each call, so a policy that
    is being trained is sampled as it is."""

    model: Gemma
    tokenizer: Tokenizer
    structure: Structure

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Completion]]:
        """`n` completions for each prompt, in order; log-probabilities at the sampling temperature."""
        if not prompts:
            return []
        ids = [self.tokenizer.encode_prompt(p.text) for p in prompts]
        pad, ends = self.tokenizer.pad, self.tokenizer.ends
        rows = decode_shared(self.structure, local(merged(self.model)), ids, n, sampling, pad=pad, ends=ends)
        return [self._completions(prompt, group) for prompt, group in zip(prompts, rows, strict=True)]

    def flow(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        at_once: int,
        on_done: Callable[[list[Completion]], None],
    ) -> None:
        """One completion for each prompt, given to `on_done` as they are done, in any order; `at_once` are
        decoded side by side. With several processes in batches of so many, since all must know all."""
        if jax.process_count() > 1:
            for start in range(0, len(prompts), at_once):
                on_done([c for (c,) in self.sample(prompts[start : start + at_once], 1, sampling)])
            return

        ids = [self.tokenizer.encode_prompt(p.text) for p in prompts]
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))  # neighbours need little padding

        def told(rows: list[tuple[int, Decoded]]) -> None:
            on_done([self._completions(prompts[order[k]], [row])[0] for k, row in rows])

        if prompts:
            decode(
                self.structure,
                local(merged(self.model)),
                [ids[i] for i in order],
                1,
                sampling,
                pad=self.tokenizer.pad,
                ends=self.tokenizer.ends,
                at_once=at_once,
                on_done=told,
            )

    def stream(
        self, prompt: Prompt, n: int, sampling: Sampling, on_chunk: Callable[[list[Completion]], None]
    ) -> list[Completion]:
        """What `sample` gives for one prompt; `on_chunk` gets the completions as far as they are after every
        few tokens (one that has not ended yet counts as cut). What it raises ends the sampling."""
        pad, ends = self.tokenizer.pad, self.tokenizer.ends
        (rows,) = decode(
            self.structure,
            local(merged(self.model)),
            [self.tokenizer.encode_prompt(prompt.text)],
            n,
            sampling,
            pad=pad,
            ends=ends,
            on_chunk=lambda groups: on_chunk(self._completions(prompt, groups[0])),
        )
        return self._completions(prompt, rows)

    def _completions(self, prompt: Prompt, rows: Sequence[Decoded]) -> list[Completion]:
        return [
            Completion(
                task_id=prompt.task_id,
                sample=i,
                text=self.tokenizer.decode(row.tokens.tolist()),
                tokens=tuple(row.tokens.tolist()),
                logprobs=tuple(row.logprobs.tolist()),
                stop=Stop.END if row.ended else Stop.LENGTH,
            )
            for i, row in enumerate(rows)
        ]


def policy(model: Gemma, tokenizer: Tokenizer) -> Policy:
    """A policy around a model; keep it while the model lives, it owns the compiled decoder."""
    return Policy(model, tokenizer, structure(without(model)))
