"""The reward parts: what one graded completion earns, by name, and how parts become a total.

A part reads nothing but `Graded`: no part parses text for tags, answers or results of its own. `None` means
"could not be scored" and is never 0; what that does to a group of completions is `score.groups`' business.

The parts are built so that, with positive weights in which correctness outweighs arithmetic (the default
mix is 1, 0.2, 0.2), within one task

    any right, well-formed completion  >  any wrong, well-formed one  >  any malformed one.

That holds because a malformed completion earns nothing but the penalty of `format`: a right answer in a
broken form is worth no more than any other broken form.
"""

import difflib
import math
from collections.abc import Mapping
from functools import lru_cache

from showwork import trace
from showwork.types import Completion, Graded, Kind, Reward, Task, Truth, Verdict
from showwork.verify.grade import grade

NUMERIC = frozenset({Kind.NUMBER, Kind.QUANTITY, Kind.PERCENT, Kind.MONEY, Kind.FRACTION})


def correctness(graded: Graded) -> float | None:
    """1.0 for the gold answer in a well-formed completion, 0.0 for a wrong or missing one, or a malformed
    completion; None where the answer could not be graded.
    """
    if graded.trace.faults:
        return 0.0
    if graded.verdict is Verdict.UNGRADABLE:
        return None
    return 1.0 if graded.verdict.right else 0.0


def arithmetic(graded: Graded) -> float | None:
    """1.0 if the work holds a claim of substance and nothing false, else 0.0; None for a task whose own
    solution holds no claim of substance (there is nothing to show, for nobody).

    The least claim decides, not the mean: true claims cannot outweigh a false one, and many cannot earn more
    than one does. Verification says what has substance: `1 = 1` or `5 + 0 = 5` has none, and a trace with
    nothing else has no process score.
    """
    if not expects_claims(graded.task):
        return None
    if graded.trace.faults or any(c.truth is Truth.FALSE for c in graded.checks):
        return 0.0
    return 0.0 if graded.process.score is None else 1.0


def format(graded: Graded) -> float | None:
    """0.0 for a completion that keeps the contract, -1.0 for one that breaks it, however often."""
    return -1.0 if graded.trace.faults else 0.0


PARTS: dict[str, Reward] = {"correctness": correctness, "arithmetic": arithmetic, "format": format}


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


def check_weights(weights: Mapping[str, float], parts: Mapping[str, Reward] = PARTS) -> None:
    """Raise ValueError, with the nearest right name, for weights that name no part of `parts`, for weights
    that are not finite, and for a mix in which nothing has a weight.
    """
    for name, weight in weights.items():
        if name not in parts:
            near = difflib.get_close_matches(name, parts, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(parts))}"
            raise ValueError(f"reward part {name!r} does not exist; {hint}")
        if not math.isfinite(weight):
            raise ValueError(f"reward part {name!r} has the weight {weight}; give a finite number")
    if not any(weights.values()):
        raise ValueError(f"no reward part has a weight; give at least one of {', '.join(sorted(parts))}")


@lru_cache(maxsize=65_536)
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
