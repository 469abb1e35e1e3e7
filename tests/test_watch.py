"""Bounds on a training: what breaks each, what just does not, and what takes no notice of it."""

from typing import Any

import pytest

from everystep.core.recipe import Bound, Watch, validate
from everystep.core.strict import RecipeError
from everystep.train.watch import Trouble, trouble

GOOD = {"kl": 0.01, "entropy": 0.2, "skipped": 0.0, "live": 0.8}


def rows(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Ten good steps, then the good row with each change."""
    return [dict(GOOD)] * 10 + [GOOD | change for change in changes]


def dev(contract: float, form: float = 1.0) -> dict[str, float]:
    return {"dev/contract": contract, "dev/format": form}


NAN = "nan"  # as the run directory holds it
BROKEN = {
    "kl": rows({"kl": 1.1}, {"kl": 0.2}, {"kl": 3.0}),
    "entropy": rows({"entropy": 0.001}, {"entropy": 0.001}, {"entropy": 0.3}),
    "gradient": rows(*[{"skipped": 1.0, "kl": NAN, "entropy": float("nan")}] * 3),
    "hacking": rows(dev(0.6), {}, dev(0.71, 0.99), {}, dev(0.60, 1.0)),
    "dead": rows(*[{"live": 0.0}] * 10),
    "judge": rows({"judged": 0.0}, {"judged": NAN}, {"judged": 0.0}, {"judged": 0.0}),
}
FINE = {
    "kl": [
        rows({"kl": 99.0}),
        rows({"kl": 9.0}, {"kl": 0.9}, {"kl": 0.9}),
        rows({"kl": NAN}),
        [{**GOOD, "kl": 9.0}] * 2,
        [{k: v for k, v in GOOD.items() if k != "kl"}] * 9,  # without beta there is none
    ],
    "entropy": [rows({"entropy": 0.0}), rows({"entropy": 0.005}, {"entropy": 0.005})],
    "gradient": [rows({"skipped": 1.0}, {"skipped": 0.0}, {"skipped": 1.0}), [{**GOOD, "skipped": 1.0}] * 2],
    "hacking": [
        rows(dev(0.7), dev(0.6)),  # by just as much as the bound
        rows(dev(0.7), dev(0.3, 0.9)),  # the format falls too: that is another trouble
        rows(dev(0.7), dev(0.3), {}),  # told when it was seen, not at every step since
        rows(dev(0.3), dev(0.7)),
    ],
    "dead": [rows(*[{"live": 0.0}] * 9), rows(*[{"live": 0.0}] * 9, {"live": 0.1})],
    "judge": [
        rows({"judged": 0.0}, {"judged": 0.0}, {"judged": 0.01}),
        rows({"judged": 0.0}, {"judged": 0.0}, {"judged": NAN}),  # nothing was in form: it was not asked
        rows(*[{"coverage/judge/a": 0.0}] * 9),
    ],
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_bound_is_broken_by_its_own_trouble(name: str) -> None:
    found = trouble(BROKEN[name], Watch())
    assert found is not None and found.name == name and found.action == getattr(Watch(), name).action


@pytest.mark.parametrize("name", BROKEN)
def test_a_bound_that_is_off_takes_no_notice(name: str) -> None:
    off = Watch().model_copy(update={name: Bound(bound=0, action="off")})
    assert trouble(BROKEN[name], off) is None


@pytest.mark.parametrize(("name", "number"), [(n, i) for n, cases in FINE.items() for i in range(len(cases))])
def test_what_is_no_trouble(name: str, number: int) -> None:
    assert trouble(FINE[name][number], Watch()) is None


def test_no_rows_no_trouble() -> None:
    assert trouble([], Watch()) is None


def test_the_bound_and_the_action_are_the_recipes() -> None:
    watch = Watch(kl=Bound(bound=0.005, action="end"))
    assert trouble(rows(), watch) == Trouble(
        "kl", "the KL divergence is 0.01 nats a token, above its bound 0.005", "end"
    )


def test_the_reason_names_what_was_seen() -> None:
    found = trouble(BROKEN["hacking"], Watch())
    assert found is not None and "71.0% to 60.0%" in found.reason


def test_a_recipe_may_give_one_half_of_a_bound() -> None:
    base = {"name": "x", "data": {"worked": {}}}
    watch = validate(base | {"watch": {"kl": {"bound": 2}, "dead": {"action": "off"}}}, "here").watch
    assert watch == Watch(kl=Bound(bound=2, action="back"), dead=Bound(bound=10, action="off"))
    with pytest.raises(RecipeError, match=r"watch\.kl\.bond"):
        validate(base | {"watch": {"kl": {"bond": 2}}}, "here")
    with pytest.raises(RecipeError, match=r"unknown key 'watch\.kul'; did you mean 'kl'\?"):
        validate(base | {"watch": {"kul": {"bound": 2}}}, "here")
