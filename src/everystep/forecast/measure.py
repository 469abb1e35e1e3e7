"""What preflight measures with the model: whether sampler and trainer agree, the sampler's noise, how often
the policy is right and how long it writes, and how long steps take.

Samplers are arguments, so that any can be examined. The policy that is measured is the one GRPO starts from,
or the base where SFT is still to come; nothing of it is kept.
"""

import itertools
import math
import os
import resource
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from everystep.core.files import to_json
from everystep.core.recipe import Recipe
from everystep.core.record import record, task_row
from everystep.core.run import Run
from everystep.core.trace import prompt
from everystep.core.types import Graded, Sampler, Sampling, Score, Stop, Task
from everystep.data.prepare import draws, training_mixture
from everystep.forecast.measured import Agreement, Noise, Pace, Samples, Steps, Storage, Tasks
from everystep.forecast.texts import unjudged
from everystep.model.decode import left_pad, prompt_length
from everystep.model.gemma import Gemma
from everystep.model.io.load import load
from everystep.model.lora import adapter, add_lora, load_adapter, set_adapter
from everystep.model.mesh import fetch
from everystep.model.sampler import policy as policy_of
from everystep.model.tokenizer import Tokenizer
from everystep.score.groups import score_groups
from everystep.score.mix import Mix, mix_of
from everystep.train.groups import step_seed
from everystep.train.grpo import grpo
from everystep.train.losses import reference
from everystep.train.sft import examples, planned_steps, sft
from everystep.train.stage_session import StageSession
from everystep.verify.grade import grade

STEPS = 3  # of each training stage are made: the first compiles, the faster of the others is the pace
_MOVED = 0.5  # size of the change that a fresh adapter is given before agreement is measured, in weights


@dataclass(frozen=True, slots=True)
class Start:
    """The policy that is measured, with its adapter; `ready`: it is the one that GRPO starts from."""

    model: Gemma
    tokenizer: Tokenizer
    folder: Path
    stage: str
    ready: bool


def start(recipe: Recipe, run: Run | None) -> Start:
    """The policy after SFT where the run has one, else the base with a fresh adapter. Raises ValueError, one
    line, for a model or adapter that cannot be loaded."""
    base = load(recipe.model.name)
    lora = recipe.model.lora
    model = add_lora(base.model, lora.rank, lora.alpha, recipe.seed)
    if recipe.grpo.start == "sft" and run is not None and run.adapter("sft").is_file():
        set_adapter(model, load_adapter(run.adapter("sft"))[0])
        return Start(model, base.tokenizer, base.folder, "sft", True)
    return Start(model, base.tokenizer, base.folder, "base", recipe.grpo.start == "base")


def sampler_of(policy: Start) -> Sampler:
    """The policy as everybody samples it."""
    return policy_of(policy.model, policy.tokenizer)


def some_tasks(recipe: Recipe, tasks: Tasks, count: int) -> list[Task]:
    """Up to `count` different training tasks, by the weights of their sources."""
    order = training_mixture(recipe, tasks.train, count, recipe.seed)
    found: dict[str, Task] = {}
    for k in range(4):
        for task in order.batch(k):
            if len(found) < count:
                found.setdefault(task.id, task)
    return list(found.values())


def agreement(policy: Start, sampler: Sampler, tasks: Sequence[Task], recipe: Recipe, size: int) -> Agreement:
    """Sample, and ask the trainer for the log-probabilities of the same tokens. A fresh adapter is moved
    first (its B is zero, so that it would hide every fault of the adapter's own path), and put back
    afterwards."""
    kept, config = adapter(policy.model), recipe.grpo
    noise = np.random.default_rng(recipe.seed)
    fresh = all(not kept[name].any() for name in kept if name.endswith("_lora_b"))
    if fresh:
        # A is about as large as the weights; B·A is rank terms, times alpha / rank.
        size_of_b = _MOVED * recipe.model.lora.rank**0.5 / recipe.model.lora.alpha
        moved = {
            name: noise.normal(0, size_of_b, v.shape).astype(v.dtype) if name.endswith("_lora_b") else v
            for name, v in sorted(kept.items())
        }
        set_adapter(policy.model, moved)
    try:
        prompts = [prompt(t, recipe.model.prompt) for t in tasks]
        sampling = Sampling(
            temperature=config.temperature, max_tokens=config.max_tokens, seed=step_seed(recipe.seed, 0)
        )
        rows = [row for group in sampler.sample(prompts, size, sampling) for row in group]
        ids = [policy.tokenizer.encode_prompt(p.text) for p in prompts]
        pad = policy.tokenizer.pad
        left = np.repeat(left_pad(ids, prompt_length(ids), pad), size, axis=0)
        right = np.full((len(rows), -(-config.max_tokens // 32) * 32), pad, np.int32)
        for i, row in enumerate(rows):
            right[i, : len(row.tokens)] = row.tokens
        trained: Any = reference(policy.model, size, pad, config.temperature)
        parts = [fetch(trained(left[at], right[at])) for at in _parts(len(rows), size, recipe)]
    finally:
        set_adapter(policy.model, kept)
    found = np.concatenate(parts)
    apart = [
        np.abs(found[i, : len(row.tokens)] - np.array(row.logprobs or [np.nan] * len(row.tokens)))
        for i, row in enumerate(rows)
    ]
    flat = np.concatenate(apart)
    ended = sum(row.stop is Stop.END for row in rows)
    if not np.isfinite(flat).all():
        return Agreement(len(flat), ended, math.inf, math.inf, math.inf)
    return Agreement(len(flat), ended, float(flat.mean()), float(np.quantile(flat, 0.99)), float(flat.max()))


def noise(sampler: Sampler, tasks: Sequence[Task], recipe: Recipe, size: int) -> Noise:
    """Sample three times at temperature 1: a seed, the same again, and that of another step."""
    prompts = [prompt(t, recipe.model.prompt) for t in tasks]
    calls = []
    for step in (0, 0, 1):
        sampling = Sampling(temperature=1.0, max_tokens=recipe.grpo.max_tokens, seed=step_seed(recipe.seed, step))
        calls.append([tuple(row.tokens for row in g) for g in sampler.sample(prompts, size, sampling)])
    first, again, other = calls
    return Noise(
        len(prompts),
        differ=sum(len(set(group)) > 1 for group in first),
        repeated=sum(a == b for a, b in zip(first, again, strict=True)),
        moved=sum(a != b for a, b in zip(first, other, strict=True)),
    )


def samples(
    sampler: Sampler,
    tasks: Sequence[Task],
    recipe: Recipe,
    size: int,
    ready: bool,
    now: Callable[[], float],
) -> tuple[Samples, float]:
    """`size` completions for each task as GRPO samples them, no more at once than GRPO has; with the seconds
    for one completion (the fastest call, since a first one compiles)."""
    config, mix = recipe.grpo, unjudged(mix_of(recipe.reward)) or Mix({"correctness": 1.0})
    each = max(1, config.prompts * config.group // size)
    graded: list[list[Graded]] = []
    pace = float("inf")
    for at in range(0, len(tasks), each):
        some, began = tasks[at : at + each], now()
        sampling = Sampling(
            temperature=config.temperature, max_tokens=config.max_tokens, seed=step_seed(recipe.seed, at)
        )
        groups = sampler.sample([prompt(t, recipe.model.prompt) for t in some], size, sampling)
        pace = min(pace, (now() - began) / (len(some) * size))
        graded += [[grade(t, c) for c in g] for t, g in zip(some, groups, strict=True)]
    return _summary(graded, score_groups(graded, mix), mix, size, ready), pace


def pace(
    policy: Start, tasks: Tasks, recipe: Recipe, done: frozenset[str], sample: float, now: Callable[[], float]
) -> Pace:
    """A few real steps of the stages that are still to be done; what they train is thrown away."""
    config = recipe.grpo.model_copy(update={"refill": False, "steps": max(STEPS, recipe.grpo.steps)})
    made: dict[str, Steps | None] = {"sft": None, "grpo": None}
    rollout, stage, apart = sample * config.prompts * config.group, "", None
    try:
        if not {"sft", "grpo"} & done and config.start == "sft" and any(t.solution for t in tasks.sft):
            stage, times = "sft", [now()]
            # Where the model will make its traces itself, those that there are stand in for them.
            rows = examples(
                [t for t in tasks.sft if t.solution][: recipe.sft.traces],
                policy.tokenizer,
                recipe.model.prompt,
            )
            sft(
                policy.model,
                policy.tokenizer,
                rows,
                [],
                recipe.sft,
                recipe.seed,
                lambda step, values: times.append(now()),
                StageSession(min(STEPS, planned_steps(len(rows), recipe.sft))),
            )
            made[stage] = _steps(times)
        if "grpo" not in done:
            stage, times, seen = "grpo", [now()], []

            def on_step(step: int, values: dict[str, float], g: list[Graded], s: list[Score]) -> None:
                times.append(now())
                seen.append(values["disagreement"])

            grpo(
                policy.model,
                policy.tokenizer,
                draws(recipe, tasks.train),
                config,
                unjudged(mix_of(recipe.reward)) or Mix({"correctness": 1.0}),
                recipe.seed,
                recipe.model.prompt,
                on_step,
                StageSession(STEPS),
            )
            made[stage], apart = _steps(times), seen[0]
    except (MemoryError, RuntimeError) as error:
        if not no_room(error):
            raise
        return Pace(sample, rollout, made["sft"], made["grpo"], out_of_memory=stage)
    return Pace(sample, rollout, made["sft"], made["grpo"], disagreement=apart)


def no_room(error: Exception) -> bool:
    """Whether an error says that a device, or the host, has no memory left."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def steps_of_sft(recipe: Recipe, traces: int) -> int:
    """How many steps SFT makes of so many traces; none where GRPO starts from the base."""
    return planned_steps(traces, recipe.sft) if recipe.grpo.start == "sft" else 0


def storage(policy: Start, tasks: Tasks, record_bytes: float, where: Path, free: int | None = None) -> Storage:
    """How large things are, and what is free at `where` (`free`: instead of asking)."""
    values = adapter(policy.model)
    some = [t for rows in (*tasks.train.values(), tasks.sft, tasks.test) for t in rows[:50]]
    size = sum(len(str(to_json(task_row(t)))) for t in some) / max(1, len(some))
    while not where.exists():
        where = where.absolute().parent
    if free is None:
        disk = os.statvfs(where)
        free = disk.f_bavail * disk.f_frsize
    return Storage(
        sum(p.stat().st_size for p in policy.folder.glob("*.safetensors")),
        sum(v.size for v in values.values()),
        next(iter(values.values())).itemsize,
        record_bytes,
        size,
        free,
    )


def host_memory() -> tuple[int, int]:
    """The most that this process has held so far, and what the machine has, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return peak, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _summary(graded: list[list[Graded]], scores: list[list[Score]], mix: Mix, size: int, ready: bool) -> Samples:
    every = [g for group in graded for g in group]
    flat = [s for group in scores for s in group]
    kinds: list[tuple[int, ...]] = []
    for group, own in zip(graded, scores, strict=True):
        earned: list[Hashable] = [
            tuple(s.parts[name] for name in mix.names) if ready else g.capable for g, s in zip(group, own, strict=True)
        ]
        kinds.append(tuple(sorted(Counter(earned).values(), reverse=True)))
    parts = {name: [s.parts[name] for s in flat] for name in mix.weights}
    right = [[g.contract if ready else g.capable for g in group] for group in graded]
    return Samples(
        ready,
        size,
        kinds,
        [sum(r) / len(r) for r in right],
        identical=sum(len({g.completion.text for g in group}) == 1 for group in graded) / len(graded),
        truncated=sum(g.completion.stop is Stop.LENGTH for g in every) / len(every),
        lengths=[len(g.completion.tokens) for g in every],
        ended=[len(g.completion.tokens) for g in every if g.completion.stop is Stop.END],
        constant=tuple(name for name, values in parts.items() if len(set(values) - {None}) == 1),
        unknown={n: sum(v is None for v in values) / len(values) for n, values in parts.items()},
        row_bytes=sum(len(str(record(g, s, 0))) for g, s in zip(every, flat, strict=True)) / len(every),
    )


def _parts(rows: int, size: int, recipe: Recipe) -> list[slice]:
    """The rows in parts of whole groups of `size`, of about as many rows as GRPO's micro-batches have."""
    micro = (recipe.grpo.micro_prompts or recipe.grpo.prompts) * recipe.grpo.group
    step = max(1, micro // size) * size
    return [slice(at, min(at + step, rows)) for at in range(0, rows, step)]


def _steps(times: Sequence[float]) -> Steps:
    taken = [b - a for a, b in itertools.pairwise(times)]
    return Steps(taken[0], min(taken[1:] or taken))
