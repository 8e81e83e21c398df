"""Random damage to first-frame masks, so that a network learns to bear imprecise ones."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

ROUNDS = 250  # upper bound of rounds before the mask is taken as it is
OPERATIONS_PER_ROUND = 4
SPECK_PROBABILITY = 0.1
_SMOOTHING = 1e-6


def perturb_mask(mask: NDArray[np.generic], iou_target: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Dilate and erode random rectangles of a mask until its overlap with the original falls below a target.

    A round makes four operations. Each picks a rectangle, sets its centre pixel at random with probability 0.1, and
    dilates or erodes it once with a square or elliptic kernel of 3 to 9 pixels. After at most 250 rounds the
    mask is returned as it is.

    Args:
        mask: Shape (H, W); everything that is not zero is the object.
        iou_target: Intersection over union to fall below, 0-1; 1 returns the mask unchanged.
        rng: Source of randomness.

    Returns:
        Mask of the same shape with values 0 and 1. Masks at most two pixels wide or high come back unchanged.

    Source: Li et al., "Recurrent Dynamic Embedding for Video Object Segmentation", CVPR 2022, mask consistency loss;
    numbers of the released training settings.

    Example:
        >>> square = np.zeros((32, 32), np.uint8)
        >>> square[8:24, 8:24] = 1
        >>> damaged = perturb_mask(square, 0.9, np.random.default_rng(0))
        >>> bool((damaged != square).any())
        True
    """
    original = np.asarray(mask != 0, dtype=np.uint8)
    height, width = original.shape
    if iou_target >= 1 or height <= 2 or width <= 2:
        return original
    damaged = original * np.uint8(255)
    reference = damaged.copy()
    for _ in range(ROUNDS):
        for _ in range(OPERATIONS_PER_ROUND):
            _damage_rectangle(damaged, rng)
        if _iou(damaged, reference) < iou_target:
            break
    return np.asarray(damaged != 0, dtype=np.uint8)


def _damage_rectangle(mask: NDArray[np.uint8], rng: np.random.Generator) -> None:
    height, width = mask.shape
    # Plain scalars from one call: a Generator call costs as much as the morphology of a small rectangle.
    draw = rng.random(9)
    left, top = int(draw[0] * (width - 1)), int(draw[1] * (height - 1))
    right = left + 1 + int(draw[2] * (width - 1 - left))
    bottom = top + 1 + int(draw[3] * (height - 1 - top))
    if draw[4] < SPECK_PROBABILITY:
        mask[(top + bottom) // 2, (left + right) // 2] = 255 if draw[5] < 0.5 else 0
    side = 3 + int(draw[6] * 7)
    kernel = _KERNELS[side][int(draw[7] * 4)]
    box = mask[top:bottom, left:right]
    # OpenCV looks at pixels outside of a view as well; the copy keeps the operation inside the rectangle.
    operation = cv2.dilate if draw[8] < 0.5 else cv2.erode
    mask[top:bottom, left:right] = operation(np.ascontiguousarray(box), kernel)


def _iou(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    intersection = cv2.countNonZero(cv2.bitwise_and(first, second))
    union = cv2.countNonZero(cv2.bitwise_or(first, second))
    return (intersection + _SMOOTHING) / (union + _SMOOTHING)


def _kernels(side: int) -> tuple[NDArray[np.uint8], ...]:
    shapes = [
        (cv2.MORPH_RECT, side, side),
        (cv2.MORPH_ELLIPSE, side, side),
        (cv2.MORPH_ELLIPSE, side, side // 2),
        (cv2.MORPH_ELLIPSE, side // 2, side),
    ]
    return tuple(np.asarray(cv2.getStructuringElement(shape, (w, h)), np.uint8) for shape, w, h in shapes)


_KERNELS = {side: _kernels(side) for side in range(3, 10)}
