"""The scenes on the model and on what it is trained with: architecture, data, reward and loop.

Everything in them is read from the recipe, the model's config and the data of the run; what is not there is
left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from everystep.core.trace import ANSWER, ANSWER_END, REASONING, REASONING_END
from everystep.score.mix import Mix, order
from everystep.show.film.facts import (
    Facts,
    Shape,
    mix,
    name,
    of_recipe,
    parameters,
    pointer,
    row_count,
    rows_in,
    shape,
    trained,
)
from everystep.show.film.script import (
    Diagram,
    Figure,
    Quote,
    Scene,
    Sentence,
    Training,
    Words,
    figure,
    listed,
    say,
)

_FORM = (REASONING, "  Step …", "  Therefore, …", REASONING_END, f"{ANSWER}…{ANSWER_END}")
_DOMAINS = ("math", "science", "reasoning", "general")


def architecture(facts: Facts) -> Scene:
    """The model from its config, and the way from base to policy."""
    of, size, lora = shape(facts), parameters(facts), trained(facts)
    rank = of_recipe(facts, "number", "model", "lora", "rank")
    tasks, group = (of_recipe(facts, "count", "grpo", k) for k in ("prompts", "group"))
    model = say("the base model")
    if of is not None:
        model = say(_family(of), "'s architecture", *((", ", size, " parameters") if size else ()))
    base = name(Path(facts.recipe.model.name).name, "recipe.json", pointer("model", "name"))
    adapters = say("LoRA adapters of rank ", rank, *((" (", lora, " parameters)") if lora else ()))
    sft = "sft" in facts.planned
    sampled = say("In GRPO it writes ", group, " answers to each task; a checker tests every claim, ")
    sentences = (
        Sentence(say("The model: ", _told(of)), 1),
        Sentence(say("Only ", adapters, " are trained."), 2, 4),
        *([Sentence(say("SFT shows it worked traces in the form it is to keep."), 3)] if sft else []),
        Sentence(say(sampled, "and the policy moves towards what earns more."), 4),
        Sentence(say("The form is fixed: reasoning in its tags, then the answer in its own."), 5, 6),
    )
    flow = (
        (say("Base"), say("the model ", base)),
        *([(say("SFT"), say("worked traces show it the form"))] if sft else []),
        (say("GRPO"), say(tasks, " tasks × ", group, " completions a step")),
        (say("Checker, reward"), say("every claim checked by code")),
    )
    content = Diagram(model, tuple(_stack(of)), of.layers if of else (), tuple(_block(of, rank, lora)), flow, _FORM)
    source = f"{of.file} · recipe.json" if of else "recipe.json; the model's config is not at hand"
    title = say("What is trained, and how")
    return Scene("architecture", "The model", title, sentences, content, source, rank=1)


def _family(of: Shape) -> Quote:
    return Quote(of.family, of.file, pointer("model_type"))


def _told(of: Shape | None) -> Words:
    if of is None:
        return say("its configuration is not at hand, so it is not drawn here.")
    said: list[str | Figure | Quote] = [_family(of), "'s architecture"]
    if layers := of.figure("num_hidden_layers"):
        said += [", ", layers, " layers"]
        window, n = of.figure("sliding_window"), of.layers.count("local")
        if window and n:
            local = figure("count", n, of.file, "layers with a sliding window")
            said += [", ", local, " of them with a window of ", window, " tokens"]
    return say(*said, ".")


def _stack(of: Shape | None) -> Iterator[tuple[Words, Words]]:
    """The model from below: embedding, blocks, output."""
    if of is None:
        return
    sizes = [x for x in (of.figure("vocab_size"), of.figure("hidden_size")) if x]
    yield say("Embedding"), listed(sizes, " × ")
    layers = of.figure("num_hidden_layers")
    yield say("Blocks"), say(*([layers] if layers else []))
    tied = of.raw.get("tie_word_embeddings", True) is True
    yield say("Next token"), say("the embedding again (tied)" if tied else "a matrix of its own")


def _block(of: Shape | None, rank: Figure, lora: Figure | None) -> Iterator[tuple[Words, Words]]:
    """What one block is made of."""
    if of is None:
        return
    heads, kv, dim = (of.figure(k) for k in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    said = [say(heads, " query")] if heads else []
    said += [say(kv, " key-value")] if kv else []
    yield say("Attention"), say(listed(said), *((" heads of ", dim) if dim else (" heads",)))
    if inner := of.figure("intermediate_size"):
        yield say("Feed-forward"), say(inner, " wide, gated")
    yield say("LoRA, trained"), say("rank ", rank, *((": ", lora, " parameters") if lora else ()))


def training(facts: Facts) -> Scene:
    """Data format, reward and loop."""
    data = facts.run.data
    sets = (
        *([([data / "sft.jsonl"], " worked traces for SFT")] if "sft" in facts.planned else []),
        (sorted(data.glob("train_*.jsonl")), " tasks for GRPO"),
        ([data / "test.jsonl"], " tasks held out"),
    )
    counts = [say(n, what) for paths, what in sets if (n := row_count(facts, paths)).value]
    sentences = []
    if counts:
        what = say("The data: question, worked steps, answer; ", listed(counts[:2], " and "), ".")
        sentences.append(Sentence(what, 1))
        if domains := [name(d, "data/train_*.jsonl", "domain") for d in _domains(facts)][:5]:
            counts.append(listed(domains))
    found, parts = mix(facts)
    # A preset's names of parts are words; "judge/coherence" is spoken without its stroke.
    told = [say(Quote(p.text.replace("/", " ").replace("_", " "), p.file, p.at), " at ", w) for p, w in parts[:4]]
    more = ", and smaller ones" if len(parts) > len(told) else ""
    sentences.append(Sentence(say("The reward sums ", listed(told), more, "."), 2))
    for part, gate in list(found.only_if.items())[:1]:
        one, other = (name(x, "recipe.json", "reward.only_if", 32) for x in (part, gate))
        sentences.append(Sentence(say("The part ", one, " counts only where ", other, " is at its most."), 2, 3))
    group = of_recipe(facts, "count", "grpo", "group")

    loop = say(
        "In each group of ", group, ", what earns more than the mean becomes likelier, the rest less so."
    )  # fmt: skip
    sentences.append(Sentence(loop, 3))
    label = say("the recipe's own parts")
    if (preset := facts.recipe.reward.preset) is not None:
        label = say("preset ", name(preset, "recipe.json", pointer("reward", "preset")))
    row = _row(rows_in(facts, data / "sft.jsonl"))
    group, of = _group(facts)
    content = Training(row, tuple(counts), label, tuple(parts), tuple(_order(found)), tuple(_loop(facts)), group, of)
    source = " · ".join(
        [*(["data/sft.jsonl, its first row"] if row else []), "recipe.json", *(f.file for f in group[:1])]
    )
    return Scene("training", "The training", say("Data, reward and loop"), tuple(sentences), content, source, rank=1)


def _order(mix_: Mix) -> Iterator[Words]:
    """What right, wrong and malformed completions can earn, and whether these never touch."""
    spans = order(mix_)
    for rank, (low, high) in spans.items():
        ends = [figure("two", round(x, 9), "recipe.json", f"reward, by its parts' bounds: {rank}") for x in (low, high)]
        yield say(rank, ": ", ends[0], *((" to ", ends[1]) if low != high else ()))
    kept = spans["right"][0] > spans["wrong"][1] and spans["wrong"][0] > spans["malformed"][1]
    yield say("the three never touch" if kept else "the three can overlap")


def _group(facts: Facts) -> tuple[tuple[Figure, ...], Words]:
    """The rewards of one group: of the last recorded step the first of those that differ most."""
    files = facts.run.record_files()
    if not files:
        return (), say()
    rows, file = rows_in(facts, files[-1]), files[-1].relative_to(facts.run.root).as_posix()
    groups: list[list[int]] = []
    for i, row in enumerate(rows):
        if not groups or row["sample"] == 0 or row["task"]["id"] != rows[groups[-1][0]]["task"]["id"]:
            groups.append([])
        groups[-1].append(i)
    scored = [g for g in groups if None not in (totals := [rows[i]["total"] for i in g]) and len(set(totals)) > 1]
    if not scored:
        return (), say()
    own = max(scored, key=lambda g: max(rows[i]["total"] for i in g) - min(rows[i]["total"] for i in g))
    step = figure("count", rows[own[0]]["step"], file, pointer(own[0], "step"))
    found = tuple(figure("two", rows[i]["total"], file, pointer(i, "total")) for i in own[:16])
    return found, say("a group of step ", step, ": its rewards, and their mean")


def _domains(facts: Facts) -> list[str]:
    found = {row.get("domain") for p in facts.run.data.glob("train_*.jsonl") for row in rows_in(facts, p)}
    known = sorted(d for d in found if isinstance(d, str) and d)
    return sorted(known, key=lambda d: (_DOMAINS.index(d) if d in _DOMAINS else len(_DOMAINS), d))


def _row(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, Words], ...]:
    """The first worked task, field by field."""
    if not rows:
        return ()
    row, file = rows[0], "data/sft.jsonl"
    steps = enumerate((row.get("solution") or ())[:4])
    return (
        ("question", say(name(row.get("question", ""), file, "/0/question", 160))),
        *(("solution", say(name(step, file, pointer(0, "solution", i), 110))) for i, step in steps),
        ("answer", say(name(row.get("answer", ""), file, "/0/answer", 60))),
    )


def _loop(facts: Facts) -> Iterator[Words]:
    """GRPO in lines of code, with the recipe's values."""
    steps, tasks, group = (of_recipe(facts, "count", "grpo", k) for k in ("steps", "prompts", "group"))
    rate, beta, warm = (of_recipe(facts, "number", "grpo", k) for k in ("learning_rate", "beta", "temperature"))
    yield say("for step in range(", steps, "):")
    drawn = Quote(facts.recipe.grpo.draw, "recipe.json", pointer("grpo", "draw"))
    yield say("  tasks = draw(", tasks, ", by=", drawn, ")")
    yield say("  texts = policy.sample(tasks, n=", group, ",")
    yield say("                        temperature=", warm, ")")
    yield say("  r = reward(check_claims(texts))")
    yield say("  a = (r - mean(r)) / deviation(r)")
    yield say("  update(lora, a, kl=", beta, ", rate=", rate, ")")
