"""Results that are fetched while a device works on the next frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .result import FrameResult, PendingResult

__all__ = ["fetch_results"]

ItemT = TypeVar("ItemT")


def fetch_results(
    steps: Iterable[tuple[ItemT, PendingResult | None]], *, is_late: bool
) -> Iterator[tuple[ItemT, FrameResult | None]]:
    """Fetch the results of frames that a session was given, in their order.

    Args:
        steps: Gives a frame to the session when it is asked for the next item: something that goes with the frame, and
            what waits for its result; None if the result is not wanted.
        is_late: Whether each result is fetched only after the next frame was given. An error in giving a frame then
            comes after the results of all frames before it.

    Yields:
        Each item with its result, or None.
    """
    for item, pending in _one_late(steps) if is_late else steps:
        yield item, None if pending is None else pending.result()


def _one_late(items: Iterable[ItemT]) -> Iterator[ItemT]:
    held: list[ItemT] = []
    try:
        for item in items:
            held.append(item)
            if len(held) > 1:
                yield held.pop(0)
    except Exception:
        yield from held
        raise
    yield from held
