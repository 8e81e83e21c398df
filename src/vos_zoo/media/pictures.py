"""Image files as they were meant: upright, all their bits, and all the images that one file holds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from vos_zoo.errors import MissingFileError, VideoError
from vos_zoo.files import file_kind
from vos_zoo.limits import pixel_excess
from vos_zoo.media.image_files import DAMAGE, open_image
from vos_zoo.media.orientation import UPRIGHT, turn_upright

__all__ = ["TIFF", "count_pictures", "load_picture", "load_pictures", "picture_times"]

TIFF = "a TIFF image"
"""What :func:`vos_zoo.files.file_kind` calls TIFF files."""

_ORIENTATION_TAG = 0x0112


def load_picture(path: Path) -> NDArray[Any]:
    """Read an image as it is shown, with all its bits.

    Args:
        path: The image file.

    Returns:
        RGB, uint8, shape (H, W, 3); or, of more than 8 bits, grey (H, W) or RGB (H, W, 3) as uint16, int32 or float32.

    Raises:
        MissingFileError: If there is no such file.
        VideoError: If it is not a readable image.
    """
    return next(load_pictures(path))


def load_pictures(path: Path, indices: range = range(1)) -> Iterator[NDArray[Any]]:
    """Read some of the images of one file, one at a time; see :func:`load_picture`.

    Raises:
        MissingFileError: If there is no such file.
        VideoError: If it, or one of the images, cannot be read.
    """
    if not path.exists():
        raise MissingFileError(_absence(path))
    index = indices.start
    try:
        with open_image(path) as image:
            for index in indices:
                if index:
                    image.seek(index)
                yield _pixels(image, path)
    except PermissionError as error:
        raise VideoError(f"Image `{path}` may not be read ({error.strerror}). Change its permissions.") from error
    except Image.DecompressionBombError as error:
        raise VideoError(f"Image `{path}` is too large: {error}.") from error
    except DAMAGE as error:
        kind = "a folder" if path.is_dir() else file_kind(path).name
        if isinstance(error, UnidentifiedImageError) and kind == TIFF:
            # Pillow knows no TIFF files of colours as fractions, or of 64 bits.
            pixels = _unknown_to_pillow(path)
            if pixels is not None:
                yield pixels
                return
        place = f" (image {index} in it)" if index else ""
        raise VideoError(
            f"Image `{path}`{place} cannot be read: it is {kind}, damaged or no image ({error}). "
            "Frames are JPEG, PNG, TIFF, AVIF, BMP, GIF or WebP files; copy it again or remove it."
        ) from error


def count_pictures(path: Path) -> int:
    """Count the images of an image file: pages of a TIFF file, frames of an animation.

    Returns:
        The count; 0 if Pillow cannot open the file.
    """
    try:
        with warnings.catch_warnings(), open_image(path) as image:
            warnings.simplefilter("ignore")  # Pillow's, of damaged pages: reading them names what is wrong
            return int(getattr(image, "n_frames", 1))
    except (*DAMAGE, Image.DecompressionBombError):
        return 0


def picture_times(path: Path, count: int) -> list[Fraction] | None:
    """Return the times at which the images of an animation appear, and the time at which the last one ends.

    Returns:
        ``count`` + 1 rising times in seconds; None if the file has none, as TIFF files, or is damaged.
    """
    times = [Fraction(0)]
    try:
        with open_image(path) as image:
            for index in range(count):
                image.seek(index)
                if image.format in ("WEBP", "AVIF"):  # they tell a duration only once an image is decoded
                    image.load()
                duration = image.info.get("duration")
                if not duration:
                    return None
                times.append(times[-1] + Fraction(duration).limit_denominator(1000) / 1000)
    except (*DAMAGE, Image.DecompressionBombError):  # reading the images will name it
        return None
    return times


def _pixels(image: Image.Image, path: Path) -> NDArray[Any]:
    excess = pixel_excess(image.height, image.width)  # a later image may be larger than the first
    if excess is not None:
        raise Image.DecompressionBombError(excess)
    is_narrowed = _is_narrowed(image)
    image.load()
    pixels: NDArray[Any]
    if image.mode == "F":
        pixels = np.array(image, np.float32)
    elif image.mode.startswith("I"):  # "I;16", or "I" in older versions of Pillow
        values = np.asarray(image)
        pixels = values.astype(values.dtype.newbyteorder("="))
    else:
        wide = _wide_pixels(path, image.tell()) if is_narrowed else None
        if wide is not None:
            pixels = wide
        else:
            has_transparency = image.mode == "P" and "transparency" in image.info
            pixels = np.array((image.convert("RGBA") if has_transparency else image).convert("RGB"))
    return turn_upright(pixels, image.getexif().get(_ORIENTATION_TAG, UPRIGHT))


def _is_narrowed(image: Image.Image) -> bool:
    """Tell whether Pillow would keep 8 bits of 16, as it does with colours in PNG and TIFF files."""
    tiles = getattr(image, "tile", None)  # how an image file is stored
    if image.mode not in ("RGB", "RGBA", "LA") or not tiles:
        return False
    arguments = tiles[0][3]
    raw_mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return isinstance(raw_mode, str) and ";16" in raw_mode


def _wide_pixels(path: Path, index: int) -> NDArray[Any] | None:
    """Read pixels of more than 8 bits through OpenCV; None if it cannot, or there are 8."""
    # From memory: OpenCV opens no path with other than ASCII letters on some systems.
    content = np.fromfile(path, np.uint8)
    is_read, pictures = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED, None, (index, index + 1))
    if not is_read or not pictures or pictures[0].dtype == np.uint8:
        return None
    picture = pictures[0]
    if picture.ndim == 2:
        return picture
    return np.ascontiguousarray(picture[:, :, 2::-1] if picture.shape[2] >= 3 else picture[:, :, 0])


def _unknown_to_pillow(path: Path) -> NDArray[Any] | None:
    """Read the first page of a TIFF file that Pillow cannot; None if it is damaged or too large."""
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # Pillow's, of damaged tags: our error says what is wrong
            tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
            file.seek(tags.next)
            tags.load(file)
        width, height = int(tags[TiffImagePlugin.IMAGEWIDTH]), int(tags[TiffImagePlugin.IMAGELENGTH])
    except DAMAGE:
        return None
    return None if pixel_excess(height, width) is not None else _wide_pixels(path, 0)


def _absence(path: Path) -> str:
    if path.is_symlink():
        return (
            f"Image `{path}` is a link to `{path.readlink()}`, which is not there. Fetch what it points to "
            "(such as by `git annex get`), or copy the image itself."
        )
    return f"There is no image `{path}`. Check the path."
