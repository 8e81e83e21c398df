"""Reading frames in the background, while a network is at work on the ones before."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

__all__ = ["read_ahead"]

ItemT = TypeVar("ItemT")

_AHEAD = 2  # frames; more would only hold memory, since decoding is the faster part
_TURN = 0.1  # seconds until the thread looks whether anybody still wants frames


def read_ahead(items: Iterable[ItemT], *, ahead: int = _AHEAD) -> Iterator[ItemT]:
    """Return the items of an iterable in their order, with the next ones prepared by a thread.

    An error comes where it happened: behind all items before it. The thread ends with the iteration, also one that is
    left early.

    Args:
        items: What takes time to make, such as the frames of a video.
        ahead: Most items that wait.

    Example:
        >>> list(read_ahead("abc"))
        ['a', 'b', 'c']
    """
    ready: queue.Queue[tuple[Any, BaseException | None, bool]] = queue.Queue(ahead)
    is_left = threading.Event()
    thread = threading.Thread(target=_make, args=(items, ready, is_left), name="read ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error, is_end = ready.get()
            if error is not None:
                raise error
            if is_end:
                return
            yield item
            del item  # a frame must not stay while the next one is waited for
    finally:
        is_left.set()
        # An iterator that outlives the program is closed when its thread is stopped already; from Python 3.13 on,
        # waiting for one that was stopped never ends.
        if not sys.is_finalizing():
            thread.join()


def _make(
    items: Iterable[Any], ready: queue.Queue[tuple[Any, BaseException | None, bool]], is_left: threading.Event
) -> None:
    def put(item: Any, error: BaseException | None, *, is_end: bool) -> bool:
        while not is_left.is_set():
            try:
                ready.put((item, error, is_end), timeout=_TURN)
            except queue.Full:
                continue
            return True
        return False

    iterator = iter(items)
    try:
        for item in iterator:
            if not put(item, None, is_end=False):
                break
        else:
            put(None, None, is_end=True)
    except BaseException as error:  # whoever iterates gets it
        put(None, error, is_end=True)
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()  # in the thread that opened what is behind it
