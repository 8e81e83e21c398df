"""Masks in which every object has a colour of its own, RGB or with transparency."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vos_zoo.errors import MaskError
from vos_zoo.files import file_kind
from vos_zoo.interchange.annotation import GivenFrame
from vos_zoo.media.frame_matching import frame_stem
from vos_zoo.media.image_files import DAMAGE, open_image
from vos_zoo.media.mask_values import davis_palette
from vos_zoo.media.masks import mask_files

if TYPE_CHECKING:
    from vos_zoo.media.mask_decoding import Mask

__all__ = ["is_coloured", "read_colours"]

_MOST_COLOURS = 256  # an image has more; so many objects have no colours that anybody could tell apart
_OPAQUE = 128  # less opaque pixels are background
_BLACK = 0
_TRANSPARENT = -1

_logger = logging.getLogger(__name__)


def is_coloured(path: Path) -> bool:
    """Tell whether a file is an image of colours; False if it is not an image."""
    try:
        with open_image(path) as image:
            return image.mode in ("RGB", "RGBA", "RGBX")
    except (Image.DecompressionBombError, *DAMAGE):
        return False


def read_colours(path: Path, background: str | None = None) -> tuple[list[GivenFrame], dict[int, str]]:
    """Read images of colours.

    Pixels that are transparent, or have the colour of the background, are background. Colours of the DAVIS palette are
    its ids, and grey levels are ids themselves; others get ids in the order of files, and of their values within a
    file.

    Args:
        path: The image, which belongs to the first frame, or a folder of images named like frames.
        background: Colour of the background, such as "ffffff"; "none" if every colour is an object. None means black,
            which must be there, or transparency.

    Returns:
        A frame for every file, and the colour of every object, by its id.

    Raises:
        MaskError: If a file is no such image, has more than 256 colours or smooth edges, or nothing tells what the
            background is.
    """
    is_folder = path.is_dir()
    files = mask_files(path) if is_folder else [path]
    found = {file: _colours(file) for file in files}
    every = [colour for colours in found.values() for colour in colours]
    ground = _background(background, every, files[0])
    ids = _ids([colour for colour in dict.fromkeys(every) if colour not in (ground, _TRANSPARENT)])
    frames: list[GivenFrame] = [
        _ColouredFrame(
            name=frame_stem(file.name) if is_folder else None, origin=f"mask `{file}`", path=file, by_colour=ids
        )
        for file in files
    ]
    return frames, {object_id: f"colour #{colour:06x}" for colour, object_id in ids.items()}


@dataclass(frozen=True, kw_only=True)
class _ColouredFrame(GivenFrame):
    path: Path
    by_colour: dict[int, int]

    def ids(self, size: tuple[int, int]) -> Mask:
        pixels = _pixels(self.path)
        colours, place = np.unique(pixels, return_inverse=True)
        table: Mask = np.array([self.by_colour.get(int(colour), 0) for colour in colours], np.int32)
        if table.max() <= 255:
            table = table.astype(np.uint8)
        return table[place.reshape(pixels.shape)]


def _pixels(path: Path) -> NDArray[np.int32]:
    """Return the colour of every pixel as one number, or ``_TRANSPARENT``."""
    try:
        with open_image(path) as image:
            is_jpeg = image.format in ("JPEG", "MPO")
            rgba = np.asarray(image.convert("RGBA"), dtype=np.int32)
    except Image.DecompressionBombError as error:
        raise MaskError(f"Mask `{path}` is too large: {error}. Masks have the size of their frame.") from error
    except DAMAGE as error:
        raise MaskError(
            f"Mask `{path}` cannot be read: it is {file_kind(path).name}, damaged or cut short ({error}). Save it "
            "again."
        ) from error
    if is_jpeg:
        raise MaskError(f"Mask `{path}` is a JPEG image. JPEG changes colours; save the mask as PNG from its source.")
    pixels: NDArray[np.int32] = rgba[..., 0] << 16 | rgba[..., 1] << 8 | rgba[..., 2]
    pixels[rgba[..., 3] < _OPAQUE] = _TRANSPARENT
    return pixels


def _colours(path: Path) -> list[int]:
    """List the colours of a file, and refuse images and smooth edges."""
    pixels = _pixels(path)
    colours, place = np.unique(pixels, return_inverse=True)
    if len(colours) > _MOST_COLOURS:
        raise MaskError(
            f"Mask `{path}` has {len(colours)} colours. One colour per object was expected, {_MOST_COLOURS} at "
            "most. It looks like an image, or like a mask with smooth edges; save it without smoothing."
        )
    # A blended colour fills no 3x3 block. Tiny objects do not, either, so there must be more of them than of others.
    indices = place.reshape(pixels.shape).astype(np.int16)
    block = np.ones((3, 3), np.uint8)
    flat = np.unique(indices[cv2.erode(indices, block) == cv2.dilate(indices, block)])
    if len(colours) - len(flat) > max(2, len(flat)):
        raise MaskError(
            f"Mask `{path}` has {len(colours)} colours, {len(colours) - len(flat)} of them only along edges: it is "
            "anti-aliased, or was resized smoothly. Save it without smoothing."
        )
    return [int(colour) for colour in colours]


def _background(background: str | None, colours: Sequence[int], first: Path) -> int | None:
    if background == "none":
        return None
    if background is not None:
        return int(background.lstrip("#"), 16)
    if _BLACK in colours or _TRANSPARENT in colours:
        return _BLACK
    corner = f"{int(_pixels(first)[0, 0]):06x}"
    raise MaskError(
        f"No pixel of the mask `{first}` is black or transparent, so it can be read in two ways: the colour "
        f"#{corner} of its upper left corner is the background: background='{corner}' (`--background {corner}`); "
        "or every colour is an object: background='none' (`--background none`). Say which."
    )


def _ids(colours: Sequence[int]) -> dict[int, int]:
    palette = {int(red) << 16 | int(green) << 8 | int(blue): i for i, (red, green, blue) in enumerate(davis_palette())}
    if all(palette.get(colour) for colour in colours):
        return {colour: palette[colour] for colour in sorted(colours, key=palette.__getitem__)}
    if all(colour == (colour & 255) * 0x010101 for colour in colours) and len(colours) > 1:
        return {colour: colour & 255 for colour in sorted(colours)}
    return {colour: place for place, colour in enumerate(colours, start=1)}
