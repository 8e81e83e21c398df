"""Which frames have to be segmented again when something else is given for some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.segmentation.passes import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vos_zoo.segmentation.passes import Direction

__all__ = ["redo_windows", "retracked_frames"]


def redo_windows(
    changed: Iterable[int], annotated: Sequence[int], total: int, direction: Direction, pending: Iterable[range] = ()
) -> list[range]:
    """Find the frames between each change and the next annotated frame, in the directions of the run.

    Args:
        changed: Positions of the frames for which something else is given now.
        annotated: Positions of all frames for which something is given now, rising.
        total: Number of frames.
        direction: That of the run.
        pending: Other windows: what an unfinished redo left, and :func:`retracked_frames`.

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


def retracked_frames(
    before: Mapping[int, Sequence[int]], now: Mapping[int, Sequence[int]], total: int, direction: Direction
) -> list[range]:
    """Find the frames in which an object is followed now and was not before, or was and is no longer.

    An object is followed from the first mask that shows it, in the directions of the run, to the end of the video.
    Masks that do not show it do not end that, and absences only interrupt it.

    Args:
        before: Positions of the masks that showed each object when the earlier run read them.
        now: Positions of the masks that show each object now.
        total: Number of frames.
        direction: That of the run.

    Returns:
        A range of frames for each object that differs.

    Example:
        >>> retracked_frames({1: [0]}, {1: [0], 2: [4]}, 10, "forward")
        [range(4, 10)]
        >>> retracked_frames({1: [0], 2: [4, 8]}, {1: [0], 2: [8]}, 10, "forward")
        [range(4, 8)]
    """
    windows = []
    for object_id in sorted({*before, *now}):
        old, new = (_followed(masks.get(object_id, ()), total, direction) for masks in (before, now))
        # Both begin or both end with the video, so that they differ at one end only.
        first, stop = sorted((old.start, new.start)), sorted((old.stop, new.stop))
        windows += [range(*ends) for ends in (first, stop) if ends[0] < ends[1]]
    return windows


def _followed(shown: Sequence[int], total: int, direction: Direction) -> range:
    """Return the frames in which an object is followed, by the positions of the masks that show it."""
    if direction == "forward":
        return range(min(shown, default=total), total)
    return range(max(shown, default=-1) + 1 if direction == "backward" else total if shown else 0)
