"""The part of a frame around some prompts, scaled to a bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .prompt import Point

__all__ = ["LEAST_SIDE", "Extent", "Window", "extent_of_mask", "extent_of_points", "join_extents"]

#: Left, top, right and bottom in pixels.
Extent = tuple[float, float, float, float]


@dataclass(frozen=True)
class Window:
    """A rectangle of a frame, and the size that it is scaled to.

    Attributes:
        left: First column.
        top: First row.
        width: Columns.
        height: Rows.
        scale: Pixels of the crop per pixel of the frame.
    """

    left: int
    top: int
    width: int
    height: int
    scale: float

    @classmethod
    def around(cls, extent: Extent, size: tuple[int, int], *, margin: float, long_side: int) -> Window:
        """Place a window around what matters.

        It is square where the frame allows it, and lies within the frame.

        Args:
            extent: What matters.
            size: Height and width of the frame.
            margin: Side of the window as a multiple of the extent's longer side.
            long_side: Longer side of the crop in pixels. The crop is also enlarged to it, so that all crops are alike.
        """
        height, width = size
        left, top, right, bottom = extent
        side = max(margin * max(right - left, bottom - top), LEAST_SIDE)
        sides = [min(round(side), width), min(round(side), height)]
        corner = [
            min(max(round((low + high - own) / 2), 0), limit - own)
            for low, high, own, limit in ((left, right, sides[0], width), (top, bottom, sides[1], height))
        ]
        return cls(corner[0], corner[1], sides[0], sides[1], long_side / max(sides))

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of the crop."""
        return max(round(self.height * self.scale), 1), max(round(self.width * self.scale), 1)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the frame."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def cut(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut the window out of a frame (H, W, 3) and scale it."""
        part = frame[self.slices]
        height, width = self.crop_size
        shrinks = height * width < part.shape[0] * part.shape[1]
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(part, (width, height), interpolation=interpolation), np.uint8)

    def cut_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Cut the window out of a mask (H, W) and scale it."""
        part = np.ascontiguousarray(mask[self.slices]).view(np.uint8) * np.uint8(255)
        height, width = self.crop_size
        shrinks = height * width < part.shape[0] * part.shape[1]
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(part, (width, height), interpolation=interpolation) > 127)

    def enlarge(self, estimate: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring an estimate (crop's height, width), 0-255, to the window's own size."""
        return np.asarray(cv2.resize(estimate, (self.width, self.height), interpolation=cv2.INTER_LINEAR), np.uint8)

    def place(self, points: Sequence[Point]) -> list[Point]:
        """Convert points of the frame to the crop, where (0, 0) is the centre of the first pixel.

        A point means the pixel that it lies in. Points outside of the window come out at its rim.
        """
        height, width = self.crop_size
        placed = []
        for x, y in points:
            # The last factor: crops are rounded to whole pixels.
            column = (np.floor(x) + 0.5 - self.left) * width / self.width - 0.5
            row = (np.floor(y) + 0.5 - self.top) * height / self.height - 0.5
            placed.append((float(np.clip(column, 0, width - 1)), float(np.clip(row, 0, height - 1))))
        return placed

    def place_extent(self, extent: Extent) -> tuple[float, float, float, float]:
        """Convert an extent to the crop: the centres of its first and last pixels there."""
        left, top, right, bottom = extent
        height, width = self.crop_size
        columns = (np.array([left, right]) - self.left) * width / self.width - [0, 1]
        rows = (np.array([top, bottom]) - self.top) * height / self.height - [0, 1]
        x0, x1 = np.clip(columns, 0, width - 1).tolist()
        y0, y1 = np.clip(rows, 0, height - 1).tolist()
        return x0, y0, max(x0, x1), max(y0, y1)


LEAST_SIDE = 48.0  # pixels of the frame; a window around one pixel would show nothing else


def extent_of_points(points: Sequence[Point]) -> Extent:
    """Return the extent of the pixels that points lie in."""
    columns, rows = zip(*((float(np.floor(x)), float(np.floor(y))) for x, y in points), strict=True)
    return min(columns), min(rows), max(columns) + 1, max(rows) + 1


def extent_of_mask(mask: NDArray[np.bool_]) -> Extent:
    """Return the extent of a mask that is not empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def join_extents(*extents: Extent) -> Extent:
    """Return the smallest extent that holds all."""
    lefts, tops, rights, bottoms = zip(*extents, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)
