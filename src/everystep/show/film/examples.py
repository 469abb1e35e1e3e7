"""The scenes of single completions: live examples by domain, and what still fails.

Which one is shown is no choice of the hour: of the outcome that is the more frequent one in its domain, the
completion whose length is in the middle.
"""

import statistics
from collections.abc import Sequence

from everystep.core.types import Truth
from everystep.show.film.facts import LABELS, NAMES, Facts, interval, name, of_stage, question, shown, told
from everystep.show.film.insights import frequent_failure
from everystep.show.film.script import Example, Scene, Sentence, Words, say
from everystep.show.report_data import Line

WHOLE = 620  # characters of a completion that the picture can show
TYPED = 45.0  # characters a second, of a completion that appears
_DOMAINS = ("math", "science", "reasoning")


def examples(facts: Facts, used: set[str]) -> list[Scene]:
    """A completion of the last stage from each of three domains: of the outcome that is the more frequent one
    there, the one whose length is in the middle."""
    last = facts.last
    found = {line.graded.task.domain for line in last.lines.values()}
    domains = [d for d in _DOMAINS if d in found] + sorted(found - set(_DOMAINS))
    scenes = []
    for domain in domains[:3]:
        some = [line for k, line in last.lines.items() if line.graded.task.domain == domain and k not in used]
        if not some:
            continue
        right = [line for line in some if line.graded.contract]
        those = right if 2 * len(right) >= len(some) else [x for x in some if not x.graded.contract]
        line = middle(those)
        used.add(line.graded.task.id)
        label = name(domain, last.file, "task.domain")
        keys = ("by_domain", domain, "contract")
        n = of_stage(facts, last, "count", "by_domain", domain, "n")
        head = say(LABELS[last.name], " on ", n, " ", label, " tasks: ")
        rate = say(head, interval(facts, last, *keys), " % right in form")
        share = of_stage(facts, last, "percent", *keys, "value")
        sentences = (
            Sentence(say("A ", label, " task; each claim is checked as it appears."), 1),
            Sentence(say("The model ", told(line), "."), 2, 6),
            Sentence(say("Of ", label, " tasks, ", share, " percent are right in form."), 2, 3),
        )
        scenes.append(_example(facts, line, "example", say("A ", label, " task, claim by claim"), rate, 1, sentences))
    return scenes


def failing(facts: Facts, used: set[str]) -> Scene | None:
    """A completion of the class that fails most; None where nothing fails."""
    found = frequent_failure(facts)
    if found is None:
        return None
    last, (failure, of_all) = facts.last, found
    some = [line for line in last.lines.values() if line.found.failure.value == failure]
    fresh = [line for line in some if line.graded.task.id not in used] or some
    line = middle(fresh)
    used.add(line.graded.task.id)
    rate = say("After ", NAMES[last.name], ", ", of_all, " failures are of the class: ", failure)
    false = next((c for c in line.graded.checks if c.truth is Truth.FALSE), None)
    sentences = [Sentence(say("Where it still fails: ", of_all, " failures are of the class ", failure, "."), 1)]
    if false is not None:
        sentences.append(Sentence(say("The checker names the false claim, and its true value."), 2, 4))
    return _example(facts, line, "still wrong", say("What still fails"), rate, 2, tuple(sentences))


def _example(
    facts: Facts, line: Line, kind: str, title: Words, rate: Words, rank: int, sentences: tuple[Sentence, ...]
) -> Scene:
    one = shown(facts.last, line, say(LABELS[facts.last.name]), WHOLE)
    content = Example(question(facts, facts.last, line, 240), one, rate)
    least = 4.5 + sum(len(p.text) for p in one.pieces) / TYPED
    kicker = "Examples" if kind == "example" else "Limits"
    return Scene(kind, kicker, title, sentences, content, one.where, least, rank)


def middle(lines: Sequence[Line]) -> Line:
    """The one of middle length; of those that the picture can hold, where there are any."""
    some = [line for line in lines if len(line.row["text"]) <= WHOLE] or list(lines)
    middle = statistics.median_low(len(line.row["text"]) for line in some)
    return min((x for x in some if len(x.row["text"]) == middle), key=lambda x: x.graded.task.id)
