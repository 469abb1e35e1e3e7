"""The arithmetic of the plan: devices, counted work, lengths, sizes, hours. XLA is in test_plan_memory.py."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from everystep.core.recipe import Data, Grpo, Recipe, Sft, WorkedSource, load, validate
from everystep.core.run import Run
from everystep.forecast.devices import DEVICES, EFFICIENCY, FRACTION, Device, device
from everystep.forecast.hours import counted, counted_sft_steps, stages, steps_that_fit, tasks
from everystep.forecast.lengths import even, of_run, quantiles
from everystep.forecast.memory import dtype_of, extrapolated, kept, line
from everystep.forecast.programs import sharing, steps_of, uneven
from everystep.forecast.suggestions import changed, changes
from everystep.forecast.work import Machine
from everystep.model.shape import Shape

ONE_B = Shape(26, 262_144, 1_152, 6_912, 4, 1, 256, True, 13e6)


def recipe(**parts: Any) -> Recipe:
    return Recipe(name="x", data=Data(worked=WorkedSource()), **parts)


# Devices


def test_the_devices_that_are_asked_for_are_known() -> None:
    assert {"v5e-8", "v3-8", "t4", "l4", "a100-40", "a100-80", "h100", "h200", "cpu"} <= DEVICES.keys()
    for name, d in DEVICES.items():
        assert d.name == name and min(d.memory, d.bfloat16, d.float32, d.bandwidth) > 0 and d.chips >= 1
        assert 0 < d.room() < d.memory and (d.link > 0) == (d.chips > 1) and d.family in EFFICIENCY
    assert (device("V5E-8").chips, device("v3-8").chips, device("h200").memory) == (8, 8, 141e9)


def test_of_a_gpu_jax_takes_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FRACTION, raising=False)
    assert device("a100-80").room() == pytest.approx(60e9)
    monkeypatch.setenv(FRACTION, "0.9")
    assert device("a100-80").room() == pytest.approx(72e9)
    monkeypatch.setenv(FRACTION, "nonsense")
    assert device("a100-80").room() == pytest.approx(60e9)
    assert device("v5e-8").room() == pytest.approx(15.2e9)


def test_another_device_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"--device 'v9' is not known; there are v5e-8, v3-8") as error:
        device("v9")
    assert "\n" not in str(error.value)


# Counted work


def test_parameters_are_those_of_the_model_but_for_norms() -> None:
    assert ONE_B.parameters == pytest.approx(999_885_952, rel=1e-3)


def test_an_update_costs_what_is_written_about_it() -> None:
    """Two and four operations for each parameter and token of a base that is frozen, two more with remat; six
    for each parameter of the embedding and token of a completion."""
    plain = Shape(4, 1_000, 64, 256, 4, 2, 16, False)
    v5e = device("v5e-8")
    rate = 8 * v5e.bfloat16 * EFFICIENCY["tpu"].compute
    for shape, passes in ((plain, 4), (Shape(4, 1_000, 64, 256, 4, 2, 16, True), 6)):
        seconds = Machine(shape, v5e, "bfloat16").update(8, 0, 0, 32)
        attention = 4 * 4 * 4 * 16 * 32 * 8 * 32  # layers, heads, width; 32 keys of 256 tokens
        expected = passes * shape.linear * 256 + 6 * shape.table * 256 + attention * (passes / 2 + 1)
        assert seconds * rate == pytest.approx(expected)


def test_a_decode_step_is_bound_by_bytes_with_few_rows_and_by_operations_with_many() -> None:
    machine = Machine(ONE_B, device("h100"), "bfloat16")
    reach = EFFICIENCY["gpu"].decode
    few = machine.step(16, 800)
    assert few > ONE_B.parameters * 2 / 3350e9 / reach
    assert few < 1.2 * (ONE_B.parameters * 2 + 16 * 800 * 26 * 2 * 256 * 2) / 3350e9 / reach
    slow = Device("x", "x", "gpu", 1, 1e9, 1e12, 1e12, 1e15)
    machine = Machine(ONE_B, slow, "bfloat16")
    assert machine.step(512, 32) == pytest.approx(512 * 2 * ONE_B.parameters / 1e12 / reach, rel=0.05)


def test_rows_that_chips_do_not_divide_are_computed_on_each_of_them() -> None:
    machine = Machine(ONE_B, device("v5e-8"), "bfloat16")
    assert machine.step(12, 800) > machine.step(16, 800)


def test_decoding_ends_with_its_longest_row_and_drops_those_that_have_ended() -> None:
    machine = Machine(ONE_B, device("l4"), "bfloat16")

    def seconds(share: float) -> float:
        return machine.decoding(8, 8, 288, 512, even(512, share))

    every = (512 / 16) * 16 * machine.step(64, 288 / 8 + 512)
    assert seconds(0.1) < 0.4 * seconds(0.5) < 0.5 * every
    assert seconds(0.5) < every < 1.15 * seconds(1.0)


def test_spread_weights_cost_time() -> None:
    v5e = device("v5e-8")
    whole, spread = Machine(ONE_B, v5e, "bfloat16"), Machine(ONE_B, v5e, "bfloat16", spread=True)
    assert spread.update(64, 8, 288, 512) > whole.update(64, 8, 288, 512)


# Lengths


def test_lengths_of_a_run_are_read_from_its_last_steps(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert of_run(run, "grpo", 512) is None and of_run(run, "evaluate", 512) is None
    folder = run.records(1).parent
    folder.mkdir(parents=True)
    for step in range(1, 31):
        rows = [{"tokens": 500 if step <= 10 else 100 + step} for _ in range(4)]
        run.records(step).write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = of_run(run, "grpo", 120)
    assert found is not None and found.values[0] == 111 and found.values[-1] == 120
    assert "80 completions" in found.origin


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_even_lengths_have_their_mean_and_stay_inside(share: float) -> None:
    lengths = even(512, share)
    assert lengths.mean == pytest.approx(512 * share) and 0 < lengths.values[0] <= lengths.values[-1] < 512
    assert lengths.alive(0) == 1 and lengths.alive(512) == 0
    assert lengths.mean == pytest.approx(lengths.longest(1))
    assert lengths.longest(8) < lengths.longest(64) <= lengths.values[-1]


def test_no_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="no completions"):
        quantiles([], "")


# Sizes


def test_steps_are_those_that_training_makes() -> None:
    how = Grpo(prompts=8, group=8, micro_prompts=2, max_tokens=500)
    found = {s.name: s for s in steps_of(recipe(grpo=how, sft=Sft(batch=16, accumulate=2)), 1)}
    assert list(found) == [
        "sft update", "rollout prefill", "rollout decoding", "reference", "grpo update",
        "evaluate prefill", "evaluate decoding",
    ]  # fmt: skip
    assert found["grpo update"].size == {
        "kind": "grpo", "rows": 16, "length": 128, "last": 512, "group": 8, "accumulate": 2,
    }  # fmt: skip
    assert found["rollout decoding"].size["rows"] == 64 and found["rollout decoding"].size["size"] == 640
    assert found["sft update"].size["accumulate"] == 2
    base = recipe(grpo=how.model_copy(update={"start": "base", "beta": 0.0}))
    assert not {"sft update", "reference"} & {s.name for s in steps_of(base, 1)}
    own = recipe(sft=Sft(data="self"))
    assert "self decoding" in {s.name for s in steps_of(own, 1)}


@pytest.mark.parametrize(
    ("parts", "said", "change"),
    [
        ({"grpo": Grpo(prompts=3, group=4)}, "3 prompts x group 4", "grpo.prompts=4 grpo.micro_prompts=2"),
        ({"grpo": Grpo(prompts=8, group=4, micro_prompts=1)}, "1 prompts x group 4", "grpo.micro_prompts=2"),
        ({"grpo": Grpo(prompts=8, group=8, micro_prompts=3)}, "does not divide 8 prompts", "micro_prompts=1"),
        ({"sft": Sft(batch=12)}, "sft.batch is 12", "sft.batch=16"),
    ],
)
def test_batches_that_chips_do_not_divide_have_a_suggestion(parts: Any, said: str, change: str) -> None:
    found = uneven(recipe(**parts), 8)
    assert len(found) == 1 and said in found[0][0] and change in found[0][1]
    assert not uneven(changed(recipe(**parts), found[0][1]), 8)


def test_changes_are_single_ones_that_training_would_take() -> None:
    how = Grpo(prompts=8, group=8, micro_prompts=8)
    words = [c.words for c in changes(recipe(grpo=how), ["grpo update", "reference"], 8)]
    assert words[:3] == ["grpo.micro_prompts=4", "grpo.micro_prompts=2", "grpo.micro_prompts=1"]
    assert "model.weights=fsdp" in words and "grpo.group=4" in words and "grpo.max_tokens=64" in words
    words = [c.words for c in changes(recipe(), ["evaluate decoding"], 1)]
    assert words == ["evaluate.batch=64", "evaluate.batch=32", "evaluate.batch=16"]
    words = [c.words for c in changes(recipe(sft=Sft(batch=16)), ["sft update"], 1)]
    assert words[0] == "sft.batch=8 sft.accumulate=2"
    # Nothing of one family alone mends two; what mends both does.
    assert not list(changes(recipe(), ["evaluate decoding", "sft update"], 1))
    assert [c.words for c in changes(recipe(), ["evaluate decoding", "sft update"], 8)] == ["model.weights=fsdp"]


def test_a_prompt_is_computed_once_where_training_does_so() -> None:
    from everystep.train import grpo

    for prompts, micro, group, chips in ((8, None, 4, 8), (8, 2, 8, 8), (16, 4, 4, 2), (6, 3, 2, 3)):
        how = Grpo(prompts=prompts, micro_prompts=micro, group=group)
        assert sharing(recipe(grpo=how), chips) == grpo.rows_with_one_prompt(how, chips)


# Memory, by hand


def test_layers_are_brought_along_a_line() -> None:
    assert line({6: 1.0, 12: 2.5}, 26) == pytest.approx(6.0)
    said = {
        "shape": asdict(replace(ONE_B, layers=4)),
        "layers": {
            "1": {"held": {"weights": 10}, "steps": {"a": {"meanwhile": 5}}},
            "2": {"held": {"weights": 14}, "steps": {"a": {"meanwhile": 5}}},
        },
    }
    found = extrapolated(said)
    assert (found.held["weights"], found.steps["a"]["meanwhile"], found.layers) == (22, 5, (1, 2))


def test_with_remat_a_further_layer_costs_its_input() -> None:
    size = {"kind": "grpo", "rows": 16, "length": 32, "last": 64, "group": 8}
    numbers = (16 * 64 + 2 * 32) * 1_152 + 2 * 32 * 2 * 256
    assert kept(size, ONE_B, 1) == numbers and kept(size, ONE_B, 8) == numbers / 8
    assert kept({"kind": "sft", "rows": 8, "length": 32}, ONE_B, 2) == 4 * 32 * 1_152
    assert kept({"kind": "chunk"}, ONE_B, 1) == kept({"kind": "reference"}, ONE_B, 1) == 0
    at = {str(n): {"held": {}, "steps": {k: {"meanwhile": 10.0 * n} for k in "ab"}} for n in (2, 4)}
    found = extrapolated({"shape": asdict(ONE_B), "layers": at}, {"a": 3.0, "b": 0.0})
    assert (found.steps["a"]["meanwhile"], found.steps["b"]["meanwhile"]) == (20 + 24 * 3, 260)


def test_what_weights_are_held_in() -> None:
    big = validate({"name": "x", "data": {"worked": {}}, "model": {"name": "google/gemma-3-1b-it"}}, "x")
    assert dtype_of(big, device("t4")) == "bfloat16" and dtype_of(big, device("cpu")) == "float32"
    assert dtype_of(recipe(), device("v5e-8")) == "float32"


# Hours


def test_hours_grow_with_what_is_asked_for(root: Path) -> None:
    given = load(root / "recipes" / "gemma3_1b.yaml")
    machine = Machine(ONE_B, device("v5e-8"), "bfloat16")

    def seconds(*words: str) -> dict[str, float]:
        made = changed(given, " ".join(words)) if words else given
        parts = counted(made, machine, even(400), even(made.grpo.max_tokens), even(made.evaluate.max_tokens))
        spent = stages(made, tasks(made), counted_sft_steps(made, tasks(made)), parts)
        assert all(s.seconds > 0 for s in spent) and parts.grpo is not None and parts.grpo.total > 0
        return {s.name: s.seconds for s in spent}

    base = seconds()
    assert seconds(f"grpo.steps={2 * given.grpo.steps}")["grpo"] == pytest.approx(2 * base["grpo"])
    assert seconds("grpo.group=16")["grpo"] > base["grpo"] > seconds("grpo.max_tokens=128")["grpo"]
    assert seconds("grpo.beta=0.0")["grpo"] < base["grpo"]
    more = seconds("grpo.start=sft", "sft.data=self", "sft.batch=16")
    assert {"self-made data", "sft", "evaluate sft"} <= more.keys()


def test_steps_that_fit_the_hours_do() -> None:
    how = recipe(grpo=Grpo(steps=100))
    assert steps_that_fit(how, 1000, 900, 550) == 50
    assert steps_that_fit(how, 1000, 900, 100) == 0 and steps_that_fit(how, 1000, 900, 2000) == 100


def test_tasks_are_counted_without_reading_them() -> None:
    parts = {"gsm8k": {"dev": 200, "test": 600}, "worked": {"train": 100, "dev": 10, "test": 20}}
    found = tasks(validate({"name": "x", "data": parts}, "x"))
    assert found == {"train": 7_573, "sft": 7_573, "dev": 210, "test": 620} and not math.isnan(sum(found.values()))
