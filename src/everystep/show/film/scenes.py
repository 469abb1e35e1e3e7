"""The scenes of a run's film, and the film: title, before and after, model, training, curves, examples, what
still fails, insights, result.

Which task is shown is a rule's choice; a scene that the run has nothing for is left out.
"""

from collections.abc import Sequence
from dataclasses import replace

from everystep.core.run import Run
from everystep.core.types import Truth
from everystep.evaluate.failures import Failure, transition
from everystep.show.checked import printable
from everystep.show.film.about import architecture, training
from everystep.show.film.curves import curves
from everystep.show.film.examples import TYPED, examples, failing, middle
from everystep.show.film.facts import (
    LABELS,
    NAMES,
    Facts,
    counted,
    interval,
    name,
    of_stage,
    parameters,
    pointer,
    question,
    read_facts,
    read_value,
    shape,
    shown,
    told,
)
from everystep.show.film.insights import comparison, insights
from everystep.show.film.script import (
    LONGEST,
    Card,
    Film,
    Insights,
    Panels,
    Quote,
    Result,
    Scene,
    Sentence,
    Words,
    figure,
    fit,
    listed,
    say,
)
from everystep.show.report_data import Line

TITLE = "Teaching Gemma to Show Its Work"
PANEL = 420  # characters of a completion that a third of the picture can show


def film_of(run: Run, seconds: float = LONGEST) -> Film:
    """The film of a run, not longer than `seconds`. Raises what `told_whole` and `fit` raise."""
    return shortened(told_whole(run), seconds)


def shortened(whole: Film, seconds: float) -> Film:
    """A film without what `fit` leaves out, no longer than `seconds`. Raises what `fit` raises."""
    return replace(whole, scenes=fit(whole.scenes, seconds))


def told_whole(run: Run) -> Film:
    """All that the run gives to tell, however long that takes.

    Raises ValueError where no stage has been evaluated, for damaged files, and for a run whose summary is
    not that of its stages.
    """
    facts = read_facts(run)
    used: set[str] = set()
    scenes = [
        _title(facts),
        _before_after(facts, used),
        architecture(facts),
        training(facts),
        curves(facts),
        *examples(facts, used),
        failing(facts, used),
        _insights(facts),
        _result(facts, used),
    ]
    film_name = name(facts.found.name, "recipe.json", "/name").text
    return Film(film_name, tuple(s for s in scenes if s is not None), tuple(_remarks(facts)))


def _remarks(facts: Facts) -> list[str]:
    remarks = [printable(r) for r in facts.found.remarks]
    if facts.missing:
        remarks.insert(0, f"this run is not finished: {', '.join(facts.missing)} not evaluated")
    if facts.whole is None:
        remarks.append("the run has no evaluate/summary.json: figures are from the stages' own summaries")
    return remarks


def _unfinished(facts: Facts) -> Words | None:
    missing = [NAMES[s] for s in facts.missing]
    return say("This run is not finished: ", " and ".join(missing), " not evaluated.") if missing else None


def _title(facts: Facts) -> Scene:
    recipe, provenance = facts.recipe, facts.found.provenance
    of, size = shape(facts), parameters(facts)
    run = say("run ", name(facts.found.name, "recipe.json", "/name"), ", seed ",
              figure("number", recipe.seed, "recipe.json", "/seed"))  # fmt: skip
    facts_ = [run]
    model = say("a language model")
    if of is not None:
        model = say("a model of ", Quote(of.family, of.file, pointer("model_type")), "'s architecture")
        model = say(model, ", ", size, " parameters") if size else model
        facts_.append(model)
    packages = provenance.get("packages")
    tunix = packages.get("google-tunix") if isinstance(packages, dict) else None
    if isinstance(tunix, str):
        engine = say("trained with Tunix ", name(tunix, "provenance.json", "/packages/google-tunix"))
        facts_.append(engine)
    if device := provenance.get("device"):
        where = say("on ", name(str(device), "provenance.json", "/device", 40))
        facts_[-1:] = [say(facts_[-1], " ", where)] if isinstance(tunix, str) else [facts_[-1], where]
    facts_.append(say("measured on ", of_stage(facts, facts.last, "count", "n"), " held-out tasks"))
    done = [(s, facts.run.folder(s) / "done.json") for s in ("sft", "grpo")]
    spent = [(s, m) for s, path in done if (m := read_value(facts, path, "tenth", "minutes"))]
    if spent:
        facts_.append(say("minutes of training: ", listed([say(LABELS[s], " ", m) for s, m in spent])))
    if commit := provenance.get("commit"):
        facts_.append(say("commit ", Quote(printable(str(commit))[:12], "provenance.json", "/commit")))
    engine = " with Tunix" if tunix else ""
    sentences = [
        Sentence(say("Most language models answer, and show no work to check.")),
        Sentence(
            say("This is one run, told from its own records: ", model, ", is to learn to show its work",
                engine, "."), 1,
        ),
    ]  # fmt: skip
    unfinished = _unfinished(facts)
    if unfinished is not None:
        facts_.insert(0, unfinished)
        sentences.append(Sentence(unfinished, 1))
    under = say("The film of one run, made from its own records")
    return Scene("title", "", say(TITLE), tuple(sentences), Card(under, tuple(facts_), None), "")


def _before_after(facts: Facts, used: set[str]) -> Scene | None:
    """One task under every stage."""
    shared = set.intersection(*(set(s.lines) for s in facts.stages))
    keys = sorted(shared)
    if not keys:
        return None
    first, last = facts.stages[0], facts.stages[-1]
    key = min(keys, key=lambda k: (_dullness([s.lines[k] for s in facts.stages]), k))
    used.add(key)
    lines = [s.lines[key] for s in facts.stages]
    panels = tuple(shown(s, line, say(LABELS[s.name]), PANEL) for s, line in zip(facts.stages, lines, strict=True))
    domain = name(lines[-1].graded.task.domain, last.file, "task.domain")
    sentences = [
        Sentence(say("An answer alone may be right, and nobody sees why. A held-out ", domain, " task:")),
    ]
    for i, (stage, line) in enumerate(zip(facts.stages, lines, strict=True), 1):
        head = "The base model " if stage.name == "base" else f"After {LABELS[stage.name]}, the model "
        sentences.append(Sentence(say(head, told(line), "."), i))
    note = say("The task is chosen by a rule: one of ", counted(facts, last.name, len(keys), "tasks of all stages"))
    if len(facts.stages) > 1:
        before = facts.stages[-2]
        outcomes = [transition(before.lines[k].graded, last.lines[k].graded) for k in keys]
        own = transition(before.lines[key].graded, last.lines[key].graded)
        n = counted(facts, last.name, outcomes.count(own), f"{own}, from {before.name}")
        what = say(" tasks that are ", own, " from ", NAMES[before.name], " to ", NAMES[last.name])
        note = say("Chosen by a rule from the ", n, " of ", of_stage(facts, last, "count", "n"), what)
        sentences.append(Sentence(say("It is one of ", n, what, "."), len(panels), 6))
    content = Panels(question(facts, last, lines[-1], 200), panels, note)
    title = "The same question, before and after" if len(panels) > 1 else f"A question to {NAMES[first.name]}"
    source = " · ".join(p.where for p in panels)
    least = 3.0 + max(sum(len(p.text) for p in one.pieces) for one in panels) / TYPED
    return Scene("before and after", "The problem", say(title), tuple(sentences), content, source, least)


def _dullness(lines: Sequence[Line]) -> tuple[float, ...]:
    """What is shown first: a task that the last stage does right, the one before wrong with a false claim,
    and the first not in form; with a few claims, of mathematics, short enough to be read, then by length."""
    last, before = lines[-1].graded, lines[-2].graded if len(lines) > 1 else None
    slipped = before is not None and any(c.truth is Truth.FALSE for c in before.checks)
    return (
        not last.sound,
        before is None or before.contract,
        not slipped,
        lines[0].graded.contract,
        max(len(line.row["text"]) for line in lines) > PANEL,
        not 2 <= len(last.checks) <= 4,
        last.task.domain != "math",
        max(len(line.row["text"]) for line in lines),
    )


def _insights(facts: Facts) -> Scene:
    said, left = insights(facts)
    sentences = []
    for i, one in enumerate(said[:5]):
        if one.heard is not None:
            sentences.append(Sentence(one.heard, i + 1, 0 if not sentences else 1 + len(sentences)))
    if not said:
        sentences.append(Sentence(left[0], 1))
    content = Insights(tuple(one.seen for one in said[:5]), tuple(left[:3]))
    source = " · ".join(s.file for s in facts.stages[-2:])
    return Scene("insights", "Insights", say("What this run supports saying"), tuple(sentences), content,
                 source, least=4.0 + 2.0 * len(said[:5]))  # fmt: skip


def _result(facts: Facts, used: set[str]) -> Scene:
    head = ("stage", "right in form, %", "right, any form, %", "right, no false claim, %", "in form, %")
    rows = tuple(
        (
            say(LABELS[s.name]),
            interval(facts, s, "contract"),
            *(say(of_stage(facts, s, "percent", k, "value")) for k in ("capability", "sound", "format")),
        )
        for s in facts.stages
    )
    names = {s.name for s in facts.stages}
    pairs = tuple(comparison(facts, p) for p in facts.found.pairs if {p.before, p.after} <= names)
    last = facts.last
    good = [x for x in last.lines.values() if x.found.failure is Failure.RIGHT and x.graded.task.id not in used]
    line = middle(good or list(last.lines.values()))
    shares = [say(NAMES[s.name], " ", of_stage(facts, s, "percent", "contract", "value")) for s in facts.stages]
    n = of_stage(facts, last, "count", "n")
    told_ = say("The same ", n, " held-out tasks, right in form: ", listed(shares), " percent.")
    sentences = (
        Sentence(told_, 1),
        Sentence(say("Every record is there to check. Thanks for watching."), 2, 2),
    )
    content = Result(head, rows, pairs, question(facts, last, line, 160), shown(last, line, say("Final output"), PANEL))
    source = "evaluate/summary.json" if facts.whole else " · ".join(s.file for s in facts.stages)
    return Scene("result", "Result", say("The same tasks, every stage"), sentences, content, source, least=9.0)
