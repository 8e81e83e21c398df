"""Prompts as the network sees them: one map per kind, in the pixels of the crop."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["CHANNELS", "DISC_RADIUS", "draw_maps"]

#: What the channels hold.
CHANNELS = ("box", "positive", "negative", "previous")

#: Radius of the disc around a point, in pixels of the crop.
DISC_RADIUS = 5

_BITS = 4  # binary digits of a pixel's fraction, for OpenCV

Point = tuple[float, float]


def draw_maps(
    size: tuple[int, int],
    *,
    box: tuple[float, float, float, float] | None = None,
    positive: Sequence[Sequence[Point]] = (),
    negative: Sequence[Sequence[Point]] = (),
    previous: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Draw the prompts of one object.

    Coordinates are pixels of the crop, x to the right and y down; (0, 0) is the centre of the first pixel.

    Args:
        size: Height and width of the crop.
        box: Left, top, right and bottom of what lies inside; it is filled.
        positive: Lines through points of the object; a line of one point is a disc.
        negative: Lines through points outside of it.
        previous: Mask to be corrected, shape (H, W).

    Returns:
        The maps in the order of :data:`CHANNELS`, values 0 and 1, shape (4, H, W).
    """
    maps = np.zeros((len(CHANNELS), *size), np.float32)
    if box is not None:
        left, top, right, bottom = (round(value * 2**_BITS) for value in box)
        cv2.rectangle(maps[0], (left, top), (right, bottom), 1.0, cv2.FILLED, shift=_BITS)
    for plane, lines in ((maps[1], positive), (maps[2], negative)):
        for line in lines:
            points = np.round(np.asarray(line, np.float64).reshape(-1, 1, 2)).astype(np.int32)
            if len(points) == 1:
                cv2.circle(plane, points[0, 0].tolist(), DISC_RADIUS, 1.0, cv2.FILLED)
            else:
                cv2.polylines(plane, [points], isClosed=False, color=1.0, thickness=2 * DISC_RADIUS + 1)
    if previous is not None:
        maps[3] = previous
    return maps
