"""Preflight: everything is measured, then judged, in minutes, before hours are spent.

`preflight` is the whole of it. `measure` only measures and `judged` only judges, so that a test can plant a
fault in either. A check that could not be made is amber and says why; nothing is left out in silence.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from everystep.core.files import write_json
from everystep.core.progress import SILENT, Progress
from everystep.core.recipe import Recipe
from everystep.core.run import Run
from everystep.forecast import hours, rules, texts
from everystep.forecast import measure as models
from everystep.forecast.findings import Finding, Findings, Light, amber, red
from everystep.forecast.measured import Measured, Memory, Tasks
from everystep.model.io.load import device
from everystep.train.groups import REFILLS

BUDGET_SHARE, BUDGET_LEAST, BUDGET_MOST = 0.05, 180.0, 1200.0  # of the hours, and in seconds
_SAMPLING = 0.6  # of the budget; the rest is for training steps
_AGAIN = {"steps": "ask again without --no-steps, or with --prompts N, which has no budget"}
_NO_STEPS = "no steps were asked for"
_NO_TIME = "the budget of {:.0f} min would not hold the training steps"
_RED = "{} is red already, and that is cheaper to find"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is sampled: so many `samples` for each of so many `prompts`. `steps`: whether training steps
    are made, which is what takes longest on a machine that has compiled nothing yet. `limited`: whether the
    budget decides how many of the prompts are sampled, and whether steps are made."""

    prompts: int = 32
    samples: int = 16
    steps: bool = True
    limited: bool = False


def budget_seconds(hours: float) -> float:
    """What preflight may take of a run: a twentieth of its hours, at least 3 minutes and at most 20.

    >>> budget_seconds(0.1), budget_seconds(2.0), budget_seconds(9.0)
    (180.0, 360.0, 1200.0)
    """
    return min(BUDGET_MOST, max(BUDGET_LEAST, BUDGET_SHARE * hours * 3600))


def preflight(
    recipe: Recipe,
    run: Run | None = None,
    screen: Progress = SILENT,
    *,
    effort: Effort = Effort(limited=True),
    now: Callable[[], float] = time.perf_counter,
    free: int | None = None,
    chips: int = 1,
) -> Findings:
    """All findings about a recipe, and about a run where one is given: measured on its SFT policy where
    there is one, with what is done left out of the hours; its `preflight.json` is written, and nothing else.

    `screen` shows each part as it begins, and sampling and steps as they go; `free` bytes of disk instead of
    those there are, `chips` that the run is laid out for. Raises nothing for what a user can correct: that is
    a red finding.
    """
    began = now()
    found = judged(recipe, measure(recipe, run, screen, effort=effort, now=now, free=free, chips=chips))
    found = replace(found, minutes=(now() - began) / 60)
    if run is not None:
        write_json(run.preflight, found.to_json())
    return found


def measure(
    recipe: Recipe,
    run: Run | None = None,
    screen: Progress = SILENT,
    *,
    effort: Effort = Effort(limited=True),
    now: Callable[[], float] = time.perf_counter,
    free: int | None = None,
    chips: int = 1,
) -> Measured:
    """All measurements. What the recipe makes impossible is left out, with the reason in `why`."""
    began = now()
    m = Measured(device=device(), chips=(chips, int(device().split(" ")[0])), done=_done(run))
    screen.say("preflight: model and tokenizer")
    try:
        policy = models.start(recipe, run)
    except ValueError as error:
        return replace(m, why={"model": str(error)})
    m = replace(m, stage=policy.stage, ready=policy.ready)
    screen.say("preflight: data, gold, prompts, reward")
    try:
        tasks, data = texts.read_data(recipe, run, policy.tokenizer, screen.say, now)
    except ValueError as error:
        return replace(m, why={"data": str(error)})
    m = _texts(replace(m, data=data), recipe, policy, tasks, now)
    cheap = [f for f in judged(recipe, m).found if f.light is Light.RED]
    if cheap:
        return replace(m, why=dict(m.why) | {"cheaper": _RED.format(cheap[0].name)})
    return _model(m, recipe, run, policy, tasks, screen, effort, now, began, free)


def _model(
    m: Measured,
    recipe: Recipe,
    run: Run | None,
    policy: models.Start,
    tasks: Tasks,
    screen: Progress,
    effort: Effort,
    now: Callable[[], float],
    began: float,
    free: int | None,
) -> Measured:
    """What needs the model: samples first, as many as half the budget allows, then what looks at the sampler,
    then training steps."""
    seconds = budget_seconds(recipe.hours)
    until = began + _SAMPLING * seconds if effort.limited else math.inf
    some = models.some_tasks(recipe, tasks, effort.prompts)
    sampler = models.sampler_of(policy)
    screen.say(f"preflight: sampling up to {len(some)} prompts x {effort.samples} of the {policy.stage} policy")
    label = "preflight: completions"
    try:
        with screen.progress(label, len(some) * effort.samples) as advance:
            sampled, pace = models.samples(
                sampler, some, recipe, effort.samples, policy.ready, now, until=until, advance=advance
            )
        m = replace(m, samples=sampled)
        each = some[: models.prompts_at_once(recipe, effort.samples, 0.1 * seconds / pace if effort.limited else None)]
        rows = len(each) * effort.samples
        with screen.progress("preflight: noise and log-probabilities, completions", 4 * rows) as advance:
            m = replace(m, noise=models.noise(sampler, each, recipe, effort.samples, advance))
            m = replace(m, agreement=models.agreement(policy, sampler, each, recipe, effort.samples))
            advance(rows)
    except (MemoryError, RuntimeError) as error:
        if not models.no_room(error):
            raise
        return replace(m, out_of_memory="sampling")
    where = run.root if run is not None else Path("runs")
    m = replace(m, storage=models.storage(policy, tasks, sampled.row_bytes, where, free))
    if not effort.steps:
        return replace(m, why=dict(m.why) | {"steps": _NO_STEPS})
    # A step's update takes about as long as its rollout, and is compiled at first.
    ahead = models.STEPS * 2 * pace * recipe.grpo.prompts * recipe.grpo.group
    if effort.limited and now() + ahead > began + seconds:
        return replace(m, why=dict(m.why) | {"steps": _NO_TIME.format(seconds / 60)})
    with screen.progress("preflight: training steps (the first compiles)", models.planned(recipe, m.done)) as advance:
        m = replace(m, pace=models.pace(policy, tasks, recipe, m.done, pace, now, advance))
    return replace(m, out_of_memory=m.pace.out_of_memory if m.pace else None, memory=_memory(m, recipe))


def judged(recipe: Recipe, m: Measured) -> Findings:
    """What the measurements mean, in the order in which it is shown."""
    config, counts = recipe.grpo, dict(m.data.counts) if m.data else {}
    traces = min(counts.get("sft", 0), recipe.sft.traces)  # of traces still to be made no more are kept
    rounds = REFILLS if config.refill else 0
    found: list[Finding] = []
    if "model" in m.why:
        found.append(red("model", m.why["model"], "correct model.name, or the folder it names"))
    left: dict[str, Finding | None] = {"data": rules.data(m.data, recipe.data.max_dropped) if m.data else None}
    if "data" in m.why:
        left["data"] = red("data", m.why["data"], "correct the source or the section data")
    left |= {
        "reward": rules.reward(m.probe, m.samples) if m.probe else None,
        "judge": rules.judge(m.judged) if m.judged else None,
        "prompts": rules.prompts(m.prompts) if m.prompts else None,
        "stop tokens": rules.ends(m.ends) if m.ends else None,
        "chat template": rules.template(m.template) if m.template else None,
    }
    if m.lengths is not None and m.data is not None:
        longest = max(config.max_tokens, recipe.evaluate.max_tokens)
        left["prompt length"] = rules.prompt_length(
            m.lengths, m.data.dropped, m.data.read, recipe.data.max_prompt_tokens, longest
        )
        left["completion length"] = rules.completion_length(
            m.lengths, m.samples, config.max_tokens, recipe.evaluate.max_tokens
        )
    else:
        left |= {"prompt length": None, "completion length": None}
    in_loss = m.pace.disagreement if m.pace else None
    left |= {
        "log-probabilities": rules.agreement(m.agreement, config.epsilon, in_loss) if m.agreement else None,
        "sampler noise": rules.noise(m.noise) if m.noise else None,
        "temperature": rules.temperature(config.temperature, m.samples, m.noise),
        "dead groups": rules.dead(m.samples, config.group, rounds) if m.samples else None,
        "learning rates": rules.learning_rates(recipe),
        "beta": rules.beta(recipe),
        "batches": rules.batches(recipe),
        "data amount": rules.amount(recipe, counts["train"], traces) if counts else None,
        "evaluation size": rules.evaluation_size(counts["test"]) if counts else None,
        "hours": None,
        "disk": None,
        "memory": rules.memory(m.memory, m.out_of_memory) if m.pace or m.out_of_memory else None,
        "devices": rules.chips(*m.chips) if m.chips else None,
    }
    if m.pace is not None and m.lengths is not None and m.data is not None and m.pace.out_of_memory is None:
        gold = [*m.lengths.trained, *m.lengths.tested]
        seconds, stretch = hours.measured(m.pace, m.samples, recipe, gold, m.data.seconds, rounds)
        note = f" (times of the base x {stretch:.1f}, for gold is that much longer)" if stretch > 1 else ""
        spent = hours.stages(recipe, counts, m.sft_steps, seconds, m.done)
        left["hours"] = hours.hours(spent, recipe, {"stretch": stretch, "steps": m.pace.steps}, note)
    if m.storage is not None:
        left["disk"] = rules.disk(m.storage, recipe, counts, m.sft_steps)
    why = "there was no room" if m.out_of_memory else next(iter(m.why.values()), "not asked for")
    for name, finding in left.items():
        if finding is None:
            suggestion = _AGAIN.get(next(iter(m.why), ""), "correct that first, then ask again")
            finding = amber(name, f"not measured: {why}", suggestion)
        found.append(finding)
    return Findings(tuple(found), m.stage, m.device)


def _texts(m: Measured, recipe: Recipe, policy: models.Start, tasks: Tasks, now: Callable[[], float]) -> Measured:
    some, instruction = [*tasks.sft, *tasks.dev, *tasks.test], recipe.model.prompt
    probe = texts.probe(some, recipe, policy.tokenizer)
    return replace(
        m,
        probe=probe,
        judged=None if probe.error else texts.ask_judge(recipe, texts.gold_of(some, instruction), now),
        lengths=texts.lengths(tasks, policy.tokenizer, instruction, policy.folder),
        ends=texts.ends(some, policy.tokenizer, instruction, policy.folder),
        template=texts.template(some, instruction, policy.folder),
        prompts=texts.prompts_by_stage(some, policy.tokenizer, recipe),
        sft_steps=models.steps_of_sft(recipe, min(len(tasks.sft), recipe.sft.traces)),
    )


def _memory(m: Measured, recipe: Recipe) -> Memory | None:
    """The host's memory, where the host is what computes."""
    if "cpu" not in m.device.lower() or m.lengths is None or m.samples is None:
        return None
    most = max(m.lengths.prompts) + max(m.samples.lengths)
    whole = recipe.data.max_prompt_tokens + max(recipe.grpo.max_tokens, recipe.evaluate.max_tokens)
    return Memory(*models.host_memory(), min(1.0, most / whole))


def _done(run: Run | None) -> frozenset[str]:
    """What of a run is done, by the names that `hours.stages` knows."""
    if run is None:
        return frozenset()
    stages = [name for name in ("data", "self", "sft", "grpo") if run.done(name) is not None]
    return frozenset([*stages, *(f"evaluate {stage}" for _, stage in run.evaluations())])
