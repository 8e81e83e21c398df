"""Opening image files: what Pillow raises, and how large an image may be."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from vos_zoo.limits import MAX_PIXELS_VARIABLE, max_pixels, pixel_excess

DAMAGE = (
    *(UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error),
    *(TypeError, KeyError, IndexError),  # missing tags of a later page; Pillow catches them for the first one only
)
"""Everything that Pillow's decoders raise on damaged data; they have no common base class."""


def open_image(source: Path | BinaryIO) -> Image.Image:
    """Open an image without decoding its pixels.

    Args:
        source: The file.

    Returns:
        The image; close it, or use it in a ``with`` block.

    Raises:
        Image.DecompressionBombError: If it declares more pixels than ``VOS_ZOO_MAX_PIXELS`` allows.
    """
    limit = max_pixels()
    if Image.MAX_IMAGE_PIXELS is not None and limit > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limit  # the user raised our limit; Pillow's own would still refuse the image
    try:
        image = Image.open(source)
    except Image.DecompressionBombError as error:  # Pillow's message tells no sides
        raise Image.DecompressionBombError(
            f"{error}; if that is right, set {MAX_PIXELS_VARIABLE} to its number of pixels"
        ) from error
    excess = pixel_excess(image.height, image.width)
    if excess is not None:
        image.close()
        raise Image.DecompressionBombError(excess)
    return image
