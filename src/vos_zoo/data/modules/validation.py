"""Whole videos for validation and test, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.data.layouts.videos import AnnotatedVideos


class Pictures(Protocol):
    """Images of a video in order: an array, or read when they are asked for."""

    def __len__(self) -> int:
        """Number of frames."""

    def __iter__(self) -> Iterator[Any]:
        """Images one after another."""

    def __getitem__(self, index: int, /) -> Any:
        """One image."""


class VideoItem(TypedDict):
    """A whole video of T frames.

    ``frames`` are RGB uint8 (H, W, 3), ``masks`` object ids uint8 (H, W), T of each; ``annotated`` lists the indices of
    the frames that have a mask, the others' masks are all background.
    """

    frames: Pictures
    masks: Pictures
    annotated: list[int]
    name: str


class GeneratedVideos(Dataset[VideoItem]):
    """A few generated videos of one or two moving shapes, for validation without files.

    Args:
        count: Number of videos.
        frames: Frames of each.
        height: Pixels.
        width: Pixels.
    """

    def __init__(self, count: int = 4, frames: int = 10, height: int = 120, width: int = 160) -> None:
        self._count = count
        self._shape = (frames, height, width)

    def __len__(self) -> int:
        """Number of videos."""
        return self._count

    def __getitem__(self, index: int) -> VideoItem:
        """Generate one video; the same index gives the same video."""
        if not 0 <= index < self._count:
            raise IndexError(index)
        video = moving_shapes(*self._shape, num_objects=1 + index % 2, rng=index)
        return {
            "frames": video.frames,
            "masks": video.masks,
            "annotated": list(range(len(video.frames))),
            "name": f"{video.name}-{index}",
        }


class WholeVideos(Dataset[VideoItem]):
    """Annotated videos, from their first frame to the last annotated one; images are read when they are asked for.

    Args:
        videos: Where they lie.
        frames: Use only so many first frames of each; None means all.
    """

    def __init__(self, videos: AnnotatedVideos, frames: int | None = None) -> None:
        self._videos = videos
        self._frames = frames

    def __len__(self) -> int:
        """Number of videos."""
        return len(self._videos)

    def __getitem__(self, index: int) -> VideoItem:
        """Open one video; reading its images raises DataError if a file cannot be read, or sizes differ."""
        video = self._videos.videos[index]
        annotated = [frame for frame in video.annotated if self._frames is None or frame < self._frames]
        frames = _StoredFrames(self._videos, index, max(annotated, default=0) + 1)
        return {"frames": frames, "masks": _StoredMasks(frames), "annotated": annotated, "name": video.name}


class _StoredFrames:
    """Frames of a video; no Sequence, since Lightning would read all of one to look for tensors in it."""

    def __init__(self, videos: AnnotatedVideos, video: int, count: int) -> None:
        self.videos = videos
        self.video = video
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return self.videos.iterate(self.video, self._count)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return self.videos.read_frame(self.video, range(self._count)[index])


class _StoredMasks:
    """Masks of the same frames."""

    def __init__(self, frames: _StoredFrames) -> None:
        self._frames = frames
        self._size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        videos, video = self._frames.videos, self._frames.video
        if self._size is None:
            height, width = self._frames[0].shape[:2]
            self._size = height, width
        if videos.videos[video].masks[index] is None:
            return np.zeros(self._size, np.uint8)
        return videos.read_checked_mask(video, index, self._size)


def single_video(items: Sequence[VideoItem]) -> VideoItem:
    """Collate function of validation loaders: videos differ in size, so a batch is one video as it is."""
    return items[0]
