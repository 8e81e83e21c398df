"""Saying what takes long, when it does."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator

__all__ = ["announced"]

_PATIENCE = 1.0  # seconds that nobody wonders about


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
