"""What a run says, in words and figures for people: made of its numbers, never of expectations. The report, the
terminal, the film and the write-up say the same.
"""

from collections.abc import Mapping
from dataclasses import asdict

from everystep.evaluate.compare import Gain, Pair
from everystep.evaluate.failures import Failure
from everystep.evaluate.harness import Rate
from everystep.show.figures import Source, Words, plain
from everystep.show.report_data import Findings

NAMES = {"base": "the base", "sft": "SFT", "grpo": "GRPO"}


def said(f: Findings) -> list[str]:
    """What the run says, in sentences made of its numbers."""
    lines = [plain((*claim, ": ", *evidence)) for claim, evidence in (compared(f, pair) for pair in f.pairs)]
    lines += [plain(made_of(f, *row)) for row in f.gains if row[2].recovered + row[2].newly_right]
    if (worst := failing(f)) is not None:
        lines.append(f"After {_name(f.stages[-1].name)}, {plain(worst[1])}")
    by_luck = int(f.failures[f.stages[-1].name][Failure.WRONG_TRACE]["count"])
    if by_luck:
        lines.append(f"{by_luck} answers of {_name(f.stages[-1].name)} are right although their work is not")
    return [f"{line}." for line in lines]


def compared(f: Findings, pair: Pair) -> tuple[Words, Words]:
    """What can be claimed of a pair of stages, and the evidence: points with their interval, and p."""
    names = {"before": _name(pair.before), "after": _name(pair.after)}
    how = f"{pair.before} and {pair.after}, paired; p by Holm's correction over the pairs"
    own = Source(asdict(pair) | names, _file(f, pair.after), how=how)
    text = "the two cannot be told apart, so nothing was gained that chance could not explain"
    if pair.apart and pair.difference < 0:
        text = "the model became worse: {lost:count} tasks broken, {gained:count} fixed"
    elif pair.apart:
        text = "{difference:percent} points more are right in form: {gained:count} tasks fixed, {lost:count} broken"
    evidence = "{difference:points} points [{low:points}, {high:points}], p {adjusted:p}, {n:count} tasks"
    return own.fill(f"From {{before}} to {{after}}, {text}"), own.fill(evidence)


def made_of(f: Findings, before: str, after: str, made: Gain) -> Words:
    """What a stage's gain over the one before is made of."""
    values = {"n": made.recovered + made.newly_right, "before": _name(before), "after": _name(after)}
    own = Source(asdict(made) | values, _file(f, after), how=f"gained from {before} to {after}")
    return own.fill(
        "Of the {n:count} tasks that {after} gained over {before}, {recovered:count} had the right answer before in "
        "another form, and {newly_right:count} are newly right"
    )


def failing(f: Findings) -> tuple[Failure, Words] | None:
    """The most frequent class of the last stage's failures, and how many are of it; None where nothing fails."""
    last = f.stages[-1]
    wrong = {k: int(row["count"]) for k, row in f.failures[last.name].items() if k is not Failure.RIGHT}
    wrong = {k: n for k, n in wrong.items() if n and k is not Failure.WRONG_TRACE}
    if not wrong:
        return None
    most = max(wrong, key=lambda k: wrong[k])
    own = Source({"n": wrong[most], "all": sum(wrong.values())}, last.file, how=f"failures, of class {most.value}")
    return most, own.fill(f"{{n:count}} of {{all:count}} failures are of the class {most.value}")


def _name(stage: str) -> str:
    return NAMES.get(stage, stage)


def _file(f: Findings, stage: str) -> str:
    return next(s.file for s in f.stages if s.name == stage)


def rate(value: Mapping[str, float] | Rate) -> str:
    """A share with its interval: `73.0 [69.3, 76.4]`."""
    found = asdict(value) if isinstance(value, Rate) else value
    return plain(Source(dict(found), "").fill("{value:percent} [{low:percent}, {high:percent}]"))


def percent(value: float | None) -> str:
    """A share in percent; what is not known is "–"."""
    return "–" if value is None else f"{100 * value:.1f}"


def points(pair: Pair) -> str:
    """A difference in percentage points with its interval."""
    return f"{100 * pair.difference:+.1f} [{100 * pair.low:+.1f}, {100 * pair.high:+.1f}]"


def p_value(value: float) -> str:
    """A p-value, as far as it means anything."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
