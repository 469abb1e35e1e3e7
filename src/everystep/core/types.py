"""The nouns of the package: what flows from a data source to a report, and nothing that acts on it.

Everything here is immutable, runs without JAX, and imports nothing else of the package. Verdicts are
never tested by truth (`if verdict:`); ask `verdict.right`, so that "could not be graded" can never be
mistaken for "wrong".
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable


class Stop(StrEnum):
    """Why sampling ended."""

    END = "end"  # the model wrote its end-of-turn (or end-of-sequence) token
    LENGTH = "length"  # the token limit came first: the text is cut


class Fault(StrEnum):
    """How a completion breaks the contract `<reasoning>…</reasoning><answer>…</answer>`."""

    NO_REASONING = "no_reasoning"
    NO_ANSWER = "no_answer"
    UNCLOSED = "unclosed"  # a tag was opened and never closed, or closed and never opened
    REPEATED = "repeated"  # a block occurs more than once
    ORDER = "order"  # the answer block does not come after the reasoning block
    OUTSIDE = "outside"  # text other than white space outside the two blocks
    EMPTY = "empty"  # a block holds only white space
    TRUNCATED = "truncated"  # the token limit cut the text


class Verdict(StrEnum):
    """Whether an answer is the gold one."""

    RIGHT = "right"
    WRONG = "wrong"
    MISSING = "missing"  # there is no answer to grade
    UNGRADABLE = "ungradable"  # an answer is there, but no rule of ours can decide

    @property
    def right(self) -> bool:
        return self is Verdict.RIGHT

    def __bool__(self) -> bool:
        raise TypeError("a Verdict has no truth value; ask .right")


class Truth(StrEnum):
    """Whether a claim in a trace holds."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"


class Kind(StrEnum):
    """What sort of thing the gold answer is; decides how an answer is compared with it."""

    NUMBER = "number"
    QUANTITY = "quantity"  # a number with a unit or a counted noun
    PERCENT = "percent"
    MONEY = "money"
    FRACTION = "fraction"
    CHOICE = "choice"  # a letter
    BOOLEAN = "boolean"
    DATE = "date"
    TIME = "time"
    LIST = "list"
    EXPRESSION = "expression"  # LaTeX or algebra
    TEXT = "text"


class Finding(StrEnum):
    """What can be wrong with the work, beyond one false claim."""

    FALSE_CLAIM = "false_claim"
    INVENTED = "invented"  # an operand that has no source
    UNUSED = "unused"  # a number of the question that is never used
    CONTRADICTION = "contradiction"  # a named value gets a second, different value
    NOT_FOLLOWING = "not_following"  # the answer is not the last derived value
    UNIT = "unit"  # a unit lost or changed
    CORRECTED = "corrected"  # a claim does not hold, and the text says so right after it
    NO_STEP = "no_step"  # nothing checkable


class Stopped(Exception):
    """A stage left in good order before its end: asked to, or out of time. All that it did is saved, and the
    same command goes on."""


@dataclass(frozen=True, slots=True)
class Task:
    """A question with its gold answer and, for some, a worked solution.

    `solution` holds the steps' texts without their `Step N:` marks; the last one may begin with
    "Therefore". `unit`, `choices` and `aliases` help the grader; `level` is 1 (easy) and up, 0 unknown.
    """

    id: str
    domain: str
    question: str
    answer: str
    kind: Kind
    source: str
    split: str
    solution: tuple[str, ...] | None = None
    level: int = 0
    unit: str | None = None
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


def task_id(source: str, question: str, answer: str) -> str:
    """The identity of a task: 16 hex digits of the SHA-256 of its content.

    >>> task_id("worked", "What is 1 + 1?", "2")
    'f4007ffe5e71f35f'
    """
    return hashlib.sha256("\x1f".join((source, question, answer)).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Prompt:
    """The exact text a model is given for a task."""

    task_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample. `temperature` 0 is greedy; `top_p` 1 and `top_k` 0 switch truncation off."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 256
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote: `tokens` include the end token where one was written; `logprobs`, where
    known, has one natural log-probability per token, at the sampling temperature; `ends`, where known, the
    offset into `text` at which the text of each token ends."""

    task_id: str
    sample: int
    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] | None = None
    stop: Stop = Stop.END
    ends: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a trace: its text without mark, its written number (None for an unmarked step or the
    conclusion), and where the text starts in the completion (not part of equality)."""

    text: str
    number: int | None = None
    start: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Trace:
    """A completion as read: total over all strings. `answer` is the text of the one answer block or None,
    `answer_start` where it starts in the completion; `lenient` is what a forgiving reader would take for the
    answer (for the capability number)."""

    steps: tuple[Step, ...]
    answer: str | None
    faults: tuple[Fault, ...] = ()
    lenient: str | None = field(default=None, compare=False)
    answer_start: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Reading:
    """A graded answer: the verdict, what was read as the answer's value, and why."""

    verdict: Verdict
    read: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Check:
    """One claim of a trace, checked: which step (1-based), the claim's text, whether it holds, the true
    value where the claim is false or known, where it stands (half-open offsets into the completion's
    text) and why."""

    step: int
    claim: str
    truth: Truth
    value: str | None
    span: tuple[int, int]
    reason: str


@dataclass(frozen=True, slots=True)
class Flag:
    """A finding with its place (step 0: the trace as a whole) and the evidence in words."""

    finding: Finding
    step: int
    detail: str


@dataclass(frozen=True, slots=True)
class Process:
    """The work as a whole: what is wrong with it, a score in [0, 1] or None where nothing was checkable,
    and the share of the steps that hold at least one checked claim."""

    flags: tuple[Flag, ...]
    score: float | None
    coverage: float


@dataclass(frozen=True, slots=True)
class Graded:
    """A completion after verification: everything rewards, evaluation and pages may know about it.

    `verdict` grades the answer block (MISSING without exactly one); `lenient` grades what a forgiving
    reader would take for the answer.
    """

    task: Task
    completion: Completion
    trace: Trace
    verdict: Verdict
    lenient: Verdict
    reason: str
    checks: tuple[Check, ...]
    process: Process

    @property
    def contract(self) -> bool:
        """Right, in exactly the agreed form."""
        return self.verdict.right and not self.trace.faults

    @property
    def capable(self) -> bool:
        """Right for a forgiving reader."""
        return self.lenient.right

    @property
    def sound(self) -> bool:
        """Right, in form, and with no false claim on the way."""
        return self.contract and not any(c.truth is Truth.FALSE for c in self.checks)


@dataclass(frozen=True, slots=True)
class Score:
    """Reward parts by name, and their total. None: could not be scored, which is never 0."""

    task_id: str
    sample: int
    parts: dict[str, float | None]
    total: float | None


Reward = Callable[[Graded], float | None]


class Sampler(Protocol):
    """Whatever can answer prompts: a policy, an endpoint, a script."""

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling, /) -> list[list[Completion]]:
        """`n` completions for each prompt, in the prompts' order."""
        ...


@runtime_checkable
class FlowingSampler(Sampler, Protocol):
    """A sampler that has its next prompt in hand whenever one is answered."""

    def flow(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        at_once: int,
        on_done: Callable[[list[Completion]], None],
        /,
    ) -> None:
        """One completion for each prompt, given to `on_done` as they are done, in any order; `at_once`
        prompts are answered side by side. What `on_done` raises ends it."""
        ...
