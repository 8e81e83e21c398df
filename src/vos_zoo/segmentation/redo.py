"""Which frames have to be segmented again when something else is given for some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.segmentation.passes import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vos_zoo.segmentation.passes import Direction

__all__ = ["redo_windows"]


def redo_windows(
    changed: Iterable[int], annotated: Sequence[int], total: int, direction: Direction, pending: Iterable[range] = ()
) -> list[range]:
    """Find the frames between each change and the next annotated frame, in the directions of the run.

    Args:
        changed: Positions of the frames for which something else is given now.
        annotated: Positions of all frames for which something is given now, rising.
        total: Number of frames.
        direction: That of the run.
        pending: Windows that an unfinished redo left.

    Returns:
        Windows of frames, rising, with frames between them that stay as they are.

    Example:
        >>> redo_windows([4], [0, 4, 8], 10, "forward"), redo_windows([4], [0, 4, 8], 10, "both")
        ([range(4, 8)], [range(1, 8)])
    """
    windows = list(pending)
    for position in changed:
        before, _ = nearest(annotated, position - 1)
        _, after = nearest(annotated, position + 1)
        first = position if direction == "forward" else 0 if before is None else before + 1
        stop = position + 1 if direction == "backward" else total if after is None else after
        windows.append(range(first, stop))
    joined: list[range] = []
    for window in sorted(windows, key=lambda window: window.start):
        if joined and window.start <= joined[-1].stop:
            joined[-1] = range(joined[-1].start, max(joined[-1].stop, window.stop))
        else:
            joined.append(window)
    return joined
