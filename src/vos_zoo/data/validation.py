"""Whole videos for validation and test, one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from vos_zoo.data.synthetic import moving_shapes
from vos_zoo.data.videos import AnnotatedVideos


class VideoItem(TypedDict):
    """A whole video.

    ``frames`` are RGB uint8 (T, H, W, 3), ``masks`` object ids uint8 (T, H, W); ``annotated`` lists the indices of the
    frames that have a mask, the others' masks are all background.
    """

    frames: NDArray[np.uint8]
    masks: NDArray[np.uint8]
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
    """Annotated videos, from their first frame to the last annotated one.

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
        """Read one video.

        Raises:
            DataError: If a file cannot be read, or sizes differ.
        """
        video = self._videos.videos[index]
        annotated = [frame for frame in video.annotated if self._frames is None or frame < self._frames]
        last = max(annotated, default=0)
        frames = np.stack(list(self._videos.iterate(index, last + 1)))
        masks = np.zeros(frames.shape[:3], np.uint8)
        for frame in annotated:
            masks[frame] = self._videos.read_checked_mask(index, frame, frames[frame])
        return {"frames": frames, "masks": masks, "annotated": annotated, "name": video.name}


def single_video(items: Sequence[VideoItem]) -> VideoItem:
    """Collate function of validation loaders: videos differ in size, so a batch is one video as it is."""
    return items[0]
