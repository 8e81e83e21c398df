"""Polygons: painting them, and finding those that a mask is made of.

Convention: a point is (x, y) in pixels, with (0, 0) at the upper left corner of the image, so that pixel (row,
column) covers columns ``column`` to ``column + 1``. A pixel belongs to a polygon if its centre lies inside. What a
polygon winds around twice is outside (even-odd rule), which lets one polygon have holes and several parts: lines that
are walked in both directions change nothing.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["fill_polygon", "join_outlines", "mask_outlines"]

_MOST_CROSSINGS = 4_000_000  # handled at once; bounds memory whatever a polygon is like
# Outlines pass pixel centres at 0.35 pixels or more. Simplifying twice by 0.2 keeps below that: OpenCV's approximation
# ends with a second pass that may move the line by 0.7 times as much again.
_HARMLESS = 0.2


def fill_polygon(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Paint one polygon.

    Args:
        points: Corners (x, y) in pixels, finite, shape (N, 2). The last is joined to the first.
        size: (H, W) of the result; what lies outside is cut off.

    Returns:
        The pixels whose centres are inside, shape ``size``.

    Example:
        >>> fill_polygon(np.array([[1.0, 0.0], [3.0, 0.0], [3.0, 2.0], [1.0, 2.0]]), (2, 4)).astype(int).tolist()
        [[0, 1, 1, 0], [0, 1, 1, 0]]
    """
    area = np.zeros(size, np.bool_)
    # Only the box around the polygon is painted.
    (left, top), (right, bottom) = (
        np.clip(corner, 0, (size[1], size[0])).astype(np.int64).tolist()
        for corner in (np.floor(points.min(axis=0)), np.ceil(points.max(axis=0)))
    )
    if top < bottom and left < right:
        area[top:bottom, left:right] = _fill_box(points - (left, top), (bottom - top, right - left))
    return area


def mask_outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Find the outlines of a mask's parts and holes.

    Painting them with the even-odd rule gives exactly the mask. Pixels that touch only at a
    corner are parts of their own.

    Args:
        mask: What belongs to the object, shape (H, W).

    Returns:
        One closed polygon per outline, corners (x, y), shape (N, 2); none for an empty mask.

    Example:
        >>> [outline.tolist() for outline in mask_outlines(np.array([[False, True]]))]
        [[[1.5, 0.0], [2.0, 0.5], [1.5, 1.0], [1.0, 0.5]]]
    """
    outlines = []
    mask = np.asarray(mask, dtype=np.bool_)
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return []
    mask = mask[rows[0] : rows[-1] + 1]
    columns = np.flatnonzero(mask.any(axis=0))
    offset = columns[0], rows[0]
    for corners in _corner_loops(mask[:, columns[0] : columns[-1] + 1]):
        # Lines through the middles of pixel edges keep their distance from pixel centres when they are simplified.
        direction = np.sign(np.roll(corners, -1, axis=0) - corners)
        middles = np.stack([corners + 0.5 * direction, np.roll(corners, -1, axis=0) - 0.5 * direction], axis=1)
        outline = middles.reshape(-1, 2)
        outline = outline[(outline != np.roll(outline, 1, axis=0)).any(axis=1)]
        simple = cv2.approxPolyDP(outline.astype(np.float32), _HARMLESS, closed=True)[:, 0]
        outlines.append((simple if len(simple) > 2 else outline).astype(np.float64) + offset)
    return outlines


def join_outlines(outlines: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Join outlines into one polygon, by bridges of zero width.

    Args:
        outlines: At least one; see :func:`mask_outlines`.

    Returns:
        Corners (x, y), shape (N, 2). Painted with the even-odd rule, it equals the outlines together.
    """
    rotated = [outlines[0]]
    for outline in outlines[1:]:
        nearest = int(np.abs(outline - rotated[-1][0]).sum(axis=1).argmin())
        rotated.append(np.roll(outline, -nearest, axis=0))
    way_out = [np.concatenate([outline, outline[:1]]) if len(outlines) > 1 else outline for outline in rotated]
    return np.concatenate([*way_out, *(outline[:1] for outline in rotated[-2:0:-1])])


def _fill_box(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    height, width = size
    start, end = points, np.roll(points, -1, axis=0)
    is_rising = (start[:, 1] < end[:, 1])[:, None]
    # Every edge from its upper to its lower end: walked in either direction, it crosses a row at the same place.
    upper, lower = np.where(is_rising, start, end), np.where(is_rising, end, start)
    first, last = (np.clip(np.ceil(edge[:, 1] - 0.5), 0, height).astype(np.int64) for edge in (upper, lower))
    parity = np.zeros((height, width + 1), np.bool_)
    rows_per_edge = last - first
    groups = np.cumsum(rows_per_edge) // _MOST_CROSSINGS
    for group in range(int(groups[-1]) + 1 if groups.size else 0):
        edges = np.flatnonzero((groups == group) & (rows_per_edge > 0))
        counts = rows_per_edge[edges]
        edge = np.repeat(edges, counts)
        row = np.arange(edge.size) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
        (x0, y0), (x1, y1) = upper[edge].T, lower[edge].T
        x = x0 + (row + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
        place, times = np.unique(row * (width + 1) + column, return_counts=True)
        parity.ravel()[place[times % 2 == 1]] ^= True
    return np.logical_xor.accumulate(parity, axis=1)[:, :width]


def _corner_loops(mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Return the corners (x, y) of the lines between set and unset pixels, loop by loop, in the order of their rows."""
    pixels = np.pad(mask, 1).astype(np.int8)
    upper_left, upper_right, lower_left, lower_right = (
        pixels[:-1, :-1], pixels[:-1, 1:], pixels[1:, :-1], pixels[1:, 1:],
    )  # fmt: skip
    around = upper_left + upper_right + lower_left + lower_right
    is_touch = (around == 2) & (upper_left == lower_right)  # two pixels that touch here, and nowhere else
    y, x = np.nonzero((around % 2 == 1) | is_touch)
    touches = is_touch[y, x]
    # Where pixels touch, two loops pass: the corner stands twice, for its left and for its right edge.
    repeats = np.where(touches, 2, 1)
    x, y, falls = np.repeat(x, repeats), np.repeat(y, repeats), np.repeat(upper_left[y, x] == 1, repeats)
    touches = np.repeat(touches, repeats)
    is_second = np.zeros(x.size, np.bool_)
    is_second[np.cumsum(repeats)[repeats == 2] - 1] = True
    # Corners of a row are joined in pairs, and so are those of a column. The left edge of a touching corner turns into
    # its upper edge if the upper left pixel is set, and into its lower edge otherwise.
    by_column = np.lexsort((touches & (is_second == falls), y, x))
    beside = np.empty(x.size, np.int64)
    beside[by_column[0::2]], beside[by_column[1::2]] = by_column[1::2], by_column[0::2]
    partner, was_seen, loops = beside.tolist(), bytearray(x.size), []
    for start in range(x.size):
        if was_seen[start]:
            continue
        loop, corner = [], start
        while not was_seen[corner]:
            across = corner ^ 1
            was_seen[corner] = was_seen[across] = 1
            loop += [corner, across]
            corner = partner[across]
        loops.append(np.stack([x[loop], y[loop]], axis=1))
    return loops
