"""Colour augmentation with the same parameters for a whole clip; the package's only door to albumentations.

Geometry is not done here: flip, crop, affine motion and thin-plate warp are composed into one map in
:mod:`vos_zoo.data.clips.motion`, which resamples each frame once. (A separate random resized crop alone takes 3 ms for
three 683×384 frames; the composed warp of all steps takes less than half of that.)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Without this albumentations asks a server for its newest version while it is being imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A

# Motion blur as albumentations has it moves edges by up to a pixel, away from their masks.
_BLUR_STD = (0.5, 2.5)


@dataclass(frozen=True)
class ColourRange:
    """Half-widths of colour jitter; factors for brightness, contrast and saturation are drawn from 1 ± the number.

    Attributes:
        brightness: Relative.
        contrast: Relative.
        saturation: Relative.
        hue: Share of the colour circle.
        grayscale: Probability of dropping the colour.
        blur: Probability of blur, Gaussian with a standard deviation of 0.5 to 2.5 pixels.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale: float = 0.0
    blur: float = 0.0


# Released training settings of STCN and RDE-VOS.
STATIC_CLIP_COLOUR = ColourRange(0.1, 0.05, 0.05, 0.05, grayscale=0.05)
STATIC_FRAME_COLOUR = ColourRange(0.1, 0.05, 0.05)
VIDEO_CLIP_COLOUR = ColourRange(0.1, 0.03, 0.03, grayscale=0.05)
VIDEO_FRAME_COLOUR = ColourRange(0.01, 0.01, 0.01)


def jitter_clip(images: NDArray[np.uint8], colour: ColourRange, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change the colours of all frames alike.

    Args:
        images: RGB frames, shape (T, H, W, 3).
        colour: Ranges.
        rng: Source of randomness.

    Returns:
        Frames of the same shape.
    """
    transform = _colour_transform(colour)
    transform.set_random_seed(int(rng.integers(2**31)))
    return np.asarray(transform(images=images)["images"], dtype=np.uint8)


def jitter_frames(images: NDArray[np.uint8], colour: ColourRange, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change the colours of every frame on its own; arguments as for :func:`jitter_clip`."""
    transform = _colour_transform(colour)
    transform.set_random_seed(int(rng.integers(2**31)))
    return np.stack([transform(image=image)["image"] for image in images])


@lru_cache(maxsize=16)
def _colour_transform(colour: ColourRange) -> A.Compose:
    jitter = A.ColorJitter(
        brightness=(1 - colour.brightness, 1 + colour.brightness),
        contrast=(1 - colour.contrast, 1 + colour.contrast),
        saturation=(1 - colour.saturation, 1 + colour.saturation),
        hue=(-colour.hue, colour.hue),
        p=1,
    )
    steps = [jitter, A.ToGray(p=colour.grayscale)]
    if colour.blur > 0:
        steps.append(A.GaussianBlur(blur_limit=0, sigma_limit=_BLUR_STD, p=colour.blur))
    return A.Compose(steps)
