"""Training clips that follow one object of an annotated video through its listed frames, whole frames at a time."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from vos_zoo.data.clips.dataset import LabelledClip
from vos_zoo.data.clips.motion import FrameSize, height_and_width
from vos_zoo.data.layouts.videos import Image
from vos_zoo.data.layouts.youtube_vos import YouTubeVosVideos
from vos_zoo.errors import DataError

_MIN_FRAMES = 2  # one is given, one is predicted


class VideoObject(NamedTuple):
    """An object of a video.

    Attributes:
        video: Number of the video.
        label: Its id in the masks.
        frames: Indices of the frames that ``meta.json`` lists for it.
    """

    video: int
    label: int
    frames: list[int]


@dataclass(frozen=True)
class ObjectClips:
    """Clips of consecutive listed frames of one object; every object of every video is equally likely.

    An object with fewer frames than asked for gives those that it has. Frames are resized as a whole, whatever their
    shape, after one flip, rotation and scaling for the whole clip; colours stay.

    Attributes:
        videos: Where frames come from.
        rotation: Half-width of the range of rotations, in degrees; whole numbers are drawn.
        scale: Half-width of the range of factors about 1; hundredths are drawn.

    Raises:
        DataError: If no object is listed in two frames.

    Source: training of HS2S, Azimi et al., 2020, as released.
    """

    videos: YouTubeVosVideos
    rotation: int = 20
    scale: float = 0.25

    def __post_init__(self) -> None:
        """Look for objects."""
        if not self.objects:
            raise DataError(
                f"None of {len(self.videos)} videos has an object that meta.json lists in {_MIN_FRAMES} annotated "
                "frames. Expected some; use a split whose frames are annotated, such as train."
            )

    @functools.cached_property
    def objects(self) -> list[VideoObject]:
        """What clips are drawn from."""
        return [
            VideoObject(video, label, frames)
            for video in range(len(self.videos))
            for label, frames in self.videos.listed_frames(video).items()
            if len(frames) >= _MIN_FRAMES
        ]

    def sample(
        self, rng: np.random.Generator, *, num_frames: int, crop_size: FrameSize, max_gap: int, max_objects: int
    ) -> LabelledClip:
        """Draw one clip; neighbours are one listed frame apart, whatever ``max_gap``."""
        video, label, frames = self.objects[int(rng.integers(len(self.objects)))]
        length = min(num_frames, len(frames))
        start = int(rng.integers(len(frames) - length + 1))
        images, masks = self.videos.read_clip(video, frames[start : start + length])
        matrix = self._motion(rng, (images[0].shape[0], images[0].shape[1]))
        size = height_and_width(crop_size)
        moved = [_resize(_move(image, matrix), size, PIL.Image.Resampling.BILINEAR) for image in images]
        labels = [_resize(_move(mask, matrix), size, PIL.Image.Resampling.NEAREST) == label for mask in masks]
        return LabelledClip(np.stack(moved), np.stack(labels).astype(np.uint8), self.videos.videos[video].name)

    def _motion(self, rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float64]:
        """Draw flip, rotation and scaling about the centre of frames of ``size`` = (H, W), shape (2, 3)."""
        # As released, the upper ends are left out: -20 to 19 degrees, 0.75 to 1.24.
        angle = int(rng.integers(-self.rotation, max(self.rotation, 1)))
        factor = 1 - self.scale + int(rng.integers(max(round(200 * self.scale), 1))) / 100
        matrix = cv2.getRotationMatrix2D(((size[1] - 1) / 2, (size[0] - 1) / 2), angle, factor)
        if rng.random() < 0.5:
            matrix[0] = [0, 0, size[1] - 1] - matrix[0]
        return np.asarray(matrix, np.float64)


def _move(picture: Image, matrix: NDArray[np.float64]) -> Image:
    size = picture.shape[1], picture.shape[0]
    return np.asarray(cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_NEAREST, borderValue=0), np.uint8)


def _resize(picture: Image, size: tuple[int, int], filter_: PIL.Image.Resampling) -> Image:
    # Pillow averages when it reduces, as the authors' loader does; OpenCV's bilinear filter leaves pixels out.
    return np.asarray(PIL.Image.fromarray(picture).resize((size[1], size[0]), filter_), np.uint8)
