"""Masks from prompts by GrabCut, which needs no training: colours inside against colours outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from .maps import draw_maps
from .window import Extent, Window, extent_of_mask, extent_of_points, join_extents

if TYPE_CHECKING:
    from .check import ObjectPrompts

__all__ = ["segment_by_grabcut"]

_LONG_SIDE = 256  # pixels of the crop; time grows with its area
_ROUNDS = 3
_BOX_MARGIN = 1.5
_MASK_MARGIN = 1.5
_BOX_TOLERANCE = 0.06  # share of the box's extent by which an unsteady hand misses the object
_REACH = 0.2  # radius around a point, as share of the crop's short side, where the object is likely

_FAR, _SURE, _UNLIKELY, _LIKELY = cv2.GC_BGD, cv2.GC_FGD, cv2.GC_PR_BGD, cv2.GC_PR_FGD


def segment_by_grabcut(
    frame: NDArray[np.uint8], prompts: ObjectPrompts, base: NDArray[np.bool_] | None
) -> tuple[Window, NDArray[np.uint8]]:
    """Separate an object from its surroundings.

    Args:
        frame: RGB, shape (H, W, 3).
        prompts: Of one object, within the frame.
        base: Mask to be corrected, shape (H, W), not empty, or None.

    Returns:
        The window that was looked at, and 255 for pixels of the object in it, shape (window's height, width).

    Source: Rother, Kolmogorov and Blake, "GrabCut: Interactive Foreground Extraction Using Iterated Graph Cuts",
    SIGGRAPH 2004.
    """
    size = frame.shape[0], frame.shape[1]
    window = Window.around(_extent(prompts, base, size), size, margin=_margin(prompts, base), long_side=_LONG_SIDE)
    crop, labels = window.cut(frame), _first_labels(window, prompts, base)
    if not (np.isin(labels, (_SURE, _LIKELY)).any() and np.isin(labels, (_FAR, _UNLIKELY)).any()):
        return window, np.full((window.height, window.width), 255 * (labels == _LIKELY).any(), np.uint8)
    # GrabCut begins with k-means from random centres, of a generator of this thread: the same prompts, the same mask.
    cv2.setRNGSeed(0)
    empty = np.zeros((1, 65))
    found, _, _ = cv2.grabCut(
        np.ascontiguousarray(crop[..., ::-1]), labels, None, empty, empty.copy(), _ROUNDS, cv2.GC_INIT_WITH_MASK
    )
    inside = np.isin(found, (_SURE, _LIKELY)).astype(np.uint8)
    if prompts.positive and base is None:
        inside = _touched(inside, window, prompts)
    return window, window.enlarge(inside * np.uint8(255))


def _extent(prompts: ObjectPrompts, base: NDArray[np.bool_] | None, size: tuple[int, int]) -> Extent:
    lines = [point for line in (*prompts.positive, *prompts.negative) for point in line]
    known = [extent_of_points(lines)] if lines else []
    if base is not None:
        return join_extents(extent_of_mask(base), *known)
    if prompts.box is not None:
        return join_extents((*prompts.box.points[0], *prompts.box.points[1]), *known)
    return 0.0, 0.0, float(size[1]), float(size[0])  # nothing says how large the object is


def _margin(prompts: ObjectPrompts, base: NDArray[np.bool_] | None) -> float:
    if base is not None:
        return _MASK_MARGIN
    return _BOX_MARGIN if prompts.box is not None else 1.0


def _first_labels(window: Window, prompts: ObjectPrompts, base: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    labels = np.full(window.crop_size, _UNLIKELY, np.uint8)
    if base is not None:
        inside = window.cut_mask(base)
        labels[inside] = _LIKELY
    elif prompts.box is not None:
        left, top, right, bottom = window.place_extent((*prompts.box.points[0], *prompts.box.points[1]))
        labels[:] = _FAR
        slack = _BOX_TOLERANCE * (right - left + 1), _BOX_TOLERANCE * (bottom - top + 1)
        for value, (dx, dy) in ((_UNLIKELY, slack), (_LIKELY, (0.0, 0.0))):
            rows = slice(max(round(top - dy), 0), round(bottom + dy) + 1)
            columns = slice(max(round(left - dx), 0), round(right + dx) + 1)
            labels[rows, columns] = value
    else:
        radius = max(round(_REACH * min(labels.shape)), 1)
        for line in prompts.positive:
            for x, y in window.place(line):
                cv2.circle(labels, (round(x), round(y)), radius, int(_LIKELY), cv2.FILLED)
    maps = draw_maps(
        window.crop_size,
        positive=[window.place(line) for line in prompts.positive],
        negative=[window.place(line) for line in prompts.negative],
    )
    labels[maps[1] > 0] = _SURE
    labels[maps[2] > 0] = _FAR
    return labels


def _touched(inside: NDArray[np.uint8], window: Window, prompts: ObjectPrompts) -> NDArray[np.uint8]:
    """Keep the connected parts that hold a positive prompt."""
    _, parts = cv2.connectedComponents(inside)
    kept = {int(parts[round(y), round(x)]) for line in prompts.positive for x, y in window.place(line)} - {0}
    return np.isin(parts, list(kept)).astype(np.uint8)
