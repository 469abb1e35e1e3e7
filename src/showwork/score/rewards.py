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
import re
from collections.abc import Mapping
from functools import lru_cache

from showwork import trace
from showwork.types import Check, Completion, Finding, Graded, Kind, Reward, Task, Truth, Verdict
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
    """1.0 if the work holds a true claim of substance and no false one, else 0.0; None for a task whose own
    solution has no claim of substance (nothing to show there, for nobody).

    The least claim decides, not the mean: more true claims cannot outweigh a false one, and cannot earn
    more than one does. A claim of substance is true, computes something (`1 = 1`, `5 + 0 = 5` do not) and
    works on numbers that have a source. A task without a solution expects claims if its gold is a number.
    """
    if not expects_claims(graded.task):
        return None
    if graded.trace.faults or any(c.truth is Truth.FALSE for c in graded.checks):
        return 0.0
    invented = {f.step for f in graded.process.flags if f.finding is Finding.INVENTED}
    return 1.0 if any(substantial(c) and c.step not in invented for c in graded.checks) else 0.0


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
    """Whether work on this task can be expected to hold claims of substance: judged by the task's own
    solution, so that it is the same for every completion of the task.
    """
    if not task.solution:
        return task.kind in NUMERIC
    text = trace.render(trace.gold(task))
    return any(substantial(c) for c in grade(task, Completion(task.id, 0, text)).checks)


_ZERO, _ONE, _TIMES = r"0(?:\.0+)?", r"1(?:\.0+)?", r"[*×·]"
_BEFORE, _AFTER = r"(?<![\d.)])", r"(?![\d.])"
# Operations that change nothing, or make nothing of anything: what padding is made of.
_NEUTRAL = re.compile(
    rf"{_BEFORE}{_ZERO}(?:\+|{_TIMES})|(?:[+\-−]|{_TIMES}){_ZERO}{_AFTER}"
    rf"|{_BEFORE}{_ONE}{_TIMES}|(?:{_TIMES}|[/÷]){_ONE}{_AFTER}"
)
_OPERATION = re.compile(r"[\d)%][a-z$€£ ]*(?:[+\-−*×·/÷^]|x|of)[a-z$€£ ]*[\d(]")


def substantial(check: Check) -> bool:
    """Whether a checked claim is true and computes something, rather than restating a value."""
    if check.truth is not Truth.TRUE:
        return False
    text = check.claim.lower().replace(",", "")
    sides = [re.sub(r"\s+", " ", s).strip(" .") for s in re.split(r"[=≈]", text)]
    if len(set(sides)) < 2:
        return False
    bare = [_NEUTRAL.sub("", s.replace(" ", "")) for s in sides]
    return any(_OPERATION.search(s) for s in bare)
