"""What the values of a mask mean: their colours, void rims, and grey levels of palette colours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import ConfigError

__all__ = ["RIM_VALUE", "VOID", "VoidChoice", "check_void", "davis_palette", "has_void_rims", "ids_behind_greys"]

VOID = -1
"""Value of pixels without an opinion in masks that are given to a session."""

RIM_VALUE = 255
"""The value that data sets (PASCAL VOC, YouTube-VOS, DAVIS) give to pixels whose object is unclear."""

VoidChoice = int | Literal["auto"] | None
"""The value of pixels without an opinion; "auto" takes 255 for it where it rims objects, None takes no value for it."""

_RIM_SHARE = 0.02  # of the short side: half the width from which on a rim is an area; VOC's rims are 5 pixels of 375
_LEAST_HALF_WIDTH = 3  # pixels
_LEAST_COVER = 0.1  # of the pixels next to objects, if all of the value is rims
_GREY_TOLERANCE = 1  # libpng rounds the weighted sum of colours down, OpenCV and Pillow to the nearest
_FIRST_GREY = 38  # that of id 1, (128, 0, 0)
_KNOWN_IDS = 20


def check_void(void: VoidChoice) -> None:
    """Refuse what is not a choice of a void value.

    Raises:
        ConfigError: If it is not a whole number, "auto" or None.
    """
    if void is None or void == "auto" or (isinstance(void, (int, np.integer)) and not isinstance(void, bool)):
        return
    raise ConfigError(
        f"The void value is {void!r}. Expected the value that marks pixels without an opinion, such as 255, 'auto' to "
        "take 255 for it where it rims objects, or None if every value is an object."
    )


def davis_palette() -> NDArray[np.uint8]:
    """Return the colours of the DAVIS and PASCAL VOC masks.

    Returns:
        RGB colours, shape (256, 3); row 0 (background) is black and all rows differ.

    Source: the colour map of the PASCAL VOC development kit: bit 3k+c of the id is bit 7-k of channel c.

    Example:
        >>> davis_palette()[:4].tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    """
    ids = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        colours[:, bit % 3] |= ((ids >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    return colours


def has_void_rims(ids: NDArray[np.integer[Any]], value: int = RIM_VALUE) -> bool:
    """Tell whether a value marks the unclear pixels along objects, and no object of its own.

    Rims are thin and lie next to objects. Areas of the same value beside them, as VOC's difficult objects, do not
    matter if rims line at least half of the objects' outlines.

    Args:
        ids: Values of a mask, shape (H, W).
        value: The value to judge.
    """
    is_void = ids == value
    is_object = (ids != 0) & ~is_void
    if not is_void.any() or not is_object.any() or ids.max() > value or (ids == value - 1).any():
        return False  # a sequence of ids on both sides of the value makes it one of them
    half_width = max(_LEAST_HALF_WIDTH, round(_RIM_SHARE * min(ids.shape)))
    pieces = _pieces(is_void)
    core = _neighbours(is_void, half_width) == (2 * half_width + 1) ** 2
    is_rim = is_void & ~np.isin(pieces, np.unique(pieces[core]))
    outline = (_neighbours(is_object, 1) > 0) & ~is_object
    cover = (outline & is_rim).sum() / max(1, outline.sum())
    touching = np.unique(pieces[outline & is_rim])
    is_all_rims = bool(np.isin(pieces[is_void], touching).all())
    return bool(cover >= (_LEAST_COVER if is_all_rims else 0.5))


def _neighbours(is_set: NDArray[np.bool_], radius: int) -> NDArray[np.int32]:
    """Count the set pixels in the square around every pixel, itself included; outside the mask nothing is set."""
    sums = np.pad(is_set.astype(np.int32), ((radius + 1, radius), (radius + 1, radius))).cumsum(0).cumsum(1)
    side = 2 * radius + 1
    counts: NDArray[np.int32] = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return counts


def _pieces(is_set: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number the connected pieces of set pixels, diagonal neighbours included, from 1; 0 is everything else.

    Pieces are found among runs of set pixels within rows, of which there are far fewer than pixels.
    """
    steps = np.diff(np.pad(is_set, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]  # behind the last pixel
    row_length = is_set.shape[1] + 2
    first = np.searchsorted(rows * row_length + ends, (rows + 1) * row_length + starts)
    last = np.searchsorted(rows * row_length + starts, (rows + 1) * row_length + ends, side="right")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(rows)), counts)
    lower = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts) + np.repeat(first, counts)
    piece = np.arange(len(rows))
    while (piece[upper] != piece[lower]).any():
        least = np.minimum(piece[upper], piece[lower])
        np.minimum.at(piece, piece[upper], least)
        np.minimum.at(piece, piece[lower], least)
        piece = piece[piece]
    numbers = np.zeros(is_set.shape, np.int64)
    numbers[is_set] = np.repeat(piece + 1, ends - starts)
    return numbers


def ids_behind_greys(levels: Iterable[int], palette: NDArray[np.uint8]) -> dict[int, int] | None:
    """Find the ids whose palette colours have these grey levels, as a palette mask read as grey shows them.

    Args:
        levels: Values of a mask, without 0.
        palette: RGB colours of the ids, shape (K, 3).

    Returns:
        The id behind every level; None if one of them is no such grey, or object 1 is not among them.

    Source: ITU-R BT.601 luma, which OpenCV, libpng and Pillow take for grey.

    Example:
        >>> ids_behind_greys([38, 75], np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8))
        {38: 1, 75: 2}
    """
    greys = palette[1 : _KNOWN_IDS + 1] @ np.array([0.299, 0.587, 0.114])
    found = {}
    for level in levels:
        is_near = np.abs(greys - level) <= _GREY_TOLERANCE
        if not is_near.any():
            return None
        found[int(level)] = int(is_near.argmax()) + 1
    return found if _FIRST_GREY in found else None
