"""The file of an ablation: named changes to a base recipe, its schema, and the runs that follow from it.

A change is a list of overrides, as the command line takes them. Runs that would be equal are one run, whoever
asks for them; what comes before GRPO is done once for all changes of a seed that do not touch it. Nothing is
run here.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from everystep.core.recipe import Recipe, load, resolve, validate
from everystep.core.run import STAGES, stages_of
from everystep.core.strict import Part, RecipeError, read_tree, validated

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Metric = Literal["contract", "capability", "sound", "format", "structure", "process", "claims", "tokens"]
EXAMPLE = "recipes/ablations/tiny.yaml"
# What the stages before GRPO depend on. Runs that agree in all of it share these stages.
BEFORE_GRPO = ("name", "kind", "seed", "hours", "model", "data", "sft", "evaluate", "checkpoint")
_LABELS = {"name", "hours"}  # what a run is called, and when it would have to stop, changes nothing in it


class Change(Part):
    """`set` are overrides of the family's recipe. `stage`: the stage whose figures count; with "sft" or
    "base" nothing is trained beyond it."""

    set: tuple[str, ...] = ()
    stage: Literal["base", "sft", "grpo"] = "grpo"


class Family(Part):
    """Changes that answer one question. `reference` is the name of the unchanged recipe (the base with the
    file's and the family's `common`), against which each change is held; `tested` are the metrics that the
    question is about: Holm's correction is over all of the family's changes and these."""

    question: str
    reference: Name
    common: tuple[str, ...] = ()
    tested: tuple[Metric, ...] = Field(default=("contract",), min_length=1)
    changes: dict[Name, Change] = Field(min_length=1)

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.reference in self.changes:
            raise ValueError(f"the reference {self.reference!r} is a change too; leave it out of changes")
        if len(set(self.tested)) < len(self.tested):
            raise ValueError("tested names a metric twice")
        return self


class Minutes(Part):
    """What the stages before GRPO, and one run's own, take on the device that the file's header names: a
    guess until runs of this ablation say better."""

    shared: float = Field(gt=0)
    run: float = Field(gt=0)


class Ablation(Part):
    """`equal`: what GRPO gets the same of in all changes of a family: "steps", or "completions" (the number
    of steps then follows from `grpo.prompts` and `grpo.group`)."""

    name: Name
    base: str
    common: tuple[str, ...] = ()
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(min_length=1)
    equal: Literal["steps", "completions"]
    minutes: Minutes | None = None
    families: dict[Name, Family] = Field(min_length=1)

    @model_validator(mode="after")
    def _seeds(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds names one twice")
        return self


@dataclass(frozen=True, slots=True)
class Arm:
    """One change with one seed: the run it needs and the stage of it that counts. `change` is the family's
    reference for the unchanged recipe; `overrides` are all of them, in order."""

    family: str
    change: str
    seed: int
    stage: str
    overrides: tuple[str, ...]
    job: "Job" = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Job:
    """One run. `shares`: the run whose finished stages before GRPO it takes over, or None for such a run
    itself."""

    key: str
    label: str
    recipe: Recipe
    shares: "Job | None" = field(default=None, repr=False)

    @property
    def stages(self) -> tuple[str, ...]:
        """What the run goes through."""
        if self.shares is None:
            return STAGES[:2]
        return stages_of(self.recipe)


def read_ablation(path: str | Path) -> Ablation:
    """The file, checked. Raises RecipeError, one line, as `recipe.load` does."""
    where = f"ablation {path}"
    ablation = validated(Ablation, read_tree(Path(path), where, EXAMPLE), where)
    if ablation.name != Path(path).stem:
        raise RecipeError(f"{where}: its name is {ablation.name!r}; give the file and the ablation one name")
    return ablation


def arms(ablation: Ablation, path: str | Path) -> list[Arm]:
    """Every change with every seed, seed by seed, the reference of a family first; `path` is the ablation's
    file, from which `base` is found.

    Raises RecipeError, naming family and change, for what is no recipe, and for a budget that is not equal.
    """
    base = Path(path).parent / ablation.base
    jobs: dict[str, Job] = {}
    out = []
    for seed in ablation.seeds:
        for name, family in ablation.families.items():
            reference: Recipe | None = None
            for change, how in {family.reference: Change(), **family.changes}.items():
                overrides = (*ablation.common, *family.common, *how.set)
                where = f"ablation {path}: {name}.{change}"
                recipe = _recipe(ablation, base, overrides, seed, where)
                if how.stage == "grpo":
                    recipe = _budgeted(ablation, recipe, reference or recipe, how, where)
                reference = reference or recipe
                job = _job(recipe, how.stage, f"{name}.{change}", jobs)
                out.append(Arm(name, change, seed, how.stage, overrides, job))
    return out


def jobs(some: Iterable[Arm]) -> list[Job]:
    """The runs that the arms need, each once, in the order in which they can be done."""
    out: dict[str, Job] = {}
    for arm in some:
        for job in (arm.job.shares, arm.job):
            if job is not None:
                out.setdefault(job.key, job)
    return list(out.values())


def digest(recipe: Recipe) -> str:
    """16 hex digits that are equal for recipes that say the same of a run. Unlike `recipe.identity` they stay
    what they are when the schema learns a new key, as long as its default is what was done before."""
    said = {k: v for k, v in recipe.model_dump(mode="json", exclude_defaults=True).items()}
    said = {k: v for k, v in said.items() if k not in _LABELS}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def _recipe(ablation: Ablation, base: Path, overrides: Sequence[str], seed: int, where: str) -> Recipe:
    try:
        recipe = load(base, (*overrides, f"seed={seed}", f"name={json.dumps(ablation.name)}"))
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None
    if recipe.kind != "run":
        raise RecipeError(f"{where}: its recipe is for `everystep {recipe.kind}`; an ablation changes a run")
    return recipe


def _budgeted(ablation: Ablation, recipe: Recipe, reference: Recipe, how: Change, where: str) -> Recipe:
    """The recipe with the steps that its budget gives it."""
    if recipe is not reference and any(text.partition("=")[0] == "grpo.steps" for text in how.set):
        raise RecipeError(f"{where}: sets grpo.steps, which `equal: {ablation.equal}` decides; leave it out")
    mine, theirs = recipe.grpo, reference.grpo
    if ablation.equal == "steps":
        if mine.steps != theirs.steps:
            raise RecipeError(
                f"{where}: has {mine.steps} steps, the reference {theirs.steps}; `equal: steps` wants as many"
            )
        return recipe
    steps, rest = divmod(theirs.steps * theirs.prompts * theirs.group, mine.prompts * mine.group)
    if rest or not steps:
        raise RecipeError(
            f"{where}: {mine.prompts} x {mine.group} completions a step do not make up the reference's "
            f"{theirs.steps} x {theirs.prompts} x {theirs.group}; choose another grpo.prompts or grpo.group"
        )
    return recipe.model_copy(update={"grpo": mine.model_copy(update={"steps": steps})})


def _job(recipe: Recipe, stage: str, label: str, known: dict[str, Job]) -> Job:
    """The run in which a recipe's stage is found; equal ones are one."""
    whole = resolve(recipe)
    before = validate({k: whole[k] for k in BEFORE_GRPO}, "the recipe before GRPO")
    shared = known.setdefault(digest(before), Job(digest(before), _label("shared", before), before))
    if stage != "grpo":
        return shared
    key = digest(recipe)
    return known.setdefault(key, Job(key, _label(label, recipe), recipe, shared))


def _label(name: str, recipe: Recipe) -> str:
    return f"{name}-s{recipe.seed}-{digest(recipe)[:8]}"


def described(arm: Arm) -> dict[str, Any]:
    """What a row of the ledger says of an arm before anything was run."""
    return {
        "family": arm.family,
        "change": arm.change,
        "seed": arm.seed,
        "stage": arm.stage,
        "key": arm.job.key,
        "overrides": list(arm.overrides),
    }
