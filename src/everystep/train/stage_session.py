"""One session's part of a training stage: where it begins, when it saves, when it leaves, how far it gets.

The stage calls `after` once a step and reads the schedule. Nothing here knows what is trained. Time and the
wish to stop come from outside, so that a test can be any clock.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any, Protocol

import numpy as np

from everystep.core.clock import Deadline, fitting
from everystep.core.recipe import Checkpoint
from everystep.core.types import Stopped
from everystep.train.checkpoint import Checkpoints, Saved, Writer

Snapshot = Callable[[], dict[str, np.ndarray]]


class Trained(Protocol):
    """What a stage trains: all that training changes, as arrays by name; the adapter in float32."""

    def snapshot(self) -> dict[str, np.ndarray]: ...
    def restore(self, arrays: Mapping[str, np.ndarray]) -> None: ...
    def masters(self) -> dict[str, np.ndarray]: ...


_MEASURED = 10  # steps whose mean is the pace; the first two of a session compile and are no part of it


@dataclass(frozen=True, slots=True)
class Schedule:
    """How many steps the stage makes. `begin` is where a shrunken plan took over (0: the plan is still the
    recipe's, `planned`), and `level` the learning rate it found there, as a share of the peak. `scale`
    multiplies the rate throughout."""

    planned: int
    steps: int
    begin: int = 0
    level: float = 0.0
    scale: float = 1.0

    def rate(self, peak: float, warmup: float, step: int) -> float:
        """The learning rate of step `step`, counted from 0: linear over the first `warmup` share (the first
        step moves already), then half a cosine to a tenth of the peak at the last step. A shrunken plan goes
        from the rate it found to that tenth by half a cosine over its own steps.

        >>> plan = Schedule(100, 100)
        >>> [round(plan.rate(1.0, 0.1, s), 3) for s in (0, 4, 10, 55, 100)]
        [0.091, 0.455, 1.0, 0.55, 0.1]
        >>> [round(Schedule(100, 70, 55, 0.55).rate(1.0, 0.1, s), 3) for s in (54, 55, 62, 70)]
        [0.566, 0.55, 0.349, 0.1]
        """
        peak *= self.scale
        if self.begin and step >= self.begin:
            share = (step - self.begin) / max(1, self.steps - self.begin)
            return _cosine(self.level * peak, 0.1 * peak, share)
        rise = max(1, round(warmup * self.planned))
        if step < rise:
            return peak * (step + 1) / (rise + 1)
        return _cosine(peak, 0.1 * peak, (step - rise) / max(1, self.planned - rise))

    def shrunken(self, step: int, steps: int, warmup: float) -> "Schedule":
        """The plan from `step` on if it has to end at `steps`."""
        return replace(self, steps=steps, begin=step, level=self.rate(1.0, warmup, step) / self.scale)


def _cosine(high: float, low: float, share: float) -> float:
    return low + (high - low) * (1 + math.cos(math.pi * min(1.0, share))) / 2


class StageSession:
    """A session of a stage. `resumed` is the checkpoint it starts from, `schedule` its plan, `rolled_back` why an
    earlier attempt was rolled back; `adapter`, which `begin` sets, gives what has been learned so far, in float32;
    `extra` gives values and arrays that a checkpoint must hold besides what training changes. A stage whose
    optimizer has its own schedule says that its plan never `shrinks`: it is left at the end of the hours and gone
    on with."""

    def __init__(
        self,
        planned: int,
        warmup: float = 0.0,
        checkpoints: Checkpoints | None = None,
        policy: Checkpoint | None = None,
        deadline: Deadline | None = None,
        now: Callable[[], float] = lambda: 0.0,
        stop: Callable[[], str | None] = lambda: None,
        say: Callable[[str], None] = lambda text: None,
        extra: Callable[[], tuple[dict[str, Any], Mapping[str, np.ndarray]]] | None = None,
        shrinks: bool = True,
    ):
        self.policy, self.deadline = policy or Checkpoint(), deadline
        self.now, self.stop, self.say, self.shrinks = now, stop, say, shrinks
        self.extra = extra or (lambda: ({}, {}))
        self.writer = Writer(checkpoints) if checkpoints else None
        self.resumed: Saved | None = checkpoints.newest(say) if checkpoints else None
        self.warmup, self.schedule = warmup, Schedule(planned, planned)
        self.before = 0.0  # minutes of earlier sessions
        self.rolled_back: dict[str, Any] | None = None
        self.paused: str | None = None
        if self.resumed:
            self.before = self.resumed.about["minutes"]
            self.rolled_back = self.resumed.about["rolled_back"]
            self.schedule = Schedule(*self.resumed.about["schedule"])
            if planned > self.schedule.planned:  # made longer since: the rate falls from where it is
                self.schedule = replace(self.schedule.shrunken(self.resumed.step, planned, warmup), planned=planned)
        self.adapter: Snapshot = dict
        self.saved_at = self.began = now()
        self.times: list[float] = [now()]

    @property
    def start(self) -> int:
        """Steps that are done already."""
        return self.resumed.step if self.resumed else 0

    @property
    def minutes(self) -> float:
        """How long the stage has taken, in all its sessions; what was lost between them is not counted."""
        return self.before + (self.now() - self.began) / 60

    def begin(self, trainer: Trained, save: bool = False) -> None:
        """Bring the trainer to where the stage begins. `save`: what it starts with is saved too, where nothing is
        yet, since `roll_back` may have to go there."""
        self.adapter = trainer.masters
        if self.resumed:
            trainer.restore(self.resumed.arrays)
        elif self.writer and save:
            self._save(0, trainer.snapshot)

    def steps(self) -> Iterator[int]:
        """The steps to be made, counted from 0. The plan can shrink meanwhile, so its end is asked for at each."""
        step = self.start
        while step < self.schedule.steps:
            yield step
            step += 1

    def pause(self, reason: str) -> None:
        """Leave after this step, which is saved."""
        self.paused = reason

    def roll_back(self, rolled_back: dict[str, Any], keep: Mapping[str, np.ndarray], values: dict[str, Any]) -> int:
        """Give up what was done since the newest checkpoint, and write that one again as the start of another
        attempt at half the rate; `rolled_back` says why. `values` and `keep` replace those it holds. Returns its
        step. Raises ValueError where there is none."""
        self.close()
        saved = self.writer.checkpoints.newest(self.say) if self.writer else None
        if saved is None or self.writer is None:
            raise ValueError("there is no checkpoint to go back to")
        schedule = replace(Schedule(*saved.about["schedule"]), scale=self.schedule.scale / 2)
        about = (
            saved.about
            | values
            | {"schedule": astuple(schedule), "rolled_back": rolled_back | {"to": saved.step}, "minutes": self.minutes}
        )
        self.writer.checkpoints.write(saved.step, {**saved.arrays, **keep}, about)
        return saved.step

    def after(self, step: int, snapshot: Snapshot) -> None:
        """To be called when step `step` (from 1) and all its files are done. Saves where a checkpoint is due,
        shrinks the plan where it no longer fits the time, and raises Stopped, having saved, where
        the session has to end."""
        now = self.now()
        self.times.append(now)
        last = step >= self.schedule.steps
        reason = self.paused or self.stop()
        if reason is None and not last:
            reason = self._shrink(step, now)
        every = self.policy.steps
        due = bool(every and step % every == 0) or now - self.saved_at >= self.policy.minutes * 60
        if self.writer and not last and (due or reason is not None):
            self._save(step, snapshot)
        if reason is not None and not last:
            self.close()
            kept = f"step {step} of {self.schedule.steps} is saved" if self.writer else "nothing is saved"
            raise Stopped(f"{reason}; {kept}, and the same command goes on from there")

    def close(self) -> None:
        """Wait for the last checkpoint; what went wrong with it is raised here."""
        if self.writer:
            self.writer.close()

    def _save(self, step: int, snapshot: Snapshot) -> None:
        assert self.writer is not None
        values, arrays = self.extra()
        about = {"schedule": astuple(self.schedule), "rolled_back": self.rolled_back, "minutes": self.minutes, **values}
        self.writer.write(step, {**snapshot(), **arrays}, about)
        self.saved_at = self.now()

    def _shrink(self, step: int, now: float) -> str | None:
        """Fit the plan into what is left of the session. The reason to stop, where nothing is left."""
        if self.deadline is None:
            return None
        if self.deadline.must_stop(now):
            return "the session's hours are over"
        if not self.shrinks or len(self.times) < _MEASURED + 3:
            return None
        pace = (self.times[-1] - self.times[-1 - _MEASURED]) / _MEASURED
        fit = fitting(self.deadline.left(now), pace, self.schedule.steps - step)
        if step + fit < self.schedule.steps:
            steps = step + max(1, fit)
            self.say(
                f"at {pace:.1f} s a step, {self.schedule.steps} steps do not fit the hours given: the plan is "
                f"now {steps} steps, and the learning rate falls to its end by then"
            )
            self.schedule = self.schedule.shrunken(step, steps, self.warmup)
            self.times = self.times[-1:]  # a plan is judged by steps that it has seen
            self.saved_at = -math.inf  # the decision must not be lost
        return None
