"""Resampling of images and planes by NumPy, with the results of OpenCV and PyTorch."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["nearest", "resize_frame", "resize_plane"]

_CUBIC = -0.75  # parameter of the cubic kernel, OpenCV's

Kind = Literal["area", "area_linear", "cubic", "linear"]


def resize_frame(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resample an RGB frame: by area to fewer rows, by cubic interpolation to more.

    Args:
        frame: Shape (H, W, 3).
        size: (height, width) of the result.

    Returns:
        What ``cv2.resize`` gives with ``INTER_AREA`` or ``INTER_CUBIC``, except for single grey levels.
    """
    if size[0] >= frame.shape[0]:
        kind: Kind = "cubic"
    else:
        kind = "area" if size[1] <= frame.shape[1] else "area_linear"
    exact = _along(_along(frame, size[0], kind, axis=0), size[1], kind, axis=1)
    if frame.shape[0] == 2 * size[0] and frame.shape[1] == 2 * size[1]:
        exact = np.floor(exact + np.float32(0.5))  # OpenCV rounds the means of four pixels up
    return np.clip(np.rint(exact), 0, 255).astype(np.uint8)


def resize_plane(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Enlarge or shrink a plane (h, w) bilinearly, corners not aligned, as PyTorch's ``interpolate`` does."""
    if plane.shape == size:
        return plane
    return _along(_along(plane, size[0], "linear", axis=0), size[1], "linear", axis=1)


def nearest(length: int, size: int) -> NDArray[np.intp]:
    """Return the places, among ``length``, of ``size`` samples: those of PyTorch's mode ``nearest-exact``."""
    scale = float(np.float32(length) / np.float32(size))
    centres = (scale * (np.arange(size) + 0.5) - 0.5).astype(np.float32)  # rounded once, as by a fused instruction
    places = np.floor(np.maximum(centres, 0) + np.float32(0.5)).astype(np.intp)
    return np.minimum(places, length - 1)


def _along(values: NDArray[Any], size: int, kind: Kind, *, axis: int) -> NDArray[np.float32]:
    """Resample an axis to ``size`` entries."""
    length = values.shape[axis]
    if length == size:
        return values.astype(np.float32, copy=False)
    places, weights = _taps(length, size, kind)
    shape = (1,) * axis + (size,) + (1,) * (values.ndim - axis - 1)
    result = np.zeros((*values.shape[:axis], size, *values.shape[axis + 1 :]), np.float32)
    for place, weight in zip(places, weights, strict=True):
        result += values.take(place, axis) * weight.reshape(shape)
    return result


@lru_cache(maxsize=32)
def _taps(length: int, size: int, kind: Kind) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return places and weights of the samples that make up each result, both (taps, size)."""
    scale = 1 / (size / length)  # rounded as OpenCV does
    if kind == "area":
        starts = np.arange(size) * scale
        ends = np.minimum(starts + scale, length)
        first = np.floor(starts + 1e-9).astype(np.intp)  # OpenCV leaves out slivers, too
        taps = int(np.max(np.ceil(ends - 1e-9) - first))
        places = first + np.arange(taps)[:, None]
        weights = np.minimum(ends, places + 1) - np.maximum(starts, places)
        weights = np.clip(weights, 0, None)
        weights /= weights.sum(0)
    elif kind == "area_linear":  # what OpenCV makes of "area" where one side grows
        base = np.floor(np.arange(size) * scale)
        offset = (np.arange(1, size + 1) - (base + 1) / scale).astype(np.float32)
        offset = np.where(offset <= 0, 0, offset - np.floor(offset))
        places = base + np.arange(2)[:, None]
        weights = np.stack([1 - offset, offset])
    elif kind == "linear":
        single = np.float32(length) / np.float32(size)
        centres = np.maximum(single * (np.arange(size, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5), 0)
        base = np.floor(centres)
        places = base + np.arange(2)[:, None]
        weights = np.stack([1 - (centres - base), centres - base])
    else:
        centres = ((np.arange(size) + 0.5) * scale - 0.5).astype(np.float32)
        base = np.floor(centres)
        places = base + np.arange(-1, 3)[:, None]
        weights = _cubic(centres - base)  # OpenCV 5 keeps all digits of them; OpenCV 4 rounds them to 1/2048
    return np.clip(places, 0, length - 1).astype(np.intp), weights.astype(np.float32)


def _cubic(offset: NDArray[Any]) -> NDArray[Any]:
    """Return the weights of four neighbours, (4, n), for places between the inner two."""
    a = np.float32(_CUBIC)
    before, after = offset + 1, 1 - offset
    outer = ((a * before - 5 * a) * before + 8 * a) * before - 4 * a
    inner = ((a + 2) * offset - (a + 3)) * offset * offset + 1
    second = ((a + 2) * after - (a + 3)) * after * after + 1
    return np.stack([outer, inner, second, 1 - outer - inner - second])
