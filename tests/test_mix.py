"""Mixes and presets: what is accepted, gates, parts normalised by group, judged values, and the order law."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest

from everystep.core.recipe import RewardMix, load, load_reward
from everystep.core.strict import RecipeError
from everystep.core.types import Completion, Graded, Kind, Task
from everystep.evaluate.changes import arms, read_ablation
from everystep.score.groups import score_groups, spread
from everystep.score.mix import PRESETS, Mix, mix_of, order, read_mix
from everystep.score.rewards import BOUNDS, bounds, total
from everystep.verify.grade import grade

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
TASK = Task("t", "math", "Ann has 6 pens and buys 4 more. How many?", "10", Kind.NUMBER, "test", "test")


def graded(answer: str, sample: int = 0, steps: str = "Step 1: 6 + 4 = 10 pens.") -> Graded:
    text = f"<reasoning>\n{steps}\n</reasoning>\n<answer>{answer}</answer>"
    return grade(TASK, Completion(TASK.id, sample, text, (1,) * 40))


RIGHT, WRONG, FALSE = graded("10"), graded("11", 1), graded("11", 2, "Step 1: 6 + 4 = 11 pens.")
BROKEN = grade(TASK, Completion(TASK.id, 3, "10", (1,) * 4))


def test_the_presets_hold_their_sources_weights() -> None:
    assert set(PRESETS) == {"composite", "rubric", "verified"}
    assert read_mix("composite").weights == {"correctness": 0.6, "structure": 0.25, "confidence": 0.15}
    rubric = read_mix("rubric")
    assert rubric.weights == {
        "judge/reasoning_quality": 0.40,
        "correctness": 0.30,
        "judge/coherence": 0.20,
        "judge/step_clarity": 0.10,
        "format": 0.5,
        "repetition": 0.1,
        "length": 0.05,
    }
    assert rubric.judged == ("reasoning_quality", "coherence", "step_clarity")
    assert read_mix("verified").weights == {"correctness": 1.0, "process": 0.2, "format": 0.2}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_loads_and_scores(name: str) -> None:
    scores = score_groups([[RIGHT, WRONG, FALSE, BROKEN]], read_mix(name))[0]
    assert scores[0].total == max(s.total for s in scores if s.total is not None)
    for score in scores:
        assert score.total == total(score.parts, read_mix(name).weights)


# The order law

ABLATION = RECIPES / "ablations" / "tiny.yaml"
ARMS = {a.change: a.job.recipe for a in arms(read_ablation(ABLATION), ABLATION) if a.family == "reward"}
SHAPES = {"verified": read_mix("verified"), **{name: mix_of(recipe.reward) for name, recipe in ARMS.items()}}


def enumerated(mix: Mix, rank: str, known: tuple[str, ...]) -> list[float]:
    """Every total of a rank over all combinations of its parts' extremes (and middles), gates applied."""
    names = [n for n in mix.names if n in known]
    ranges = [getattr(bounds(n), rank) for n in names]
    out = []
    for values in itertools.product(*({low, (low + high) / 2, high} for low, high in ranges)):
        own: dict[str, float | None] = dict(zip(names, values, strict=True))
        for name, gate in mix.only_if.items():
            if name in own and own.get(gate) != max(high for _, high in bounds(gate)):
                own[name] = 0.0 if gate in own else None
        whole = total(own, mix.weights)
        assert whole is not None
        out.append(whole)
    return out


@pytest.mark.parametrize("mix", SHAPES.values(), ids=list(SHAPES))
def test_order_any_right_over_any_wrong_over_any_malformed(mix: Mix) -> None:
    """Over every combination of part values, and every set of parts that a group may lack. Correctness and
    format are never lacking: a group without the first has no right and wrong."""
    optional = [n for n in mix.names if n not in ("correctness", "format")]
    for n in range(len(optional) + 1):
        for left_out in itertools.combinations(optional, n):
            known = tuple(name for name in mix.names if name not in left_out)
            right, wrong, malformed = (enumerated(mix, r, known) for r in ("right", "wrong", "malformed"))
            assert min(right) > max(wrong) >= min(wrong) > max(malformed), known
    spans = order(mix)
    for rank in ("right", "wrong", "malformed"):
        found = enumerated(mix, rank, mix.names)
        assert spans[rank] == pytest.approx((min(found), max(found)))


def test_the_published_mixes_do_not_keep_the_order() -> None:
    for name in ("composite", "rubric"):
        o = order(read_mix(name))
        assert o["wrong"][1] > 0 and not (o["right"][0] > o["wrong"][1] and o["wrong"][0] > o["malformed"][1])


# What a recipe may say


def test_presets_may_be_changed_key_by_key() -> None:
    mix = mix_of(RewardMix(preset="composite", floor=0.2, only_if={"structure": "correctness"}))
    assert (mix.weights["structure"], mix.floor, mix.normalise) == (0.25, 0.2, "total")
    assert mix.only_if == {"structure": "correctness"}
    tolerant = mix_of(RewardMix(parts={"correctness": 1.0}, tolerance=0.2))
    assert score_groups([[graded("11")]], tolerant)[0][0].total == 1.0
    short = mix_of(RewardMix(parts={"length": 1.0}, budget=20))
    assert score_groups([[RIGHT]], short)[0][0].total == 0.0


def test_a_file_is_a_mix_and_so_is_a_recipe(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("parts: {correctness: 2, format: 1}\nnormalise: parts\n")
    assert read_mix(str(own)).weights == {"correctness": 2.0, "format": 1.0}
    assert read_mix(str(own)).normalise == "parts"
    assert read_mix(str(RECIPES / "tiny.yaml")) == read_mix("verified")


BAD = [
    ("preset: verfied", "'verfied' does not exist; did you mean 'verified'?"),
    ("preset: zzz", "there are composite, rubric, verified, or give a .yaml file"),
    ("preset: verified\nparts: {correctness: 1}", "give either preset or parts"),
    ("floor: 0.1", "give either preset or parts"),
    ("parts: {corectness: 1}", "did you mean 'correctness'?"),
    ("parts: {judge/: 1}", "'judge/' does not exist"),
    ("parts: {}", "no reward part has a weight"),
    ("parts: {correctness: 0}", "no reward part has a weight"),
    ("parts: {correctness: .nan}", "finite number"),
    ("parts: {correctness: 1}\nfloor: 0", "floor"),
    ("parts: {correctness: 1}\nnormalise: both", "normalise: Input should be 'total' or 'parts'"),
    (
        "parts: {correctness: 1}\nonly_if: {structure: correctness}",
        "'structure' if 'correctness' makes no sense",
    ),
    ("parts: {structure: 1}\nonly_if: {structure: structure}", "makes no sense"),
    (
        "parts: {structure: 1, process: 1}\nonly_if: {structure: process, process: correctness}",
        "makes no sense",
    ),
    ("parts: {structure: 1}\nonly_if: {structure: corectness}", "did you mean 'correctness'?"),
    ("parts: {correctness: 1}\nfloors: 0.1", "unknown key 'floors'; did you mean 'floor'?"),
]


@pytest.mark.parametrize(("written", "message"), BAD)
def test_bad_sections_are_refused_in_one_line(tmp_path: Path, written: str, message: str) -> None:
    file = tmp_path / "reward.yaml"
    file.write_text(written)
    with pytest.raises(ValueError) as caught:
        read_mix(str(file))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_name_that_is_neither_preset_nor_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'composite'"):
        read_mix("compsite")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_mix(str(tmp_path / "nowhere.yaml"))
    with pytest.raises(RecipeError, match="cannot be read"):
        load_reward(tmp_path)


# Groups


def test_gates() -> None:
    open_ = Mix({"correctness": 1.0, "structure": 1.0, "format": 0.2})
    gated = replace(open_, only_if={"structure": "correctness"})
    free, tied = (score_groups([[RIGHT, WRONG, BROKEN]], m)[0] for m in (open_, gated))
    assert free[1].parts["structure"] == free[0].parts["structure"] == tied[0].parts["structure"] > 0  # type: ignore[operator]
    assert tied[1].parts["structure"] == tied[2].parts["structure"] == 0.0
    by_itself = Mix({"structure": 1.0}, only_if={"structure": "correctness"})
    scores = score_groups([[RIGHT, WRONG]], by_itself)[0]
    assert scores[0].parts.keys() == {"structure", "correctness"}  # a gate is computed and logged
    assert scores[1].total == 0.0
    text = replace(TASK, kind=Kind.TEXT, answer="a rose by any name")
    ungradable = grade(text, replace(WRONG.completion, text=RIGHT.completion.text))
    assert score_groups([[ungradable]], gated)[0][0].parts["structure"] is None


def test_parts_normalised_by_group() -> None:
    mix = Mix({"correctness": 1.0, "process": 0.5, "format": 1.0}, normalise="parts")
    rows = [RIGHT, WRONG, FALSE, graded("11", 3)]
    scores = score_groups([rows], mix)[0]
    assert [s.parts["correctness"] for s in scores] == [1.0, 0.0, 0.0, 0.0]  # parts stay as they are
    root = math.sqrt(3)
    expected = [root + 0.5 / root, -1 / root + 0.5 / root, -1 / root - 0.5 * root, -1 / root + 0.5 / root]
    assert [s.total for s in scores] == pytest.approx(expected)
    assert sum(s.total for s in scores if s.total is not None) == pytest.approx(0)
    floored = replace(mix, floor=10.0)
    assert score_groups([rows], floored)[0][0].total == pytest.approx(0.075 + 0.5 * 0.025)
    assert spread(score_groups([[RIGHT, RIGHT]], mix)[0]).dead


def test_a_judge_that_fails_for_one_is_left_out_for_the_group() -> None:
    mix = read_mix("rubric")
    whole = dict.fromkeys(mix.judged, 1.0)
    told = {("t", 0): whole, ("t", 1): whole | {"coherence": None}}
    first, second = score_groups([[RIGHT, WRONG]], mix, told)[0]
    assert (first.parts["judge/reasoning_quality"], second.parts["judge/reasoning_quality"]) == (1.0, 1.0)
    assert first.parts["judge/coherence"] is None and second.parts["judge/coherence"] is None
    assert first.total == pytest.approx(0.4 + 0.3 + 0.1 + 0.05 * first.parts["length"])  # type: ignore[operator]
    assert spread([first, second]).coverage["judge/coherence"] == 0.0
    good, bad = score_groups([[RIGHT, BROKEN]], mix, {("t", 0): whole, ("t", 3): whole})[0]
    assert (good.parts["judge/coherence"], bad.parts["judge/coherence"]) == (1.0, 0.0)  # no trace, no credit
    for judged in (None, {}, {("t", 0): None, ("t", 1): whole}, {("u", 0): whole}):
        scores = score_groups([[RIGHT, WRONG]], mix, judged)[0]
        assert all(s.parts[f"judge/{c}"] is None for s in scores for c in mix.judged)


@pytest.mark.parametrize("value", [1.5, -0.1, math.nan, math.inf])
def test_a_judges_value_out_of_range_stops(value: float) -> None:
    mix = Mix({"judge/coherence": 1.0})
    with pytest.raises(ValueError, match=r"'judge/coherence', task t, sample 0: the judge's value is"):
        score_groups([[RIGHT]], mix, {("t", 0): {"coherence": value}})


def test_bounds_cover_every_part() -> None:
    assert bounds("judge/anything").right == (0, 1)
    with pytest.raises(KeyError):
        bounds("nothing")
    assert all(low <= high for b in BOUNDS.values() for low, high in b)


@pytest.mark.parametrize("change", sorted(ARMS))
def test_an_ablation_of_the_reward_differs_from_tiny_in_its_reward_alone(change: str) -> None:
    tiny, recipe = load(RECIPES / "tiny.yaml"), ARMS[change]
    shorter = tiny.grpo.model_copy(update={"steps": recipe.grpo.steps})
    own = {"seed": recipe.seed, "reward": recipe.reward, "grpo": shorter}
    assert tiny.model_copy(update=own) == recipe
    whole, own = mix_of(ARMS["all_parts"].reward), mix_of(recipe.reward)
    assert set(whole.weights) - set(own.weights) == {change.removeprefix("no_")} - {"all_parts"}
    assert own.weights.items() <= whole.weights.items() and own.only_if.items() <= whole.only_if.items()
