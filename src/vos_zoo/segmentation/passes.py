"""In which order frames are segmented: passes over a video, forwards and backwards, and what each session is told."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from vos_zoo.errors import ConfigError
from vos_zoo.inference.late_results import fetch_results
from vos_zoo.media.in_memory import VideoInMemory
from vos_zoo.media.mask_values import VOID
from vos_zoo.media.masks import mask_ids
from vos_zoo.media.read_ahead import read_ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vos_zoo.inference.result import FrameResult, PendingResult
    from vos_zoo.inference.session import VideoSession
    from vos_zoo.media.annotations import Annotations
    from vos_zoo.media.frames import VideoFrame, VideoReader
    from vos_zoo.media.mask_decoding import Mask

__all__ = ["Direction", "Pass", "check_direction", "nearest", "plan_passes", "run_pass"]

Direction = Literal["forward", "backward", "both"]
"""From the annotated frames to the end of the video, to its beginning, or to both."""


@dataclass(frozen=True)
class Pass:
    """One session's way through a video.

    Attributes:
        positions: Positions of its frames among the selected ones, in the order in which the session sees them.
        known: How many of the first ones are not segmented: their masks are known, and the session learns from those
            that were given and from the last one.
        kept: Positions whose results are kept to be blended with those of the pass that follows.
        blended: Positions whose results are blended with those that the pass before kept.
    """

    positions: Sequence[int]
    known: int = 0
    kept: range = range(0)
    blended: range = range(0)

    @property
    def segmented(self) -> Sequence[int]:
        """Positions that are segmented, in their order."""
        return self.positions[self.known :]

    def resumed(self, finished: int) -> Pass:
        """Return the pass that continues after this many of its frames have been segmented."""
        return replace(self, known=self.known + finished)


def check_direction(direction: Direction, reader: VideoReader) -> None:
    """Refuse a direction that there is not, or that a video cannot be read in.

    Raises:
        ConfigError: If there is no such direction, or the frames come once only, in their order.
    """
    if direction not in ("forward", "backward", "both"):
        raise ConfigError(f"The direction is {direction!r}. Expected 'forward', 'backward' or 'both'.")
    if direction != "forward" and not reader.is_repeatable:
        raise ConfigError(
            f"Direction {direction!r} reads the last frames first, but {reader.path} come once only, in their order. "
            "Give a file, a folder, an array or a list of frames; streams and generators can be saved first."
        )


def plan_passes(
    direction: Direction, annotated: Sequence[int], total: int, *, window: range | None = None
) -> list[Pass]:
    """Plan the passes of a run.

    Forwards, the session goes from the first frame to the last; backwards, from the last to the first. For both, the
    backward pass comes first, from the last annotated frame to the beginning, and the forward pass goes from the first
    annotated frame to the end. Between these two frames both passes have something to say, and are blended.

    Args:
        direction: Where to go from the annotated frames.
        annotated: Positions of the frames that have a mask, rising; at least one.
        total: Number of frames.
        window: Only these frames are segmented; None means all. Sessions learn from masks outside.

    Returns:
        One pass or two, in the order in which they run.

    Example:
        >>> [list(one.positions) for one in plan_passes("both", [2, 4], 6)]
        [[4, 3, 2, 1, 0], [2, 3, 4, 5]]
        >>> plan_passes("forward", [0, 3, 6], 9, window=range(5, 6))
        [Pass(positions=(0, 3, 4, 5), known=3, kept=range(0, 0), blended=range(0, 0))]
    """
    window = range(total) if window is None else window
    between = range(max(annotated[0], window.start), min(annotated[-1] + 1, window.stop))
    passes = []
    if direction != "forward":
        last = window.stop if direction == "backward" else min(annotated[-1] + 1, window.stop)
        outside = [position for position in reversed(annotated) if position > last]
        if last <= annotated[-1]:
            outside.append(last)
        kept = between if direction == "both" else range(0)
        passes.append(_joined(outside, range(last - 1, window.start - 1, -1), kept=kept))
    if direction != "backward":
        first = window.start if direction == "forward" else max(annotated[0], window.start)
        outside = [position for position in annotated if position < first - 1]
        if first > annotated[0]:
            outside.append(first - 1)
        blended = between if direction == "both" else range(0)
        passes.append(_joined(outside, range(first, window.stop), blended=blended))
    return [one for one in passes if one.segmented]


def _joined(outside: list[int], inside: range, *, kept: range = range(0), blended: range = range(0)) -> Pass:
    """Make a pass that begins with frames outside of what it segments: annotated ones, and its neighbour."""
    positions: Sequence[int] = (*outside, *inside) if outside else inside
    return Pass(positions, len(outside), kept, blended)


def run_pass(
    one: Pass,
    reader: VideoReader,
    annotations: Annotations,
    session: VideoSession,
    *,
    known_mask: Callable[[str], Mask | None] = lambda name: None,
    watch: Callable[[str], None] = lambda name: None,
    may_lag: bool = True,
) -> Iterator[tuple[VideoFrame, FrameResult | None]]:
    """Run a session along a pass.

    A session that works ahead is given the next frame before the result of the last one is fetched, if the frames are
    there whatever becomes of the results: those of files, but not of cameras, streams and generators.

    Args:
        one: The pass.
        reader: The frames.
        annotations: What the user gave.
        session: A session that has seen nothing.
        known_mask: Gives the finished mask of a frame, by its name.
        watch: Called with the name of every frame before the session sees it, from the first object on.
        may_lag: Whether the session may be one frame ahead of what is yielded; not if it is asked for views.

    Yields:
        Every frame of the pass with its result; None for frames whose masks are known.
    """
    lags = may_lag and session.works_ahead and reader.is_repeatable
    steps = _steps(one, reader, annotations, session, known_mask=known_mask, watch=watch)
    for frame, result in fetch_results(steps, is_late=lags):
        yield frame, None if result is None else replace(result, index=frame.index, name=frame.name)


def _steps(
    one: Pass,
    reader: VideoReader,
    annotations: Annotations,
    session: VideoSession,
    *,
    known_mask: Callable[[str], Mask | None],
    watch: Callable[[str], None],
) -> Iterator[tuple[VideoFrame, PendingResult | None]]:
    """Yield every frame of the pass with what waits for its result; None for frames whose masks are known."""
    numbers = {position: number for number, position in enumerate(one.positions)} if one.known else {}
    next_name = reader.names[one.segmented[0]] if one.segmented else ""
    has_objects = False
    frames = reader.at(one.positions)
    # Frames in memory are there already, and what makes them may expect to run in this thread.
    for frame in frames if isinstance(reader, VideoInMemory) else read_ahead(frames):
        number = numbers.get(reader.position(frame), one.known)
        given, absent = annotations.get(frame.name), annotations.absences.get(frame.name, frozenset())
        if number < one.known:
            # The memory is rebuilt from what the user gave and, for the place where the run continues, from the last
            # finished mask.
            if number == one.known - 1 and given is None:
                given = _without(known_mask(frame.name), annotations.ids(next_name))
            if given is None and not absent:
                yield frame, None
                continue
        if has_objects or (given is not None and mask_ids(given, void=VOID)):
            has_objects = True
            watch(frame.name)
        tracked = [object_id for object_id in absent if object_id in session.object_ids]
        pending = session.submit(frame.image, given, absent=tracked)
        yield frame, None if number < one.known else pending


def _without(mask: Mask | None, ids: frozenset[int]) -> Mask | None:
    """Leave out objects that the next frame corrects: what the session learns from must not be what was wrong."""
    if mask is None:
        return None
    mask = np.where(np.isin(mask, list(ids)), 0, mask) if ids else mask
    return mask if mask.any() else None


def nearest(annotated: Sequence[int], position: int) -> tuple[int | None, int | None]:
    """Return the last position up to another one, and the first from it on, of a rising sequence."""
    place = bisect.bisect_right(annotated, position)
    before = annotated[place - 1] if place else None
    place = bisect.bisect_left(annotated, position)
    return before, annotated[place] if place < len(annotated) else None
