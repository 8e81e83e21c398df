"""Soft edges of masks, from the probabilities that the model gave."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["soft_edges"]

_BAND_SHARE = 0.01  # of the short side; a model's probabilities change over some four pixels at 480
_LEAST_BAND = 2  # pixels


def soft_edges(probability: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Take opacity from probabilities in a band along the outline of a mask.

    A model can be unsure about a whole part of an object, which would show through, or about the ground, which would be
    haze. So an object is opaque from the width of the band on, one hundredth of the short side, and its surroundings
    are transparent. Within the band, the opacity is the probability, but no less inside and no more outside than a
    straight ramp allows.

    Args:
        probability: Of the object, uint8 with 255 for certain, shape (H, W).
        inside: The object's mask, shape (H, W).

    Returns:
        Opacity, uint8, shape (H, W).

    Example:
        >>> inside = np.array([[False] * 5 + [True] * 5])
        >>> soft_edges(np.full((1, 10), 128, np.uint8), inside).tolist()
        [[0, 0, 0, 128, 128, 128, 128, 255, 255, 255]]
    """
    band = max(_LEAST_BAND, round(_BAND_SHARE * min(inside.shape)))
    if inside.all() or not inside.any():
        return inside.astype(np.uint8) * np.uint8(255)
    # Distances from the outermost pixels of both sides, whose opacity is the probability.
    depth, height = (
        np.clip((cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) - 1) / band, 0, 1)
        for side in (inside, ~inside)
    )
    level = probability.astype(np.float32)
    kept = np.where(inside, np.maximum(level, 255 * depth), np.minimum(level, 255 * (1 - height)))
    return np.rint(kept).astype(np.uint8)
