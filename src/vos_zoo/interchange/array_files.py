"""Masks in files of NumPy, ``.npy`` and ``.npz``."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from vos_zoo.errors import MaskError
from vos_zoo.interchange.annotation import GivenFrame
from vos_zoo.limits import byte_excess, pixel_excess
from vos_zoo.media.given_masks import mask_with_void

if TYPE_CHECKING:
    from vos_zoo.media.mask_decoding import Mask
    from vos_zoo.media.mask_values import VoidChoice

__all__ = ["read_arrays"]

_DAMAGE = (ValueError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError, SyntaxError, KeyError)
_MASKS, _FRAMES = "masks", "frames"  # what vos-zoo export-masks calls them


@dataclass(frozen=True, kw_only=True)
class _ArrayFrame(GivenFrame):
    """One mask: ids (H, W), booleans (H, W), or a boolean mask per object (N, H, W); and what its void value is."""

    values: NDArray[Any]
    void: VoidChoice = None

    def ids(self, size: tuple[int, int]) -> Mask:
        values = self.values
        if values.ndim == 3 and values.dtype.kind in "ui":
            if values.size and not 0 <= int(values.min()) <= int(values.max()) <= 1:
                raise MaskError(
                    f"{self.origin} holds values other than 0 and 1, where one mask per object was expected."
                )
            values = values.astype(np.bool_)
        return mask_with_void(values, self.origin[0].upper() + self.origin[1:], self.void)


def read_arrays(
    path: Path, frame_count: int, *, as_frames: bool | None = None, void: VoidChoice = None
) -> tuple[list[GivenFrame], dict[int, str]]:
    """Read a file of NumPy.

    A mask (H, W) belongs to the first frame. A stack (T, H, W) of ids has one for every frame of the video, a stack
    (N, H, W) of booleans, or of 0 and 1, one for every object of the first frame; where it could be both, the caller
    has to decide. (T, N, H, W) has every object of every frame. A ``.npz`` file holds such an array, alone or as
    ``masks``, which ``frames`` may give names of frames; or an array for every frame, named like it.

    Args:
        path: The file.
        frame_count: Number of frames of the video.
        as_frames: Whether the first axis of a stack is that of frames; None detects it.
        void: The value of pixels without an opinion in masks of ids.

    Returns:
        A frame for every mask, and nothing to say about the objects.

    Raises:
        MaskError: If the file is damaged, holds no such array, or could be read in two ways.
    """
    arrays = _load(path)
    names: list[str] | None = None
    if set(arrays) > {_MASKS} and _FRAMES in arrays:
        names = [str(name) for name in arrays[_FRAMES].ravel()]
        arrays = {_MASKS: arrays[_MASKS]}
    if len(arrays) == 1:
        (values,) = arrays.values()
        found = _frames(values, path, frame_count, names, as_frames)
    else:
        found = [
            _frame(values, f"array `{name}` of `{path}`", is_stack=values.ndim == 3, name=name)
            for name, values in arrays.items()
        ]
    return [replace(frame, void=void) for frame in found], {}


def _frames(
    values: NDArray[Any], path: Path, frame_count: int, names: list[str] | None, as_frames: bool | None
) -> list[_ArrayFrame]:
    if values.ndim == 2 or values.dtype.kind not in "bui":
        return [_frame(values, f"the array of `{path}`", is_stack=False)]
    if values.ndim == 3:
        as_frames = names is not None or _is_of_frames(values, path, frame_count, as_frames)
        if not as_frames:
            return [_frame(values, f"the array of `{path}`", is_stack=True)]
    elif values.ndim != 4:
        raise MaskError(
            f"`{path}` holds an array of shape {values.shape}. Expected a mask (H, W), a stack of masks (frames or "
            "objects, H, W), or (frames, objects, H, W)."
        )
    count = len(values)
    if names is not None and len(names) != count:
        raise MaskError(f"`{path}` holds {count} masks, but {len(names)} names of frames. Save it again.")
    if names is None and count != frame_count:
        raise MaskError(
            f"`{path}` holds masks of {count} frames (shape {values.shape}), but the video has {frame_count}. Are "
            "they of another video? To give some frames only, save a .npz file with an array for every frame, "
            "named like it."
        )
    return [
        _frame(
            values[number],
            f"mask {number} of `{path}`",
            is_stack=values.ndim == 4,
            name=None if names is None else names[number],
            number=number if names is None else None,
        )
        for number in range(count)
    ]


def _is_of_frames(values: NDArray[Any], path: Path, frame_count: int, as_frames: bool | None) -> bool:
    if as_frames is not None:
        return as_frames
    if values.dtype.kind != "b" and any(not 0 <= int(one.min()) <= int(one.max()) <= 1 for one in values if one.size):
        return True
    if len(values) != frame_count:
        return False
    if len(values) == 1:
        return True
    raise MaskError(
        f"`{path}` holds an array of shape {values.shape} of 0 and 1, which can be read in two ways: {len(values)} "
        "frames with a mask of one object each: format='array-frames' (`--mask-format array-frames`); or a mask of "
        f"the first frame for each of {len(values)} objects: format='array-objects' (`--mask-format "
        "array-objects`). Say which."
    )


def _frame(
    values: NDArray[Any], origin: str, *, is_stack: bool, name: str | None = None, number: int | None = None
) -> _ArrayFrame:
    if values.dtype.kind not in "bui" or values.ndim != 2 + is_stack or values.size == 0:
        raise MaskError(
            f"{origin[0].upper()}{origin[1:]} has shape {values.shape} and type {values.dtype}. Expected whole "
            "numbers or booleans: ids of shape (H, W), or a stack of booleans (objects, H, W). Round or "
            "threshold it first."
        )
    height, width = values.shape[-2:]
    excess = pixel_excess(height, width)
    if excess is not None:
        raise MaskError(f"{origin[0].upper()}{origin[1:]} is too large: {excess}.")
    return _ArrayFrame(name=name, number=number, size=(height, width), origin=origin, values=values)


def _load(path: Path) -> dict[str, NDArray[Any]]:
    """Load all arrays; one of a ``.npy`` file stays on the disk until it is used."""
    try:
        if not zipfile.is_zipfile(path):
            return {"": npy.open_memmap(path, mode="r")}
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            return {name.removesuffix(".npy"): _member(archive, name, path) for name in names}
    except MaskError:
        raise
    except _DAMAGE as error:
        raise MaskError(
            f"`{path}` cannot be read as a NumPy file ({error}). Save it again by numpy.save or numpy.savez, without "
            "objects of Python in it."
        ) from error


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> NDArray[Any]:
    stored = archive.getinfo(name).file_size
    excess = byte_excess(stored)
    if excess is not None:
        raise MaskError(f"`{name}` in `{path}` is too large: {excess}.")
    # The shape is compared with the bytes that are there before memory for it is taken.
    with archive.open(name) as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, kind = read_header(file)
        if math.prod(shape) * kind.itemsize + file.tell() != stored:
            raise ValueError(f"`{name}` has not the size that its shape {shape} needs")
    with archive.open(name) as file:
        array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
        return array
