"""Limits on the unpacked size of files. A file of kilobytes can declare gigabytes; that is checked before reading.

The limits are far above what cameras and data sets have. Environment variables raise them.
"""

from __future__ import annotations

import os

from vos_zoo.errors import ConfigError

MAX_PIXELS_VARIABLE = "VOS_ZOO_MAX_PIXELS"
MAX_BYTES_VARIABLE = "VOS_ZOO_MAX_FILE_BYTES"

_MAX_PIXELS = 178_956_970  # where Pillow stops, too; an image of 13,377x13,377
_MAX_BYTES = 2**29


def max_pixels() -> int:
    """Return how many pixels an image or a frame of a video may have.

    Raises:
        ConfigError: If ``VOS_ZOO_MAX_PIXELS`` is not a number.
    """
    return _limit(MAX_PIXELS_VARIABLE, _MAX_PIXELS)


def pixel_excess(height: int, width: int) -> str | None:
    """Say what is wrong with the size that an image declares; None if nothing is.

    Args:
        height: In pixels.
        width: In pixels.

    Example:
        >>> pixel_excess(1080, 1920)
        >>> pixel_excess(32000, 32000)
        'it declares 32000x32000 pixels, more than 178,956,970; if that is right, set VOS_ZOO_MAX_PIXELS=1024000000'
    """
    limit = max_pixels()
    if height * width <= limit:
        return None
    return (
        f"it declares {width}x{height} pixels, more than {limit:,}; if that is right, set "
        f"{MAX_PIXELS_VARIABLE}={height * width}"
    )


def byte_excess(count: int) -> str | None:
    """Say what is wrong with the size that a member of an archive declares; None if nothing is.

    Args:
        count: In bytes, unpacked.

    Raises:
        ConfigError: If ``VOS_ZOO_MAX_FILE_BYTES`` is not a number.
    """
    limit = _limit(MAX_BYTES_VARIABLE, _MAX_BYTES)
    if count <= limit:
        return None
    return f"it unpacks into {count:,} bytes, more than {limit:,}; if that is right, set {MAX_BYTES_VARIABLE}={count}"


def _limit(variable: str, default: int) -> int:
    text = os.environ.get(variable, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit():
        raise ConfigError(f"{variable} is {text!r}. Expected a whole number, such as {default}.")
    return int(text)
