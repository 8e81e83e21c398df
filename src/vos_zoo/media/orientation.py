"""How an image or video asks to be turned and mirrored before it is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["UPRIGHT", "matrix_orientation", "swaps_sides", "turn_upright"]

UPRIGHT = 1
"""The orientation of what is stored as it is shown."""

# Where the stored x and y axes point on the screen (right and down are positive), by EXIF orientation.
_AXES = {
    1: ((1, 0), (0, 1)),
    2: ((-1, 0), (0, 1)),
    3: ((-1, 0), (0, -1)),
    4: ((1, 0), (0, -1)),
    5: ((0, 1), (1, 0)),
    6: ((0, 1), (-1, 0)),
    7: ((0, -1), (-1, 0)),
    8: ((0, -1), (1, 0)),
}


def turn_upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn and mirror pixels as their orientation asks.

    Args:
        pixels: Stored pixels, shape (H, W) or (H, W, C).
        orientation: One of the eight EXIF orientations, 1-8; others count as 1.

    Returns:
        The pixels as they are shown, contiguous.

    Source: CIPA DC-008 (EXIF) section 4.6.4, tag Orientation.

    Example:
        >>> turn_upright(np.array([[1, 2, 3]]), 6).tolist()
        [[1], [2], [3]]
    """
    (x_right, x_down), (y_right, y_down) = _AXES.get(orientation, _AXES[UPRIGHT])
    if x_down:
        pixels = np.swapaxes(pixels, 0, 1)
        flips_rows, flips_columns = x_down < 0, y_right < 0
    else:
        flips_rows, flips_columns = y_down < 0, x_right < 0
    return np.ascontiguousarray(pixels[:: -1 if flips_rows else 1, :: -1 if flips_columns else 1])


def swaps_sides(orientation: int) -> bool:
    """Tell whether height and width change places.

    Args:
        orientation: An EXIF orientation, 1-8.

    Example:
        >>> swaps_sides(6)
        True
    """
    return orientation in (5, 6, 7, 8)


def matrix_orientation(matrix: NDArray[np.integer[Any]]) -> int:
    """Translate the display matrix of a video into the nearest of the eight EXIF orientations.

    Args:
        matrix: Nine numbers (a, b, u, c, d, v, x, y, w): a stored point (p, q) is shown at (a p + c q, b p + d q).

    Returns:
        The orientation, 1-8. A skewed turn, which players show in different ways, counts as the nearest quarter.

    Source: ISO/IEC 14496-12 section 8.3.2.

    Example:
        >>> matrix_orientation(np.array([0, 1, 0, -1, 0, 0, 0, 0, 1]))
        6
    """
    a, b, _, c, d = (float(value) for value in matrix[:5])

    def likeness(orientation: int) -> float:
        x_axis, y_axis = _AXES[orientation]
        return a * x_axis[0] + b * x_axis[1] + c * y_axis[0] + d * y_axis[1]

    return max(_AXES, key=likeness)
