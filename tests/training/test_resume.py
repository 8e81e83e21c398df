"""A run that is killed and resumed ends with the weights of one that was never stopped."""

from __future__ import annotations

import signal

import pytest
import torch

from testing.training_process import start_training
from vos_zoo.registry import ARCHITECTURES

TIMEOUT = 120  # seconds


def finish(children, exitcode=0):
    for child in children:
        child.join(TIMEOUT)
        assert child.exitcode == exitcode
        child.close()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_a_killed_run_resumes_exactly(name, processes, tmp_path):
    whole, killed, resumed = (tmp_path / part for part in ("whole", "killed", "resumed"))
    for folder in (whole, killed, resumed):
        folder.mkdir()
    reference = start_training(whole, processes, model=name, seed=5)
    # Within the second of three iterations of the second epoch.
    finish(start_training(killed, processes, model=name, seed=5, keep=True, killed_at=4), -signal.SIGKILL)
    assert sorted(path.name for path in killed.iterdir()) == [f"step={step}.ckpt" for step in range(1, 5)]
    # Another seed of the process must not matter.
    finish(start_training(resumed, processes, model=name, seed=6, start=killed / "step=4.ckpt"))
    finish(reference)
    expected, found = (torch.load(folder / "weights.pt", weights_only=True) for folder in (whole, resumed))
    assert expected.keys() == found.keys()
    assert any("running_var" in key for key in expected)
    assert [key for key, tensor in expected.items() if not torch.equal(tensor, found[key])] == []
