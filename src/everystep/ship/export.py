"""Export: what a run has learned, as files that others read; written beside, read again, compared, renamed.

A format's folder is there whole or not at all. The files of each format are `model/io/export.py`, the comparison
is `model/io/verify_export.py`, the model card `ship/model_card.py`.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from everystep import __version__
from everystep.core.files import LOCK, read_json, take_lock, write_json
from everystep.core.provenance import without_places
from everystep.core.recipe import Recipe, identity
from everystep.core.run import TEST, Run
from everystep.core.trace import prompt
from everystep.core.types import Kind, Prompt, Task
from everystep.model.io.export import SHARD, write_merged, write_peft, write_tunix
from everystep.model.io.load import Base, fingerprint, load
from everystep.model.io.source import find
from everystep.model.io.verify_export import Reference, reference, reread
from everystep.model.lora import add_lora, load_adapter, set_adapter
from everystep.model.sampler import Policy, policy
from everystep.ship.model_card import NOTICE, model_card, of_gemma
from everystep.show.screen import Screen
from everystep.train.policies import tasks_of

FORMATS = ("hf", "peft", "tunix")
TRAINED = ("grpo", "sft")  # stages that leave an adapter, the later one first
_PROMPTS = 4  # how many prompts an export is compared on


@dataclass(frozen=True, slots=True)
class Trained:
    """What a stage has left: its adapter's arrays in float32, and the step they were kept at."""

    stage: str
    step: int
    arrays: dict[str, np.ndarray]


def export(
    recipe: Recipe,
    run: Run,
    out: Path,
    screen: Screen,
    *,
    stage: str | None = None,
    formats: Sequence[str] = FORMATS,
    force: bool = False,
    shard_bytes: int = SHARD,
) -> dict[str, Any]:
    """Write `out/<format>` for each format, from what `stage` of a run has left (None: its last). Returns
    what each `export.json` says, by format.

    Raises ValueError, one line, where the run has no such adapter, a format is there already (without
    `force`), the folder cannot be written, or what is read again is not the policy; a format that did not
    come to its end has left nothing.
    """
    unknown = [f for f in formats if f not in FORMATS]
    if unknown:
        raise ValueError(f"format {unknown[0]!r} does not exist; there are {', '.join(FORMATS)}, all")
    trained = what_was_trained(recipe, run, stage)
    source = find(recipe.model.name)
    if source.adapters and (only := [f for f in formats if f != "hf"]):
        raise ValueError(
            f"{run.root}: its base is a run with an adapter of its own, which {only[0]} files cannot hold; "
            "give --format hf, which merges both"
        )
    with _writing(out):
        for kind in formats:
            _settle(out, kind)
            if (out / kind).exists() and not force:
                raise ValueError(f"{out / kind}: is already there; give --force to replace it, or another --out")
        base = load(recipe.model.name)
        ref = reference(_policy(recipe, base, trained.arrays), base, _prompts(recipe, run))
        return {kind: _one(kind, recipe, run, trained, base, ref, out, shard_bytes, screen) for kind in formats}


def export_stage(recipe: Recipe, run: Run, screen: Screen) -> None:
    """The stage of a run: its last policy, as the recipe's `export` says, in `export/<stage>/`."""
    if not recipe.export or run.done("export"):
        return
    screen.stage("export")
    stage = what_was_trained(recipe, run, None).stage
    # What an earlier session had finished is written again: cheaper than to trust it.
    made = export(recipe, run, folder_of(run, stage), screen, stage=stage, formats=recipe.export, force=True)
    run.mark_done("export", {"stage": stage, "formats": list(made)})


def folder_of(run: Run, stage: str) -> Path:
    """Where the exports of a stage are, where nobody says otherwise."""
    return run.export / stage


def what_was_trained(recipe: Recipe, run: Run, stage: str | None) -> Trained:
    """The adapter that a stage has left (None: the last that has one). Raises ValueError where there is none,
    or it is not of the recipe's rank."""
    if recipe.kind != "run":
        raise ValueError(f"{run.root}: trains a base and no adapter; its model is in {run.export} as it is")
    if stage is None:
        stage = next((s for s in TRAINED if run.adapter(s).is_file()), None)
        if stage is None:
            raise ValueError(f"{run.root}: no stage has left an adapter yet; run it first")
    elif stage not in TRAINED:
        raise ValueError(f"stage {stage!r} leaves no adapter; there are {', '.join(reversed(TRAINED))}")
    path = run.adapter(stage)
    if not path.is_file():
        raise ValueError(f"{run.root}: the stage {stage!r} has left no adapter; run it first")
    arrays, _ = load_adapter(path)
    odd = [k for k, v in arrays.items() if k.endswith("_a") and v.shape[-1] != recipe.model.lora.rank]
    if odd or not arrays:
        raise ValueError(f"adapter {path}: is not of rank {recipe.model.lora.rank}, which the recipe has")
    done = run.done(stage) or {}
    step = int(done.get("kept", done.get("steps", 0)))
    return Trained(stage, step, {k: np.asarray(v, np.float32) for k, v in arrays.items()})


def _policy(recipe: Recipe, base: Base, arrays: dict[str, np.ndarray]) -> Policy:
    model = add_lora(base.model, recipe.model.lora.rank, recipe.model.lora.alpha, None)
    set_adapter(model, arrays)
    return policy(model, base.tokenizer)


def _prompts(recipe: Recipe, run: Run) -> list[Prompt]:
    """Some of the run's test tasks, as they were asked."""
    tasks = tasks_of(run, TEST)[:_PROMPTS] if (run.data / f"{TEST}.jsonl").is_file() else []
    if not tasks:
        asked = (f"A pen costs {n} dollars. What do {n + 3} pens cost?" for n in range(3, 3 + _PROMPTS))
        tasks = [Task(str(i), "math", q, "0", Kind.NUMBER, "export", TEST) for i, q in enumerate(asked)]
    return [prompt(task, recipe.model.prompt) for task in tasks]


def _one(
    kind: str,
    recipe: Recipe,
    run: Run,
    trained: Trained,
    base: Base,
    ref: Reference,
    out: Path,
    shard_bytes: int,
    screen: Screen,
) -> dict[str, Any]:
    """One format: beside, read again, compared, and only then under its name."""
    partial, lora = out / f".{kind}.partial", recipe.model.lora
    dtype, arrays = "float32", trained.arrays
    try:
        partial.mkdir()
        if kind == "hf":
            below = [(load_adapter(a.file)[0], a.alpha / a.rank) for a in find(recipe.model.name).adapters]
            adapters = [*below, (arrays, lora.alpha / lora.rank)]
            dtype = write_merged(base.folder, base.tokenizer, adapters, partial, shard_bytes)
        elif kind == "peft":
            name = without_places(recipe.model.name)
            write_peft(base.folder, name, arrays, lora.rank, lora.alpha, partial)
        else:
            write_tunix(ref.policy.model, arrays, trained.step, partial)
        agreement = reread(kind, partial, ref, dtype)
        (partial / "README.md").write_text(model_card(recipe, run, trained.stage, kind, trained.step), encoding="utf-8")
        if of_gemma(recipe):
            (partial / "NOTICE").write_text(NOTICE)
        about = _about(kind, recipe, run, trained, dtype) | {"agreement": asdict(agreement)}
        about["files"] = {
            p.relative_to(partial).as_posix(): _hash(p) for p in sorted(partial.rglob("*")) if p.is_file()
        }
        write_json(partial / "export.json", about)
        _to_disk(partial)
        _rename(partial, out, kind)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ValueError(
            f"{out / kind}: cannot be written ({error.strerror or error}); nothing of it is left: make room, "
            "give the permission, or give another --out"
        ) from None
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    lost = agreement.lost
    if lost is not None and lost > 0.5:
        screen.say(
            f"{kind}: rounding to {dtype} drowns what was trained (by {lost:.0%} of the change in logits); "
            "the peft format keeps it in float32"
        )
    size = sum(p.stat().st_size for p in (out / kind).rglob("*") if p.is_file())
    screen.say(
        f"{out / kind}: {size / 1e6:.1f} MB, read again: logits within {agreement.logits:.1g} of their "
        f"deviation, {agreement.tokens} greedy tokens the same"
    )
    return about


def _about(kind: str, recipe: Recipe, run: Run, trained: Trained, dtype: str) -> dict[str, Any]:
    made = read_json(run.provenance) if run.provenance.is_file() else {}
    return {
        "format": kind,
        "run": run.root.resolve().name,
        "stage": trained.stage,
        "step": trained.step,
        "recipe": recipe.name,
        "recipe_hash": identity(recipe),
        "everystep": __version__,
        "commit": made.get("commit"),
        "changes": made.get("changes"),
        "base": without_places(recipe.model.name),
        "base_fingerprint": fingerprint(recipe.model.name),
        "adapter": _hash(run.adapter(trained.stage)),
        "rank": recipe.model.lora.rank,
        "alpha": recipe.model.lora.alpha,
        "dtype": dtype,
    }


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """The folder, there and locked against another export; where it was made in vain it is removed again."""
    there = out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = take_lock(out, "exporting there")
    except OSError as error:
        raise ValueError(f"{out}: cannot be written ({error.strerror}); give another --out") from None
    try:
        yield
    finally:
        (out / LOCK).unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)
        if not there and not any(out.iterdir()):
            out.rmdir()


def _settle(out: Path, kind: str) -> None:
    """Tidy up after a process that was killed: half an export goes, a replaced one comes back."""
    replaced = out / f".{kind}.replaced"
    if replaced.exists() and not (out / kind).exists():
        replaced.rename(out / kind)
    for rest in (replaced, out / f".{kind}.partial"):
        if rest.exists():
            shutil.rmtree(rest)


def _rename(partial: Path, out: Path, kind: str) -> None:
    final, replaced = out / kind, out / f".{kind}.replaced"
    if final.exists():
        final.rename(replaced)
    partial.rename(final)
    _sync(out)
    shutil.rmtree(replaced, ignore_errors=True)


def _to_disk(folder: Path) -> None:
    """Every file and folder below, and the folder, on the disk before its name says that it is whole."""
    for path in [*folder.rglob("*"), folder]:
        _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # not every file system can, for folders
        if path.is_file():
            raise
    finally:
        os.close(handle)


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
