"""A local model as judge: a `Sampler` of ours (a Gemma), told what to judge by before each prompt.

No key, no network. Answers are kept like those of an endpoint where the model's weights have an identity.
"""

import hashlib
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from everystep.core import trace
from everystep.core.types import Completion, Kind, Prompt, Sampler, Sampling, Stop, Task
from everystep.score.answers_cache import Answer, Answers, key, open_answers
from everystep.score.budget import Ledger
from everystep.score.endpoint import unframed


@dataclass(frozen=True, slots=True)
class Told:
    """A `Sampler` that reads `system` at the beginning of each prompt (Gemma has no turn of its own for it).

    `batch`: prompts at a time; `answers`: the file of answers, and `identity` what stands for the weights
    there; without an identity nothing is kept.
    """

    model: Sampler
    system: str
    ledger: Ledger
    batch: int = 8
    answers: Path | None = None
    identity: str | None = None

    def sample(self, prompts: Sequence[Prompt], n: int, how: Sampling) -> list[list[Completion]]:
        """`n` completions for each prompt, in order; none for those that the budget left no call for."""
        found: list[list[Completion]] = [[] for _ in prompts]
        with ExitStack() as stack:
            kept = stack.enter_context(open_answers(self.answers)) if self.answers and self.identity else None
            open_ones = [i for i, p in enumerate(prompts) if not self._recall(kept, p, n, how, found[i])]
            for start in range(0, len(open_ones), self.batch):
                some = [i for i in open_ones[start : start + self.batch] if self._may()]
                if not some:
                    break
                began = time.monotonic()
                answers = self.model.sample([self._whole(prompts[i]) for i in some], n, how)
                seconds = (time.monotonic() - began) / (len(some) * n)
                for i, completions in zip(some, answers, strict=True):
                    found[i] = completions
                    self._keep(kept, prompts[i], how, completions, seconds)
        return found

    def _may(self) -> bool:
        if not self.ledger.allows(None):
            self.ledger.fail("budget", "the budget is spent")
            return False
        self.ledger.calls += 1
        return True

    def _recall(self, kept: Answers | None, prompt: Prompt, n: int, how: Sampling, into: list[Completion]) -> bool:
        answers = [kept and kept.get(self._key(prompt, i, how)) for i in range(n)]
        known = [a for a in answers if a is not None]
        if len(known) < n:
            return False
        self.ledger.cached += n
        into += [
            Completion(prompt.task_id, i, a.text, stop=Stop.LENGTH if a.cut else Stop.END) for i, a in enumerate(known)
        ]
        return True

    def _keep(
        self, kept: Answers | None, prompt: Prompt, how: Sampling, completions: list[Completion], each: float
    ) -> None:
        for c in completions:
            answer = Answer(c.text, c.stop is Stop.LENGTH, self.identity or "", 0, len(c.tokens), each)
            self.ledger.earn(0, answer.completion_tokens, each)
            if kept is not None:
                kept.put(self._key(prompt, c.sample, how), answer)

    def _key(self, prompt: Prompt, sample: int, how: Sampling) -> str:
        numbers = [how.temperature, how.top_p, how.top_k, how.max_tokens, how.seed]
        return key([1, self.identity, self._whole(prompt).text, numbers, sample])

    def _whole(self, prompt: Prompt) -> Prompt:
        text = f"{self.system}\n\n{unframed(prompt.text)}"
        return trace.prompt(Task(prompt.task_id, "", text, "", Kind.TEXT, "", ""))


def weights_identity(folder: Path) -> str:
    """What stands for a model folder: the SHA-256 of its weights, config and tokenizer, in hex.

    Raises OSError where a file cannot be read.
    """
    whole = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in (".safetensors", ".model", ".json"):
            with open(file, "rb") as opened:
                whole.update(f"{file.name}\x1f{hashlib.file_digest(opened, 'sha256').hexdigest()}\x1e".encode())
    return whole.hexdigest()
