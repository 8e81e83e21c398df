"""Which pixels lie inside an outline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .prompt import Point

__all__ = ["fill_polygon"]


def fill_polygon(outline: Sequence[Point], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill an outline exactly: a pixel is inside if its centre is, by the even-odd rule.

    OpenCV's and Pillow's polygons also take pixels that the outline merely touches.

    Args:
        outline: Corners (x, y) in pixels; the pixel in column c and row r has its centre at (c + 0.5, r + 0.5). A
            centre on the outline is inside if the area lies to its right, or below it.
        size: Height and width of the frame.

    Returns:
        Shape (height, width).

    Example:
        >>> fill_polygon([(0, 0), (2, 0), (2, 1), (0, 1)], (2, 3)).astype(int).tolist()
        [[1, 1, 0], [0, 0, 0]]
    """
    height, width = size
    starts = np.asarray(outline, np.float64)
    ends = np.roll(starts, -1, axis=0)
    is_downward = starts[:, 1] < ends[:, 1]
    upper, lower = np.where(is_downward[:, None], starts, ends), np.where(is_downward[:, None], ends, starts)
    # Every edge toggles all pixels to the right of where it crosses the line through a row's centres.
    toggles = np.zeros((height, width + 1), np.int64)
    for (x0, y0), (x1, y1) in zip(upper.tolist(), lower.tolist(), strict=True):
        first, last = max(int(np.ceil(y0 - 0.5)), 0), min(int(np.ceil(y1 - 0.5)), height)
        if first >= last:
            continue
        rows = np.arange(first, last)
        crossings = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)
        toggles[rows, columns] += 1
    return np.asarray(np.cumsum(toggles, axis=1)[:, :width] % 2 == 1)
