"""What each step needs on a chip: XLA's analysis of the real steps, and what lies there besides.

The analysis is made by `train/footprint.py` in a process of its own, on CPU, with as many virtual devices as
the planned one has chips; here it is asked for, brought from a few layers to all of them, and added up. A
layer is like the next, so what a step holds grows by the same bytes with every layer.

With remat one thing is counted here instead: what an update keeps of a further layer. That is the layer's
input; XLA for CPU orders a backward pass so that the adapters' gradients come last, and keeps the inside of
all layers for them, which would say nothing about an accelerator.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from everystep.core.recipe import Recipe
from everystep.forecast.devices import Device, Dtype
from everystep.forecast.programs import Step
from everystep.model.shape import Shape

_PATIENCE = 1200.0  # seconds for one analysis
# No time is spent on machine code: what a program holds in memory is decided before.
_QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
# For accelerators products are left to XLA itself, steps come in the order that holds least, and what is
# computed again in a backward pass is not merged with its first computation, as XLA does for CPUs.
ACCELERATOR = (
    f"{_QUICK} --xla_cpu_experimental_ynn_fusion_type= --xla_disable_hlo_passes=cse "
    "--xla_cpu_scheduler_type=CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
)


@dataclass(frozen=True, slots=True)
class Use:
    """What a step holds on a chip at its fullest, in bytes: what it works on (`given`: weights, past, batch),
    what it makes meanwhile (`working`), and what lies there besides (`beside`). `rows` of it."""

    step: Step
    given: float
    working: float
    beside: float

    @property
    def bytes(self) -> dict[str, float]:
        return {"given": self.given, "working": self.working, "beside": self.beside}

    @property
    def total(self) -> float:
        return self.given + self.working + self.beside


@dataclass(frozen=True, slots=True)
class Analysis:
    """`shape`: the model's numbers; `held`: bytes a chip of weights, adapter, optimizer and of what decoding
    has besides; `steps`: the bytes of each step by name; all for all layers. `layers`: at how many it was
    compiled."""

    shape: Shape
    held: Mapping[str, float]
    steps: Mapping[str, Mapping[str, float]]
    layers: tuple[int, ...]


def dtype_of(recipe: Recipe, device: Device) -> Dtype:
    """What weights are held in: float32 on a CPU and for the tiny model, bfloat16 on accelerators."""
    return "float32" if device.family == "cpu" or recipe.model.name == "tiny" else "bfloat16"


def analyse(recipe: Recipe, device: Device, steps: Sequence[Step]) -> Analysis:
    """XLA's analysis of these steps. Raises ValueError, one line, for a model whose shape is not known."""
    dtype = dtype_of(recipe, device)
    said = ask(
        {
            "model": recipe.model.name,
            "dtype": dtype,
            "devices": device.chips,
            "flags": _QUICK if device.family == "cpu" else ACCELERATOR,
            "weights": recipe.model.weights,
            "rank": recipe.model.lora.rank,
            "alpha": recipe.model.lora.alpha,
            "layers": None,
            "steps": [{"name": step.name, **step.size} for step in steps],
        }
    )
    if not said["shape"]["remat"] or device.family == "cpu":
        return extrapolated(said)
    itemsize = 2 if dtype == "bfloat16" else 4
    shape = Shape(**said["shape"])
    return extrapolated(said, {s.name: kept(s.size, shape, device.chips) * itemsize for s in steps})


def ask(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of `train/footprint.py` with `asked["devices"]` virtual devices and XLA's `asked["flags"]`,
    which a process has to choose before JAX begins."""
    environment = {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={asked['devices']} {asked['flags']}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "everystep.train.footprint"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        env=os.environ | environment,
        check=False,
    )
    said = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}
    if done.returncode == 2 and "error" in said:
        raise ValueError(said["error"])
    if done.returncode:
        raise RuntimeError(f"the analysis of the steps failed: {done.stderr[-2000:]}")
    return said


def kept(size: Mapping[str, Any], shape: Shape, chips: int) -> float:
    """Numbers a chip that an update with remat keeps of a layer: its input for every token, and of prompts
    that completions share their keys and values; 0 for steps without a backward pass."""
    if size["kind"] == "sft":
        return size["rows"] * size["length"] * shape.width / chips
    if size["kind"] != "grpo":
        return 0.0
    prompts = size["rows"] / size["group"] * size["length"]
    numbers = (size["rows"] * size["last"] + prompts) * shape.width + prompts * 2 * shape.kv * shape.head
    return numbers / chips


def extrapolated(said: Mapping[str, Any], further: Mapping[str, float] | None = None) -> Analysis:
    """The numbers for all layers, from those for some. `further`: by the name of a step, what it holds for
    each further layer, where that is known and not 0."""
    further = further or {}
    count, at = said["shape"]["layers"], {int(k): v for k, v in said["layers"].items()}
    some = next(iter(at.values()))
    least = min(at)

    def value(name: str, key: str) -> float:
        if key == "meanwhile" and further.get(name):
            return at[least]["steps"][name][key] + (count - least) * further[name]
        return line({n: v["steps"][name][key] for n, v in at.items()}, count)

    return Analysis(
        Shape(**said["shape"]),
        {key: line({n: v["held"][key] for n, v in at.items()}, count) for key in some["held"]},
        {name: {key: value(name, key) for key in some["steps"][name]} for name in some["steps"]},
        tuple(sorted(at)),
    )


def line(at: Mapping[int, float], layers: int) -> float:
    """The value at so many layers, on the straight line through those at the two largest numbers of them.

    >>> line({6: 10.0, 12: 16.0}, 26), line({6: 5.0}, 6)
    (30.0, 5.0)
    """
    if layers in at:
        return float(at[layers])
    near, far = sorted(at)[-2:]
    return at[far] + (at[far] - at[near]) / (far - near) * (layers - far)


def uses(analysis: Analysis, steps: Sequence[Step]) -> list[Use]:
    """What each step holds; decoding with all that GRPO holds (masters, moments, the reference's adapter), as
    its looks at dev do."""
    held = analysis.held
    training = held["optimizer"] + 2 * held["adapter"]  # the policy's and the reference's
    out = []
    for step in steps:
        of = analysis.steps[step.name]
        kind, working = step.size["kind"], of["meanwhile"] + of["results"] - of["in_place"]
        if kind == "sft":
            beside = 0.0
        elif kind == "grpo":
            beside = held["adapter"]
        elif kind == "reference":
            beside = held["adapter"] + held["optimizer"]
        else:  # the weights without their adapters, of which decoding has a copy with them
            beside = held["beside"] + training if step.stage != "self" else 0.0
            prompts = analysis.steps.get(f"{step.stage} prefill")
            if kind == "chunk" and prompts is not None:
                # Before the first chunk the past of the prompts is there beside that of the rows.
                working = max(working, prompts["results"])
        out.append(Use(step, of["arguments"], working, beside))
    return out
