"""Laws of a session: when it saves, how it leaves, how a plan shrinks with its rate. The clock is a fake."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from everystep.core.clock import Deadline
from everystep.core.recipe import Checkpoint
from everystep.core.types import Stopped
from everystep.train.checkpoint import Checkpoints
from everystep.train.stage_session import Schedule, StageSession
from fakes import FakeClock
from model_fixtures import TUNIX

pytestmark = TUNIX
IDENTITY = {"code": "1"}


def checkpoints(folder: Path) -> Checkpoints:
    return Checkpoints(folder, IDENTITY, keep=100)


def arrays(step: int) -> dict[str, np.ndarray]:
    return {"model/a": np.full(3, step, np.float32)}


def make(
    session: StageSession, clock: FakeClock, seconds: float, upto: int = 10**6, start: int | None = None
) -> Iterator[int]:
    """The steps of a session, each of which takes so many seconds."""
    step = session.start if start is None else start
    while step < min(session.schedule.steps, upto):
        step += 1
        clock.advance(seconds)
        session.after(step, lambda step=step: arrays(step))
        yield step


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.1), (7, 0.0), (20, 0.25), (1, 0.1), (2, 0.9)])
def test_the_rate_has_exactly_the_planned_steps(steps: int, warmup: float) -> None:
    values = [Schedule(steps, steps).rate(2e-3, warmup, k) for k in range(steps + 1)]
    peak = max(1, round(warmup * steps))
    assert 0 < values[0] <= 2e-3 / 2 + 1e-9
    assert max(values) == pytest.approx(2e-3) and values.index(max(values)) == min(peak, steps)
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)
    if steps > peak:
        assert values[steps] == pytest.approx(2e-4)
    assert Schedule(steps, steps).rate(2e-3, warmup, steps + 50) == pytest.approx(2e-4)


@pytest.mark.parametrize("begin", [1, 30, 99])
def test_a_shrunken_plan_starts_where_it_was_and_ends_at_the_end(begin: int) -> None:
    plain = Schedule(100, 100)
    shrunken = plain.shrunken(begin, begin + 5, 0.05)
    values = [shrunken.rate(1.0, 0.05, k) for k in range(begin, begin + 6)]
    assert values[0] == pytest.approx(plain.rate(1.0, 0.05, begin)) and values[-1] == pytest.approx(0.1)
    assert values == sorted(values, reverse=True) or begin < 5
    assert all(shrunken.rate(1.0, 0.05, k) == plain.rate(1.0, 0.05, k) for k in range(begin))


def test_it_saves_by_the_clock_and_by_steps(tmp_path: Path) -> None:
    clock = FakeClock()
    session = StageSession(100, 0.0, checkpoints(tmp_path), Checkpoint(minutes=1), now=clock)
    assert list(make(session, clock, 7.0, upto=30)) == list(range(1, 31))
    session.close()
    assert [int(p.name[5:13]) for p in checkpoints(tmp_path).files()] == [9, 18, 27]
    again = StageSession(100, 0.0, checkpoints(tmp_path), Checkpoint(minutes=60, steps=4), now=clock)
    assert again.start == 27 and again.resumed and again.resumed.arrays["model/a"][0] == 27
    list(make(again, clock, 7.0, upto=33))
    again.close()
    assert [int(p.name[5:13]) for p in checkpoints(tmp_path).files()] == [9, 18, 27, 28, 32]
    assert again.minutes == pytest.approx((27 + 6) * 7 / 60)


@pytest.mark.parametrize("at", [1, 5, 19])
def test_asked_to_stop_it_saves_the_step_and_leaves(tmp_path: Path, at: int) -> None:
    clock, asked = FakeClock(), list[str]()
    session = StageSession(20, 0.1, checkpoints(tmp_path), now=clock, stop=lambda: asked[0] if asked else None)
    done = []
    with pytest.raises(Stopped, match=f"asked to stop; step {at} of 20 is saved"):
        for step in make(session, clock, 1.0):
            done.append(step)
            if step == at - 1 or at == 1:
                asked.append("asked to stop")
                if at == 1:
                    session.after(1, lambda: arrays(1))
    again = StageSession(20, 0.1, checkpoints(tmp_path), now=clock)
    assert again.start == at and list(make(again, clock, 1.0)) == list(range(at + 1, 21))


def test_a_wish_to_stop_at_the_last_step_is_too_late(tmp_path: Path) -> None:
    session = StageSession(3, 0.1, checkpoints(tmp_path), stop=lambda: "asked")
    session.after(3, lambda: arrays(3))
    session.close()


def test_a_pace_that_drops_to_a_third_still_ends_inside_the_hours(tmp_path: Path) -> None:
    """10 s a step as planned, 30 s from step 40 on: the plan shrinks, what is reserved stays free."""
    clock, said = FakeClock(), list[str]()
    deadline = Deadline(clock(), hours=0.5, reserved=5.0)  # 1,500 s for 140 steps of 10 s
    session = StageSession(140, 0.1, checkpoints(tmp_path), deadline=deadline, now=clock, say=said.append)
    assert list(make(session, clock, 10.0, upto=40))[-1] == 40 and not said
    step = list(make(session, clock, 30.0, start=40))[-1]
    session.close()
    assert 60 < step < 80 and deadline.left(clock()) >= 0 and len(said) <= 2 and "do not fit" in said[0]
    assert session.schedule.rate(1.0, 0.1, step) == pytest.approx(0.1)


def test_a_plan_can_shrink_again_and_the_rate_never_jumps() -> None:
    once = Schedule(100, 100).shrunken(50, 80, 0.1)
    twice = once.shrunken(60, 70, 0.1)
    values = [twice.rate(1.0, 0.1, k) for k in range(60, 71)]
    assert values[0] == pytest.approx(once.rate(1.0, 0.1, 60)) and values[-1] == pytest.approx(0.1)
    assert values == sorted(values, reverse=True)


def test_the_shrunken_plan_is_in_the_checkpoint(tmp_path: Path) -> None:
    clock = FakeClock()
    session = StageSession(100, 0.1, checkpoints(tmp_path), deadline=Deadline(clock(), 1.0, 10.0), now=clock)
    step = next(step for step in make(session, clock, 60.0) if session.schedule.begin)
    session.close()
    assert session.schedule.steps < 100
    later = StageSession(100, 0.1, checkpoints(tmp_path), deadline=Deadline(clock(), 9.0, 10.0), now=clock)
    assert later.start == step and later.schedule == session.schedule


def test_a_plan_that_cannot_shrink_is_left_at_the_end_of_the_hours(tmp_path: Path) -> None:
    clock = FakeClock()
    session = StageSession(
        100, 0.1, checkpoints(tmp_path), deadline=Deadline(clock(), 1.0, 10.0), now=clock, shrinks=False
    )
    with pytest.raises(Stopped, match="hours are over; step 50 of 100 is saved"):
        list(make(session, clock, 60.0))


def test_hours_that_are_over_end_the_leg(tmp_path: Path) -> None:
    clock = FakeClock()
    session = StageSession(100, 0.1, checkpoints(tmp_path), deadline=Deadline(clock(), 1.0, 10.0), now=clock)
    with pytest.raises(Stopped, match="hours are over; step 1 of 100 is saved"):
        list(make(session, clock, 4000.0))


def test_what_a_stage_holds_besides_comes_back(tmp_path: Path) -> None:
    def extra() -> tuple[dict, dict]:
        return {"best": [3, 0.5]}, {"best/x": np.ones(2)}

    session = StageSession(9, 0.1, checkpoints(tmp_path), Checkpoint(steps=4), extra=extra)
    session.after(4, lambda: arrays(4))
    session.close()
    saved = StageSession(9, 0.1, checkpoints(tmp_path)).resumed
    assert saved and saved.about["best"] == [3, 0.5] and saved.arrays["best/x"].tolist() == [1, 1]


def test_a_plan_that_was_made_longer_goes_on_from_its_rate_and_falls_to_the_new_end(tmp_path: Path) -> None:
    clock, policy = FakeClock(), Checkpoint(steps=5)
    first = StageSession(10, 0.1, checkpoints(tmp_path), policy, now=clock)
    for _ in make(first, clock, 1.0, upto=5):
        pass
    first.close()
    longer = StageSession(20, 0.1, checkpoints(tmp_path), policy, now=clock)
    rates = [longer.schedule.rate(1.0, 0.1, step) for step in range(5, 21)]
    assert longer.start == 5 and longer.schedule.steps == longer.schedule.planned == 20
    assert rates[0] == pytest.approx(Schedule(10, 10).rate(1.0, 0.1, 5)) and rates[-1] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)
    assert list(make(longer, clock, 1.0))[-1] == 20
    longer.close()
    again = StageSession(20, 0.1, checkpoints(tmp_path), policy, now=clock)
    assert again.schedule == longer.schedule and again.start == 15
