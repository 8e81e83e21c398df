"""Whole videos for validation and test, one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from vos_zoo.data.davis import DavisVideos
from vos_zoo.data.synthetic import moving_shapes


class VideoItem(TypedDict):
    """A whole video: RGB uint8 frames (T, H, W, 3), object ids uint8 (T, H, W), and its name."""

    frames: NDArray[np.uint8]
    masks: NDArray[np.uint8]
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
        return {"frames": video.frames, "masks": video.masks, "name": f"{video.name}-{index}"}


class WholeVideos(Dataset[VideoItem]):
    """Annotated videos.

    Args:
        videos: Where they lie.
        frames: Use only so many first frames of each; None means all.
    """

    def __init__(self, videos: DavisVideos, frames: int | None = None) -> None:
        self._videos = videos
        self._frames = frames

    def __len__(self) -> int:
        """Number of videos."""
        return len(self._videos)

    def __getitem__(self, index: int) -> VideoItem:
        """Read one video."""
        video = self._videos.videos[index]
        read = [self._videos.read(index, frame) for frame in range(len(video.frames))[: self._frames]]
        return {
            "frames": np.stack([image for image, _ in read]),
            "masks": np.stack([mask for _, mask in read]),
            "name": video.name,
        }


def single_video(items: Sequence[VideoItem]) -> VideoItem:
    """Collate function of validation loaders: videos differ in size, so a batch is one video as it is."""
    return items[0]
