"""What XLA says of the real steps: brought from some layers to all, made to fit by one change; and the verb
`plan`."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everystep.cli import app as cli
from everystep.core.recipe import Recipe, validate
from everystep.forecast.devices import Device
from everystep.forecast.memory import ACCELERATOR, Analysis, Use, analyse, ask, extrapolated, uses
from everystep.forecast.plan import plan
from everystep.forecast.programs import steps_of
from everystep.forecast.suggestions import suggestion
from everystep.model.config import Config, config_json
from everystep.model.io.known import shape_of
from everystep.model.io.layout import layout
from everystep.model.io.published import KNOWN
from model_fixtures import TUNIX
from test_checkpoints import PUBLISHED

pytestmark = TUNIX

SMALL = Config(
    family="gemma2",
    pattern="LG",
    num_layers=14,
    num_embed=4_096,
    embed_dim=64,
    hidden_dim=256,
    num_heads=4,
    head_dim=16,
    num_kv_heads=2,
    sliding_window_size=32,
    local_base_frequency=10_000,
    global_base_frequency=10_000,
    attention_cap=50.0,
    logits_cap=30.0,
    normalised=False,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the config of a narrow Gemma 2 of 14 layers."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "config.json").write_text(json.dumps(config_json(SMALL)))
    return folder


def recipe(model: str, **grpo: Any) -> Recipe:
    how = {"prompts": 8, "group": 4, "micro_prompts": 8, "max_tokens": 128, "start": "base"} | grpo
    tree = {"name": "x", "model": {"name": model}, "data": {"worked": {}}, "grpo": how}
    return validate(tree | {"evaluate": {"batch": 16, "max_tokens": 128}}, "x")


def made_device(memory: float, chips: int = 1) -> Device:
    link = 1e9 if chips > 1 else 0.0
    return Device("x", "a device of the test", "tpu", chips, memory / 0.95, 1e12, 1e12, 1e11, link)


# Shapes without a download


@pytest.mark.parametrize("name", KNOWN)
def test_known_shapes_are_the_published_ones(name: str) -> None:
    from tunix.models.gemma3.model import ModelConfig

    shape, size = PUBLISHED[{"gemma-3-1b": "gemma3_1b_it", "gemma-3-4b": "gemma3_4b_it"}.get(name) or
                            name.replace("gemma-", "gemma").replace("-", "_")]  # fmt: skip
    known = KNOWN[name]
    fields = {
        "num_hidden_layers": known.num_layers,
        "hidden_size": known.embed_dim,
        "intermediate_size": known.hidden_dim,
        "sliding_window": known.sliding_window_size,
    }
    assert {key: shape[key] for key in fields} == fields
    if size is not None:
        assert sum(int(np.prod(s)) for _, s in layout(known).values()) == size
    if name.startswith("gemma-3"):
        theirs = getattr(ModelConfig, name.replace("gemma-3-", "gemma3_") + ("" if "270" in name else "_it"))()
        for field in (
            "num_heads",
            "num_kv_heads",
            "head_dim",
            "global_base_frequency",
            "global_scale_factor",
        ):
            assert getattr(known, field) == getattr(theirs, field), field


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("google/gemma-3-1b-it", 26),
        ("google/gemma-3-270m", 18),
        ("kaggle:google/gemma-2/transformers/gemma-2-2b-it/2", 26),
        ("someone/Gemma-3-4B-it-copy@main", 34),
        ("tiny", 6),
    ],
)
def test_names_stand_for_shapes(name: str, layers: int) -> None:
    assert shape_of(name).num_layers == layers


@pytest.mark.parametrize("name", ["google/gemma-3-12b-it", "meta/llama", "no/such/folder", ""])
def test_an_unknown_shape_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="not a folder here, and its shape is not known") as error:
        shape_of(name)
    assert "\n" not in str(error.value)


def test_a_run_has_the_shape_of_its_base(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps({"model": {"name": "google/gemma-2-2b-it"}}))
    assert shape_of(str(tmp_path)) == shape_of(f"{tmp_path}:sft") == shape_of("gemma-2-2b")


# XLA's analysis


def test_bytes_are_those_of_the_shapes(small: Path) -> None:
    """Two layers, 16 prompts of 32 tokens, on one device, in both dtypes."""
    step = {"name": "a", "kind": "prefill", "rows": 16, "length": 32, "size": 48, "greedy": False}
    asked: dict[str, Any] = {"model": str(small), "devices": 1, "flags": ACCELERATOR, "weights": "replicated"}
    asked |= {"rank": 8, "alpha": 8.0, "layers": [2], "steps": [step], "dtype": "bfloat16"}
    said = ask(asked)["layers"]["2"]
    width, hidden, head, heads, kv = 64, 256, 16, 4, 2
    linear = 2 * ((2 * heads + 2 * kv) * head * width + 3 * width * hidden)
    norms = 2 * 4 * width + width
    assert said["held"]["weights"] == 2 * (linear + norms + 4_096 * width)
    assert said["held"]["beside"] == 2 * linear
    # Pairs of factors for queries, keys and values, the output, and three maps of the feed-forward.
    inner = heads * head
    factors = (width + inner) + (width + 2 * kv * head) + (inner + width) + 3 * (width + hidden)
    assert said["held"]["adapter"] == 2 * 2 * 8 * factors
    assert said["held"]["optimizer"] == pytest.approx(8 * said["held"]["adapter"], abs=100)  # 4 x float32
    past, logits = 16 * 32 * 2 * 2 * kv * head * 2, 16 * 4_096 * 4
    assert said["steps"]["a"]["results"] == pytest.approx(past + logits, abs=1_000)
    assert said["steps"]["a"]["arguments"] == pytest.approx(said["held"]["weights"] + 16 * 32 * 4, abs=1_000)


@pytest.mark.slow
def test_a_few_layers_say_what_all_hold(small: Path) -> None:
    """Compiled at 2 and 4 layers and brought to 14 along a line, against compiled at 14: the weights exactly,
    what a step holds meanwhile within 3 %."""
    given, device = recipe(str(small)), made_device(1e9, chips=2)
    steps = [s for s in steps_of(given, device.chips) if s.name in ("grpo update", "rollout decoding")]
    asked: dict[str, Any] = {"model": str(small), "dtype": "float32", "devices": 2, "weights": "replicated"}
    asked |= {"flags": ACCELERATOR, "rank": 8, "alpha": 8.0}
    asked |= {"steps": [{"name": s.name, **s.size} for s in steps]}
    said = ask(asked | {"layers": [2, 4, 14]})
    whole = said["layers"].pop("14")
    found = extrapolated(said)
    assert found.held == whole["held"] and set(found.steps) == set(whole["steps"]) and found.layers == (2, 4)
    for name, parts in whole["steps"].items():
        for part in ("arguments", "results", "meanwhile"):
            assert found.steps[name][part] == pytest.approx(parts[part], rel=0.03, abs=2e5), (name, part)


@pytest.mark.slow
def test_chips_share_rows_and_spread_weights(small: Path) -> None:
    given = recipe(str(small))

    def found(r: Recipe, chips: int) -> Analysis:
        steps = [s for s in steps_of(r, chips) if s.name in ("grpo update", "rollout decoding")]
        return analyse(r, made_device(1e9, chips), steps)

    one, four = found(given, 1), found(given, 4)
    assert four.held == one.held
    of = {name: (one.steps[name]["meanwhile"], four.steps[name]["meanwhile"]) for name in one.steps}
    assert of["grpo update"][1] < 0.4 * of["grpo update"][0]
    assert of["rollout decoding"][1] < of["rollout decoding"][0]
    fsdp = given.model_copy(update={"model": given.model.model_copy(update={"weights": "fsdp"})})
    spread = found(fsdp, 4)
    assert spread.held["adapter"] == one.held["adapter"] and spread.held["weights"] <= one.held["weights"]


# What does not fit


@pytest.mark.slow
def test_one_change_helps_what_does_not_fit(small: Path) -> None:
    """A chip with room for the update of 16 rows and not of 32: half the micro-batch is what is said."""
    given, half = recipe(str(small)), recipe(str(small), micro_prompts=4)

    def largest(r: Recipe) -> tuple[Analysis, Use]:
        steps = [s for s in steps_of(r, 1) if s.name == "grpo update"]
        analysis = analyse(r, made_device(1e9), steps)
        return analysis, uses(analysis, steps)[0]

    (analysis, whole), (_, less) = largest(given), largest(half)
    assert less.total < 0.8 * whole.total
    tight = made_device((whole.total + less.total) / 2)
    assert suggestion(given, tight, analysis, [whole]) == "grpo.micro_prompts=4"
    assert suggestion(given, made_device(1e6), analysis, [whole]) is None


@pytest.mark.slow
def test_hours_that_do_not_suffice_are_helped_by_fewer_steps(small: Path) -> None:
    given = recipe(str(small), steps=10_000).model_copy(update={"hours": 1.0})
    slow = dataclasses.replace(made_device(1e12), bfloat16=1e10, float32=1e10)
    found = plan(given, slow, say=lambda text: None)
    (problem,) = found.findings.red
    fit = re.fullmatch(r"grpo\.steps=(\d+) .*", problem.suggestion)
    assert problem.name == "hours" and fit and 0 < int(fit[1]) < 10_000
    assert "h of 54.0 min" in problem.measured and found.seconds > 3600


# The verb


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["plan", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.slow
def test_the_verb_plans_the_tiny_recipe(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(root / "recipes" / "tiny.yaml")
    code, out, _ = called(capsys, file, "--device", "cpu", "--quiet", "--json")
    said = json.loads(out)
    assert (
        code == 0
        and said["fits"]
        and not any(f["light"] == "red" for f in said["findings"])
        and said["memory"]["compiled_layers"] == [6]
    )
    steps = said["memory"]["steps"]
    assert {"sft update", "grpo update", "reference", "rollout decoding", "evaluate prefill"} <= steps.keys()
    for use in steps.values():
        assert use["total"] == pytest.approx(use["given"] + use["working"] + use["beside"])
        assert 1e6 < use["total"] < 2e9
    assert 0.05 < said["needed_hours"] < 2 and sum(said["seconds"].values()) < 7200
    code, out, err = called(capsys, file, "grpo.micro_prompts=16", "--device", "cpu")
    assert code == 0 and "grpo update" in out and "✓ fits" in out and "Assumed" in out and "compiled" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "v9"], "--device 'v9' is not known"),
        (["model.name=meta/llama"], "its shape is not known"),
        (["grpo.nothing=1"], "grpo.nothing"),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    code, out, err = called(capsys, str(root / "recipes" / "tiny.yaml"), *arguments, "--quiet")
    assert code == 2 and out == "" and said in err and len(err.splitlines()) == 1


def test_a_recipe_for_another_verb_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = called(capsys, str(root / "recipes" / "tiny_base.yaml"))
    assert code == 2 and "is for `everystep pretrain`" in err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma3_270m", "gemma3_1b", "gemma2_2b"])
def test_the_recipes_of_real_models_fit_a_session(root: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, _ = called(capsys, str(root / "recipes" / f"{name}.yaml"), "--device", "v5e-8", "--quiet", "--json")
    said = json.loads(out)
    assert code == 0 and said["fits"], said["findings"]
    assert max(use["total"] for use in said["memory"]["steps"].values()) <= 15.2e9
    assert said["needed_hours"] <= 9


MEASURED = """
import json, re, sys
from pathlib import Path
from everystep.model.io.load import load
from everystep.model.lora import add_lora
from everystep.core.recipe import Sft
from everystep.train.sft import Example, sft

base = load("tiny")
model, size = add_lora(base.model, 16, 32.0, 0), int(sys.argv[1])
rows = [Example(list(range(4, 100)), list(range(100, 226))) for _ in range(3 * size)]
sft(model, base.tokenizer, rows, [], Sft(batch=size, epochs=1, warmup=0.0), 0, lambda step, metrics: None)
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is the kernel's own")
def test_what_is_foretold_is_what_steps_take() -> None:
    """SFT of the tiny model, rows of 224 tokens: by how much more a process holds at its peak with batches of
    64 than with batches of 16, against what the plan calls working."""
    tree = {"name": "x", "data": {"worked": {}, "max_prompt_tokens": 96, "max_trace_tokens": 126}}
    given = validate(tree | {"sft": {"batch": 64}}, "x")
    (step,) = [s for s in steps_of(given, 1) if s.name == "sft update"]
    assert (step.size["rows"], step.size["length"]) == (64, 224)
    steps = [step, dataclasses.replace(step, name="small", size={**step.size, "rows": 16})]
    cpu = dataclasses.replace(made_device(1e9), family="cpu")
    large, small = uses(analyse(given, cpu, steps), steps)
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-W", "ignore", "-c", MEASURED, str(size)],
                capture_output=True, text=True, timeout=250, check=True,
            ).stdout
        )
        for size in (64, 16)
    ]  # fmt: skip
    more = (peaks[0] - peaks[1]) * 1024
    assert more > 1e8 and more == pytest.approx(large.working - small.working, rel=0.25)
