from __future__ import annotations

import gc
import threading
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.media.read_ahead import read_ahead


@given(st.lists(st.integers()), st.integers(1, 4))
def test_items_come_in_their_order(items, ahead):
    assert list(read_ahead(items, ahead=ahead)) == items


def test_an_error_comes_behind_the_items_before_it():
    def broken():
        yield from (1, 2, 3)
        raise KeyError("four")

    frames = read_ahead(broken())
    assert [next(frames) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(KeyError, match="four"):
        next(frames)


def test_items_are_made_while_others_are_used():
    made = threading.Semaphore(0)

    def source():
        for number in range(5):
            made.release()
            yield number

    frames = read_ahead(source(), ahead=2)
    assert next(frames) == 0
    for _ in range(4):  # the one in use, two that wait, and the one that waits for a place
        assert made.acquire(timeout=60)
    assert not made.acquire(blocking=False)
    frames.close()


def test_an_iteration_that_is_left_ends_its_thread_and_what_it_reads():
    closed = threading.Event()

    def source():
        try:
            while True:
                yield object()
        finally:
            closed.set()

    frames = read_ahead(source())
    next(frames)
    frames.close()
    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "read ahead"]


def test_no_item_stays_longer_than_it_is_used():
    class Frame:
        pass

    frames = read_ahead((Frame() for _ in range(3)), ahead=1)
    first = weakref.ref(next(frames))
    next(frames)
    gc.collect()
    assert first() is None
    frames.close()
