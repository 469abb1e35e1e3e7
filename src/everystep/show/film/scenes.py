"""The scenes of a run's film, made from its records.

Which task is shown follows a rule. What is claimed of training is only what a paired test, corrected for all
that were made, tells from chance. A scene that the run has nothing for is left out.
"""

import json
import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import everystep
from everystep.core.files import read_json, read_jsonl
from everystep.core.run import STAGES, TRAINED, Run, stages_of
from everystep.core.trace import ANSWER, ANSWER_END, REASONING, REASONING_END
from everystep.core.types import Truth
from everystep.evaluate.compare import Pair
from everystep.evaluate.failures import Failure, transition
from everystep.score.mix import mix_of, order
from everystep.show.checked import printable
from everystep.show.figures import Source, Words, listed
from everystep.show.film.script import Block, Chart, Film, Scene, Sentence
from everystep.show.findings import (
    NAMES,
    Findings,
    Line,
    Stage,
    compared,
    ends,
    failing,
    made_of,
    points_of,
    read_findings,
)

TITLE = "Teaching Gemma to Show Its Work"
LABELS = {"base": "Base", "sft": "SFT", "grpo": "GRPO"}
PANEL, WHOLE = 420, 620  # characters of a completion beside others, and alone
READ = 45.0  # characters of a completion that can be read in a second
INTERVAL = "{value:percent} [{low:percent}, {high:percent}]"
_DOMAINS = ("math", "science", "reasoning")  # which are shown first
_FAMILIES = {"gemma": "Gemma", "gemma2": "Gemma 2", "gemma3": "Gemma 3", "gemma3_text": "Gemma 3"}
_MODEL = {  # rows of the model's table, from its config.json
    "Layers": "{num_hidden_layers:count}, with a window of {sliding_window:count} tokens where they have one",
    "Embedding": "{vocab_size:count} × {hidden_size:count}",
    "Attention": "{num_attention_heads:count} query, {num_key_value_heads:count} key-value heads of {head_dim:count}",
    "Feed-forward": "{intermediate_size:count} wide, gated",
}
_SPOKEN = str.maketrans("/_", "  ")  # names of parts are not read out with their strokes
_LOOP = (  # GRPO in lines of code, with the recipe's values
    "for step in range({steps:count}):",
    "  tasks = draw({prompts:count}, by={draw})",
    "  texts = policy.sample(tasks,",
    "    n={group:count}, temperature={temperature:number})",
    "  r = reward(check_claims(texts))",
    "  a = (r - mean(r)) / deviation(r)",
    "  update(lora, a,",
    "    kl={beta:number}, rate={learning_rate:number})",
)
# Of the curves: heading, stage, lines (metric → name), axis, whether they are shares, what is said of the first line.
_CURVES: tuple[tuple[str, str, dict[str, str], str, bool, str], ...] = (
    ("SFT: loss", "sft", {"loss": "training", "dev_loss": "dev"}, "nats a token", False, "its loss"),
    ("GRPO: reward", "grpo", {"reward": "mean total"}, "reward", False, "the mean reward"),
    ("GRPO: right in form", "grpo", {"contract": "samples", "dev/contract": "dev, greedy"}, "right in form", True, ""),
    ("GRPO: distance from its start", "grpo", {"kl": "KL"}, "nats a token", False, ""),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """A run as the film reads it; `stages` are those of `STAGES` that were evaluated, `used` the tasks that a scene
    has shown already."""

    run: Run
    found: Findings
    recipe: Source
    stages: list[Stage]
    missing: list[str]
    used: set[str]

    @property
    def last(self) -> Stage:
        return self.stages[-1]

    def summary(self, stage: Stage) -> Source:
        """A stage's summary, where the run's own has it: there."""
        if self.run.summary.exists():
            return Source(stage.summary, "evaluate/summary.json", ("stages", stage.name))
        path = self.run.evaluation_summary(self.found.dataset, stage.name)
        return Source(stage.summary, path.relative_to(self.run.root).as_posix())


def film_of(run: Run) -> Film:
    """All that the run gives to tell, however long that takes; `script.fit` shortens it.

    Raises ValueError where no stage has been evaluated, for damaged files, and for a run whose summary is
    not that of its stages.
    """
    found, recipe = read_findings(run), Source(read_json(run.recipe_resolved), "recipe.json")
    stages = [s for s in found.stages if s.name in STAGES]
    if not stages:
        raise ValueError(f"{run.root}: no stage has been evaluated; there is nothing to film")
    if run.summary.exists():
        whole = read_json(run.summary)["stages"]
        if any(whole.get(s.name) != s.summary for s in stages):
            raise ValueError(f"{run.summary}: differs from the stages' own summaries; delete it, and finish the run")
    planned = stages_of(run.recipe())
    f = Facts(run, found, recipe, stages, [s for s in planned if s not in {x.name for x in stages}], set())
    before = list(_before_after(f))
    scenes = [_title(f), *before, _model(f), _training(f), *_curves(f), *_examples(f), *_failing(f), _insights(f)]
    remarks = [printable(r) for r in found.remarks]
    if f.missing:
        remarks.insert(0, f"this run is not finished: {', '.join(f.missing)} not evaluated")
    if not run.summary.exists():
        remarks.append("the run has no evaluate/summary.json: figures are from the stages' own summaries")
    return Film(printable(found.name)[:80], (*scenes, _result(f)), tuple(remarks))


def _title(f: Facts) -> Scene:
    came, config, size = Source(f.found.provenance, "provenance.json"), _config(f), _size(f, None)
    facts = [f.recipe.fill("run {name}, seed {seed:number}")]
    model: Words = ("a language model",)
    if config is not None:
        model = ("a model of ", *_family(config), "'s architecture", *((", ", *size, " parameters") if size else ()))
        facts.append(model)
    if isinstance(came.values.get("packages"), dict) and "google-tunix" in came.values["packages"]:
        facts.append(came.at("packages").fill("trained with Tunix {google-tunix}"))
    facts += [came.fill(text) for key, text in (("device", "on {device}"), ("commit", "commit {commit:40}"))
              if came.values.get(key)]  # fmt: skip
    facts.append(("measured on ", *f.summary(f.last).fill("{n:count} held-out tasks")))
    spent = [(f"{LABELS[s]} ", *Source(f.run.done(s), f"{s}/done.json").fill("{minutes:tenth} minutes"))
             for s in TRAINED if f.run.done(s)]  # fmt: skip
    facts += [listed(spent)] if spent else []
    sentences = [
        Sentence(("Most language models answer, and show no work to check.",), 0),
        Sentence(("This is one run, told from its own records: ", *model, " is to learn to show its work."), 1),
    ]
    if f.missing:
        told = (f"This run is not finished: {' and '.join(NAMES[s] for s in f.missing)} not evaluated.",)
        facts.insert(0, told)
        sentences.append(Sentence(told, 1))
    blocks = (Block(items=tuple(facts), wide=True),)
    return Scene("The film of one run", TITLE, tuple(sentences), blocks, "recipe.json · provenance.json")


# One completion, or one task under every stage


def _question(stage: Stage, line: Line) -> Block:
    """The question of a record, and its gold answer."""
    where = Source(line.row["task"], f"{stage.file}:{line.number}", how="task")
    return Block(text=where.fill("{question:200}  (gold:\xa0{answer})"), wide=True)


def _shown(stage: Stage, line: Line, most: int, heading: str) -> Block:
    """A record with its claims marked, at most `most` characters of it, and what it is."""
    text, g = line.row["text"], line.graded
    checks = [
        c | {k: printable(str(c[k] or ""))[:80] for k in ("claim", "value", "reason")} for c in line.row["checks"]
    ]
    trace = {"text": printable(text[:most]) + ("…" if len(text) > most else ""), "checks": checks}
    found = Source(asdict(line.found), f"{stage.file}:{line.number}", how="the failure class")
    outcome = found.fill(f"{'✓' if g.sound else '!' if g.contract else '✗'} {{failure}}: {{evidence:110}}")
    return Block((heading,), trace=trace, sound=g.sound, items=(outcome,))


def _told(line: Line) -> str:
    """What a completion is, to follow on a sentence that begins with who wrote it."""
    g, false = line.graded, any(c.truth is Truth.FALSE for c in line.graded.checks)
    held = g.checks and all(c.truth is Truth.TRUE for c in g.checks)
    cases = (
        (g.contract and line.found.failure is not Failure.RIGHT, "has the right answer, from work that is not right"),
        (g.contract and held, "is right, in the agreed form, and every claim holds"),
        (g.contract, "is right, in the agreed form"),
        (g.completion.stop.value == "length", "runs into the token limit"),
        (g.capable, "has the right answer, but not in the agreed form"),
        (g.verdict.value == "ungradable", "gives an answer that no rule can decide"),
        (false, "makes a claim that is false, and its answer is not right"),
    )
    return next((text for holds, text in cases if holds), "does not give the right answer")


def _dullness(lines: Sequence[Line]) -> tuple[float, ...]:
    """What is shown first: a task that the base gets wrong and the last stage right, with no claim false; the stage
    between wrong too, with a false claim; a few claims, of mathematics, short enough to be read; then by length."""
    base, before, last = lines[0].graded, lines[max(0, len(lines) - 2)].graded, lines[-1].graded
    slipped, longest = any(c.truth is Truth.FALSE for c in before.checks), max(len(x.row["text"]) for x in lines)
    form = (longest > PANEL, not 2 <= len(last.checks) <= 4, last.task.domain != "math", longest)
    return (not last.sound, base.contract, before.contract, not slipped, *form)


def _before_after(f: Facts) -> Iterator[Scene]:
    keys = sorted(set.intersection(*(set(s.lines) for s in f.stages)))
    if not keys:
        return
    first, last = f.stages[0], f.last
    key = min(keys, key=lambda k: (_dullness([s.lines[k] for s in f.stages]), k))
    f.used.add(key)
    asked, note = _question(last, last.lines[key]), Block(text=("Chosen by a rule, not by hand.",), wide=True)
    panels = [_shown(s, s.lines[key], PANEL, LABELS[s.name]) for s in f.stages]
    task = Source(last.lines[key].row["task"], f"{last.file}:{last.lines[key].number}", how="task")
    sentences = [Sentence(task.fill("An answer alone may be right, and nobody sees why. A {domain} task:"), 1)]
    for i, stage in enumerate(f.stages, 2):
        head = "The base model" if stage.name == "base" else f"After {LABELS[stage.name]}, the model"
        sentences.append(Sentence((f"{head} {_told(stage.lines[key])}.",), i))
    if len(panels) > 1:
        own = transition(first.lines[key].graded, last.lines[key].graded)
        n = sum(transition(first.lines[k].graded, last.lines[k].graded) == own for k in keys)
        count = Source({"n": n, "all": len(keys)}, last.file, how=f"{own}, from {first.name} to {last.name}")
        what = f"of {{all:count}} tasks that are {own} from {NAMES[first.name]} to {NAMES[last.name]}"
        note = replace(note, text=count.fill("Chosen by a rule, not by hand, from the {n:count} " + what))
        sentences.append(Sentence(count.fill("It is one of {n:count} " + what + "."), len(panels) + 2, 6))
    title = "The same question, before and after" if len(panels) > 1 else f"A question to {NAMES[last.name]}"
    source = " · ".join(f"{s.file}:{s.lines[key].number}" for s in f.stages)
    least = 3.0 + max(len(s.lines[key].row["text"][:PANEL]) for s in f.stages) / READ
    yield Scene("The problem", title, tuple(sentences), (asked, *panels, note), source, least)


def _middle(lines: Iterable[Line]) -> Line:
    """The one of middle length; of those that the picture can hold, where there are any."""
    every = list(lines)
    some = [line for line in every if len(line.row["text"]) <= WHOLE] or every
    middle = statistics.median_low(len(line.row["text"]) for line in some)
    return min((x for x in some if len(x.row["text"]) == middle), key=lambda x: x.graded.task.id)


def _example(f: Facts, line: Line, said: str, under: Words, sentences: Iterable[Sentence], rank: int) -> Scene:
    """A completion of the last stage with all that it would earn."""
    f.used.add(line.graded.task.id)
    row = Source(line.row, f.last.file, (line.number - 1,))
    earned = [((printable(k)[:32],), row.at("parts").at(k).fill("{:three}")) for k in line.row["parts"] or {}]
    earned.append((("total",), row.fill("{total:three}")))
    blocks = (
        _question(f.last, line),
        _shown(f.last, line, WHOLE, LABELS[f.last.name]),
        Block(("What it earns, part by part",), text=under, rows=tuple(earned)),
    )
    least, where = 4.5 + len(line.row["text"][:WHOLE]) / READ, f"{f.last.file}:{line.number}"
    return Scene("Examples" if rank == 1 else "Limits", said, tuple(sentences), blocks, where, least, rank)


def _examples(f: Facts) -> Iterator[Scene]:
    """From each of three domains a completion of the last stage that is right where the base was wrong (any, where
    there is none): the one of middle length."""
    base, found = f.stages[0].lines, {line.graded.task.domain for line in f.last.lines.values()}
    for domain in [*(d for d in _DOMAINS if d in found), *sorted(found - {*_DOMAINS})][:3]:
        some = {k: x for k, x in f.last.lines.items() if x.graded.task.domain == domain and k not in f.used}
        fixed = [x for k, x in some.items() if x.graded.contract and k in base and not base[k].graded.contract]
        if not some:
            continue
        line, of = _middle(fixed or some.values()), f.summary(f.last).at("by_domain", domain)
        label = Source(line.row["task"], f.last.file, (line.number - 1, "task")).fill("{domain:24}")
        rate = (*of.at("contract").fill(INTERVAL), " % right in form, of ", *of.fill("{n:count} tasks"))
        share = of.fill("{contract.value:percent} percent are right in form.")
        wrong = ", which the base got wrong" if fixed else ""
        said = (
            Sentence(("A ", *label, f" task{wrong}; each claim is checked by code.",), 2),
            Sentence((f"The model {_told(line)}.",), 3, 6),
            Sentence(("Of ", *label, " tasks, ", *share), 3, 3),
        )  # fmt: skip
        yield _example(f, line, "One task, claim by claim", ("All ", *label, " tasks: ", *rate), said, 1)


def _failing(f: Facts) -> Iterator[Scene]:
    """A completion of the class that fails most; nothing where nothing fails."""
    if (found := failing(f.found)) is None:
        return
    some = [x for x in f.last.lines.values() if x.found.failure is found[0]]
    line, told = _middle([x for x in some if x.graded.task.id not in f.used] or some), found[1]
    said = [Sentence(("Where it still fails: ", *told, "."), 3)]
    if any(c.truth is Truth.FALSE for c in line.graded.checks):
        said.append(Sentence(("The checker names the false claim, and its true value.",), 3, 4))
    yield _example(f, line, "What still fails", told, said, 2)


# The model, and how it is trained


def _folder(f: Facts) -> tuple[Path, str]:
    """The model's folder, and its name (not where it is on this machine)."""
    given = f.recipe.values["model"]["name"]
    if given == "tiny":
        return Path(everystep.__file__).parent / "model" / "assets" / "tiny", "everystep/model/assets/tiny"
    return Path(given), f"model {Path(given).name}"


def _config(f: Facts) -> Source | None:
    """The model's config; None where it is not at hand, or of no family that is known here."""
    folder, label = _folder(f)
    raw = read_json(folder / "config.json") if (folder / "config.json").is_file() else None
    raw = raw.get("text_config", raw) if isinstance(raw, dict) else None
    known = isinstance(raw, dict) and str(raw.get("model_type")) in _FAMILIES
    return Source(raw, f"{label}/config.json") if known else None


def _family(config: Source) -> Words:
    return replace(config, values={"model_type": _FAMILIES[config.values["model_type"]]}).fill("{model_type}")


def _size(f: Facts, stage: str | None) -> Words:
    """How many values the model's file (or a stage's adapter) holds, by its header (a tied output layer that is
    stored too is not counted); empty where there is no such file, or a broken one."""
    folder, label = _folder(f)
    path = f.run.adapter(stage) if stage else folder / "model.safetensors"
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length < 100_000_000 else {}
        rows = [v["shape"] for k, v in header.items() if k not in ("__metadata__", "lm_head.weight")]
        n = sum(map(math.prod, rows))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()
    name = path.relative_to(f.run.root).as_posix() if stage else f"{label}/{path.name}"
    own = Source({"n": n}, name, how="parameters, by the header")
    return own.fill("{n:count}" if stage else "{n:millions}") if n else ()


def _model(f: Facts) -> Scene:
    """The model from its config, and the way from base to policy."""
    config, trained = _config(f), _size(f, "grpo") or _size(f, "sft")
    rows = [((label,), config.fill(text)) for label, text in _MODEL.items()] if config else []
    lora = f.recipe.fill("rank {model.lora.rank:count}") + ((": ", *trained, " parameters") if trained else ())
    told: Words = ("The model: its configuration is not at hand.",)
    if config:
        told = ("The model: ", *_family(config), "'s architecture, ", *config.fill("{num_hidden_layers:count} layers."))
    base = replace(f.recipe, values={"model": {"name": Path(f.recipe.values["model"]["name"]).name}})
    sft = (((("SFT",), ("worked traces show it the form",))),) if f.recipe.values["grpo"]["start"] == "sft" else ()
    flow = (
        (("Base",), base.fill("the model {model.name}")),
        *sft,
        (("GRPO",), f.recipe.fill("{grpo.prompts:count} tasks × {grpo.group:count} completions a step")),
        (("Checker, reward",), ("every claim checked by code",)),
    )
    sampled = f.recipe.fill("In GRPO it writes {grpo.group:count} answers to each task; a checker tests every claim, ")
    sentences = (
        Sentence(told, 1),
        Sentence(f.recipe.fill("Only LoRA adapters of rank {model.lora.rank:count} are trained."), 1, 4),
        *((Sentence(("SFT shows it worked traces in the form it is to keep.",), 2),) if sft else ()),
        Sentence((*sampled, "and the policy moves towards what earns more."), 2),
        Sentence(("The form is fixed: reasoning in its tags, then the answer in its own.",), 3, 6),
    )
    form = (REASONING, "  Step …", "  Therefore, …", REASONING_END, f"{ANSWER}…{ANSWER_END}")
    blocks = (
        Block(("The model",), rows=(*rows, (("LoRA, trained",), lora))),
        Block(("From base to policy",), rows=flow),
        Block(("The agreed form",), code=tuple((line,) for line in form)),
    )
    source = f"{config.file} · recipe.json" if config else "recipe.json; the model's config is not at hand"
    return Scene("The model", "What is trained, and how", sentences, blocks, source, rank=1)


def _training(f: Facts) -> Scene:
    """Data, reward and loop."""
    data, recipe = f.run.data, f.run.recipe()
    kinds = (("sft.jsonl", "worked traces for SFT"), ("train_*.jsonl", "tasks for GRPO"), ("test.jsonl", "held out"))
    counts, worked = [], []
    for pattern, what in kinds if recipe.grpo.start == "sft" else kinds[1:]:
        rows = [row for path in sorted(data.glob(pattern)) for row in read_jsonl(path)[0]]
        worked = rows if pattern == "sft.jsonl" else worked
        counts += [Source({"n": len(rows)}, f"data/{pattern}", how="rows").fill(f"{{n:count}} {what}")] if rows else []
    task: list[tuple[Words, ...]] = []
    if worked:
        first = Source(worked[0], "data/sft.jsonl", (0,))
        steps = range(len((worked[0].get("solution") or ())[:4]))
        task = [(("step",), first.at("solution", i).fill("{:110}")) for i in steps]
        task = [(("question",), first.fill("{question:160}")), *task, (("answer",), first.fill("{answer:60}"))]
    mix = mix_of(recipe.reward)
    weights = Source(mix.weights, "recipe.json", ("reward", "parts"))
    weights = weights if recipe.reward.parts else replace(weights, how=f"preset {recipe.reward.preset}")
    parts = sorted((k for k, w in mix.weights.items() if w), key=lambda k: (-abs(mix.weights[k]), k))
    rewards = [((part,), weights.at(part).fill("{:number}")) for part in parts]
    heavy = [(f"{part.translate(_SPOKEN)} at ", *weight) for (part,), weight in rewards[:4]]
    spans = order(mix)
    earns = [Source(dict(zip(("low", "high"), span, strict=True)), "recipe.json", how=f"what {rank} completions earn")
             .fill(f"{rank}: {{low:number}} to {{high:number}}") for rank, span in spans.items()]  # fmt: skip
    apart = spans["right"][0] > spans["wrong"][1] and spans["wrong"][0] > spans["malformed"][1]
    earns.append(("the three never touch" if apart else "the three can overlap",))
    group = f.recipe.fill("In each group of {grpo.group:count}, what earns more than the mean becomes likelier.")
    told = (Sentence(("The data: question, worked steps, answer; ", *listed(counts[:2], " and "), "."), 1),)
    sentences = (*(told if counts else ()), Sentence(("The reward sums ", *listed(heavy), "."), 2), Sentence(group, 3))
    blocks = (
        Block(("A task, and how many there are",), rows=tuple(task), items=tuple(counts)),
        Block(("The reward: parts and weights",), rows=tuple(rewards), items=tuple(earns)),
        Block(("GRPO",), code=tuple(f.recipe.at("grpo").fill(line) for line in _LOOP)),
    )
    return Scene("The training", "Data, reward and loop", sentences, blocks, "data/ · recipe.json", rank=1)


def _curves(f: Facts) -> Iterator[Scene]:
    """The curves of training; what is said of their ends is the report's own averages (`findings.ends`)."""
    blocks: list[Block] = []
    sentences: list[Sentence] = []
    for heading, stage, names, axis, share, what in _CURVES:
        rows, file = (f.found.sft if stage == "sft" else f.found.grpo), f"{stage}/metrics.jsonl"
        lines = {k: (n, points) for k, n in names.items() if len(points := points_of(rows, k)) > 1}
        if not lines:
            continue
        key, (label, points) = next(iter(lines.items()))
        first, last, n = ends(points)
        means = {"first": first, "last": last, "n": n, "steps": int(points[-1][0])}
        own = Source(means, file, how=f"{key}, means of {n} values at either end")
        went = own.fill("{first:percent} → {last:percent} %" if share else "{first:three} → {last:three}")
        over = own.fill(" (means of {n:count})") if n > 1 else ()
        blocks.append(Block((heading,), (f"{label}: ", *went, *over), chart=Chart(file, lines, axis, share)))
        if what:
            told = own.fill(f"{LABELS[stage]} took {{steps:count}} steps; {what} went from {{first:three}} to ")
            told += own.fill("{last:three}.")
            sentences.append(Sentence(told, len(blocks), 3 if stage == "sft" else 0))
    if blocks:
        said = tuple(sentences) or (Sentence(("These are the curves of training.",), 1),)
        source = " · ".join(dict.fromkeys(b.chart.file for b in blocks if b.chart))
        yield Scene("The training", "What happened, step by step", said, tuple(blocks), source, 9.0, 1)


# What the run supports saying


def _following(f: Facts) -> list[Pair]:
    """The pairs of stages that follow each other, the last first."""
    steps = list(pairwise(s.name for s in f.stages))
    return [p for p in reversed(f.found.pairs) if (p.before, p.after) in steps]


def _insights(f: Facts) -> Scene:
    """What the paired tests support, most important first, and what they do not."""
    pairs = _following(f)
    gains = [row for row in f.found.gains if any((p.before, p.after) == row[:2] and p.apart for p in pairs)]
    said = [compared(f.found, p) for p in pairs] + [(made_of(f.found, *row), ()) for row in gains if row[2].recovered]
    sentences = [Sentence((*claim, "."), i, i - 1) for i, (claim, _) in enumerate(said, 1)]
    blocks = [Block(text=claim, items=(evidence,) if evidence else (), wide=True) for claim, evidence in said]
    left: Words = ("Tasks vary in these tests, training seeds do not: another seed can differ as much.",)
    if not said:
        left = ("Nothing can be said on what training changed: one stage has been evaluated.",)
        sentences = [Sentence(left, 1)]
    blocks.append(Block(("What it does not support",), text=left, wide=True))
    source, least = " · ".join(s.file for s in f.stages[-2:]), 4.0 + 2.0 * len(said)
    return Scene("Insights", "What this run supports saying", tuple(sentences), tuple(blocks), source, least)


def _result(f: Facts) -> Scene:
    head = ("stage", "right in form, %", "right, any form, %", "right, no false claim, %", "in form, %")
    shares = [f"{{{key}.value:percent}}" for key in ("capability", "sound", "format")]
    rows = [((LABELS[s.name],), f.summary(s).at("contract").fill(INTERVAL), *(f.summary(s).fill(x) for x in shares))
            for s in f.stages]  # fmt: skip
    known = {s.name for s in f.stages}
    pairs = [(f"{LABELS[p.before]} → {LABELS[p.after]}: ", *compared(f.found, p)[1]) for p in f.found.pairs
             if {p.before, p.after} <= known]  # fmt: skip
    good = [x for k, x in f.last.lines.items() if x.found.failure is Failure.RIGHT and k not in f.used]
    line, n = _middle(good or f.last.lines.values()), f.summary(f.last).fill("{n:count}")
    right = [(f"{NAMES[s.name]} ", *f.summary(s).fill("{contract.value:percent}")) for s in f.stages]
    sentences = (
        Sentence(("The same ", *n, " held-out tasks, right in form: ", *listed(right), " percent."), 1),
        Sentence(("Every record is there to check. Thanks for watching.",), 3, 2),
    )
    blocks = (
        Block(head=head, rows=tuple(rows), items=tuple(pairs), wide=True),
        _question(f.last, line),
        replace(_shown(f.last, line, PANEL, f"An output of {LABELS[f.last.name]}"), wide=True),
    )
    source = f.summary(f.last).file + f" · {f.last.file}:{line.number}"
    return Scene("Result", "The same tasks, every stage", sentences, blocks, source, least=9.0)
