"""Opening mask files: which images hold object ids, and clear refusals for those that do not."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vos_zoo.errors import MaskError, MissingFileError
from vos_zoo.files import file_kind
from vos_zoo.media.image_files import DAMAGE, open_image

Mask = NDArray[np.integer[Any]]

MAX_ID = 65535
"""Largest object id that a mask file can hold (16-bit grey PNG)."""

_FLAT_COLOURS = 256  # an image with at most this many colours is more likely a coloured mask than a photo
_SMOOTH_FROM = 64  # grey masks whose largest value is below this are ids, not smoothed edges
_GREYS = bytes(level for level in range(256) for _ in "RGB")
_ONE_BAND_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True, eq=False)
class DecodedMask:
    """Pixel values of a mask file as they are stored.

    Attributes:
        ids: Values, shape (H, W); uint8 when all fit, int32 otherwise.
        is_black_and_white: Whether this is an 8-bit grey image that holds only 0 and 255.
        is_grey: Whether this is an 8-bit grey image, whose values may be anything.
    """

    ids: Mask
    is_black_and_white: bool
    is_grey: bool = False


def decode_mask(path: Path) -> DecodedMask:
    """Read the object ids of a file as they are stored.

    Args:
        path: A palette, grey (8 or 16 bit) or 1-bit image.

    Returns:
        The ids, in an array of their own.

    Raises:
        MissingFileError: If there is no such file.
        MaskError: If the file is not a readable image, has colour or alpha channels, or is anti-aliased or a JPEG.
    """
    if not path.exists():
        raise MissingFileError(
            f"Mask `{path}` is a link to `{path.readlink()}`, which is not there. Fetch what it points to (such as by "
            "`git annex get`), or copy the mask itself."
            if path.is_symlink()
            else f"There is no mask `{path}`. Give the path of a palette or greyscale PNG."
        )
    if path.is_dir():
        raise MaskError(f"`{path}` is a folder where one mask file was expected. Give the path of a mask in it.")
    if not path.is_file():
        raise MaskError(f"`{path}` is a pipe or a device. Masks are read more than once; save it as a file first.")
    try:
        with warnings.catch_warnings(), open_image(path) as image:
            warnings.simplefilter("ignore")  # Pillow's, of damaged tags: the error says what is wrong
            return decode_picture(image, f"Mask `{path}`")
    except MaskError:
        raise
    except PermissionError as error:
        raise MaskError(f"Mask `{path}` may not be read ({error.strerror}). Change its permissions.") from error
    except Image.DecompressionBombError as error:
        raise MaskError(f"Mask `{path}` is too large: {error}. Masks have the size of their frame.") from error
    except DAMAGE as error:
        kind = file_kind(path)
        state = "damaged or cut short" if kind.family == "image" else "not an image"
        raise MaskError(
            f"Mask `{path}` cannot be read: it is {kind.name}, {state} ({error}). "
            "Masks are palette or greyscale PNG files; save or copy it again."
        ) from error


def decode_picture(image: Image.Image, name: str) -> DecodedMask:
    """Read the object ids of an open image as they are stored.

    Args:
        image: A palette, grey (8 or 16 bit) or 1-bit image.
        name: What messages call it, such as "Mask `first.png`".

    Returns:
        The ids, in an array of their own.

    Raises:
        MaskError: If it has colour or alpha channels, is anti-aliased, or was read from a JPEG file.
    """
    _check_kind(image, name)
    mode = image.mode
    values = np.array(image)  # a copy: Pillow's own buffer is read-only
    if mode == "P" and bytes(image.getpalette("RGB") or ()) == _GREYS:
        mode = "L"  # a grey image that some tools save with a palette of 256 greys
    if mode == "1":
        return DecodedMask(values.astype(np.uint8), is_black_and_white=False)
    if mode == "P":
        return DecodedMask(values, is_black_and_white=False)
    return _decode_grey(values, name, is_jpeg=image.format in ("JPEG", "MPO"))


def _check_kind(image: Image.Image, name: str) -> None:
    """Refuse what cannot be a map of ids, with a hint at what it may have been."""
    pictures = int(getattr(image, "n_frames", 1))
    if pictures > 1:
        raise MaskError(
            f"{name} holds {pictures} images. The mask of a frame is one. Save each on its own, named like its frame "
            "(00000.png), and give their folder; or, if there is one for every frame of the video, a TIFF file of all."
        )
    if image.mode == "F":
        raise MaskError(
            f"{name} holds fractions. Masks hold one whole object id per pixel; "
            "threshold it and save it as a palette or greyscale PNG."
        )
    if image.mode in _ONE_BAND_MODES:
        return
    bands = image.getbands()
    colours = np.unique(np.asarray(image).reshape(-1, len(bands)), axis=0)
    if image.mode in ("LA", "PA", "La"):
        found, hint = "an alpha channel", "Save it without transparency."
    elif image.mode in ("RGB", "RGBA") and (colours[:, :3] == colours[:, :1]).all():
        found, hint = f"{_bands(bands)} that are all equal", "Save one of the channels as a greyscale PNG."
    elif len(colours) <= _FLAT_COLOURS:
        found = f"{_bands(bands)} with {len(colours)} flat colours"
        hint = "Save it with indexed colours (palette), so that every pixel holds the number of its object."
    else:
        found, hint = f"{_bands(bands)} with {len(colours)} colours", "This looks like an image and not like a mask."
    raise MaskError(f"{name} has {found}. Masks hold one object id per pixel (palette or greyscale PNG). {hint}")


def _bands(bands: tuple[str, ...]) -> str:
    if bands == ("R", "G", "B"):
        return "three colour channels"
    if bands == ("R", "G", "B", "A"):
        return "three colour channels and alpha"
    return f"{len(bands)} channels ({''.join(bands)})"


def _decode_grey(values: NDArray[Any], name: str, *, is_jpeg: bool) -> DecodedMask:
    # Counting bytes is several times faster than sorting them.
    levels = (
        np.flatnonzero(np.bincount(values.ravel(), minlength=256)) if values.dtype == np.uint8 else np.unique(values)
    )
    low, high = int(levels[0]), int(levels[-1])
    if low < 0 or high > MAX_ID:
        raise MaskError(f"{name} holds values from {low} to {high}. Object ids go from 0 to {MAX_ID}; renumber.")
    # 16-bit masks are made on purpose, so every value in them is an id; 8-bit ones may be drawings.
    is_drawing = values.dtype == np.uint8
    is_black_and_white = is_drawing and high == 255 and all(level in (0, 255) for level in levels)
    if is_jpeg and len(levels) > 2:
        raise MaskError(
            f"{name} is a JPEG image with {len(levels)} grey levels. JPEG changes pixel values, so its "
            "object ids are lost; save the mask as PNG from its source."
        )
    if is_drawing and len(levels) > 2 and high >= _SMOOTH_FROM:
        _check_sharp(values, levels, name)
    return DecodedMask(values.astype(np.uint8 if high <= 255 else np.int32, copy=False), is_black_and_white, is_drawing)


def _check_sharp(values: NDArray[Any], levels: NDArray[Any], name: str) -> None:
    """Refuse grey masks with smooth edges: every blended level would become an object of its own.

    A blended level fills no 3x3 block anywhere, and most of its pixels lie between a darker and a brighter neighbour.
    Single tiny objects can look like that too, so there must be three such levels, and more than flat ones.
    """
    low, high = _extremes_3x3(values)
    flat_levels = np.unique(values[low == high])
    is_thin = ~np.isin(values, flat_levels)
    thin_levels = np.setdiff1d(levels, flat_levels)
    pixels = np.searchsorted(thin_levels, values[is_thin])
    between = np.searchsorted(thin_levels, values[is_thin & (low < values) & (values < high)])
    counts = [np.bincount(found, minlength=len(thin_levels)) for found in (pixels, between)]
    blended = int((2 * counts[1] >= counts[0]).sum()) if len(thin_levels) else 0
    objects = int((flat_levels > 0).sum())
    if blended > max(2, objects):
        raise MaskError(
            f"{name} has {len(levels)} grey levels, {blended} of them only along edges: it is anti-aliased, or "
            "was resized smoothly. Masks hold one object id per pixel; save it without smoothing, or threshold it "
            f"(one object: every pixel above {int(levels[-1]) // 2} becomes 1). If all of these "
            "are objects, save it as a palette PNG."
        )


def _extremes_3x3(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the smallest and largest value around every pixel."""
    low = high = np.pad(values, 1, mode="edge")
    low = np.minimum.reduce([low[:-2], low[1:-1], low[2:]])
    high = np.maximum.reduce([high[:-2], high[1:-1], high[2:]])
    low = np.minimum.reduce([low[:, :-2], low[:, 1:-1], low[:, 2:]])
    return low, np.maximum.reduce([high[:, :-2], high[:, 1:-1], high[:, 2:]])
