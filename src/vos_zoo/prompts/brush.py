"""Strokes of a brush, painted into a mask exactly as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .check import check_inside
from .prompt import Brush

__all__ = ["paint"]

_BITS = 4  # binary digits of a pixel's fraction, for OpenCV


def paint(mask: NDArray[np.int32], strokes: Sequence[Brush]) -> NDArray[np.int32]:
    """Paint and erase objects.

    A stroke paints over other objects. An eraser takes pixels from its own object alone, all of them if need be.

    Args:
        mask: Object ids, shape (H, W); it is left as it is.
        strokes: Strokes, in their order.

    Returns:
        Object ids, shape (H, W).

    Raises:
        PromptError: If a stroke leaves the frame.

    Example:
        >>> paint(np.zeros((1, 4), np.int32), [Brush(2, [(0.5, 0.5), (1.5, 0.5)], radius=0.5)]).tolist()
        [[2, 2, 0, 0]]
    """
    size = mask.shape[0], mask.shape[1]
    painted = mask.copy()
    for stroke in strokes:
        check_inside(stroke, size)
        covered = _covered(stroke, size)
        if stroke.erase:
            painted[covered & (painted == stroke.object_id)] = 0
        else:
            painted[covered] = stroke.object_id
    return painted


def _covered(stroke: Brush, size: tuple[int, int]) -> NDArray[Any]:
    """Mark the pixels under a stroke."""
    covered = np.zeros(size, np.uint8)
    # OpenCV counts from the centre of the first pixel.
    points = np.round((np.asarray(stroke.line, np.float64) - 0.5) * 2**_BITS).astype(np.int32)
    cv2.polylines(covered, [points], False, 1, max(round(2 * stroke.radius), 1), cv2.LINE_8, shift=_BITS)
    for x, y in points.tolist() if len(points) == 1 else ():
        radius = max(round((stroke.radius - 0.5) * 2**_BITS), 0)
        cv2.circle(covered, (x, y), radius, 1, cv2.FILLED, cv2.LINE_8, shift=_BITS)
    return covered.astype(np.bool_)
