"""A whole run, ended by force in its stages and gone on with, comes to the same end. Longer: `make chaos`."""

import signal
from pathlib import Path

import pytest

import chaos


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_that_is_killed_in_every_stage_ends_the_same(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    chaos.finish(whole)
    assert chaos.wait_for(broken, "checkpoints/sft/steps/step-00000003.*", signal.SIGKILL) == -signal.SIGKILL
    assert chaos.stage(broken) == "sft"
    assert chaos.wait_for(broken, "evaluate/test/sft/partial.jsonl", signal.SIGTERM) == chaos.STOPPED
    assert chaos.wait_for(broken, "checkpoints/grpo/steps/step-00000002.*", signal.SIGKILL) == -signal.SIGKILL
    assert chaos.wait_for(broken, "checkpoints/grpo/steps/step-00000004.*", signal.SIGTERM) == chaos.STOPPED
    assert chaos.stage(broken) == "grpo"
    chaos.finish(broken)
    assert chaos.differences(whole, broken) == []
    assert len(chaos.traces(whole)) > 12
