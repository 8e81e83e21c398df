"""Moving textured shapes with exact masks: training clips and test videos that need no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vos_zoo.data.clips.dataset import LabelledClip
from vos_zoo.data.clips.motion import FrameSize, height_and_width


class ShapesVideo(NamedTuple):
    """A generated video.

    Attributes:
        frames: RGB uint8, shape (T, H, W, 3).
        masks: Object ids uint8, 0 background, shape (T, H, W).
        name: Name.
    """

    frames: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    name: str


@dataclass(frozen=True)
class MovingShapes:
    """Source of clips with textured shapes that move, turn, change size and cover one another.

    Attributes:
        num_objects: Number of shapes.
        late_probability: Chance that the last shape appears only after the first frame.
    """

    num_objects: int = 3
    late_probability: float = 0.2

    def sample(
        self, rng: np.random.Generator, *, num_frames: int, crop_size: FrameSize, max_gap: int, max_objects: int = 1
    ) -> LabelledClip:
        """Draw one clip; a larger gap means faster motion. The number of shapes does not follow ``max_objects``."""
        is_late = rng.random() < self.late_probability
        video = moving_shapes(
            num_frames,
            *height_and_width(crop_size),
            num_objects=self.num_objects,
            late_frame=int(rng.integers(1, num_frames)) if is_late and num_frames > 1 else 0,
            speed=0.01 * min(max_gap, 10),
            rng=rng,
        )
        return LabelledClip(video.frames, video.masks, "moving-shapes")


def moving_shapes(
    num_frames: int = 8,
    height: int = 96,
    width: int = 128,
    *,
    num_objects: int = 2,
    late_frame: int = 0,
    speed: float = 0.03,
    rng: np.random.Generator | int = 0,
) -> ShapesVideo:
    """Generate a video of textured ellipses and polygons over a textured, drifting background.

    Shapes with higher ids lie on top. Masks are exact: they are painted by the same outlines, without smoothing.

    Args:
        num_frames: Number of frames.
        height: Pixels.
        width: Pixels.
        num_objects: Number of shapes, ids 1 to ``num_objects``.
        late_frame: Frame from which the shape with the highest id is there; 0 means from the start.
        speed: Typical movement per frame as share of the shorter side.
        rng: Seed or source of randomness.

    Returns:
        The video; the same seed gives the same video.

    Example:
        >>> video = moving_shapes(4, 48, 64, num_objects=2)
        >>> video.frames.shape, video.masks.shape
        ((4, 48, 64, 3), (4, 48, 64))
    """
    rng = np.random.default_rng(rng)
    side = min(height, width)
    background = _texture(rng, height + side // 2, width + side // 2)
    drift = rng.uniform(-1, 1, 2) * speed * side
    shapes = [_Shape.draw(rng, height, width, speed) for _ in range(num_objects)]
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    masks = np.zeros((num_frames, height, width), np.uint8)
    for index in range(num_frames):
        # A triangle wave keeps the window inside of the background however long the video is.
        top, left = (_bounce(side / 4 + drift[axis] * index, side // 2) for axis in (0, 1))
        frames[index] = background[top : top + height, left : left + width]
        for label, shape in enumerate(shapes, start=1):
            if label < num_objects or index >= late_frame:
                shape.paint(frames[index], masks[index], label, index)
    return ShapesVideo(frames, masks, "moving-shapes")


@dataclass(frozen=True)
class _Shape:
    outline: NDArray[np.float64]  # points around the origin in pixels, (n, 2)
    texture: NDArray[np.uint8]
    start: NDArray[np.float64]
    velocity: NDArray[np.float64]
    spin: float  # radians per frame
    pulse: float  # relative change of size, at most

    @staticmethod
    def draw(rng: np.random.Generator, height: int, width: int, speed: float) -> _Shape:
        side = min(height, width)
        radius = rng.uniform(0.12, 0.25) * side
        corners = int(rng.choice([3, 4, 5, 6, 40]))
        angles = np.sort(rng.random(corners)) * 0.3 + np.arange(corners) / corners * 2 * np.pi
        stretch = rng.uniform(0.6, 1, 2)
        outline = radius * stretch * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        reach = int(3 * radius) + 4
        return _Shape(
            outline=outline,
            texture=_texture(rng, reach, reach),
            start=rng.uniform(0.25, 0.75, 2) * [width, height],
            velocity=rng.normal(0, speed * side, 2),
            spin=float(rng.uniform(-3, 3) * speed),
            pulse=float(rng.uniform(0, 0.2)),
        )

    def paint(self, frame: NDArray[np.uint8], mask: NDArray[np.uint8], label: int, index: int) -> None:
        height, width = mask.shape
        centre = self.start + self.velocity * index
        centre = np.array([_bounce(centre[0], width - 1), _bounce(centre[1], height - 1)], float)
        angle, size = self.spin * index, 1 + self.pulse * np.sin(0.3 * index)
        turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        inside = np.zeros((height, width), np.uint8)
        points = np.round(self.outline @ turn.T + centre).astype(np.int32)
        cv2.fillPoly(inside, [points], 1)
        middle = np.array(self.texture.shape[:2]) / 2
        matrix = np.concatenate([turn, (centre - turn @ middle)[:, None]], axis=1)
        picture = cv2.warpAffine(self.texture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        frame[inside > 0] = picture[inside > 0]
        mask[inside > 0] = label


def _bounce(position: float, limit: int) -> int:
    if limit <= 0:
        return 0
    folded = position % (2 * limit)
    return int(min(folded, 2 * limit - folded))


def _texture(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Smooth colour field plus finer noise around a random base colour."""
    base = rng.uniform(40, 215, 3)
    coarse = rng.normal(0, 30, (6, 6, 3)).astype(np.float32)
    fine = rng.normal(0, 18, (max(height // 6, 2), max(width // 6, 2), 3)).astype(np.float32)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    field += cv2.resize(fine, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(field + base.astype(np.float32), 0, 255), dtype=np.uint8)
