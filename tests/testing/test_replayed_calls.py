from __future__ import annotations

import pytest
import torch

from vos_zoo.testing.replayed_calls import ReplayedCalls


def test_a_replay_writes_over_the_results_of_the_recording() -> None:
    calls, numbers = ReplayedCalls(), torch.ones(2)
    replay, (doubled, same) = calls.record(lambda: (2 * numbers, numbers))
    numbers.fill_(5)
    assert doubled.tolist() == [2, 2]
    replay()
    assert doubled.tolist() == [10, 10]
    assert same is numbers
    assert (calls.recorded, calls.replayed) == (1, 1)


def test_recordings_fail_from_a_chosen_one_on() -> None:
    calls = ReplayedCalls(2)
    calls.record(lambda: torch.ones(1))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not permitted"):
            calls.record(lambda: torch.ones(1))
