"""Results that are fetched one frame late, with stand-ins for a session's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from vos_zoo.inference.late_results import fetch_results

if TYPE_CHECKING:
    from collections.abc import Iterator


class Frames:
    """Gives frames to a session and notes when that happens, and when results are fetched; some of them fail."""

    def __init__(self, count: int, *, unwanted: tuple[int, ...] = (), fails_at: int | None = None) -> None:
        self.events: list[tuple[str, int]] = []
        self.count, self.unwanted, self.fails_at = count, unwanted, fails_at
        self.late_failure: int | None = None

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        for number in range(self.count):
            if number == self.fails_at:
                raise RuntimeError("full")
            self.events.append(("given", number))
            yield number, None if number in self.unwanted else Pending(self, number)


class Pending:
    def __init__(self, owner: Frames, number: int) -> None:
        self.owner, self.number = owner, number

    def result(self) -> Any:
        if self.number == self.owner.late_failure:
            raise RuntimeError("the device failed")
        self.owner.events.append(("fetched", self.number))
        return -self.number


def fetch(frames: Frames, *, is_late: bool) -> list[tuple[int, Any]]:
    found = []
    try:
        for item, result in fetch_results(frames, is_late=is_late):
            found.append((item, result))
            frames.events.append(("yielded", item))
    except RuntimeError as error:
        found.append((-1, str(error)))
    return found


@pytest.mark.parametrize("count", [0, 1, 2, 5])
@pytest.mark.parametrize("unwanted", [(), (0,), (1, 4), (0, 1, 2, 3, 4)])
def test_results_are_the_same_and_in_order(count: int, unwanted: tuple[int, ...]) -> None:
    expected = [(number, None if number in unwanted else -number) for number in range(count)]
    for is_late in (False, True):
        assert fetch(Frames(count, unwanted=unwanted), is_late=is_late) == expected


def test_a_late_result_is_fetched_once_the_next_frame_was_given() -> None:
    frames = Frames(3)
    fetch(frames, is_late=True)
    assert frames.events == [
        *(("given", 0), ("given", 1), ("fetched", 0), ("yielded", 0)),
        *(("given", 2), ("fetched", 1), ("yielded", 1), ("fetched", 2), ("yielded", 2)),
    ]


def test_otherwise_it_is_fetched_at_once() -> None:
    frames = Frames(3)
    fetch(frames, is_late=False)
    assert frames.events == [(what, number) for number in range(3) for what in ("given", "fetched", "yielded")]


@pytest.mark.parametrize("is_late", [False, True])
def test_a_frame_that_cannot_be_given_ends_it_after_all_results_before(is_late: bool) -> None:
    for fails_at in range(3):
        expected = [*((number, -number) for number in range(fails_at)), (-1, "full")]
        assert fetch(Frames(3, fails_at=fails_at), is_late=is_late) == expected


@pytest.mark.parametrize("is_late", [False, True])
def test_a_device_that_fails_gives_no_later_results(is_late: bool) -> None:
    frames = Frames(4)
    frames.late_failure = 1
    assert fetch(frames, is_late=is_late) == [(0, 0), (-1, "the device failed")]
    assert ("fetched", 2) not in frames.events
