"""Twins of the outside world that keep its protocols: a sampler that follows a script, and a clock that is
moved by hand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from everystep.core.types import Completion, Prompt, Sampling, Stop


@dataclass
class ScriptedSampler:
    """Answers from a script: a mapping of task id to text, or a function of (prompt, sample).

    Like a real sampler it cuts at `how.max_tokens` (here a token is a character), reports why it stopped,
    gives log-probabilities unless it is greedy, and answers the same when asked the same. `asked` keeps every
    call: the prompts and how they were to be sampled.
    """

    script: Mapping[str, str] | Callable[[Prompt, int], str]
    asked: list[tuple[tuple[Prompt, ...], int, Sampling]] = field(default_factory=list)

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Completion]]:
        self.asked.append((tuple(prompts), n, sampling))
        return [[self._one(prompt, sample, sampling) for sample in range(n)] for prompt in prompts]

    def _one(self, prompt: Prompt, sample: int, sampling: Sampling) -> Completion:
        text = self.script(prompt, sample) if callable(self.script) else self.script[prompt.task_id]
        end = len(text) < sampling.max_tokens
        text = text[: sampling.max_tokens]
        tokens = tuple(ord(c) for c in text) + ((0,) if end else ())
        logprobs = None if sampling.temperature == 0 else tuple(-0.5 for _ in tokens)
        return Completion(prompt.task_id, sample, text, tokens, logprobs, Stop.END if end else Stop.LENGTH)


@dataclass
class FakeClock:
    """A clock in seconds that moves only when told to; call it for the time, like `time.monotonic`."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
