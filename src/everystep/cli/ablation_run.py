"""One run of an ablation, in this process: its stages, those it takes over from the run it shares them with,
and its row in the ledger.

Which runs there are is said in `evaluate.changes`; who starts them is `cli/ablation_queue.py`.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import yaml

from everystep.core.clock import Deadline
from everystep.core.files import read_jsonl, write_bytes
from everystep.core.provenance import code, provenance, without_places
from everystep.core.recipe import identity, resolve
from everystep.core.record import read_records
from everystep.core.relay import add_session
from everystep.core.run import TEST, TRAINED, Run, open_run
from everystep.core.types import Stopped
from everystep.evaluate.ablation import DONE, done_row, failed_row, outcome
from everystep.evaluate.changes import Arm, Job
from everystep.evaluate.results import Place
from everystep.model.io.load import device
from everystep.pipeline import TRAINING, evaluate_stage, prepare, summarise_run
from everystep.show.screen import Screen
from everystep.train.checkpoint import CheckpointError
from everystep.train.session import Session

_HOURS = 1e5  # a run has no deadline here: a plan that shrinks to fit one would not be equal to the others
_LONGEST = 300  # characters of an error that a row keeps


def run_job(
    job: Job,
    arms: Sequence[Arm],
    place: Place,
    screen: Screen,
    stop: Callable[[], str | None] = lambda: None,
    accept: frozenset[str] = frozenset(),
    command: Sequence[str] = (),
) -> None:
    """Do what is left of a job, and write the rows of the arms that it decides.

    An error is a row too, for the arms of this run and of those that share its stages, and is raised again.
    No row where it was only stopped (Stopped), cannot be opened (RunError), comes before the run whose stages
    it shares (ValueError), or finds a checkpoint of other code (CheckpointError).
    """
    if job.shares is not None and place.run(job.shares).done(f"evaluate/{TEST}/sft") is None:
        raise ValueError(f"{job.label} shares the stages of {job.shares.label}, which is not done; do it first")
    given = f"# {job.label}\n" + yaml.safe_dump(resolve(job.recipe), sort_keys=False)
    with open_run(place.run(job).root, job.recipe, given) as run:
        began = time.time()
        about = _made_by(command)
        try:
            _stages(job, run, place, Session(Deadline(began, _HOURS, 0.0), stop, accept=accept), screen, about)
            rows = [(arm, *_found(arm, run)) for arm in arms if arm.job.key == job.key]
        except (Stopped, CheckpointError):
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {' '.join(without_places(str(error)).split())}"[:_LONGEST]
            for arm in arms:
                where = "" if arm.job.key == job.key else f"in the stages of {job.label}: "
                place.add(failed_row(arm, where + said, _about(job, run, about)))
            raise
        for arm, outcomes, training in rows:
            kept = place.row(arm)
            if kept is None or kept["status"] != DONE:
                whole = _about(job, run, about) | place.keep(arm, outcomes)
                place.add(done_row(arm, outcomes, training, whole))


def _stages(job: Job, run: Run, place: Place, session: Session, screen: Screen, about: dict[str, Any]) -> None:
    last = f"evaluate/{TEST}/{job.stages[-1]}"
    if run.done(last) is None:
        from_ = None if job.shares is None else place.run(job.shares).root.name
        add_session(run, {**about, "shares": from_})
    session.pause()
    prepare(job.recipe, run, screen, about["command"])
    if job.shares is not None:
        take_over(place.run(job.shares), run, [s for s in job.stages if s in job.shares.stages])
    for stage in job.stages:
        session.pause()
        if stage in TRAINING:
            TRAINING[stage](job.recipe, run, session, screen)
            session.pause()
        evaluate_stage(stage, job.recipe, run, session, screen)
    if job.shares is not None:
        summarise_run(job.recipe, run)


def take_over(source: Run, run: Run, stages: Sequence[str]) -> None:
    """Copy finished stages of another run, which was made from the same data, with a note of where they come
    from. Of evaluations the completions: they are scored again, by the run's own reward.

    Raises ValueError where the stages are not finished there, or the data are not the same.
    """
    for name in ("sft", "dev", TEST):
        here, there = (r.data / f"{name}.jsonl" for r in (run, source))
        if not there.is_file() or here.read_bytes() != there.read_bytes():
            raise ValueError(f"{source.root}: its {name} tasks are not those of {run.root}; nothing is shared")
    for stage in stages:
        done = source.done(stage) if stage in TRAINING else {}
        if done is None or source.done(f"evaluate/{TEST}/{stage}") is None:
            raise ValueError(f"{source.root}: its stage {stage!r} is not finished, so it cannot be shared")
        if stage in TRAINING and run.done(stage) is None:
            write_bytes(run.adapter(stage), source.adapter(stage).read_bytes())
            write_bytes(run.metrics(stage), source.metrics(stage).read_bytes())
            run.mark_done(stage, {**done, "from": source.root.name})
        if run.done(f"evaluate/{TEST}/{stage}") is None:
            completions = source.evaluation_records(TEST, stage).read_bytes()
            write_bytes(run.evaluation_partial(TEST, stage), completions)


def _found(arm: Arm, run: Run) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The outcomes of an arm's test tasks, and the rows of its GRPO steps."""
    training = read_jsonl(run.metrics("grpo"))[0] if arm.stage == "grpo" else []
    return [outcome(r) for r in read_records(run.evaluation_records(TEST, arm.stage))], training


def _made_by(command: Sequence[str]) -> dict[str, Any]:
    here = provenance(device(), {}, command)
    names = ("everystep", "commit", "changes", "python", "device", "command")
    return {**{k: here[k] for k in names}, "code": code()}


def _about(job: Job, run: Run, about: dict[str, Any]) -> dict[str, Any]:
    """What a row says of how it came about. Minutes are those of the stages; a stage that was taken over has
    the minutes that it took where it was done."""
    minutes = {s: (run.done(s) or {}).get("minutes") for s in ("data", *TRAINED)}
    evaluations = [run.done(f"evaluate/{TEST}/{s}") or {} for s in job.stages]
    trained = run.done("grpo") or {}
    return {
        "run": run.root.name,
        "recipe_hash": identity(job.recipe),
        "shares": None if job.shares is None else job.shares.label,
        "minutes": {**minutes, "evaluate": sum(e.get("minutes", 0.0) for e in evaluations)},
        "steps": trained.get("steps"),
        "planned_steps": None if job.shares is None else job.recipe.grpo.steps,
        "rolled_back": trained.get("rolled_back"),
        "ended": trained.get("ended"),
        **{k: about[k] for k in ("everystep", "commit", "changes", "code", "device")},
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
