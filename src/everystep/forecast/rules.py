"""What would spoil a run: measured numbers and a recipe's values in, a finding out. Pure functions, no model.
Whether the hours suffice is `hours.py`.

Thresholds are constants here; `docs/preflight.md` says why they are what they are. Where one fault explains
another (cut completions are never right), the second is amber and points to the first, so that red names the
cause.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

from everystep.core.recipe import Recipe
from everystep.forecast.findings import Finding, amber, green, red
from everystep.forecast.measured import (
    Agreement,
    Data,
    Ends,
    Ids,
    Judged,
    Lengths,
    Memory,
    Noise,
    Probe,
    Samples,
    Storage,
    Template,
)
from everystep.forecast.rates import after_refills, dead_share, histogram, quantile

SIZES = (2, 4, 8, 16)  # of groups, for which the dead share is predicted
HOPELESS, POOR = 0.9, 0.5  # shares of dead groups
SAME_TEXT = 0.9  # share of prompts whose samples are one text, from which the temperature is to blame
CUT, CUT_SOME = 0.3, 0.05  # shares of completions that the token limit cuts
OVER, OVER_SOME = 0.05, 0.005  # shares of gold texts that are longer than the limit
LOST = 0.01  # share of the tasks that is lost for their length
RATES = (1e-7, 5e-3)  # learning rates of adapters that are known to teach without breaking
IMPOSSIBLE = (1e-9, 5e-2)
STRONG, CRUSHING = 0.5, 5.0  # β above which the policy hardly moves, or not at all
AGAIN, TOO_OFTEN = 1.0, 10.0  # times that GRPO sees its tasks
FEWER = 0.9  # of the traces that SFT was to have
CHANGING = 0.17  # share of the tasks on which two stages differ: as much as in the README's runs
HOPED, BLUNT = 0.05, 0.2  # differences in the share of right answers that an evaluation should show
FULL = 0.5  # of the free disk
NEAR = 0.9  # of the memory
_REST = 20e6  # bytes for what is small: report, plots, metrics, TensorBoard


def data(m: Data, limit: float) -> Finding:
    """Does every gold solution pass its own parser and grader? `limit` is data.max_dropped."""
    lost = sum(m.dropped.values()) / max(1, m.read)
    figures = {"tasks": dict(m.counts), "checked": m.checked, "failures": m.failures, "dropped": dict(m.dropped)}
    figures["solutions_off"] = m.solutions_off
    counts = ", ".join(f"{n} {name}" for name, n in m.counts.items())
    said = f"{counts}; {m.checked} gold texts: {m.checked - m.failures} right, in form, nothing false"
    if m.failures:
        return red("data", f"{said}; {m.failures} fail: {m.first}", "correct these tasks or drop them", figures)
    if lost > limit / 2:
        worst = max(m.dropped, key=lambda reason: m.dropped[reason])
        said = f"{said}; filters dropped {lost:.1%}, most: {worst}"
        return amber("data", said, f"see why; more than data.max_dropped = {limit:g} stops the run", figures)
    if m.solutions_off > 0.05 * (m.counts.get("sft", 0) + m.solutions_off):
        said = f"{said}; {m.solutions_off} solutions were faulty or false and are not used"
        return amber("data", said, "correct these solutions, or live with fewer traces for SFT", figures)
    return green("data", said, figures)


def reward(m: Probe, samples: Samples | None) -> Finding:
    """Does the reward pay a right trace more than a wrong one, and does every part say something?"""
    figures = {"tasks": m.tasks, "wrong": m.wrong, "malformed": m.malformed, "blind": m.blind}
    if m.error is not None:
        return red("reward", m.error, "correct the section reward", figures)
    if m.tasks == 0:
        said = "not tried: no part is the checker's, or no task has a solution to make a wrong trace of"
        return amber("reward", said, "look at the reward of the first steps (grpo/metrics.jsonl)", figures)
    above = (m.tasks - m.wrong, m.tasks - m.malformed)
    said = f"{m.tasks} tasks: right earns more than wrong on {above[0]}, than malformed on {above[1]}"
    if m.wrong or m.malformed:
        suggestion = "give correctness a weight that the other parts together cannot outweigh (docs/rewards.md)"
        return red("reward", f"{said}; {m.first}", suggestion, figures)
    idle = list(m.blind)
    if samples is not None and samples.ready:
        unknown = [name for name, share in samples.unknown.items() if share > 0.5]
        idle += [name for name in (*samples.constant, *unknown) if name not in idle]
    if idle:
        said = f"{said}; the same or unknown for all completions: {', '.join(idle)}"
        return amber("reward", said, "such a part teaches nothing now; leave it out, or expect nothing of it", figures)
    return green("reward", said, figures)


def judge(m: Judged) -> Finding:
    """Does the judge answer, and soundly?"""
    figures = {"needed": m.needed, "seconds": m.seconds}
    if not m.needed:
        return green("judge", "no part of the reward asks a judge", figures)
    if m.why_not is not None:
        suggestion = "start it or correct the section judge (docs/judge.md), or leave its parts out of the reward"
        return red("judge", f"asked for {', '.join(m.needed)}: {m.why_not}", suggestion, figures)
    return green("judge", f"answers for {', '.join(m.needed)}, canaries passed, {m.seconds:.1f} s", figures)


def prompts(stages: Mapping[str, Sequence[Ids]]) -> Finding:
    """Do SFT, GRPO and evaluation give the model the same ids for the same task?"""
    names = list(stages)
    first, others = stages[names[0]], names[1:]
    figures = {"tasks": len(first), "stages": names}
    for name in others:
        rows = list(zip(first, stages[name], strict=False))
        odd = next((i for i, (a, b) in enumerate(rows) if a != b), None)
        if len(first) != len(stages[name]) or odd is not None:
            a, b = rows[odd or 0] if rows else ((), ())
            at = _apart(a, b)
            sizes = f"{len(a)} and {len(b)} ids"
            said = f"{names[0]} and {name} ask differently: task {odd or 0}, {sizes}, from id {at} on"
            return red("prompts", said, "one stage makes its own prompt; all must use trace.prompt", figures)
    if not first:
        return amber("prompts", "not compared: no task has a solution", "give worked solutions", figures)
    return green("prompts", f"{len(first)} tasks: {', '.join(names)} give the model the same ids", figures)


def ends(m: Ends) -> Finding:
    """Do sampler, SFT targets and checkpoint agree about what ends a completion?"""
    name, figures = "stop tokens", {"stops": m.stops, "targets": m.targets, "declared": dict(m.declared)}
    where = "the tokenizer is not this checkpoint's: take both from one place"
    for mark, ids in m.pieces.items():
        if len(ids) != 1:
            return red(name, f"{mark} is {len(ids)} pieces for the tokenizer, not one", where, figures)
    if m.pad in m.stops:
        return red(name, f"padding ({m.pad}) is also an end of completions", where, figures)
    beyond = sorted(set(m.targets) - set(m.stops))
    if beyond:
        said = f"SFT targets end with {beyond}, sampling stops at {sorted(m.stops)}"
        return red(name, said, "what SFT teaches to end with must be among the stops", figures)
    if m.inside:
        return red(name, f"{m.inside} SFT targets hold a stop before their end", "take it out of the data", figures)
    for file, ids in m.declared.items():
        unknown = sorted(set(ids) - set(m.stops))
        if unknown:
            said = f"{file} ends completions with {unknown}; sampling stops only at {sorted(m.stops)}"
            return red(name, said, where, figures)
    if m.declared_start is not None and m.starts[:1] not in ((), (m.declared_start,)):
        return red(name, f"prompts begin with {m.starts[0]}, the checkpoint with {m.declared_start}", where, figures)
    if m.starts[:1] == m.starts[1:2] != ():
        return red(name, "prompts begin with two beginning-of-sequence ids", where, figures)
    if m.declared_pad is not None and m.declared_pad != m.pad:
        said = f"padding is {m.pad} for the tokenizer and {m.declared_pad} for the checkpoint"
        return red(name, said, where, figures)
    said = f"sampling stops at {sorted(m.stops)}, SFT targets end with {list(m.targets)}"
    for file, ids in m.declared.items():
        new = sorted(set(m.targets) - set(ids))
        if new:
            said = f"{said}; {file} does not know {new} as an end"
            return amber(name, said, "SFT must teach it: do not leave SFT out", figures)
    if not m.declared:
        return amber(name, f"{said}; the checkpoint declares no ends", "see that it was trained with them", figures)
    return green(name, f"{said}, as the checkpoint has it", figures)


def template(m: Template) -> Finding:
    """Does the checkpoint's chat template make the prompts that we make?"""
    name = "chat template"
    figures = {"file": m.file, "asked": m.asked, "differ": m.differ, "first": m.first}
    if m.file is None:
        return green(name, "the checkpoint has none; prompts are Gemma's turns (trace.prompt)", figures)
    if m.error is not None:
        said = f"{m.file} could not be used: {m.error}"
        return amber(name, said, "compare it with trace.prompt by hand", figures)
    if m.first is not None:
        theirs, ours = m.first
        at = _apart(theirs, ours)
        said = f"{m.file}: {m.differ} of {m.asked} prompts differ, "
        said += f"the first where it has {theirs[at : at + 20]!r} and we {ours[at : at + 20]!r}"
        return red(name, said, "this checkpoint was trained with other turns than Gemma's; take another one", figures)
    return green(name, f"{m.asked} prompts are those of {m.file}, byte by byte", figures)


def agreement(m: Agreement, epsilon: float, in_loss: float | None) -> Finding:
    """Are sampler and trainer of one opinion about the same tokens? `epsilon` is grpo.epsilon; `in_loss` the
    greatest difference that the first training step saw."""
    name, clipped = "log-probabilities", math.log1p(epsilon)
    worst = max(m.worst, in_loss or 0.0)
    figures = {"tokens": m.tokens, "ends": m.end_tokens, "mean": m.mean, "p99": m.percentile, "worst": m.worst}
    figures |= {"in_loss": in_loss}
    said = f"{m.tokens} tokens: {m.mean:.1g} nats apart on average, {worst:.1g} at most (clip: {clipped:.2f})"
    suggestion = "sampler and trainer have other weights, positions or temperatures: correct that first"
    if not worst < math.inf or m.mean > clipped / 10 or m.percentile > clipped or (in_loss or 0) > clipped:
        return red(name, said, suggestion, figures)
    if worst > clipped / 10:
        return amber(name, said, "watch grpo's `disagreement` and `pg_clipfrac`; expected in bfloat16", figures)
    return green(name, said, figures)


def noise(m: Noise) -> Finding:
    """Is the sampler random where it must be, and only there?"""
    figures = {"prompts": m.prompts, "differ": m.differ, "repeated": m.repeated, "moved": m.moved}
    said = (
        f"{m.prompts} prompts: samples differ on {m.differ}, the same seed repeats {m.repeated}, "
        f"another step's seed moves {m.moved}"
    )
    if m.differ == 0:
        suggestion = "the samples of one prompt share their noise: each needs its own key"
    elif m.repeated < m.prompts:
        suggestion = "the noise is not a function of the seed, so that a resumed run would go another way"
    elif m.moved == 0:
        suggestion = "the seed is not used: every step would draw the same noise"
    else:
        return green("sampler noise", said, figures)
    return red("sampler noise", said, suggestion, figures)


def temperature(value: float, samples: Samples | None, sampler: Noise | None) -> Finding:
    """Is the temperature one at which samples differ?"""
    alike = samples.identical if samples is not None else None
    figures = {"temperature": value, "identical": alike}
    said = f"{value:g}" if alike is None else f"{value:g}: all samples are one text on {alike:.0%} of the prompts"
    broken = sampler is not None and sampler.differ == 0  # then the noise is to blame, not the temperature
    if not broken and (value < 0.1 if alike is None else alike >= SAME_TEXT):
        return red("temperature", said, "raise grpo.temperature (0.7 to 1): equal samples teach nothing", figures)
    if not 0.3 <= value <= 1.5 or (alike or 0.0) > 0.5:
        return amber("temperature", said, "0.7 to 1 is usual for grpo.temperature", figures)
    return green("temperature", said, figures)


def dead(m: Samples, group: int, rounds: int) -> Finding:
    """What share of the groups will teach nothing? `rounds` of refills (0: none) replace dead ones."""
    name = "dead groups"
    shares = {size: dead_share(m.kinds, size) for size in sorted({*SIZES, group})}
    own, right = shares[group], math.fsum(m.rates) / len(m.rates)
    never, always = (sum(r == end for r in m.rates) / len(m.rates) for end in (0.0, 1.0))
    figures = {
        "stage_is_where_grpo_starts": m.ready,
        "pass_rate": right,
        "histogram": histogram(m.rates),
        "dead": {
            str(g): {"value": s.value, "low": s.low, "high": s.high, "extrapolated": s.extrapolated}
            for g, s in shares.items()
        },
        "dead_after_refills": after_refills(own.value, rounds),
    }
    each = ", ".join(f"{'~' * s.extrapolated}{s.value:.0%} at {g}" for g, s in shares.items())
    by = "right" if m.ready else "right for a forgiving reader"
    said = (
        f"{len(m.rates)} prompts x {m.size}: {right:.0%} {by}, never on {never:.0%}, always on {always:.0%}; "
        f"dead: {each} (at {group}: {own.low:.0%} to {own.high:.0%})"
    )
    if any(s.extrapolated for s in shares.values()):
        said += f"; ~ is extrapolated from {m.size} samples"
    if m.identical >= SAME_TEXT:
        return amber(name, f"{said}; samples are one text", "see temperature and sampler noise first", figures)
    if m.truncated > 0.5:
        return amber(name, f"{said}; most completions are cut", "see completion length first", figures)
    if own.value >= HOPELESS and own.low >= HOPELESS - 0.15:
        if always > never:
            return red(name, said, "the policy can do these tasks already: give harder ones", figures)
        if m.ready:
            return red(name, said, "no sample earns more than another: easier tasks, or more SFT", figures)
        return amber(name, said, "SFT is still to come: ask again after it (--dir RUN)", figures)
    if after_refills(own.value, rounds) > POOR:
        suggestion = "a larger grpo.group, grpo.refill, or tasks of medium difficulty"
        return amber(name, said, suggestion, figures)
    return green(name, said, figures)


def completion_length(m: Lengths, samples: Samples | None, trained: int, tested: int) -> Finding:
    """Do gold texts and the policy's completions fit the token limits of GRPO and of the evaluation?"""
    name, gold = "completion length", sorted([*m.trained, *m.tested])
    over = {
        "grpo.max_tokens": (trained, _over(gold, trained)),
        "evaluate.max_tokens": (tested, _over(m.tested, tested)),
    }
    cut = samples.truncated if samples is not None else 0.0
    wanted = [quantile(some, 0.99) for some in (gold, samples.ended if samples is not None else ()) if some]
    asks = math.ceil(1.1 * max(wanted, default=0) / 16) * 16
    figures = {
        "gold_p50": quantile(gold, 0.5) if gold else None,
        "gold_p99": quantile(gold, 0.99) if gold else None,
        "gold_over": {key: share for key, (_, share) in over.items()},
        "truncated": cut if samples is not None else None,
        "completions_p99": quantile(samples.lengths, 0.99) if samples is not None else None,
        "asks": asks,
    }
    parts = [f"99 % of gold texts have at most {quantile(gold, 0.99)} tokens"] if gold else ["no gold texts"]
    if samples is not None:
        parts.append(f"{cut:.0%} of the completions are cut at {trained}")
    parts += [f"{share:.1%} of gold is longer than {key} = {limit}" for key, (limit, share) in over.items() if share]
    said, suggestion = "; ".join(parts), f"at least {asks} for grpo.max_tokens and evaluate.max_tokens"
    if any(share > OVER for _, share in over.values()):
        return red(name, said, suggestion, figures)
    if cut > CUT and samples is not None and samples.ready:
        return red(name, said, f"{suggestion}, or more SFT: the policy does not end", figures)
    if cut > CUT:
        return amber(name, said, "the base does not end by itself; SFT must teach it: ask again after it", figures)
    if cut > CUT_SOME or any(share > OVER_SOME for _, share in over.values()):
        return amber(name, said, suggestion, figures)
    return green(name, said, figures)


def prompt_length(m: Lengths, dropped: Mapping[str, int], read: int, limit: int, longest: int) -> Finding:
    """Do prompts fit their limit, and with a whole completion the checkpoint's positions?"""
    name, most = "prompt length", max(m.prompts, default=0)
    lost = sum(count for reason, count in dropped.items() if "too long" in reason)
    over = _over(m.prompts, limit + 1)  # the limit does not count the first token
    figures = {"most": most, "p99": quantile(m.prompts, 0.99) if m.prompts else None, "dropped": lost}
    figures |= {"over": over, "positions": m.positions}
    said = f"at most {most} tokens, limit {limit}; {lost} tasks dropped as too long"
    if m.positions is not None and most + longest > m.positions:
        said = f"{said}; with {longest} for the completion more than the checkpoint's {m.positions}"
        return red(name, said, "lower data.max_prompt_tokens, grpo.max_tokens or evaluate.max_tokens", figures)
    if lost > LOST * max(1, read) or over > LOST:
        suggestion = f"data.max_prompt_tokens (and max_trace_tokens) of {math.ceil(1.1 * most / 16) * 16} or more"
        return amber(name, f"{said}; {over:.1%} of those kept are longer", suggestion, figures)
    return green(name, said, figures)


def learning_rates(recipe: Recipe) -> Finding:
    """Are the rates of SFT and GRPO ones that adapters learn at?"""
    rates = {"sft.learning_rate": recipe.sft.learning_rate, "grpo.learning_rate": recipe.grpo.learning_rate}
    said = ", ".join(f"{name} {value:g}" for name, value in rates.items())
    suggestion = f"adapters learn between {RATES[0]:g} and {RATES[1]:g} (docs/log.md)"
    if any(not IMPOSSIBLE[0] <= r <= IMPOSSIBLE[1] for r in rates.values()):
        return red("learning rates", said, suggestion, rates)
    if any(not RATES[0] <= r <= RATES[1] for r in rates.values()):
        return amber("learning rates", said, suggestion, rates)
    return green("learning rates", said, rates)


def beta(recipe: Recipe) -> Finding:
    """Does β hold the policy near SFT's without freezing it?"""
    value = recipe.grpo.beta
    figures = {"beta": value}
    if value > CRUSHING:
        return red("beta", f"grpo.beta {value:g}", "the KL outweighs every reward: 0.01 to 0.1 is usual", figures)
    if value > STRONG:
        return amber("beta", f"grpo.beta {value:g}", "the policy will hardly move: 0.01 to 0.1 is usual", figures)
    return green("beta", f"grpo.beta {value:g}" + ("" if value else ": nothing holds the policy"), figures)


def batches(recipe: Recipe) -> Finding:
    """Can a step be cut into the micro-batches that the recipe asks for?"""
    config = recipe.grpo
    micro = config.micro_prompts or config.prompts
    figures = {"prompts": config.prompts, "group": config.group, "micro_prompts": micro}
    said = f"{config.prompts} prompts x {config.group} a step, {micro} prompts at a time"
    if config.prompts % micro:
        return red("batches", said, "grpo.micro_prompts must divide grpo.prompts", figures)
    if config.prompts * config.group < 32:
        return amber("batches", said, "so few completions make a noisy gradient: 64 and more is usual", figures)
    return green("batches", said, figures)


def amount(recipe: Recipe, train: int, traces: int) -> Finding:
    """Are there as many tasks and traces as the recipe's steps want?"""
    wanted = recipe.grpo.steps * recipe.grpo.prompts
    seen = wanted / max(1, train)
    figures = {"epochs": seen, "train": train, "traces": traces, "wanted_traces": recipe.sft.traces}
    said = f"GRPO draws {wanted} of {train} ({seen:.2g} times), SFT {traces} of {recipe.sft.traces} traces"
    if seen > TOO_OFTEN:
        return red("data amount", said, "fewer grpo.steps, or more tasks: they would be learned by heart", figures)
    if seen > AGAIN:
        return amber("data amount", said, "tasks are seen again; watch the dev share of right answers", figures)
    if traces < FEWER * recipe.sft.traces and recipe.grpo.start == "sft":
        suggestion = f"sft.traces of {traces} says what there is; more need other sources or levels"
        return amber("data amount", said, suggestion, figures)
    return green("data amount", said, figures)


def evaluation_size(tests: int) -> Finding:
    """Is the evaluation large enough to show the gain that is hoped for?"""
    least = smallest_difference(tests)
    figures = {"tests": tests, "smallest_difference": least, "changing": CHANGING}
    said = f"{tests} tasks show a difference of {100 * least:.1f} points (power 80 %, p < 0.05, paired)"
    need = next(n for n in range(50, 100_000, 50) if smallest_difference(n) <= HOPED)
    if least > BLUNT:
        return red("evaluation size", said, f"a gain could not be told from luck: {need} test tasks or more", figures)
    if least > HOPED:
        return amber("evaluation size", said, f"for {100 * HOPED:g} points {need} test tasks are needed", figures)
    return green("evaluation size", said, figures)


def smallest_difference(n: int, changing: float = CHANGING, power: float = 0.8, level: float = 0.05) -> float:
    """The smallest gain in the share of right answers that n paired tasks show with this power.

    With a share ψ = max(`changing`, d) of tasks on which the two sides differ, the difference d that solves
    n = ((z_{1-level/2} √ψ + z_power √(ψ - d²)) / d)²; no less than six tasks gained and none lost, the least
    that an exact test shows. Source: O. S. Miettinen, Biometrics 24 (1968) 339-352; R. J. Connor, Biometrics
    43 (1987) 207-211. 1 where no difference shows; ValueError for n below 1.

    >>> [round(smallest_difference(n), 3) for n in (5, 50, 600, 1319)]
    [1.0, 0.16, 0.047, 0.032]
    """
    if n < 1:
        raise ValueError(f"an evaluation needs a task, got {n}")
    normal = NormalDist()
    alpha, beta_ = normal.inv_cdf(1 - level / 2), normal.inv_cdf(power)

    def needed(d: float) -> float:
        share = max(changing, d)
        return ((alpha * math.sqrt(share) + beta_ * math.sqrt(max(0.0, share - d * d))) / d) ** 2

    low, high = 0.0, 1.0
    if needed(high) > n:
        return 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if needed(middle) <= n else (middle, high)
    return min(1.0, max(high, 6 / n))


def disk(m: Storage, recipe: Recipe, counts: Mapping[str, int], sft_steps: int) -> Finding:
    """Is there room for checkpoints, records, evaluations and export?"""
    keep, config = recipe.checkpoint, recipe.grpo
    adapter = m.values * m.itemsize
    masters = 12 * m.values  # float32 masters and two moments
    files = {
        "sft": (adapter + masters, sft_steps),
        "grpo": (2 * adapter + masters, config.steps),  # the best on dev is in it
    }
    parts = {
        "checkpoints": sum(
            size * (keep.keep + 1 + (steps // keep.keep_every if keep.keep_every else 0))
            for size, steps in files.values()
        ),
        "records": m.record * config.steps * config.prompts * config.group,
        "evaluations": 2 * 3 * m.record * counts["test"],  # twice: while it is made it is there by batches too
        "data": m.task * sum(counts.values()),
        "export": m.base + 2 * adapter,
        "rest": _REST,
    }
    need = math.fsum(parts.values())
    figures = {"needed": need, "free": m.free} | parts
    each = ", ".join(f"{name} {_size(size)}" for name, size in parts.items() if size > need / 50)
    said = f"{_size(need)} of {_size(m.free)} free: {each}"
    if need > m.free:
        return red("disk", said, "make room, give another --dir, or fewer checkpoint.keep", figures)
    if need > FULL * m.free:
        return amber("disk", said, "little will be left; others may be writing there too", figures)
    return green("disk", said, figures)


def memory(m: Memory | None, out: str | None) -> Finding:
    """Was there room for the measured steps, and will there be for the longest? None: the device is not the
    host, and its own room was tried by the steps themselves."""
    suggestion = "smaller grpo.micro_prompts, sft.batch or evaluate.batch"
    if out is not None:
        return red("memory", f"{out}: a step of the recipe's size does not fit", suggestion, {"stage": out})
    if m is None:
        return green("memory", "steps of the recipe's size fit the device", {})
    most = m.peak / max(m.share, 0.05)  # all of it taken to grow with the rows: more than will be needed
    figures = {"peak": m.peak, "total": m.total, "share": m.share, "estimate": most}
    said = f"{_size(m.peak)} of {_size(m.total)}, at most {_size(most)} when rows are as long as they may be"
    if m.peak > 0.95 * m.total:
        return red("memory", said, suggestion, figures)
    if most > NEAR * m.total:
        return amber("memory", said, suggestion, figures)
    return green("memory", said, figures)


def chips(wanted: int, have: int) -> Finding:
    """Are there as many devices as the run is laid out for?"""
    figures = {"wanted": wanted, "have": have}
    said = f"laid out for {wanted}, {have} there"
    if have < wanted:
        suggestion = f"a recipe for {have}, or a machine with {wanted}: on fewer the plan does not hold"
        return red("devices", said, suggestion, figures)
    if have > wanted:
        return amber("devices", said, f"{have - wanted} would stand idle", figures)
    return green("devices", said, figures)


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _apart(a: Sequence[object], b: Sequence[object]) -> int:
    """The first place at which two sequences differ."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _over(lengths: Sequence[int], limit: int) -> float:
    return sum(n > limit for n in lengths) / len(lengths) if lengths else 0.0
