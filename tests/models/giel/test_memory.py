"""GIEL's memory: which frames are kept, and which of them support the next."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from testing.giel import ready, tiny
from vos_zoo.errors import EmptyMemoryError, MemoryBudgetError, ShapeError
from vos_zoo.inference.session import VideoSession
from vos_zoo.models.giel.memory import choose_support
from vos_zoo.network import MemoryPolicy
from vos_zoo.testing import VIDEO, planes


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
def test_the_support_set_is_the_papers(size):
    for now in range(1, 60):
        chosen = choose_support(range(now), [True] + [False] * (now - 1), size)
        assert len(chosen) == min(now, size)
        assert chosen == sorted(set(chosen))
        assert {0, now - 1} <= set(chosen)
        if now > size:
            rest = size - 2
            middles = [1 + int((index + 0.5) * (now - 2) / rest) for index in range(rest)]
            assert chosen == [0, *middles, now - 1]


def test_annotated_frames_are_always_in_the_support_set():
    references = [time in (0, 4, 9) for time in range(20)]
    assert choose_support(range(20), references, 5) == [0, 4, 9, 10, 19]
    assert choose_support(range(20), references, 2) == [0, 4, 9, 19]


def test_the_previous_frame_is_a_choice():
    assert choose_support(range(20), [True] + [False] * 19, 3, keep_previous=False) == [0, 5, 15]


def test_of_thinned_frames_the_nearest_are_chosen():
    times = [0, 8, 16, 24, 30, 31]
    assert choose_support(times, [True] + [False] * 5, 4) == [0, 1, 3, 5]


@torch.no_grad()
@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({"support": "first"}, [0]),
        ({"support": "previous"}, [3]),
        ({"support_size": 2}, [0, 3]),
        ({"support_size": 3}, [0, 2, 3]),
        ({"support_size": 8}, [0, 1, 2, 3]),
    ],
)
def test_frames_that_support_the_fifth(switches, expected):
    memory, _ = ready(tiny(**switches), 4)
    memory.tick()
    assert [frame.frame for frame in memory.support_frames()] == expected


def test_candidates_are_thinned_evenly():
    network = tiny(max_memory_frames=4)
    session = VideoSession(network, size=None)
    for index in range(30):
        session.step(VIDEO.frames[index % 10], VIDEO.masks[0] if index == 0 else None)
    times = [frame.frame for frame in session._memory.frames]
    assert len(times) == 4
    assert times[-1] - times[0] == 29
    # No more uneven than one removal at a time allows: gaps differ by a factor of two, the last one is open.
    gaps = np.diff(times[:-1])
    assert gaps.max() <= 2 * gaps.min()


@torch.no_grad()
def test_a_byte_budget_holds_and_a_smaller_one_is_refused():
    network = tiny()
    frame_bytes = network.memory_cost(MemoryPolicy(), (48, 64), 2).bytes_per_frame
    frame, masks = network.encode(torch.rand(1, 3, 48, 64)), planes(1, 2, (48, 64))
    memory = network.new_memory(MemoryPolicy(every=1, max_bytes=3 * frame_bytes))
    network.memorize(frame, masks[:, :1], memory, reference=True)
    for index in range(6):
        memory.tick()
        network.segment(frame, memory)
        network.memorize(frame, masks if index >= 3 else masks[:, :1], memory, reference=[1] if index == 3 else False)
        assert memory.nbytes <= 3 * frame_bytes
    assert memory.num_frames == 3
    small = network.new_memory(MemoryPolicy(every=1, max_bytes=2 * frame_bytes - 1))
    with pytest.raises(MemoryBudgetError, match="2 frames are the least"):
        network.memorize(frame, masks, small, reference=True)


@torch.no_grad()
def test_a_sparse_policy_keeps_the_latest_frame_for_one_step():
    network = tiny()
    memory = network.new_memory(MemoryPolicy(every=3, keep_latest=True))
    frame, masks = network.encode(torch.rand(1, 3, 48, 64)), planes(1, 2, (48, 64))
    network.memorize(frame, masks, memory, reference=True)
    kept = []
    for _ in range(7):
        memory.tick()
        network.segment(frame, memory)
        network.memorize(frame, masks, memory)
        kept.append([stored.frame for stored in memory.frames])
    assert kept == [[0, 1], [0, 2], [0, 3], [0, 3, 4], [0, 3, 5], [0, 3, 6], [0, 3, 6, 7]]


@torch.no_grad()
def test_a_late_object_was_absent_before():
    """Gates of earlier frames are those that the object would have had with an empty mask."""
    network = tiny()
    frames = [network.encode(torch.rand(1, 3, 48, 64)) for _ in range(3)]
    masks = planes(1, 2, (48, 64))
    logits = []
    for known in (1, 2):
        memory = network.new_memory()
        first = masks * torch.tensor([1.0, 0.0])[:, None, None]
        network.memorize(frames[0], first[:, :known], memory, reference=True)
        memory.tick()
        network.memorize(frames[1], masks, memory, reference=True)
        memory.tick()
        logits.append(network.segment(frames[2], memory))
    # The background of earlier frames is kept in half precision.
    torch.testing.assert_close(*logits, atol=1e-3, rtol=1e-3)


def test_planes_are_checked():
    network = tiny()
    features, masks = network.encode(torch.rand(1, 3, 48, 64)), planes(1, 2, (48, 64))
    memory = network.new_memory()
    with pytest.raises(EmptyMemoryError, match="Memorise a reference frame"):
        network.segment(features, memory)
    with pytest.raises(ShapeError, match=r"Planes \[0, 1\] are new"):
        network.memorize(features, masks, memory)
    network.memorize(features, masks, memory, reference=True)
    with pytest.raises(ShapeError, match="1 object planes, but the memory knows 2"):
        network.memorize(features, masks[:, :1], memory)


@torch.no_grad()
def test_nothing_is_left_of_the_last_object():
    memory, _ = ready(tiny(), 3, objects=2)
    memory.remove_objects([0])
    assert (memory.num_objects, memory.num_frames) == (1, 3)
    memory.remove_objects([0])
    assert (memory.num_objects, memory.num_frames, memory.nbytes) == (0, 0, 0)
