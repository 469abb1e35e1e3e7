"""`hours` is a promise: a whole run by a clock that the work moves, at a pace that drops to a third."""

from pathlib import Path

import pytest

from everystep.core.clock import Deadline
from everystep.core.recipe import load
from everystep.core.run import open_run
from everystep.pipeline import run_all
from everystep.show.screen import Screen
from everystep.train.session import Session
from fakes import FakeClock
from model_fixtures import TUNIX
from test_stages import ROOT, SMALL

pytestmark = [*TUNIX, pytest.mark.slow]
STEPS, FAST, SLOW = 60, 20.0, 60.0  # GRPO's, and seconds that each of them takes at first and later on


def test_a_run_whose_pace_drops_to_a_third_ends_inside_its_hours_with_evaluation_and_report(
    tmp_path: Path,
) -> None:
    """After every step and every batch the session is asked whether to stop, and that is when time passes:
    SFT and GRPO would fit the hours at the first pace and do not at the second."""
    clock = FakeClock()
    asked = 0

    def time_passes() -> None:
        nonlocal asked
        asked += 1
        clock.advance(FAST if asked < 20 else SLOW)

    more = [
        f"grpo.steps={STEPS}",
        "hours=1",
        "grpo.prompts=2",
        "grpo.eval_every=20",
        "grpo.refill=false",
        "grpo.micro_prompts=2",
        "watch.dead.action=off",
    ]
    recipe = load(ROOT / "recipes" / "tiny.yaml", [*SMALL, *more])
    session = Session(Deadline(clock(), recipe.hours, reserved=6.0), lambda: time_passes(), clock)
    with open_run(tmp_path / "run", recipe) as run:
        summary = run_all(recipe, run, session, Screen(quiet=True))
        done = run.done("grpo")
        assert done is not None and 10 < done["steps"] < STEPS
        assert clock() <= 3600
        assert set(summary["stages"]) == {"base", "sft", "grpo"} and run.done("report") is not None
