"""What a run supports saying, worked out from its records: each sentence is there only where a paired test,
corrected for how many are made, tells the change from chance; what is not supported is listed as such.

Which class fell most, and at which level most was gained, is chosen among many: so all of these are tested,
and Holm's correction is over all of them.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from everystep.evaluate.compare import LEVEL, Gain, Pair
from everystep.evaluate.failures import Failure
from everystep.evaluate.stats import holm, mcnemar
from everystep.show.film.facts import LABELS, NAMES, Facts, counted, interval, of_pair, of_stage
from everystep.show.film.script import Figure, Words, figure, say
from everystep.show.report_data import Line, Stage

# Right answers are what the comparison of the stages is about; a class of theirs would say it twice.
_CLASSES = [f for f in Failure if f is not Failure.RIGHT]


@dataclass(frozen=True, slots=True)
class Insight:
    """A sentence to be seen, and the same to be heard (None: it is not said)."""

    seen: Words
    heard: Words | None


@dataclass(frozen=True, slots=True)
class Change:
    """How many tasks had a property before and after, how many came to have it and ceased to, and p, exact by
    McNemar: as it is, and after Holm's correction over all the changes that were looked for."""

    kind: str
    of: str
    before: int
    after: int
    came: int
    went: int
    p: float
    adjusted: float

    @property
    def apart(self) -> bool:
        return self.adjusted < LEVEL


def insights(facts: Facts) -> tuple[list[Insight], list[Words]]:
    """The sentences, most important first, and what nothing can be said on."""
    if len(facts.stages) < 2:
        return [], [say("Nothing can be said on what training changed: one stage has been evaluated.")]
    before, after = facts.stages[-2:]
    some = changes(facts.stages)
    following = _following(facts)
    said = [_paired(facts, following[-1])]
    # An earlier step that gained is seen in the table and told by what its gain is made of.
    said += [_paired(facts, p) for p in following[:-1] if not p.apart or p.difference < 0]
    left: list[Words] = []
    for made in (_levels, _classes, _capable):
        more, not_said = made(facts, some)
        said += more
        left += not_said
    said += _made_of(facts)
    tests = figure("count", len(some), after.file, f"changes tested, {before.name} and {after.name}")
    left = [say(one, " (", tests, " changes tested, Holm's correction)") for one in left]
    return said, left


def changes(stages: Sequence[Stage]) -> list[Change]:
    """All that is looked for: between the last two stages each failure class, each level and domain, and
    between the first and the last being right for a forgiving reader."""
    pairs, whole = _both(stages[-2], stages[-1]), _both(stages[0], stages[-1])
    rows: list[tuple[str, str, int, int, int, int]] = []
    for kind, of, some, has in _questions(pairs, whole):
        a, b = [has(x) for x, _ in some], [has(y) for _, y in some]
        came = sum(y and not x for x, y in zip(a, b, strict=True))
        went = sum(x and not y for x, y in zip(a, b, strict=True))
        rows.append((kind, of, sum(a), sum(b), came, went))
    ps = [mcnemar(came, went) for *_, came, went in rows]
    return [Change(*row, p, q) for row, p, q in zip(rows, ps, holm(ps), strict=True)]


Pairs = list[tuple[Line, Line]]


def _both(before: Stage, after: Stage) -> Pairs:
    return [(before.lines[k], after.lines[k]) for k in sorted(before.lines.keys() & after.lines.keys())]


def _questions(pairs: Pairs, whole: Pairs) -> Iterator[tuple[str, str, Pairs, Callable[[Line], bool]]]:
    yield "capable", "", whole, lambda line: line.graded.capable
    for failure in _CLASSES:
        if any(failure in (a.found.failure, b.found.failure) for a, b in pairs):
            yield "class", failure.value, pairs, lambda line, f=failure: line.found.failure is f
    for kind, key in (("level", _level), ("domain", _domain)):
        values = sorted({key(a) for a, _ in pairs})
        for value in values if len(values) > 1 else ():
            some = [p for p in pairs if key(p[0]) == value]
            yield kind, value, some, lambda line: line.graded.contract


def _level(line: Line) -> str:
    return str(line.graded.task.level)


def _domain(line: Line) -> str:
    return line.graded.task.domain


def _following(facts: Facts) -> list[Pair]:
    names = [s.name for s in facts.stages]
    steps = set(itertools.pairwise(names))
    return [p for p in facts.found.pairs if (p.before, p.after) in steps]


def comparison(facts: Facts, pair: Pair) -> Words:
    """Two stages in one line: points, interval, p, fixed and broken."""
    d, low, high = (of_pair(facts, pair.before, pair.after, "points", k) for k in ("difference", "low", "high"))
    gained, lost = (of_pair(facts, pair.before, pair.after, "count", k) for k in ("gained", "lost"))
    p = of_pair(facts, pair.before, pair.after, "p", "adjusted")
    return say(
        LABELS[pair.before], " → ", LABELS[pair.after], ": ", d, " points [", low, ", ", high,
        "], p ", p, "; ", gained, " tasks fixed, ", lost, " broken",
    )  # fmt: skip


def _paired(facts: Facts, pair: Pair) -> Insight:
    seen = comparison(facts, pair)
    head = say("From ", NAMES[pair.before], " to ", NAMES[pair.after], ", ")
    if not pair.apart:
        why = "the two cannot be told apart, so nothing was gained that chance could not explain"
        return Insight(say(seen, ": ", why), say(head, why, "."))
    gained, lost = (of_pair(facts, pair.before, pair.after, "count", k) for k in ("gained", "lost"))
    if pair.difference < 0:
        heard = say(head, "the model became worse: ", lost, " tasks broken, ", gained, " fixed.")
        return Insight(say(seen, ": ", NAMES[pair.after], " is worse"), heard)
    # The same difference without its sign, which is not spoken well.
    d = of_pair(facts, pair.before, pair.after, "percent", "difference")
    return Insight(seen, say(head, d, " points more: ", gained, " tasks fixed, ", lost, " broken."))


def _levels(facts: Facts, some: list[Change]) -> tuple[list[Insight], list[Words]]:
    rows = [c for c in some if c.kind == "level"]
    before, after = facts.stages[-2:]
    out = []
    for sign, verb in ((1, "gained"), (-1, "lost")):
        which = [c for c in rows if c.apart and sign * (c.came - c.went) > 0]
        if not which:
            continue
        most = max(which, key=lambda c: (abs(c.came - c.went) / _n(after, c.of), c.of))
        level = figure("number", int(most.of), after.file, "task.level")
        keys = ("by_level", most.of, "contract")
        a, b = (of_stage(facts, s, "percent", *keys, "value") for s in (before, after))
        spans = [interval(facts, s, *keys) for s in (before, after)]
        p = figure("p", most.adjusted, after.file, "McNemar on this level, Holm over all changes tested")
        seen = say("Most is ", verb, " at level ", level, ": ", spans[0], " → ", spans[1], " %, p ", p)
        heard = say("Most is ", verb, " at level ", level, ": from ", a, " to ", b, " percent.")
        out.append(Insight(seen, heard))
    names = [figure("number", int(c.of), after.file, "task.level") for c in rows if not c.apart]
    if not names:
        return out, []
    listed = say(*(part for i, one in enumerate(names) for part in ((", ", one) if i else (one,))))
    many = "levels " if len(names) > 1 else "level "
    return out, [say(many, listed, ": no change that chance could not explain")]


def _classes(facts: Facts, some: list[Change]) -> tuple[list[Insight], list[Words]]:
    rows = [c for c in some if c.kind == "class" and c.apart]
    before, after = facts.stages[-2:]
    out = []
    for sign, verb in ((-1, "fell"), (1, "rose")):
        which = [c for c in rows if sign * (c.after - c.before) > 0]
        if not which:
            continue
        most = max(which, key=lambda c: (abs(c.after - c.before), c.of))
        a = counted(facts, before.name, most.before, f"class: {most.of}")
        b = counted(facts, after.name, most.after, f"class: {most.of}")
        p = figure("p", most.adjusted, after.file, "McNemar on this class, Holm over all changes tested")
        seen = say("The failure that ", verb, " most: ", most.of, ", ", a, " → ", b, " tasks, p ", p)
        heard = say(most.of.capitalize(), " ", verb, " most: from ", a, " to ", b, " tasks.")
        out.append(Insight(seen, heard))
    fell = any(c.after < c.before for c in rows)
    return out, [] if fell else [say("failure classes: none became rarer by more than chance")]


def _capable(facts: Facts, some: list[Change]) -> tuple[list[Insight], list[Words]]:
    """Form apart: is the model right more often for a reader who does not mind the form?"""
    before, after = facts.stages[0], facts.last
    one = next(c for c in some if c.kind == "capable")
    what = say("right for a forgiving reader, ", LABELS[before.name], " → ", LABELS[after.name])
    if not one.apart:
        return [], [say(what, ": no change that chance could not explain")]
    spans = [interval(facts, s, "capability") for s in (before, after)]
    p = figure("p", one.adjusted, after.file, "McNemar on capability, Holm over all changes tested")
    verb = "rose" if one.after > one.before else "fell"
    seen = say("Form apart, the share ", what, ", ", verb, ": ", spans[0], " → ", spans[1], " %, p ", p)
    a, b = (of_stage(facts, s, "percent", "capability", "value") for s in (before, after))
    heard = say("Form apart, fewer answers are right: from ", a, " to ", b, " percent.") if verb == "fell" else None
    return [Insight(seen, heard)], []


def _made_of(facts: Facts) -> Iterator[Insight]:
    """What the gain of each stage over the one before is made of, where there is one."""
    told = {(p.before, p.after) for p in _following(facts) if p.apart and p.difference > 0}
    for before, after, made in facts.found.gains:
        if (before, after) not in told:
            continue
        gained, form = _parts(facts, before, after, made)
        text = (
            "Of the ", gained, " tasks that ", NAMES[after], " gained over ", NAMES[before], ", ", form,
            " had the right answer before, in another form",
        )  # fmt: skip
        heard = say(*text, ".") if made.recovered > made.newly_right else None
        yield Insight(say(*text), heard)


def _parts(facts: Facts, before: str, after: str, made: Gain) -> tuple[Figure, Figure]:
    gained = made.recovered + made.newly_right
    return (
        counted(facts, after, gained, f"gained over {before}"),
        counted(facts, after, made.recovered, f"gained over {before}, capable before"),
    )


def _n(stage: Stage, level: str) -> int:
    return sum(str(line.graded.task.level) == level for line in stage.lines.values())


def frequent_failure(facts: Facts) -> tuple[str, Words] | None:
    """The most frequent class of the last stage's wrong completions, and how many of them are of it; None
    where there are none."""
    rows = facts.found.failures[facts.last.name]
    wrong = {f: int(row["count"]) for f, row in rows.items() if f not in (Failure.RIGHT, Failure.WRONG_TRACE)}
    total = sum(wrong.values())
    if not total:
        return None
    most = max(wrong, key=lambda f: wrong[f])
    n = counted(facts, facts.last.name, wrong[most], f"class: {most.value}")
    return most.value, say(n, " of ", counted(facts, facts.last.name, total, "wrong completions"))
