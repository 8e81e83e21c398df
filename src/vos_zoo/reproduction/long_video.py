"""A synthetic long video: a short one played forward and backward again and again.

Every frame has its true mask and neighbours stay alike, so a score, a speed and a memory that change with the length
are the model's doing.

Source: Li et al., "Recurrent Dynamic Embedding for Video Object Segmentation", CVPR 2022, Section 4.3 and Figure 3. The
paper does not say how it turns round; here the first and last frame are not shown twice in a row.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vos_zoo.errors import ConfigError, DataError
from vos_zoo.media.masks import MaskFolder
from vos_zoo.media.reader import open_video
from vos_zoo.metrics.functional import VOID_ID
from vos_zoo.metrics.protocols import ObjectScore, Protocol, SequenceScorer, mean_over
from vos_zoo.reproduction.runs import new_objects

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vos_zoo.inference.session import VideoSession
    from vos_zoo.reproduction.videos import RootVideo


@dataclass(frozen=True)
class LongVideoPoint:
    """A model's result on a long video up to one length.

    Attributes:
        length: Length in multiples of the original.
        frames: Length in frames.
        region: Mean J over objects, 0 to 1.
        boundary: Mean F over objects, 0 to 1.
        frames_per_second: Frames over the time in the session, from the first frame on.
        last_frames_per_second: The same for the last original length of frames.
        memory_bytes: Largest memory of the session so far, in bytes.
    """

    length: int
    frames: int
    region: float
    boundary: float
    frames_per_second: float
    last_frames_per_second: float
    memory_bytes: int

    @property
    def j_and_f(self) -> float:
        """Mean of J and F."""
        return (self.region + self.boundary) / 2


def bounce(frames: int, total: int) -> Iterator[int]:
    """Return the frame that is shown at each time, to the end and back again and again.

    Args:
        frames: Frames of the original.
        total: Frames of the long video.

    Example:
        >>> list(bounce(3, 8))
        [0, 1, 2, 1, 0, 1, 2, 1]
    """
    period = max(1, 2 * (frames - 1))
    for time_index in range(total):
        phase = time_index % period
        yield min(phase, period - phase)


def run_long_video(
    session: VideoSession,
    video: RootVideo,
    protocol: Protocol,
    lengths: Sequence[int],
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[LongVideoPoint, ...]:
    """Segment a long video once and read off its results at several lengths.

    A session never looks ahead, so the result at a length is that of a video of that length.

    Args:
        session: A new session.
        video: The original; every frame needs a mask.
        protocol: Which frames are scored.
        lengths: Lengths in multiples of the original, in any order.
        progress: Called with the number of frames that were done, after each frame.

    Returns:
        One point per length, in rising order.

    Raises:
        ConfigError: If a length is below 1.
        DataError: If the video has fewer than three frames, or a frame without a mask.
    """
    lengths = sorted(set(lengths))
    if not lengths or lengths[0] < 1:
        raise ConfigError(f"The lengths are {lengths}. Expected whole numbers of at least 1, such as 1 10 15 20.")
    images, masks = _read(video)
    count = len(images)
    scorer = SequenceScorer(video.name, protocol)
    known: set[int] = set()
    seconds: list[float] = []
    memory: dict[int, int] = {}
    largest = 0
    for number, index in enumerate(bounce(count, count * lengths[-1])):
        given = new_objects(masks[index], known, protocol)
        start = time.perf_counter()
        mask = session.step(images[index], given).mask
        seconds.append(time.perf_counter() - start)
        if scorer.observe(masks[index], str(number)):
            scorer.score(mask)
        largest = max(largest, session.memory_bytes)
        if (number + 1) % count == 0:
            memory[(number + 1) // count] = largest
        progress(1)
    scores = scorer.results()
    return tuple(_point(length, count, scores, seconds, memory[length], protocol) for length in lengths)


def _point(
    length: int, count: int, scores: Sequence[ObjectScore], seconds: list[float], memory: int, protocol: Protocol
) -> LongVideoPoint:
    frames = length * count
    end = frames - 1 if protocol.skips_last else frames
    region, boundary = [], []
    for score in scores:
        scored = sum(int(name) < end for name in score.frames)
        if scored:
            region.append(math.fsum(score.region_by_frame[:scored]) / scored)
            boundary.append(math.fsum(score.boundary_by_frame[:scored]) / scored)
    return LongVideoPoint(
        length=length,
        frames=frames,
        region=mean_over(region),
        boundary=mean_over(boundary),
        frames_per_second=frames / sum(seconds[:frames]),
        last_frames_per_second=count / sum(seconds[frames - count : frames]),
        memory_bytes=memory,
    )


def _read(video: RootVideo) -> tuple[list[NDArray[np.uint8]], list[NDArray[Any]]]:
    """Decode the original once; the long video shows its frames many times."""
    reader = open_video(video.frames)
    folder = MaskFolder(video.masks, reader.names, void=VOID_ID, void_as=VOID_ID)
    if missing := [name for name in reader.names if name not in folder]:
        raise DataError(
            f"Frame {missing[0]} of {video.name!r} has no mask in `{video.masks}`. Expected a mask for every frame, "
            "since all are scored. Choose another video with `--video`."
        )
    if len(reader) < 3:
        raise DataError(
            f"The video {video.name!r} has {len(reader)} frames. Expected at least 3 to play it back and forth."
        )
    masks = [folder.get(name) for name in reader.names]
    return [frame.image for frame in reader], [mask for mask in masks if mask is not None]
