from __future__ import annotations

import gc
import threading
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.media.write_behind import write_behind


@given(st.lists(st.integers()))
def test_items_are_written_and_come_in_their_order(items):
    written = []
    for number, item in enumerate(write_behind(items, written.append), start=1):
        assert written[:number] == items[:number]
        assert item == items[number - 1]
    assert written == items


def test_the_next_item_is_made_while_one_is_written_and_no_other():
    made, may_write = [], threading.Event()

    def source():
        for number in range(3):
            made.append(number)
            if number == 1:  # would wait for ever if 0 had to be written first
                may_write.set()
            yield number

    def write(number):
        assert may_write.wait(60)
        assert len(made) <= number + 2

    assert list(write_behind(source(), write)) == [0, 1, 2]


def test_an_error_of_making_comes_behind_the_items_before_it():
    def broken():
        yield from (1, 2)
        raise KeyError("three")

    written = []
    items = write_behind(broken(), written.append)
    assert [next(items), next(items)] == written == [1, 2]
    with pytest.raises(KeyError, match="three"):
        next(items)


def test_nothing_is_written_after_an_error_of_writing():
    written = []

    def write(item):
        if item == 2:
            raise OSError(28, "No space left on device", "00002.png")
        written.append(item)

    items = write_behind([1, 2, 3, 4], write)
    assert next(items) == 1
    with pytest.raises(OSError, match=r"00002\.png"):
        next(items)
    assert written == [1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("write behind")]


def test_an_iteration_that_is_left_writes_no_more_than_it_gave():
    written = []
    items = write_behind(range(9), written.append)
    assert [next(items), next(items)] == [0, 1]
    items.close()
    assert written == [0, 1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("write behind")]


def test_no_item_stays_longer_than_the_next_one_takes():
    class Frame:
        pass

    frames = write_behind((Frame() for _ in range(4)), lambda frame: None)
    first = weakref.ref(next(frames))
    next(frames)
    gc.collect()
    assert first() is None
    frames.close()
