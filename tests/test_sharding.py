"""On eight virtual devices the same is computed as on one: sampled tokens, losses, what is learned."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from everystep.core.recipe import Grpo
from everystep.train.grpo import rows_with_one_prompt

HERE = Path(__file__).parent


def computed(
    folder: Path, devices: int, weights: str, processes: int = 1, much: str = "whole"
) -> dict[str, np.ndarray]:
    """What comes out on so many devices, spread over so many processes; of each the same."""
    flags = f"--xla_force_host_platform_device_count={devices // processes}"
    started = []
    port = free_port()
    for i in range(processes):
        out = folder / f"{devices}-{weights}-{i}.npz"
        place = [f"{i}/{processes}@127.0.0.1:{port}"] if processes > 1 else []
        command = [sys.executable, "-W", "ignore", str(HERE / "sharded.py"), str(out), weights, much, *place]
        environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(HERE), "JAX_PLATFORMS": "cpu"}
        started.append((out, subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)))
    found = []
    for out, process in started:
        try:
            said = process.communicate(timeout=600)[1]
        finally:
            process.kill()
        assert process.returncode == 0, said[-3000:]
        with np.load(out) as file:
            found.append(dict(file))
    for other in found[1:]:
        for name, value in found[0].items():
            np.testing.assert_array_equal(other[name], value, err_msg=name)
    return found[0]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return computed(tmp_path_factory.mktemp("one"), 1, "replicated")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("weights", "processes"), [("replicated", 1), ("fsdp", 1), ("replicated", 2)])
def test_eight_devices_are_one(tmp_path: Path, one: dict[str, np.ndarray], weights: str, processes: int) -> None:
    """Tokens are equal; numbers differ by the order of float32 sums: log-probabilities by 1e-5, losses and
    what is learned in a few steps by 1e-4 of their size."""
    eight = computed(tmp_path, 8, weights, processes)
    assert (one["devices"], eight["devices"]) == (1, 8)
    compare(one, eight)


def test_two_processes_are_one(tmp_path: Path) -> None:
    """The same in short: half a batch each, of what is decoded and of an SFT step."""
    two = computed(tmp_path, 4, "replicated", processes=2, much="short")
    assert two["devices"] == 4 and "sft/losses" in two
    compare(computed(tmp_path, 1, "replicated", much="short"), two)


def compare(one: dict[str, np.ndarray], many: dict[str, np.ndarray]) -> None:
    assert one.keys() == many.keys()
    for name in one.keys() - {"devices"}:
        if "tokens/" in name:
            assert one[name].tolist() == many[name].tolist(), name
        elif name.startswith("metrics/"):
            np.testing.assert_allclose(many[name], one[name], atol=1e-5, err_msg=name)
        else:
            size = 1.0 if "logprobs" in name else np.abs(one[name]).max()
            atol = 1e-5 if "logprobs" in name else 1e-3 * size
            np.testing.assert_allclose(many[name], one[name], atol=atol, rtol=0, err_msg=name)


@pytest.mark.parametrize(
    ("prompts", "micro", "group", "devices", "expected"),
    [(8, None, 4, 8, 4), (8, None, 4, 1, 4), (16, 8, 4, 8, 4), (4, None, 4, 8, 1), (4, 2, 8, 8, 1)],
)
def test_which_rows_share_a_prompt(prompts: int, micro: int | None, group: int, devices: int, expected: int) -> None:
    how = Grpo(prompts=prompts, micro_prompts=micro, group=group)
    assert rows_with_one_prompt(how, devices) == expected


def test_rows_that_devices_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"3 prompts x group 4 cannot be spread over 8 devices"):
        rows_with_one_prompt(Grpo(prompts=3, group=4), 8)
