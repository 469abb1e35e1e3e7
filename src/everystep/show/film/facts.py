"""What a film may say of a run, each figure with the file and the place it is from.

Figures of the stages come from `evaluate/summary.json`, and from each stage's own summary where the run has
not come to that yet. The model's shape is read from its `config.json`, the sizes from the files' headers.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import everystep
from everystep.core.files import read_json, read_jsonl
from everystep.core.recipe import Recipe, RewardMix, validate
from everystep.core.run import Run
from everystep.core.types import Truth
from everystep.score.mix import Mix, mix_of
from everystep.show.checked import beside, pieces, printable
from everystep.show.film.script import Figure, Piece, Quote, Shown, Words, figure, say
from everystep.show.report_data import ORDER, Findings, Line, Stage, read_findings

LABELS = {"base": "Base", "sft": "SFT", "grpo": "GRPO"}
NAMES = {"base": "the base", "sft": "SFT", "grpo": "GRPO"}
NAME = 24  # characters of a name that the run may choose as long as it likes
_FAMILIES = {"gemma": "Gemma", "gemma2": "Gemma 2", "gemma3": "Gemma 3", "gemma3_text": "Gemma 3"}
_HEADER = 100_000_000  # bytes; the format's own limit


@dataclass(frozen=True, slots=True)
class Facts:
    """A run as the film reads it: `whole`, whether `evaluate/summary.json` is there; `stages`: of `ORDER`."""

    run: Run
    found: Findings
    recipe: Recipe
    stages: list[Stage]
    whole: dict[str, Any] | None

    @property
    def last(self) -> Stage:
        return self.stages[-1]

    @property
    def planned(self) -> tuple[str, ...]:
        """The stages that the recipe's model goes through."""
        return ORDER if self.recipe.grpo.start == "sft" else ("base", "grpo")

    @property
    def missing(self) -> list[str]:
        """Those of them that have not been evaluated."""
        return [s for s in self.planned if s not in {x.name for x in self.stages}]


def read_facts(run: Run) -> Facts:
    """Raises ValueError where no stage has been evaluated, where the run's summary is not that of its stages,
    and for damaged files (with the place)."""
    found = read_findings(run)
    stages = [s for s in found.stages if s.name in ORDER]
    if not stages:
        raise ValueError(f"{run.root}: no stage has been evaluated; there is nothing to film")
    whole = read_json(run.summary) if run.summary.exists() else None
    if whole is not None and any(whole["stages"].get(s.name) != s.summary for s in stages):
        raise ValueError(f"{run.summary}: differs from the stages' own summaries; delete it, and finish the run")
    return Facts(run, found, validate(read_json(run.recipe_resolved), str(run.root)), stages, whole)


def of_stage(facts: Facts, stage: Stage, form: str, *keys: str) -> Figure:
    """A figure of a stage's summary, e.g. of ("contract", "value")."""
    value: Any = stage.summary
    for key in keys:
        value = value[key]
    where = ("stages", stage.name, *keys) if facts.whole else keys
    file = facts.run.summary if facts.whole else facts.run.evaluation_summary(facts.found.dataset, stage.name)
    return figure(form, value, _inside(facts.run, file), pointer(*where))


def interval(facts: Facts, stage: Stage, *keys: str) -> Words:
    """A share in percent with its interval: `87.8 [85.0, 90.2]`."""
    v, low, high = (of_stage(facts, stage, "percent", *keys, end) for end in ("value", "low", "high"))
    return say(v, " [", low, ", ", high, "]")


def of_pair(facts: Facts, before: str, after: str, form: str, key: str) -> Figure:
    """A figure of the comparison of two stages that follow each other."""
    pair = next(p for p in facts.found.pairs if (p.before, p.after) == (before, after))
    paired = (facts.whole or {}).get("paired", {}).get(f"{after}_vs_{before}")
    if paired is not None and key in paired:
        at = pointer("paired", f"{after}_vs_{before}", key)
        return figure(form, paired[key], _inside(facts.run, facts.run.summary), at)
    how = "Holm's correction over the pairs of stages" if key == "adjusted" else f"paired, {key}"
    return figure(form, getattr(pair, key), records_of(facts, after), f"{before} and {after}: {how}")


def counted(facts: Facts, stage: str, count: int, what: str) -> Figure:
    """A number of records of a stage."""
    return figure("count", count, records_of(facts, stage), what)


def records_of(facts: Facts, stage: str) -> str:
    return next(s.file for s in facts.found.stages if s.name == stage)


def read_value(facts: Facts, path: Path, form: str, *keys: str | int) -> Figure | None:
    """A number in a JSON file of the run, or in the rows of a `.jsonl`; None where it is not there."""
    if not path.is_file():
        return None
    value: Any = read_jsonl(path)[0] if path.suffix == ".jsonl" else read_json(path)
    for key in keys:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return figure(form, value, _inside(facts.run, path), pointer(*keys)) if known else None


def of_recipe(facts: Facts, form: str, *keys: str) -> Figure:
    """A number of the run's resolved recipe."""
    found = read_value(facts, facts.run.recipe_resolved, form, *keys)
    assert found is not None, keys  # the recipe is validated: the key has a number, or nobody asks for it
    return found


def rows_in(facts: Facts, path: Path) -> list[dict[str, Any]]:
    return read_jsonl(path)[0] if path.is_file() else []


def row_count(facts: Facts, paths: Sequence[Path]) -> Figure:
    n = sum(len(rows_in(facts, p)) for p in paths)
    return figure("count", n, " + ".join(_inside(facts.run, p) for p in paths), "rows")


def name(text: str, file: str, at: str, most: int = NAME) -> Quote:
    """A name that the run chose: printable, on one line, not too long."""
    shown = " ".join(printable(str(text)).split())
    return Quote(shown if len(shown) <= most else shown[: most - 1] + "…", file, at)


def mix(facts: Facts) -> tuple[Mix, list[tuple[Quote, Figure]]]:
    """The reward's mix, and its parts with their weights, heaviest first."""
    reward: RewardMix = facts.recipe.reward
    found = mix_of(reward)
    recipe = _inside(facts.run, facts.run.recipe_resolved)
    rows = []
    for part, weight in sorted(found.weights.items(), key=lambda row: (-abs(row[1]), row[0])):
        if weight:
            at = pointer("reward", "parts", part)
            if reward.parts is None:
                at = f"the weight of {part} in the preset that reward.preset names"
            rows.append((name(part, recipe, at, 32), figure("number", weight, recipe, at)))
    return found, rows


def question(facts: Facts, stage: Stage, line: Line, most: int) -> Words:
    """The question of a record and its gold answer."""
    where, task = f"{stage.file}:{line.number}", line.graded.task
    asked = name(task.question, where, "task.question", most)
    return say(asked, "  (gold:\xa0", name(task.answer, where, "task.answer", 40), ")")


def shown(stage: Stage, line: Line, heading: Words, most: int) -> Shown:
    """A record with its claims marked; at most so many characters of it."""
    text = line.row["text"]
    out: list[Piece] = []
    cut = list(pieces(line.row | {"text": text[:most]}))
    for i, (piece, check) in enumerate(cut):
        if check is None:
            out.append(Piece(printable(piece)))
            continue
        goes_on = i + 1 < len(cut) and cut[i + 1][1] is check
        sign = "" if goes_on else printable(beside(check))[:40]
        claim, why = ("", "") if goes_on else (printable(check[k])[:80] for k in ("claim", "reason"))
        out.append(Piece(printable(piece), check["truth"], sign, claim, why))
    if len(text) > most:
        out.append(Piece(f"… ({len(text) - most} more characters in the record)"))
    g, where = line.graded, f"{stage.file}:{line.number}"
    mark = "✓ " if g.sound else "✗ " if not g.contract else "! "
    evidence = name(line.found.evidence, where, "the evidence of the failure class", 110)
    outcome = say(mark, line.found.failure.value, ": ", evidence)
    return Shown(heading, tuple(out), g.sound, outcome, tuple(_earned(stage, line)), where)


def _earned(stage: Stage, line: Line) -> Iterator[tuple[Quote, Words]]:
    """What a record says that it earns, its parts first; a part without a value could not be scored."""
    at = line.number - 1
    for part, value in (line.row["parts"] or {}).items():
        keys = (at, "parts", part)
        shown = "not scored" if value is None else figure("two", value, stage.file, pointer(*keys))
        yield name(part, stage.file, pointer(*keys), 32), say(shown)
    if (total := line.row["total"]) is not None:
        keys = (at, "total")
        yield (
            Quote("total", stage.file, pointer(*keys)),
            say(figure("two", total, stage.file, pointer(*keys))),
        )


def told(line: Line) -> str:
    """What a completion is, to go on a sentence that begins with who wrote it."""
    g = line.graded
    false = any(c.truth is Truth.FALSE for c in g.checks)
    if g.contract:
        if line.found.failure.value != "right":
            return "has the right answer, from work that is not right"
        held = g.checks and all(c.truth is Truth.TRUE for c in g.checks)
        return "is right, in the agreed form" + (", and every claim holds" if held else "")
    if g.completion.stop.value == "length":
        return "runs into the token limit"
    if g.capable:
        return "has the right answer, but not in the agreed form"
    if g.verdict.value == "ungradable":
        return "gives an answer that no rule can decide"
    if false:
        return "makes a claim that is false, and its answer is not right"
    return "does not give the right answer"


# The model


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's config as read, where it is, its family in words, and which blocks see everything."""

    raw: dict[str, Any]
    file: str
    family: str
    layers: tuple[str, ...]

    def figure(self, key: str) -> Figure | None:
        value = self.raw.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            return None
        return figure("count", value, self.file, pointer(key))


def shape(facts: Facts) -> Shape | None:
    """The shape of the model that the recipe names; None where its config is not at hand, or says nothing."""
    for folder, label in _model_folders(facts):
        path = folder / "config.json"
        if not path.is_file():
            continue
        raw = read_json(path)
        if isinstance(raw, dict) and isinstance(raw.get("text_config"), dict):
            raw = raw["text_config"]
        family = _FAMILIES.get(str(raw.get("model_type"))) if isinstance(raw, dict) else None
        if family is not None:
            return Shape(raw, f"{label}/config.json", family, _layers(raw))
    return None


def parameters(facts: Facts) -> Figure | None:
    """How many parameters the model's file holds (a tied output layer that is stored too is not counted)."""
    for folder, label in _model_folders(facts):
        path = folder / "model.safetensors"
        if path.is_file() and (n := _size_of(path)):
            return figure("size", n, f"{label}/model.safetensors", "parameters, by the header")
    return None


def trained(facts: Facts) -> Figure | None:
    """How many parameters the last adapter holds."""
    for stage in ("grpo", "sft"):
        path = facts.run.adapter(stage)
        if path.is_file() and (n := _size_of(path)):
            return figure("count", n, _inside(facts.run, path), "parameters, by the header")
    return None


def _model_folders(facts: Facts) -> list[tuple[Path, str]]:
    given = facts.recipe.model.name
    if given == "tiny":
        return [(Path(everystep.__file__).parent / "model" / "assets" / "tiny", "everystep/model/assets/tiny")]
    # A folder's place on this machine is nobody's business: only its own name is shown.
    return [(Path(given), f"model {Path(given).name}")]


def _layers(raw: dict[str, Any]) -> tuple[str, ...]:
    n, types, every = raw.get("num_hidden_layers"), raw.get("layer_types"), raw.get("sliding_window_pattern")
    if not isinstance(n, int) or not 0 < n <= 1000:
        return ()
    if isinstance(types, list) and len(types) == n:
        return tuple("global" if str(t).startswith("full") else "local" for t in types)
    if isinstance(every, int) and every > 0:
        return tuple("local" if (i + 1) % every else "global" for i in range(n))
    return ("",) * n


def _size_of(path: Path) -> int | None:
    """The number of values in a safetensors file, from its header alone; None for one that is broken."""
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if size < _HEADER else {}
        return sum(
            math.prod(tensor["shape"])
            for key, tensor in header.items()
            if key not in ("__metadata__", "lm_head.weight")
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def pointer(*keys: str | int) -> str:
    """A JSON pointer (RFC 6901).

    >>> pointer("stages", "a/b", 0)
    '/stages/a~1b/0'
    """
    return "".join("/" + str(k).replace("~", "~0").replace("/", "~1") for k in keys)


def _inside(run: Run, path: Path) -> str:
    return path.relative_to(run.root).as_posix()
