"""On eight virtual devices the same is computed as on one: sampled tokens, losses, what is learned."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from showwork.recipe import Grpo
from showwork.train.grpo import rows_with_one_prompt

HERE = Path(__file__).parent


def computed(folder: Path, devices: int, weights: str) -> dict[str, np.ndarray]:
    out = folder / f"{devices}-{weights}.npz"
    flags = f"--xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "sharded.py"), str(out), weights],
        env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(out) as file:
        return dict(file)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return computed(tmp_path_factory.mktemp("one"), 1, "replicated")


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["replicated", "fsdp"])
def test_eight_devices_are_one(tmp_path: Path, one: dict[str, np.ndarray], weights: str) -> None:
    """Tokens are equal; numbers differ by the order of float32 sums: log-probabilities by 1e-5, losses and
    what is learned in a few steps by 1e-4 of their size."""
    eight = computed(tmp_path, 8, weights)
    assert (one["devices"], eight["devices"]) == (1, 8) and one.keys() == eight.keys()
    for name in one.keys() - {"devices"}:
        if "tokens/" in name:
            assert one[name].tolist() == eight[name].tolist(), name
        elif name.startswith("metrics/"):
            np.testing.assert_allclose(eight[name], one[name], atol=1e-5, err_msg=name)
        else:
            size = 1.0 if "logprobs" in name else np.abs(one[name]).max()
            atol = 1e-5 if "logprobs" in name else 1e-3 * size
            np.testing.assert_allclose(eight[name], one[name], atol=atol, rtol=0, err_msg=name)


@pytest.mark.parametrize(
    ("prompts", "micro", "group", "devices", "expected"),
    [(8, None, 4, 8, 4), (8, None, 4, 1, 4), (16, 8, 4, 8, 4), (4, None, 4, 8, 1), (4, 2, 8, 8, 1)],
)
def test_which_rows_share_a_prompt(
    prompts: int, micro: int | None, group: int, devices: int, expected: int
) -> None:
    how = Grpo(prompts=prompts, micro_prompts=micro, group=group)
    assert rows_with_one_prompt(how, devices) == expected


def test_rows_that_devices_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"3 prompts x group 4 cannot be spread over 8 devices"):
        rows_with_one_prompt(Grpo(prompts=3, group=4), 8)
