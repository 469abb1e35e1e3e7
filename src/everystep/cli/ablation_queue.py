"""Running an ablation: which runs are missing, and one process for each of them, one after the other or some
at a time.

What a run does is in `cli/ablation_run.py`; here only processes are begun and waited for, so that one that dies takes
nothing with it. All state is the ledger and the run directories: the same call again goes on.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from everystep.cli.process import INTERRUPTED, STOPPED
from everystep.core.files import take_lock
from everystep.core.run import TEST
from everystep.core.types import Stopped
from everystep.evaluate.ablation import DONE, FAILED, Row, failed_row, newest
from everystep.evaluate.changes import Ablation, Arm, Job, jobs
from everystep.evaluate.results import Place
from everystep.show.screen import Screen, duration

_POLL = 0.2  # seconds between two looks at a running process
_PATIENCE = 60.0  # seconds that a process has to leave in good order where this one has to leave at once


@dataclass(frozen=True, slots=True)
class Planned:
    """A job and where it stands: "done", "failed", "begun" or "missing"; `wanted`: it will be done by the
    next call; `minutes`: a guess of what is left of it, None where nothing is known."""

    job: Job
    arms: tuple[Arm, ...]
    state: str
    wanted: bool
    minutes: float | None


def ablate(
    ablation: Ablation,
    arms: Sequence[Arm],
    place: Place,
    command: Callable[[Job], Sequence[str]],
    screen: Screen,
    stop: Callable[[], str | None] = lambda: None,
    retry: bool = False,
    at_once: int = 1,
) -> None:
    """Do every run that has no row in the ledger yet; `retry`: also those whose newest row says that it
    failed. `command` is what does one job (and adds its rows) in a process of its own; so many are `at_once`,
    each on its share of the cores.

    A run that fails leaves a row, and the next one begins. Raises Stopped where it was asked to stop, having
    waited for the runs in progress to leave in good order; ValueError where a run could not be begun at all,
    and where another process works on the same ablation.
    """
    with _locked(place):
        before = len(place.rows())
        todo = [p for p in plan(ablation, arms, place, retry) if p.wanted]

        def wanted(planned: Planned) -> bool:
            since = place.rows()[before:]
            if planned.arms and all(newest(since, arm) for arm in planned.arms):
                return False  # the stages that it shares have failed meanwhile
            _say(screen, ablation, place, todo, todo.index(planned), at_once)
            return True

        for planned, code in _ended(todo, wanted, command, stop, at_once):
            if code == 0:
                continue
            if reason := stop():
                raise Stopped(f"{reason}; all that is done is kept, and the same command goes on from there")
            if code in (STOPPED, INTERRUPTED):
                raise Stopped(f"{planned.job.label} was stopped; the same command goes on from there")
            lost = decided(planned.job, arms)
            if all(newest(place.rows()[before:], arm) for arm in lost):
                screen.say(f"{planned.job.label} failed: it is in the ledger, and the next run begins")
            elif code < 0:  # it was killed, and could not say anything
                for arm in lost:
                    place.add(failed_row(arm, f"its process was ended by signal {-code}", _bare(planned.job)))
                screen.say(f"{planned.job.label} was killed (signal {-code}): it is in the ledger as failed")
            else:
                raise ValueError(
                    f"{planned.job.label} could not be begun (exit code {code}, its message is above); mend "
                    "that, and give the same command again"
                )
        if (reason := stop()) and any(p.wanted for p in plan(ablation, arms, place, retry)):
            raise Stopped(f"{reason}; all that is done is kept, and the same command goes on from there")


def plan(ablation: Ablation, arms: Sequence[Arm], place: Place, retry: bool = False) -> list[Planned]:
    """Every job of an ablation in order, and where it stands."""
    rows = place.rows()
    states = {arm: _state(newest(rows, arm)) for arm in arms}
    open_ = [a for a in arms if states[a] == "missing" or (retry and states[a] == FAILED)]
    wanted = {j.key for j in jobs(open_)}
    spent = _minutes(ablation, rows)
    out = []
    for job in jobs(arms):
        own = tuple(a for a in arms if a.job.key == job.key)
        run = place.run(job)
        finished = run.done(f"evaluate/{TEST}/{job.stages[-1]}") is not None
        of = {states[a] for a in own}
        if job.shares is None:
            state = DONE if finished else (FAILED if FAILED in of else "missing")
        else:
            state = next(s for s in ("missing", FAILED, DONE) if s in of)
        if state == "missing" and run.root.exists():
            state = "begun"
        # What is shared is there already, unless somebody took it away and a run still needs it.
        needed = job.key in wanted and (not finished or any(a in open_ for a in own))
        left = spent["shared" if job.shares is None else "run"] if needed and not finished else 0.0
        out.append(Planned(job, own, state, needed, left))
    return out


def minutes_left(todo: Sequence[Planned]) -> float | None:
    """The sum of what the jobs are guessed to take; None where nothing is known of one."""
    known = [p.minutes for p in todo if p.wanted and p.minutes is not None]
    return sum(known) if len(known) == sum(p.wanted for p in todo) else None


def decided(job: Job, arms: Sequence[Arm]) -> list[Arm]:
    """The arms that have no result where this job has none: its own, and those that share its stages."""
    return [a for a in arms if job.key in (a.job.key, a.job.shares.key if a.job.shares else None)]


def _say(screen: Screen, ablation: Ablation, place: Place, todo: Sequence[Planned], at: int, at_once: int) -> None:
    """One line before a run begins; what is left is guessed anew from the runs that are done by now."""
    spent = _minutes(ablation, place.rows())
    left = [spent["shared" if p.job.shares is None else "run"] for p in todo[at:]]
    minutes = sum(m for m in left if m is not None) / at_once
    about = "" if None in left else f", about {duration(60 * minutes)} left for all"
    screen.stage(f"{place.root.name} {at + 1}/{len(todo)}: {todo[at].job.label}{about}")


def _minutes(ablation: Ablation, rows: Sequence[Row]) -> dict[str, float | None]:
    """Minutes of the stages before GRPO, and of one run's own: the mean over the ledger, else the file's
    guess, else unknown."""
    guess = ablation.minutes
    known: dict[str, list[float]] = {"shared": [], "run": []}
    seen: set[str] = set()
    for row in rows:
        minutes = row.get("minutes") or {}
        if row["status"] == DONE and row["stage"] == "grpo" and row["run"] not in seen:
            seen.add(row["run"])
            known["run"].append((minutes.get("grpo") or 0) + (minutes.get("evaluate") or 0))
            known["shared"].append((minutes.get("data") or 0) + (minutes.get("sft") or 0))
    return {
        kind: sum(some) / len(some) if some else (getattr(guess, kind) if guess else None)
        for kind, some in known.items()
    }


def _state(row: Row | None) -> str:
    return "missing" if row is None else str(row["status"])


def _bare(job: Job) -> dict[str, Any]:
    return {"run": job.label, "at": datetime.now(UTC).isoformat(timespec="seconds")}


def _ended(
    todo: Sequence[Planned],
    wanted: Callable[[Planned], bool],
    command: Callable[[Job], Sequence[str]],
    stop: Callable[[], str | None],
    at_once: int,
) -> Iterator[tuple[Planned, int]]:
    """Begin what is `wanted` in its order, so many processes at a time, and give each with its exit code
    (negative for the signal that ended it) as it ends. A run waits for the one whose stages it shares.

    Processes are asked to stop as soon as this one is, and are not left behind whatever happens.
    """
    waiting, running = list(todo), dict[subprocess.Popen[bytes], Planned]()
    free = _shares(at_once)
    own: dict[subprocess.Popen[bytes], set[int]] = {}
    asked = False
    try:
        while running or (waiting and not asked):
            busy = {p.job.key for p in (*waiting, *running.values())}
            ready = next((p for p in waiting if p.job.shares is None or p.job.shares.key not in busy), None)
            if ready and free and not asked:
                waiting.remove(ready)
                if wanted(ready):
                    process = subprocess.Popen(list(command(ready.job)))
                    running[process], own[process] = ready, free.pop(0)
                    if at_once > 1 and hasattr(os, "sched_setaffinity"):
                        os.sched_setaffinity(process.pid, own[process])
                continue
            for process in [p for p in running if p.poll() is not None]:
                free.append(own.pop(process))
                yield running.pop(process), process.wait()
            if not asked and stop() is not None:
                asked = True
                for process in running:
                    process.terminate()
            time.sleep(_POLL)
    finally:
        for process in running:
            if process.poll() is None:
                process.terminate()
        for process in running:
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _shares(at_once: int) -> list[set[int]]:
    """The cores that this process may use, dealt out; a core for several where there are not enough."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return [set(cores[i::at_once]) or {cores[i % len(cores)]} for i in range(at_once)]


@contextmanager
def _locked(place: Place) -> Iterator[None]:
    place.root.mkdir(parents=True, exist_ok=True)
    lock = take_lock(place.root, "working on this ablation")
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)
