"""Writing results in the background, while a network is at work on the next frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["write_behind"]

ItemT = TypeVar("ItemT")


def write_behind(items: Iterable[ItemT], write: Callable[[ItemT], object]) -> Iterator[ItemT]:
    """Write the items of an iterable in a thread, one after another, and give each back when it is written.

    While an item is written, the next one is made; the one after it is made only when the first is written. A process
    that is killed therefore loses what it is making, and at most one item that was still being written.

    An error, of making or of writing, comes behind all items before it; nothing is written after it. An iteration that
    is left early writes nothing that it has not begun to write.

    Args:
        items: What takes long to make, such as the masks of a video.
        write: Writes one; called in the thread.

    Example:
        >>> written = []
        >>> for item in write_behind("abc", written.append):
        ...     assert item in written
        >>> written
        ['a', 'b', 'c']
    """
    iterator = iter(items)
    at_work: Future[ItemT] | None = None
    failure: Exception | None = None
    is_end = False

    def written(item: ItemT) -> ItemT:
        write(item)
        return item

    with ThreadPoolExecutor(1, thread_name_prefix="write behind") as thread:
        while not is_end:
            try:
                made = next(iterator)
            except StopIteration:
                is_end = True
            except Exception as error:  # raised below, when what is at work is written
                is_end, failure = True, error
            if at_work is not None:
                yield at_work.result()
            if not is_end:
                at_work = thread.submit(written, made)
                del made  # a frame must not stay while the next one is made
    if failure is not None:
        raise failure
