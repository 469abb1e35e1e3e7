"""The reward parts: what one graded completion earns, by name, and how parts become a total.

A part reads nothing but `Graded`: no part parses text for tags, answers or results of its own. `None` means
"could not be scored" and is never 0; what that does to a group of completions is `score.groups`' business.
The part `confidence` needs the whole group (`score.confidence`), parts that begin with `judge/` come from
outside; both are known here by their names and bounds only.

Each part gives a malformed completion the least it gives to anybody, so that breaking the form is never a way
out; only `repetition` does not ask for the form.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from everystep.core import trace
from everystep.core.types import Completion, Graded, Kind, Reward, Task, Truth, Verdict
from everystep.score.structure import content, looping, structure
from everystep.verify.grade import grade
from everystep.verify.numbers import read_number
from everystep.verify.steps import MAX_CHECKS, MAX_TEXT, MAX_TOKENS
from everystep.verify.tokens import tokenize

NUMERIC = frozenset({Kind.NUMBER, Kind.QUANTITY, Kind.PERCENT, Kind.MONEY, Kind.FRACTION})
JUDGE = "judge/"  # what the names of parts from a judge begin with; a criterion of its rubric follows
SUBSTANCE = 45  # words of substance from which the length bonus is whole: GSM8K's median solution
BUDGET = 512  # tokens up to which it stays so


def correctness(graded: Graded, tolerance: float = 0.0) -> float | None:
    """1.0 for the gold answer in a well-formed completion, 0.0 for a wrong or missing one, or a malformed
    completion; None where the answer could not be graded.

    `tolerance`: a wrong answer to a numeric task also earns 1.0 where it is a plain number that differs from
    the gold one by no more than that share of it. The verdict itself knows no tolerance.
    """
    if graded.trace.faults:
        return 0.0
    if graded.verdict is Verdict.UNGRADABLE:
        return None
    if graded.verdict.right:
        return 1.0
    return 1.0 if tolerance and _near(graded, tolerance) else 0.0


def process(graded: Graded) -> float | None:
    """1.0 if the work holds a claim of substance and nothing false, else 0.0; None for a task whose own
    solution holds no claim of substance (there is nothing to show, for nobody).

    The least claim decides, not the mean: true claims cannot outweigh a false one, and many cannot earn more
    than one does. Verification says what has substance: `1 = 1` or `5 + 0 = 5` has none, and a trace with
    nothing else has no process score. Work that is longer than what verification examines earns 0.0, since
    nobody knows what the rest claims.
    """
    if not expects_claims(graded.task):
        return None
    if graded.trace.faults or graded.process.score is None:
        return 0.0
    return 0.0 if any(c.truth is Truth.FALSE for c in graded.checks) or not examined(graded) else 1.0


def format(graded: Graded) -> float | None:
    """0.0 for a completion that keeps the contract, -1.0 for one that breaks it, however often."""
    return -1.0 if graded.trace.faults else 0.0


def repetition(graded: Graded) -> float | None:
    """0.0 for work that goes on, -1.0 for work that repeats itself (`structure.looping`) in any form."""
    return -1.0 if looping(graded) else 0.0


def length(graded: Graded, budget: int = BUDGET) -> float | None:
    """For a right, well-formed completion how well its length fits, in [0, 1]; 0.0 for any other; None where
    its number of tokens is not known.

    It rises with the words of substance to 1.0 at `SUBSTANCE` of them, and falls from 1.0 at `budget` tokens
    to 0.0 at twice as many. More tokens alone never raise it.
    """
    if not graded.completion.tokens:
        return None
    if not graded.contract:
        return 0.0
    rise = min(1.0, content(graded).words / SUBSTANCE)
    return rise * min(1.0, max(0.0, 2.0 - len(graded.completion.tokens) / budget))


PARTS: dict[str, Reward] = {
    "correctness": correctness,
    "process": process,
    "structure": structure,
    "format": format,
    "repetition": repetition,
    "length": length,
}
CONFIDENCE = "confidence"


class Bounds(NamedTuple):
    """The least and the most that a part gives to right, to wrong (both well-formed) and to malformed
    completions."""

    right: tuple[float, float]
    wrong: tuple[float, float]
    malformed: tuple[float, float]


BOUNDS = {
    "correctness": Bounds((1, 1), (0, 0), (0, 0)),
    "process": Bounds((0, 1), (0, 1), (0, 0)),
    "structure": Bounds((0, 1), (0, 1), (0, 0)),
    "confidence": Bounds((0, 0), (-1, 0), (-1, -1)),
    "format": Bounds((0, 0), (0, 0), (-1, -1)),
    "repetition": Bounds((-1, 0), (-1, 0), (-1, 0)),
    "length": Bounds((0, 1), (0, 0), (0, 0)),
}
JUDGED = Bounds((0, 1), (0, 1), (0, 0))


def bounds(name: str) -> Bounds:
    """Between what the part lies. KeyError for a name that is no part's."""
    return JUDGED if name.startswith(JUDGE) else BOUNDS[name]


def check_names(names: Iterable[str], known: Iterable[str] = BOUNDS) -> None:
    """Raise ValueError, with the nearest right name, for a name that is no part's. Names that begin with
    `judge/` are a rubric's business."""
    known = list(known)
    for name in names:
        if name not in known and not (name.startswith(JUDGE) and len(name) > len(JUDGE)):
            near = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
            raise ValueError(f"reward part {name!r} does not exist; {hint}")


def total(parts: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """The weighted sum of the parts that are known; None if none of the weighted parts is.

    Weights are not rescaled when a part is left out: totals are compared within a group only, and there the
    same part is left out for everybody.

    >>> total({"correctness": 1.0, "format": None}, {"correctness": 1.0, "format": 0.2})
    1.0
    >>> total({"correctness": None}, {"correctness": 1.0}) is None
    True
    """
    known = [(weight, parts.get(name)) for name, weight in weights.items()]
    products = [weight * value for weight, value in known if value is not None]
    return math.fsum(products) if products else None


@lru_cache(maxsize=16_384)
def expects_claims(task: Task) -> bool:
    """Whether work on this task should hold claims of substance: true if the task's own solution does, and
    without one if the gold is a number or the task is of our own generators, whose work is arithmetic at
    every step (GRPO's tasks come without solutions). The same for every completion of the task, so that
    showing nothing is never a way out.
    """
    if not task.solution:
        return task.kind in NUMERIC or task.source.startswith("worked/")
    try:
        text = trace.render(trace.gold(task))
    except ValueError:  # a solution that breaks the format says nothing about claims
        return task.kind in NUMERIC
    return grade(task, Completion(task.id, 0, text)).process.score is not None


def examined(graded: Graded) -> bool:
    """Whether verification looked at all of the work: it stops after so many characters, tokens or claims,
    and what stands behind them could claim anything."""
    texts = [step.text for step in graded.trace.steps]
    if len(graded.checks) >= MAX_CHECKS or sum(map(len, texts)) > MAX_TEXT:
        return False
    if sum(map(len, texts)) < MAX_TOKENS:
        return True
    return sum(len(tokenize(text, MAX_TOKENS + 1)) for text in texts) < MAX_TOKENS


def _near(graded: Graded, tolerance: float) -> bool:
    if graded.task.kind not in NUMERIC or graded.trace.answer is None:
        return False
    gold, said = read_number(graded.task.answer), read_number(graded.trace.answer)
    return gold is not None and said is not None and abs(said - gold) <= abs(gold) * tolerance
