"""Where an ablation is kept: its ledger, the outcomes that rows point to, and its runs.

    ledger.jsonl                    one row for each change and seed that was tried; only added to
    outcomes/<run>-<hash>.jsonl     what became of each test task
    runs/<label>/                   a run directory each; once the row is there, only needed to look closer

What rows and outcomes hold is said in `evaluate.ablation`.
"""

import fcntl
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everystep.core.files import RunError, append_jsonl, read_jsonl, to_json, write_bytes
from everystep.core.run import Run
from everystep.evaluate.ablation import Outcome, Row, newest
from everystep.evaluate.changes import Arm, Job


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of an ablation."""

    root: Path

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.jsonl"

    def run(self, job: Job) -> Run:
        """The run of a job, there or not. One that was begun under another label is still the same run."""
        folder = self.root / "runs"
        same = sorted(folder.glob(f"*-{job.label.rpartition('-')[2]}"))
        return Run(same[0] if same else folder / job.label)

    def rows(self) -> list[dict[str, Any]]:
        """The ledger, oldest row first. Raises RunError, with the place, where it is damaged."""
        return read_jsonl(self.ledger)[0] if self.ledger.exists() else []

    def row(self, arm: Arm) -> Row | None:
        """The newest row of an arm."""
        return newest(self.rows(), arm)

    def add(self, row: Row) -> None:
        """One row more; runs side by side take turns."""
        self.root.mkdir(parents=True, exist_ok=True)
        with open(self.ledger, "ab") as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            append_jsonl(self.ledger, [row])

    def keep(self, arm: Arm, outcomes: Sequence[Outcome]) -> dict[str, str]:
        """Write an arm's outcomes; what its row must say to find them again."""
        rows = (json.dumps(to_json(o), ensure_ascii=False, separators=(",", ":")) for o in outcomes)
        content = "".join(f"{row}\n" for row in rows).encode()
        sha = hashlib.sha256(content).hexdigest()
        path = self.root / "outcomes" / f"{arm.job.label}-{arm.stage}-{sha[:8]}.jsonl"
        write_bytes(path, content)
        return {"outcomes": path.relative_to(self.root).as_posix(), "sha256": sha}

    def outcomes(self, row: Row) -> list[dict[str, Any]]:
        """The outcomes that a row points to. Raises RunError where they are not the ones it was written
        with."""
        path = self.root / str(row["outcomes"])
        rows, _ = read_jsonl(path)
        if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
            raise RunError(f"{path}: is not what the ledger's row of {row['change']} was written with")
        return rows
