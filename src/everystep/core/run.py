"""The run directory: the only module that knows file names. How files are written is in `core/files.py`.

It knows nothing about what the stages compute; how a graded completion becomes a row is in `core/record.py`.

    recipe.yaml  recipe.json  provenance.json  sessions.jsonl  preflight.json
    data/  self/{probe,samples,outcomes,traces}.jsonl  self/table.json
    sft/metrics.jsonl  grpo/metrics.jsonl  grpo/records/*.jsonl  checkpoints/<stage>/
    evaluate/<set>/<stage>/{records.jsonl,summary.json}  evaluate/summary.json  export/  report/index.html

A stage's folder gets its `done.json` last.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from everystep.core.files import LOCK, PARTIAL, RunError, read_json, take_lock, write_json, write_text
from everystep.core.recipe import EXTENDED, Recipe, flat, is_free, resolve, validate

TEST = "test"  # the name of the evaluation set in a run directory
STAGES = ("base", "sft", "grpo")  # what is evaluated, in the order in which a run comes to it
TRAINED = STAGES[1:]  # the stages that leave an adapter
_NUMBER, _NONE = (int, float), type(None)
_RATE = dict.fromkeys(("value", "low", "high"), _NUMBER)
_RATES = dict.fromkeys(("contract", "capability", "sound", "format"), _RATE)
_SUMMARY = {
    "n": int,
    **_RATES,
    **dict.fromkeys(("trace", "composite", "mean_tokens"), (*_NUMBER, _NONE)),
    **dict.fromkeys(("trace_coverage", "truncated"), _NUMBER),
    "ungradable": int,
    **{key: {"*": {"n": int, **_RATES}} for key in ("by_domain", "by_level")},
}
# The files of a run that are one JSON value, and what each must hold; see `files.check_shape`.
_SHAPES: dict[str, Any] = {
    "provenance.json": {"data?": {"*": str}, "command?": [str], "packages?": {"*": str}, "device?": str},
    "preflight.json": dict,
    "data/dropped.json": {"*": [{"reason": str, "count": int, "examples": list}]},
    "data/gold.json": _SUMMARY,
    "self/table.json": dict,
    "evaluate/summary.json": {"stages": {"*": _SUMMARY}, "paired": {"*": dict}, "minutes": dict},
    "evaluate/*/*/summary.json": _SUMMARY,
    "**/done.json": {"minutes?": _NUMBER, "steps?": int, "rolled_back?": (dict, _NONE), "ended?": (str, _NONE)},
}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


@dataclass(frozen=True, slots=True)
class Run:
    """A run directory. Opened by `open_run` it holds the write lock until `close` (or the end of a `with`
    block, or of the process); opened by `read_run` it holds none and is only to be read."""

    root: Path
    lock: int | None = field(default=None, compare=False, repr=False)

    # Where things are

    @property
    def recipe_given(self) -> Path:
        return self.root / "recipe.yaml"

    @property
    def recipe_resolved(self) -> Path:
        return self.root / "recipe.json"

    @property
    def provenance(self) -> Path:
        return self.root / "provenance.json"

    @property
    def sessions(self) -> Path:
        """One row for every session that worked on the run."""
        return self.root / "sessions.jsonl"

    @property
    def preflight(self) -> Path:
        return self.root / "preflight.json"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def export(self) -> Path:
        return self.root / "export"

    @property
    def report(self) -> Path:
        return self.root / "report"

    @property
    def report_page(self) -> Path:
        return self.report / "index.html"

    def folder(self, stage: str) -> Path:
        """The folder of a stage: "data", "sft", "grpo", "evaluate/<set>/<stage>", "export", "report"."""
        if not _NAME.fullmatch(stage) or ".." in stage:
            raise RunError(f"{stage!r} is no name of a stage (letters, digits, '_', '-', '.', parted by '/')")
        return self.root / stage

    def self_made(self, kind: str) -> Path:
        """A file of the stage in which the model makes its own SFT data: "probe" (completions under each of
        the prompts), "samples" (completions under the best), "outcomes" (what became of each), "traces" (what
        was kept, as tasks), all of them rows, and "table", which counts them."""
        return self.folder("self") / f"{kind}.{'json' if kind == 'table' else 'jsonl'}"

    def metrics(self, stage: str) -> Path:
        """The metrics of a training stage ("sft", "grpo"), one row a step."""
        return self.folder(stage) / "metrics.jsonl"

    def seconds(self, stage: str) -> Path:
        """Where a training's time went, one row a step; its metrics, which no clock enters, are apart."""
        return self.folder(stage) / "seconds.jsonl"

    def abandoned(self, stage: str) -> Path:
        return self.folder(stage) / "abandoned.jsonl"

    def records(self, step: int) -> Path:
        """The graded completions of one GRPO step: one file, so that a step made again replaces its rows."""
        return self.root / "grpo" / "records" / f"step-{step:06d}.jsonl"

    def record_files(self) -> list[Path]:
        """The files of `records` that exist, in the steps' order."""
        return sorted((self.root / "grpo" / "records").glob("step-*.jsonl"))

    def checkpoints(self, stage: str) -> Path:
        """The folder of a stage's checkpoints, and of what it leaves when it is done (`adapter`)."""
        return self.root / "checkpoints" / self.folder(stage).name

    def adapter(self, stage: str) -> Path:
        return self.checkpoints(stage) / "adapter.safetensors"

    def evaluation(self, dataset: str, stage: str) -> Path:
        """The folder of one evaluation: of the model after `stage`, on the tasks called `dataset`."""
        return self.folder(f"evaluate/{dataset}/{stage}")

    def evaluation_records(self, dataset: str, stage: str) -> Path:
        return self.evaluation(dataset, stage) / "records.jsonl"

    def evaluation_partial(self, dataset: str, stage: str) -> Path:
        """The records of an evaluation that is under way, batch by batch."""
        return self.evaluation(dataset, stage) / "partial.jsonl"

    def evaluation_summary(self, dataset: str, stage: str) -> Path:
        return self.evaluation(dataset, stage) / "summary.json"

    def evaluations(self) -> list[tuple[str, str]]:
        """The (set, stage) of every evaluation that is done, sorted."""
        found = (self.root / "evaluate").glob("*/*/done.json")
        return sorted((p.parent.parent.name, p.parent.name) for p in found)

    @property
    def summary(self) -> Path:
        return self.root / "evaluate" / "summary.json"

    def recipe(self) -> Recipe:
        """The recipe with all its values. Raises RecipeError, with the file, where it is damaged."""
        return validate(read_json(self.recipe_resolved), str(self.recipe_resolved))

    # What is done

    def done(self, stage: str) -> dict[str, Any] | None:
        """What `mark_done` was told about a stage, or None while the stage is not done."""
        path = self.folder(stage) / "done.json"
        return read_json(path) if path.exists() else None

    def mark_done(self, stage: str, info: Mapping[str, Any] | None = None) -> None:
        """Say that a stage is complete: the last thing that is written to its folder."""
        write_json(self.folder(stage) / "done.json", dict(info or {}))

    # The lock

    def close(self) -> None:
        """Release the write lock. Closing twice is harmless."""
        if self.lock is not None:
            try:
                os.close(self.lock)
            except OSError:
                return
            object.__setattr__(self, "lock", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def stages_of(recipe: Recipe) -> tuple[str, ...]:
    """The stages that a recipe's model goes through, the base included."""
    return STAGES if recipe.grpo.start == "sft" else ("base", "grpo")


def open_run(root: str | Path, recipe: Recipe, given: str | None = None, accept: frozenset[str] = frozenset()) -> Run:
    """Create a run directory for a recipe, or resume the one that is there; locked for writing.

    `given` is the recipe's text as the user wrote it, kept beside the resolved values. Of a run that is there the
    recipe may differ in what leaves the result alone (`recipe.FREE`), and with "steps" in `accept` GRPO may be longer
    than it was: then it goes on, though it was done. Raises RunError, having touched nothing, where the recipe is
    another one (naming the first values that differ), a file is damaged, the directory holds something that is no
    run or a run of showwork, or another process writes it. A run that has finished nothing belongs to nobody: the
    recipe can be mended and given again.
    """
    run = Run(Path(root))
    if run.root.exists() and not run.root.is_dir():
        raise RunError(f"{root}: is a file, not a directory; give another --dir")
    differing, begun = list[str](), _begun(run)
    if run.recipe_resolved.exists():
        check_files(run)
        if run.provenance.exists() and "showwork" in read_json(run.provenance):
            raise RunError(f"{root}: was made by showwork; it can be looked at, not gone on with; give another --dir")
        differing = _differing(run, recipe, accept, begun)
    elif run.root.is_dir() and any(_counts(p) for p in run.root.iterdir()):
        raise RunError(f"{root}: holds files but no recipe.json, so it is no run; give another --dir")
    try:
        run.root.mkdir(parents=True, exist_ok=True)
        run = Run(run.root, take_lock(run.root, "writing this run"))
    except OSError as error:
        raise RunError(f"{root}: cannot be written ({error.strerror}); give another --dir") from None
    if differing or not begun:
        if differing and not begun:  # what was tried with another recipe says nothing of this one
            for path in (run.sessions, run.folder("preflight") / "done.json"):
                path.unlink(missing_ok=True)
        if EXTENDED & set(differing):
            for stage in ("report", "export", f"evaluate/{TEST}/grpo", "grpo"):
                (run.folder(stage) / "done.json").unlink(missing_ok=True)
        if given is not None:
            write_text(run.recipe_given, given)
        write_json(run.recipe_resolved, resolve(recipe))
    return run


def read_run(root: str | Path) -> Run:
    """An existing run, to be read. Raises RunError where there is none, and where a file of it is damaged."""
    run = Run(Path(root))
    if not run.recipe_resolved.is_file():
        raise RunError(f"{root}: no run is here (it has no recipe.json)")
    check_files(run)
    return run


def check_files(run: Run) -> None:
    """Read every JSON file of a run that is there against its shape. Raises RunError, one line, for the first that is
    damaged. Rows of JSON lines are checked where they are read."""
    run.recipe()
    for pattern, like in _SHAPES.items():
        for path in sorted(run.root.glob(pattern)):
            read_json(path, like)


def _begun(run: Run) -> bool:
    """Whether the directory holds anything of a run but its recipe and what was tried before any stage was done."""
    own = {run.recipe_given, run.recipe_resolved, run.preflight, run.sessions, run.folder("preflight") / "done.json"}
    return run.recipe_resolved.exists() and any(_counts(p) for p in run.root.rglob("*") if p not in own and p.is_file())


def _counts(path: Path) -> bool:
    return path.name != LOCK and PARTIAL not in path.name


def _differing(run: Run, recipe: Recipe, accept: frozenset[str], begun: bool) -> list[str]:
    """The keys whose values differ from the run's own. Raises RunError where they make it another run."""
    before, after = flat(resolve(run.recipe())), flat(resolve(recipe))
    keys = [k for k in after | before if before.get(k, "(not there)") != after.get(k, "(not there)")]
    grown = {k for k in keys if k in EXTENDED and after[k] > before[k]}
    other = [k for k in keys if not is_free(k) and not (k in grown and "steps" in accept)]
    if not begun or not other:
        return keys
    shown = "; ".join(
        f"{k} is {before.get(k, '(not there)')!r} there and {after.get(k, '(not there)')!r} here" for k in other[:3]
    )
    more = f" (and {len(other) - 3} more)" if len(other) > 3 else ""
    mend = "make it longer with --accept steps, or give another --dir" if grown == set(other) else "give another --dir"
    raise RunError(f"{run.root}: belongs to another recipe: {shown}{more}; {mend}")
