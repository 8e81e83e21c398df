"""Videos in memory: arrays, tensors, lists of frames, and whatever gives frames one after another."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from PIL import Image

from vos_zoo.errors import ConfigError, UsageError, VideoError
from vos_zoo.media.arrays import ColorOrder, as_array, check_color, is_array, to_frame
from vos_zoo.media.frames import VideoFrame, VideoReader, frame_numbers
from vos_zoo.media.reader import open_video

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vos_zoo.media.levels import LevelsChoice

__all__ = ["IN_MEMORY", "FrameSource", "VideoInMemory", "open_frames"]

FrameSource = Any
"""A path, an address or the number of a camera as :func:`vos_zoo.media.reader.open_video` takes it; an open
:class:`~vos_zoo.media.frames.VideoReader`; an array or tensor (T, H, W, 3) or (T, 3, H, W); or any iterable of frames
as :func:`vos_zoo.media.arrays.to_frame` takes them."""

IN_MEMORY = "frames in memory"
"""What stands in for the path of a video that has none."""

_MOST_FRAMES = 100_000  # of an iterable without a length: what has a number of five digits


def open_frames(
    frames: FrameSource,
    *,
    start: int | None = None,
    end: int | None = None,
    every: int = 1,
    levels: LevelsChoice = None,
    color: ColorOrder = "rgb",
) -> VideoReader:
    """Open whatever holds the frames of one video: the one door for all sources.

    Args:
        frames: See :data:`FrameSource`. Frames in memory are named by their numbers, ``00000``, ``00001``, …
        start: First frame, counted from 0.
        end: Frame to stop before.
        every: Take every n-th frame only.
        levels: Which values become 0 and 255 if frames of files have more than 8 bits per colour.
        color: Order of the colours of frames in memory.

    Raises:
        UsageError: If ``frames`` is nothing of this.
        ConfigError: If a selection is out of range or is given for a reader, which has its own, or there is no such
            order of colours.
        VideoError: If there is no frame, or the first one is not a frame.
        VosZooError: As :func:`vos_zoo.media.reader.open_video` says, for paths.
    """
    check_color(color)
    if isinstance(frames, (str, os.PathLike)):
        return open_video(os.fspath(frames), start=start, end=end, every=every, levels=levels)
    if isinstance(frames, VideoReader):
        if (start, end, every, levels) != (None, None, 1, None):
            raise ConfigError(
                "The video is an open reader, which has its own selection of frames. Give start, end, every and levels "
                "to open_video, or give the path."
            )
        return frames
    if levels is not None:
        raise ConfigError(
            "levels is for files whose frames have more than 8 bits per colour. Scale frames in memory to 0-255 "
            "(uint8) or 0-1."
        )
    is_one_frame = isinstance(frames, Image.Image) or (is_array(frames) and getattr(frames, "ndim", 4) in (2, 3))
    if isinstance(frames, Iterable) and not is_one_frame and not isinstance(frames, (bytes, dict)):
        return VideoInMemory(frames, start=start, end=end, every=every, color=color)
    hint = "; this is one frame: give [frame], or drive a VideoSession frame by frame" if is_one_frame else ""
    raise UsageError(
        f"The video is {'None' if frames is None else 'a ' + type(frames).__name__}{hint}. Expected a path, an array "
        "of shape (frames, height, width, 3), or an iterable of frames."
    )


class VideoInMemory(VideoReader):
    """A video that a program hands over.

    What has a length is read by position, so that it can be read several times and backwards. Anything else is read
    once, from its first frame on, and holds at most 100,000 frames unless ``end`` says more.

    Args:
        frames: Array, tensor, or iterable of frames; see :data:`FrameSource`.
        start: First frame, counted from 0.
        end: Frame to stop before.
        every: Take every n-th frame only.
        color: Order of the frames' colours.

    Raises:
        VideoError: If there is no frame, or the first one is none.
        ConfigError: If ``start``, ``end`` or ``every`` are out of range.
    """

    def __init__(
        self,
        frames: Iterable[Any],
        *,
        start: int | None = None,
        end: int | None = None,
        every: int = 1,
        color: ColorOrder = "rgb",
    ) -> None:
        self._color: ColorOrder = color
        self._frames: Sequence[Any] | None = None
        self._rest: Iterator[Any] = iter(())
        self._is_used = False
        if is_array(frames):
            array = as_array(frames)
            if array.ndim != 4:
                raise VideoError(
                    f"The video has shape {array.shape}. Expected (frames, height, width, 3), or a list of frames."
                )
        first: list[Any]
        if hasattr(frames, "__len__") and hasattr(frames, "__getitem__"):
            self._frames = cast("Sequence[Any]", frames)
            count = len(self._frames)
            first = [self._frames[0]] if count else []
        else:
            self._rest = iter(frames)
            first = list(itertools.islice(self._rest, 1))
            self._rest = itertools.chain(first, self._rest)
            count = (end or _MOST_FRAMES) if first else 0
        if not count:
            raise VideoError("The video has no frames: nothing came. Give at least one frame.")
        height, width = to_frame(first[0], "Frame 0", color=color).shape[:2]
        super().__init__(
            IN_MEMORY,
            size=(height, width),
            rate=None,
            all_names=frame_numbers(count),
            start=start,
            end=end,
            every=every,
        )

    @property
    def has_known_length(self) -> bool:
        """Whether what gives the frames has a length."""
        return self._frames is not None

    @property
    def is_repeatable(self) -> bool:
        """Whether frames are found by their numbers."""
        return self._frames is not None

    @property
    def frames_held(self) -> int:
        """One: the frames are in memory already."""
        return 1

    def _pick(self, positions: Sequence[int]) -> Iterator[VideoFrame]:
        if self._frames is None:
            yield from super()._pick(positions)
            return
        for position in positions:
            index = self._start + position * self._every
            yield self._frame(index, self._frames[index])

    def __iter__(self) -> Iterator[VideoFrame]:
        """Return the selected frames, converting one at a time.

        Raises:
            VideoError: If frames without a length are read a second time, or one of them is not a frame, or has another
                size than the first one.
        """
        if self._frames is not None:
            yield from self._pick(range(len(self)))
            return
        if self._is_used:
            raise VideoError(
                "The frames come from a generator, which gives each of them once, and they have been read already. "
                "Give a list of frames, an array or a file to read them again."
            )
        self._is_used = True
        for index, frame in enumerate(self._rest):
            if self._selects(index):
                if index >= len(self.all_names):
                    raise VideoError(
                        f"More than {index} frames came from an iterable without a length. Say how many there may be: "
                        "end=N."
                    )
                yield self._frame(index, frame)
            if self._end is not None and index + 1 >= self._end:
                return

    def _frame(self, index: int, frame: Any) -> VideoFrame:
        name = self.all_names[index]
        image: NDArray[np.uint8] = to_frame(frame, f"Frame {index}", color=self._color)
        self._check_size(image, f"Frame {index}")
        return VideoFrame(index, name, image)

    def _samples(self) -> Iterator[NDArray[Any]]:
        return iter(())  # frames in memory have 8 bits
