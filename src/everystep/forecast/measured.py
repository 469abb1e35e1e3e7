"""The measurements that preflight makes, as plain numbers: what `measure.py` and `texts.py` fill in and the
rules judge. Nothing here measures or judges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from everystep.core.types import Task

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """The run's data. `counts`: tasks by set; `checked` gold texts went through parser and grader,
    `failures` of them failed, the first for the reason `first`. `dropped`: tasks that filters took out, by
    reason, of `read`; `solutions_off` solutions were taken off."""

    counts: Mapping[str, int]
    checked: int
    failures: int
    first: str
    dropped: Mapping[str, int]
    solutions_off: int
    read: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths in tokens: prompts with their first token, gold texts with their end. `positions`: how many the
    checkpoint was made for, None where it does not say."""

    prompts: Sequence[int]
    trained: Sequence[int]
    tested: Sequence[int]
    positions: int | None


@dataclass(frozen=True, slots=True)
class Ends:
    """Which ids end what. `stops`: where sampling stops; `targets`: what SFT's targets end with; `inside`:
    how many targets hold a stop or padding before their end; `pieces`: turn marks as the tokenizer reads
    them; `declared`: end ids by file and key of the checkpoint; `starts`: the first ids of prompts,
    `declared_start` and `declared_pad` what the checkpoint says of them."""

    stops: Ids
    targets: Ids
    inside: int
    pad: int
    pieces: Mapping[str, Ids]
    declared: Mapping[str, Ids]
    starts: Ids
    declared_start: int | None
    declared_pad: int | None


@dataclass(frozen=True, slots=True)
class Template:
    """The checkpoint's own chat template held against our prompts: in which file (None: there is none), how
    many prompts were compared, how many differ, the first that does, as (theirs, ours); or why it could not
    be used.
    """

    file: str | None
    asked: int = 0
    differ: int = 0
    first: tuple[str, str] | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """|sampler's - trainer's log-probability| over `tokens` sampled tokens, in nats: mean, 99th percentile
    and greatest. `end_tokens` of them end a completion."""

    tokens: int
    end_tokens: int
    mean: float
    percentile: float
    worst: float


@dataclass(frozen=True, slots=True)
class Noise:
    """The sampler at temperature 1. Of `prompts`: for how many the samples of one call are not all the same,
    for how many another call with the same seed gave the same, for how many the seed of another step gave
    others."""

    prompts: int
    differ: int
    repeated: int
    moved: int


@dataclass(frozen=True, slots=True)
class Samples:
    """Completions of training prompts by the policy that GRPO starts from (`ready`), or by the base that SFT
    is still to teach. `kinds`: for each prompt how many completions earn the same (by the forgiving reader's
    verdict where the policy is not ready); `rates`: its pass rate; `identical`: share of prompts whose
    completions are all one text. `constant`: reward parts that are the same everywhere, `unknown`: the share
    of completions without a value, by part."""

    ready: bool
    size: int
    kinds: Sequence[tuple[int, ...]]
    rates: Sequence[float]
    identical: float
    truncated: float
    lengths: Sequence[int]
    ended: Sequence[int]
    constant: tuple[str, ...]
    unknown: Mapping[str, float]
    row_bytes: float


@dataclass(frozen=True, slots=True)
class Probe:
    """The reward on made-up completions of `tasks` tasks: for how many a wrong trace, and a malformed one,
    earns as much as the right one or more (`wrong`, `malformed`); the first such, in words. `parts`: those
    that were scored; `blind`: those that are the same for right, wrong and malformed; `error`: why nothing
    could be scored."""

    tasks: int
    wrong: int = 0
    malformed: int = 0
    first: str = ""
    parts: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """The judge, asked once, canaries included: whether the reward needs it, `why_not` it cannot be used
    (None: it answered), and how long one answer took."""

    needed: tuple[str, ...]
    why_not: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps of a stage, measured: seconds of the first, which compiles, and of a later one (the fastest)."""

    first: float
    each: float


@dataclass(frozen=True, slots=True)
class Pace:
    """What takes time. `sample`: seconds a completion when sampling (compiled); `rollout`: seconds of a
    step's sampling; `sft`, `grpo`: training steps, GRPO's without refills, None for a stage that is done;
    `out_of_memory`: which stage had no room."""

    sample: float
    rollout: float
    sft: Steps | None
    grpo: Steps | None
    out_of_memory: str | None = None
    disagreement: float | None = None

    @property
    def steps(self) -> dict[str, list[float]]:
        """By stage the seconds of the first and of a later step."""
        return {name: [s.first, s.each] for name, s in (("sft", self.sft), ("grpo", self.grpo)) if s}


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes: of the base's weights, of an adapter's values (count and bytes of one), of a record and of a
    task's row, and what is free where the run will be."""

    base: int
    values: int
    itemsize: int
    record: float
    task: float
    free: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: the most that this process held, and what the machine has; `share`: how long the longest
    measured rows were, as a share of the longest that can come. None where the device is not the host."""

    peak: int
    total: int
    share: float


@dataclass(frozen=True, slots=True)
class Measured:
    """All of it. None: not measured, and `why` says why. `chips`: laid out for, and there; `done`: what of
    the run is done; `sft_steps` that SFT makes; `out_of_memory`: what had no room."""

    stage: str = ""
    ready: bool = False
    device: str = ""
    data: Data | None = None
    probe: Probe | None = None
    judged: Judged | None = None
    lengths: Lengths | None = None
    ends: Ends | None = None
    template: Template | None = None
    prompts: Mapping[str, Sequence[Ids]] | None = None
    agreement: Agreement | None = None
    noise: Noise | None = None
    samples: Samples | None = None
    pace: Pace | None = None
    storage: Storage | None = None
    memory: Memory | None = None
    chips: tuple[int, int] | None = None
    done: frozenset[str] = frozenset()
    sft_steps: int = 0
    out_of_memory: str | None = None
    why: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tasks:
    """The tasks that preflight works with; `sft` and `dev` have solutions where the source has."""

    train: dict[str, list[Task]]
    sft: Sequence[Task]
    dev: Sequence[Task]
    test: Sequence[Task]
