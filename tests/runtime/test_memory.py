"""States of groups: a failure between two of them leaves no trace, and objects can be picked."""

from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.runtime.manifest import Array, MemoryRules
from vos_zoo.runtime.memory import fill_up, new_state


class Arrays:
    """Values are arrays."""

    def to_value(self, array):
        return array

    def to_array(self, value):
        return value


def frames_rules(**options):
    values = {"every": 1, "max_frames": 3, "keep_latest": False, "carries": (), "splits_on_correction": False}
    return MemoryRules(kind="frames", state=(Array("keys", ("frames", "objects", 2)),), **(values | options))


def frame(number):
    return {"next_keys": np.full((2, 2), number, np.float32)}


def after(state, number, **options):
    values = {"frame": number, "reference": number == 0, "temporary": False}
    result = state.after(frame(number), **(values | options))
    result.commit()
    return result


def held(state):
    return sorted(state.values()["state_keys"][:, 0, 0].tolist())


def test_frames_are_kept_up_to_the_bound():
    state = new_state(frames_rules(), lambda array: (), Arrays(), None)
    for number in range(6):
        state = after(state, number)
        assert state.num_frames == min(3, number + 1)
    assert held(state)[0] == 0
    assert held(state)[-1] == 5
    assert state.nbytes == 3 * 2 * 2 * 4


def test_a_state_that_is_not_committed_changes_nothing():
    state = new_state(frames_rules(), lambda array: (), Arrays(), None)
    for number in range(3):
        state = after(state, number)
    state.after(frame(9), frame=9, reference=False, temporary=False)
    assert held(state) == [0, 1, 2]


def test_temporary_frames_give_way():
    state = new_state(frames_rules(), lambda array: (), Arrays(), None)
    for number in range(4):
        state = after(state, number, temporary=number in (1, 2))
    assert held(state) == [0, 3]


@pytest.mark.parametrize("fixed", [None, 4])
def test_objects_are_picked_and_filled_up(fixed):
    rules = MemoryRules(
        kind="recurrent",
        state=(Array("cell", ("objects", 3)), Array("writes", (1,))),
        every=1,
        max_frames=None,
        keep_latest=False,
        carries=(),
        splits_on_correction=False,
    )
    state = new_state(rules, lambda array: (2, 3) if array.name == "cell" else (1,), Arrays(), fixed)
    cell = np.arange(6, dtype=np.float32).reshape(2, 3)
    results = {"next_cell": fill_up(cell, 0, fixed), "next_writes": np.ones(1, np.float32)}
    picked = state.after(results, frame=1, reference=True, temporary=False).select([1])
    expected = fill_up(cell[1:], 0, fixed)
    assert (picked.values()["state_cell"] == expected).all()
    assert picked.values()["state_writes"] == 1
