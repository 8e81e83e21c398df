"""Geometry of synthetic clips: camera and object motion as matrices, thin-plate warps, and one warp per frame.

Flip, crop, scale, affine motion and thin-plate warp are composed into a single map, so every pixel is interpolated
once. That keeps images sharp and is several times faster than a chain of library transforms that each resample.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from vos_zoo.data.layouts.videos import Image
from vos_zoo.errors import ConfigError

Matrix = NDArray[np.float64]
FrameSize = int | tuple[int, int]
"""Side of a square in pixels, or (height, width)."""

BORDER_REFLECT: int = cv2.BORDER_REFLECT_101
BORDER_REPLICATE: int = cv2.BORDER_REPLICATE
BORDER_ZERO: int = cv2.BORDER_CONSTANT

_MAX_SHIFT = 0.2  # bound of thin-plate displacements, share of the frame side
_GRID = 17  # knots per side at which a thin-plate warp is evaluated before it is upsampled; it is smooth in between


@dataclass(frozen=True)
class MotionRange:
    """How far frames may move against the first one; the numbers are half-widths of symmetric ranges.

    With ``is_chained`` the numbers bound the typical step between neighbouring frames, and frames follow a random
    walk with inertia. Without it every frame is drawn on its own, as in most papers, or all are moved alike.

    Attributes:
        rotation: Degrees.
        scale: Relative change, 0.1 means factors 0.9 to 1.1.
        shear: Degrees, along x.
        translation: Fraction of the frame side.
        warp_probability: Chance of a thin-plate warp per frame.
        warp_std: Displacement of control points, fraction of the frame side.
        zoom: Largest factor of a steady change of size from the first to the last frame, on top of the rest: 3 means a
            third to three times the size, 1 none. What approaches or moves away changes like that.
        stretch: Largest factor of a steady change of the aspect ratio. What turns round shows wider or narrower sides.
        is_chained: Random walk instead of independent frames.
        is_shared: One draw for all frames instead of one for each; not with ``is_chained``.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    translation: float = 0.0
    warp_probability: float = 0.0
    warp_std: float = 0.02
    zoom: float = 1.0
    stretch: float = 1.0
    is_chained: bool = True
    is_shared: bool = False

    def __post_init__(self) -> None:
        """Check that the switches agree and the factors are none below 1."""
        if self.is_chained and self.is_shared:
            raise ConfigError("A motion is both chained and shared. Expected one of them at most; set the other false.")
        if min(self.zoom, self.stretch) < 1:
            raise ConfigError(
                f"A motion has zoom {self.zoom} and stretch {self.stretch}. Expected factors of at least 1, which mean "
                "no change; a factor of 3 shrinks to a third as well as it enlarges."
            )


# Li et al., CVPR 2022 and Cheng et al., NeurIPS 2021, released training settings for static images and for videos.
PAPER_STATIC = MotionRange(rotation=20, scale=0.1, shear=10, warp_probability=0.33, is_chained=False)
PAPER_VIDEO = MotionRange(rotation=15, shear=10, is_chained=False)
# Steps chosen so that three chained frames spread about as far as three independent ones of the papers.
CHAINED_STATIC = MotionRange(rotation=12, scale=0.08, shear=5, translation=0.06, warp_probability=0.33)
CHAINED_SPRITE = MotionRange(rotation=10, scale=0.08, shear=4, translation=0.09, warp_probability=0.33)
CHAINED_VIDEO = MotionRange(rotation=4, scale=0.03, shear=3, translation=0.02)


def sample_motion(rng: np.random.Generator, frames: int, motion: MotionRange) -> Matrix:
    """Draw affine motion about the origin in units of the frame side.

    Args:
        rng: Source of randomness.
        frames: Number of frames.
        motion: Ranges.

    Returns:
        Forward matrices, shape (frames, 3, 3); the first is the identity when frames are chained, all are equal when
        they are shared and neither zoom nor stretch changes them.
    """
    width = np.array([np.deg2rad(motion.rotation), motion.scale, np.deg2rad(motion.shear), *[motion.translation] * 2])
    if motion.is_chained:
        velocity = rng.uniform(-1, 1, 5)
        values = np.zeros((frames, 5))
        for index in range(1, frames):
            # Inertia 0.7 lets a motion continue for a few frames and still reverse within a clip.
            velocity = 0.7 * velocity + 0.3 * rng.uniform(-1.5, 1.5, 5)
            values[index] = values[index - 1] + velocity * width
    else:
        values = rng.uniform(-1, 1, (1 if motion.is_shared else frames, 5)) * width
        values = np.repeat(values, frames // len(values), axis=0)
    angle, log_scale, shear = values[:, 0], values[:, 1], np.tan(values[:, 2])
    log_scale = log_scale + _sample_trend(rng, frames, motion.zoom)
    half_aspect = _sample_trend(rng, frames, motion.stretch) / 2
    cosine, sine = np.cos(angle), np.sin(angle)
    scale_x, scale_y = np.exp(log_scale + half_aspect), np.exp(log_scale - half_aspect)
    matrices = np.zeros((frames, 3, 3))
    # rotation · shear along x · scale
    matrices[:, 0, 0] = scale_x * cosine
    matrices[:, 0, 1] = scale_y * (cosine * shear - sine)
    matrices[:, 1, 0] = scale_x * sine
    matrices[:, 1, 1] = scale_y * (sine * shear + cosine)
    matrices[:, :2, 2] = values[:, 3:]
    matrices[:, 2, 2] = 1
    return matrices


def sample_warps(rng: np.random.Generator, frames: int, motion: MotionRange) -> list[Matrix | None]:
    """Draw thin-plate displacements, one per frame, as shares of the frame side.

    Chained frames add a new warp to the one before, shared ones have one warp or none; independent frames are warped
    or not on their own.

    Returns:
        Per frame None or a displacement grid of shape (17, 17, 2), order x, y.

    Source: 12 control points, standard deviation 0.02, probability 0.33 in the released settings of STCN and RDE-VOS.
    """
    warps: list[Matrix | None] = []
    current: Matrix | None = None
    for index in range(frames):
        if motion.is_shared and index > 0:
            warps.append(current)
            continue
        is_drawn = motion.warp_probability > 0 and rng.random() < motion.warp_probability
        if is_drawn and not (motion.is_chained and index == 0):
            points = rng.random((12, 2))
            drawn = thin_plate_grid(points, rng.normal(0, motion.warp_std, (12, 2)))
            current = drawn if current is None or not motion.is_chained else current + drawn
        elif not motion.is_chained:
            current = None
        warps.append(current)
    return warps


def thin_plate_grid(points: Matrix, displacements: Matrix, size: int = _GRID) -> Matrix:
    """Interpolate displacements of control points by a thin-plate spline on a regular grid over the unit square.

    Args:
        points: Control points, shape (n, 2), order x, y, range 0-1.
        displacements: Displacement at the control points, shape (n, 2).
        size: Knots per side of the grid.

    Returns:
        Displacements, shape (size, size, 2).

    Source: Bookstein, "Principal warps", TPAMI 1989: kernel r² ln r² plus an affine part.
    """
    count = len(points)
    kernel = _radial(points, points) + 1e-6 * np.eye(count)  # keeps (almost) coinciding points solvable
    affine = np.concatenate([np.ones((count, 1)), points], axis=1)
    system = np.block([[kernel, affine], [affine.T, np.zeros((3, 3))]])
    weights = np.linalg.solve(system, np.concatenate([displacements, np.zeros((3, 2))]))
    knots = np.linspace(0, 1, size)
    grid = np.stack(np.meshgrid(knots, knots), axis=-1).reshape(-1, 2)
    basis = np.concatenate([_radial(grid, points), np.ones((len(grid), 1)), grid], axis=1)
    # Control points that almost coincide can make the spline overshoot far beyond what it interpolates.
    return np.asarray(np.clip((basis @ weights).reshape(size, size, 2), -_MAX_SHIFT, _MAX_SHIFT))


def warp(
    image: Image, forward: Matrix, size: FrameSize, displacement: Matrix | None = None, border: int = BORDER_REFLECT
) -> Image:
    """Resample an image once through an affine map and an optional thin-plate displacement.

    Args:
        image: Shape (H, W) or (H, W, channels), at most four channels.
        forward: Matrix (3, 3) from source pixels to output pixels.
        size: Size of the output.
        displacement: Grid (k, k, 2) as shares of the output's sides, added to the output position that is looked up.
        border: OpenCV border mode.

    Returns:
        Image of shape (height, width) or (height, width, channels), bilinear.
    """
    height, width = height_and_width(size)
    inverse = np.linalg.inv(forward)[:2]
    if displacement is None:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return _as_image(cv2.warpAffine(image, inverse, (width, height), flags=flags, borderMode=border))
    positions = source_positions(forward, size, displacement)
    return _as_image(cv2.remap(image, positions[..., 0], positions[..., 1], cv2.INTER_LINEAR, borderMode=border))


def source_positions(forward: Matrix, size: FrameSize, displacement: Matrix | None = None) -> NDArray[np.float32]:
    """Return where :func:`warp` looks every output pixel up: source pixels (x, y), shape (height, width, 2).

    Whole numbers are centres of pixels, as in OpenCV. Arguments are those of :func:`warp`.
    """
    height, width = height_and_width(size)
    grid = _pixel_grid(height, width)
    if displacement is not None:
        pixels = displacement.astype(np.float32) * np.array([width, height], np.float32)
        grid = grid + cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.transform(grid, np.linalg.inv(forward)[:2].astype(np.float32)), np.float32)


def translation(x: float, y: float) -> Matrix:
    """Matrix that moves by (x, y) pixels."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], dtype=np.float64)


def scaling(x: float, y: float) -> Matrix:
    """Matrix that scales about the origin; a negative factor flips."""
    return np.diag([x, y, 1.0])


def height_and_width(size: FrameSize) -> tuple[int, int]:
    """Return a size as (height, width)."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def about_centre(matrices: Matrix, size: FrameSize) -> Matrix:
    """Turn motion about the origin in units of the shorter side into motion about a frame's middle in pixels."""
    height, width = height_and_width(size)
    side = min(height, width)
    x, y = (width - 1) / 2, (height - 1) / 2
    return np.asarray(
        translation(x, y) @ scaling(side, side) @ matrices @ scaling(1 / side, 1 / side) @ translation(-x, -y)
    )


def _sample_trend(rng: np.random.Generator, frames: int, factor: float) -> Matrix | float:
    """Logarithm of a factor that grows or falls steadily from 1 in the first frame; nothing is drawn for none."""
    return np.linspace(0, rng.uniform(-1, 1) * np.log(factor), frames) if factor > 1 else 0.0


def _radial(first: Matrix, second: Matrix) -> Matrix:
    squared = ((first[:, None] - second[None]) ** 2).sum(-1)
    return np.asarray(squared * np.log(np.maximum(squared, 1e-12)))


@lru_cache(maxsize=8)
def _pixel_grid(height: int, width: int) -> NDArray[np.float32]:
    rows, columns = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    return np.stack(np.meshgrid(columns, rows), axis=-1)


def _as_image(array: NDArray[np.generic]) -> Image:
    return np.asarray(array, dtype=np.uint8)
