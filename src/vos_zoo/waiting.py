"""Saying what takes long, when it does."""

from __future__ import annotations

import collections
import contextlib
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator

__all__ = ["Pace", "announced", "describe_progress"]

_PATIENCE = 1.0  # seconds that nobody wonders about
_LINE_EVERY = 5.0  # seconds between two lines
_WINDOW = 60.0  # seconds that a speed is averaged over: frames that are read again after a stop go by faster


@contextlib.contextmanager
def announced(logger: logging.Logger, message: str, *, after: float = _PATIENCE) -> Iterator[None]:
    """Log a message at level INFO once the block has taken a second; a quick one stays silent.

    Args:
        logger: Where to.
        message: What is going on, such as "Loading rde.small".
        after: Seconds of silence.
    """
    timer = threading.Timer(after, logger.info, ("%s ...", message))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Pace:
    """Passes progress on from time to time, and at the end, with speed and time left.

    Args:
        report: Takes done, total, units per second, and seconds left.
        every: Seconds between two reports.
        first: Seconds until the first one.
    """

    def __init__(
        self,
        report: Callable[[int, int, float, float], None],
        *,
        every: float = _LINE_EVERY,
        first: float = _PATIENCE,
    ) -> None:
        self._report = report
        self._every = every
        begin = time.monotonic()
        self._next = begin + first
        self._seen = collections.deque([(begin, 0)])

    def __call__(self, done: int, total: int) -> None:
        """Take how much is done and how much there is."""
        now = time.monotonic()
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[0][0] < now - _WINDOW:
            self._seen.popleft()
        if now < self._next and done < total:
            return
        self._next = now + self._every
        since, before = self._seen[0]
        speed = (done - before) / max(now - since, 1e-9)
        self._report(done, total, speed, (total - done) / speed if speed > 0 else 0.0)


def describe_progress(unit: str, done: int, total: int, speed: float, left: float) -> str:
    """Say in one line how far something is.

    Args:
        unit: What is counted, such as "frames".
        done: How many are done.
        total: How many there are.
        speed: How many a second.
        left: Seconds left.

    Example:
        >>> describe_progress("frames", 30, 90, 2.0, 30.0)
        '30 of 90 frames, 2.00 frames/s, 0:00:30 left'
    """
    minutes, seconds = divmod(round(left), 60)
    hours, minutes = divmod(minutes, 60)
    rest = f", {hours}:{minutes:02d}:{seconds:02d} left" if done < total else ""
    return f"{done} of {total} {unit}, {speed:.2f} {unit}/s{rest}"
