"""A session's hold on a run: when it has to end, what it must find unchanged, its session of each stage.

A session is one process that works on a run directory; a run may need several. What the stages compute is
theirs (`pipeline.py`); how a session saves and leaves is in `train/stage_session.py`.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from everystep.core.clock import Deadline
from everystep.core.files import read_json, rewind
from everystep.core.progress import Progress
from everystep.core.provenance import code
from everystep.core.recipe import Recipe, resumable
from everystep.core.run import STAGES, TEST, Run
from everystep.core.types import Stopped
from everystep.model.io.load import fingerprint
from everystep.train.checkpoint import Checkpoints
from everystep.train.stage_session import StageSession

Extra = Callable[[], tuple[dict[str, Any], Mapping[str, np.ndarray]]]


@dataclass(frozen=True, slots=True)
class Session:
    """`stop` gives the reason to leave at the next chance, or None; `accept` names what may have changed
    since the last checkpoint ("code", "data", "base"), though the run will not end in the same numbers then,
    or "preflight" for a run that begins though preflight is red. `first`: whether this process, of several
    that train together, is the one that makes what only readers need."""

    deadline: Deadline
    stop: Callable[[], str | None] = lambda: None
    now: Callable[[], float] = time.time
    accept: frozenset[str] = frozenset()
    first: bool = True

    def pause(self) -> None:
        """Raise Stopped where the session has to end: between stages, and between the batches of one."""
        reason = self.stop()
        if reason is None and self.deadline.over(self.now()):
            reason = "the session's hours are over"
        if reason is not None:
            raise Stopped(f"{reason}; all that is done is saved, and the same command goes on from there")

    def reserved(self, stage: str, run: Run, share: float) -> float:
        """Minutes to keep free for what follows a stage: evaluations, by what the longest so far took (a
        policy that has learned to end is cut off less, so they take no longer, at the same pace), what the
        session keeps anyhow, and after SFT, which may take the given share of what is left, the rest for
        GRPO."""
        ended = [run.done(f"evaluate/{TEST}/{name}") or {} for name in STAGES]
        took = max(one.get("minutes") or 0.0 for one in ended)
        after = self.deadline.reserved + took * (len(STAGES) - STAGES.index(stage) if stage in STAGES else 0)
        if stage == "sft":
            after += (1 - share) * replace(self.deadline, reserved=after).left(self.now()) / 60
        return min(after, 0.9 * self.deadline.hours * 60)

    def open_stage(
        self,
        stage: str,
        planned: int,
        recipe: Recipe,
        run: Run,
        screen: Progress,
        extra: Extra | None = None,
    ) -> StageSession:
        """The session of a training stage, from its newest checkpoint; what the stage had logged
        beyond that is cut off. `extra` gives further values and arrays that a checkpoint must hold."""
        unchanged = {
            "base": fingerprint(recipe.model.name),
            "recipe": resumable(recipe),
            "code": code(),
        }
        if run.provenance.exists():
            hashes = read_json(run.provenance, {"data": dict, "*": object})["data"]
            unchanged["data"] = hashlib.sha256(repr(sorted(hashes.items())).encode()).hexdigest()
        policy = recipe.checkpoint
        checkpoints = Checkpoints(
            run.checkpoints(stage) / "steps", unchanged, policy.keep, policy.keep_every, self.accept
        )
        stage_session = StageSession(
            planned,
            {"sft": recipe.sft.warmup, "grpo": recipe.grpo.warmup}.get(stage, 0.0),
            checkpoints,
            policy,
            replace(self.deadline, reserved=self.reserved(stage, run, recipe.sft.share)),
            now=self.now,
            stop=self.stop,
            say=screen.say,
            extra=extra,
            shrinks=stage != "pretrain",
        )
        rewind(run.metrics(stage), stage_session.start)
        rewind(run.seconds(stage), stage_session.start)
        if stage == "grpo":
            for path in run.record_files():
                if path.name > run.records(stage_session.start).name:
                    path.unlink()
        if stage_session.start:
            screen.say(f"{stage} goes on after step {stage_session.start} of {stage_session.schedule.steps}")
        return stage_session
