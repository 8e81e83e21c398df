"""Copies to a device and back, with stand-ins for its events, so that the turns of the buffers show on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vos_zoo.inference.session import VideoSession
from vos_zoo.inference.transfer import Downloads, Uploads
from vos_zoo.models.stcn import STCNModule
from vos_zoo.testing.clips import VIDEO

CPU = torch.device("cpu")


class Events:
    """Makes events and notes in which order they are recorded and waited for."""

    def __init__(self) -> None:
        self.made = 0
        self.notes: list[tuple[str, int]] = []

    def __call__(self) -> Any:
        self.made += 1
        return Event(self, self.made)


class Event:
    def __init__(self, owner: Events, number: int) -> None:
        self.owner, self.number = owner, number

    def record(self, stream: Any) -> None:
        assert stream is None
        self.owner.notes.append(("recorded", self.number))

    def synchronize(self) -> None:
        self.owner.notes.append(("waited for", self.number))


def test_a_cpu_shares_the_arrays_memory() -> None:
    array = np.arange(6, dtype=np.uint8)
    sent = Uploads(CPU).send(array)
    assert sent.data_ptr() == array.ctypes.data
    fetched = Downloads(CPU).fetch(sent).array()
    assert fetched.ctypes.data == array.ctypes.data


def test_arrays_that_are_read_only_or_strided_are_sent() -> None:
    array = np.arange(6, dtype=np.uint8)
    array.flags.writeable = False
    assert Uploads(CPU).send(array[::2]).tolist() == [0, 2, 4]


def test_a_buffer_is_filled_again_only_after_its_last_copy() -> None:
    events = Events()
    uploads = Uploads(CPU, new_event=events)
    array = np.zeros(4, np.uint8)
    sent = []
    for number in range(5):
        array[:] = number  # the same memory, as decoders use theirs
        sent.append(uploads.send(array))
    assert [tensor.tolist() for tensor in sent] == [[number] * 4 for number in range(5)]
    assert events.made == 2
    assert events.notes == [(what, 1 + number % 2) for number in range(5) for what in ("waited for", "recorded")]
    assert uploads.send(np.zeros((2, 3), np.float32)).shape == (2, 3)  # another size
    assert events.made == 3


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 2, 0, 4, 1, 3, 0]])
def test_what_was_fetched_stays_whatever_comes_after_it(order: list[int]) -> None:
    events = Events()
    downloads = Downloads(CPU, new_event=events)
    arrivals = [downloads.fetch(torch.full((3,), number, dtype=torch.int16)) for number in range(5)]
    assert [int(arrivals[number].array()[0]) for number in order] == order
    arrivals[0].array()[:] = 99  # the callers' own
    assert [int(arrival.array()[0]) for arrival in arrivals] == [99, 1, 2, 3, 4]
    assert events.made == 2
    assert events.notes.count(("waited for", 1)) == 3


def test_an_arrival_is_waited_for_when_it_is_asked_for_and_not_before() -> None:
    events = Events()
    downloads = Downloads(CPU, new_event=events)
    first = downloads.fetch(torch.zeros(3))
    second = downloads.fetch(torch.ones(5))  # of another size, in a buffer of its own
    assert events.notes == [("recorded", 1), ("recorded", 2)]
    second.array()
    first.array()
    assert events.notes[2:] == [("waited for", 2), ("waited for", 1)]


def test_an_error_of_the_device_comes_out_where_its_result_is_asked_for() -> None:
    class Failing(Event):
        def synchronize(self) -> None:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    arrival = Downloads(CPU, new_event=lambda: Failing(Events(), 1)).fetch(torch.zeros(3))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="illegal memory access"):
            arrival.array()


@pytest.mark.parametrize("ids", [(1, 2), (1, 300), (40000, 7), (5, 70000)])
def test_masks_are_the_same_through_buffers_and_one_frame_late(ids: tuple[int, int]) -> None:
    torch.manual_seed(0)
    module = STCNModule("tiny").eval()
    given = np.where(VIDEO.masks[0] == 1, ids[0], np.where(VIDEO.masks[0] == 2, ids[1], 0))

    def run(*, lags: bool) -> list[np.ndarray]:
        session = VideoSession(module, size=32)
        if lags:
            session._uploads, session._downloads = Uploads(CPU, new_event=Events()), Downloads(CPU, new_event=Events())
        pending, masks = [], []
        for index, frame in enumerate(VIDEO.frames):
            pending.append(session.submit(frame, given if index == 0 else None))
            if len(pending) > lags:
                masks.append(pending.pop(0).result().mask)
        return [*masks, *(late.result().mask for late in pending)]

    expected, found = run(lags=False), run(lags=True)
    assert len(expected) == len(found) == len(VIDEO.frames)
    for one, other in zip(expected, found, strict=True):
        assert one.dtype == other.dtype
        assert (one == other).all()
        assert one.flags.owndata or one.base is not None
    assert set(np.unique(expected[0])) == {0, *ids}
    assert len(set(np.unique(np.stack(expected[1:])))) > 1


@pytest.mark.gpu
def test_copies_of_a_device_are_right_while_it_is_at_work() -> None:
    device = torch.device("cuda", 0)
    uploads, downloads = Uploads(device), Downloads(device)
    busy = torch.randn(4096, 4096, device=device)
    arrivals = []
    for number in range(20):
        busy @ busy  # keeps the device behind the host
        sent = uploads.send(np.full((480, 854, 3), number, np.uint8))
        arrivals.append(downloads.fetch(sent.amax(2)))
    assert all((arrival.array() == number).all() for number, arrival in enumerate(arrivals))
