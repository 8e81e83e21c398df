"""Policies, clocks and costs: what all memories share."""

import pytest

from vos_zoo.errors import ConfigError
from vos_zoo.network import ClipMemory, MemoryCost, MemoryPolicy, reference_planes


class Clock(ClipMemory):
    """A memory without content."""

    num_objects = num_frames = nbytes = 0

    def remove_objects(self, planes):
        """Nothing to forget."""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every=0"),
        ({"every": -3}, "every=-3"),
        ({"max_frames": 0}, "max_frames=0"),
        ({"max_frames": 1}, "max_frames=1"),
        ({"max_bytes": 0}, "max_bytes=0"),
    ],
)
def test_a_policy_out_of_range_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        MemoryPolicy(**options)


@pytest.mark.parametrize(("every", "expected"), [(1, [1, 2, 3, 4, 5, 6, 7]), (3, [3, 6]), (5, [5])])
def test_every_nth_frame_is_due(every, expected):
    memory = Clock(MemoryPolicy(every=every))
    due = []
    for frame in range(1, 8):
        memory.tick()
        if memory.is_due:
            due.append(frame)
            memory.frames_since_kept = 0
    assert due == expected


def test_every_frame_is_due_if_the_latest_is_kept():
    memory = Clock(MemoryPolicy(every=5, keep_latest=True))
    assert memory.is_due


def test_the_clock_goes_back_if_the_frame_failed():
    memory = Clock(MemoryPolicy())
    memory.tick()

    def fail():
        with memory.attempt():
            memory.tick()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (memory.clock, memory.frames_since_kept) == (1, 1)
    with memory.attempt():
        memory.tick()
    assert (memory.clock, memory.frames_since_kept) == (2, 2)


@pytest.mark.parametrize(
    ("reference", "planes"), [(True, {0, 1, 2}), (False, set()), ([2, 0], {0, 2}), ([], set()), ((1,), {1})]
)
def test_reference_planes(reference, planes):
    assert reference_planes(reference, 3) == planes


def test_cost():
    assert MemoryCost(bytes_per_frame=10, max_frames=7, working_bytes=3).max_bytes == 70
    assert MemoryCost(bytes_per_frame=10, max_frames=None, working_bytes=3).max_bytes is None
