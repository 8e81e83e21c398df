"""Shapes that tools draw besides polygons, as polygons or pixels."""

from __future__ import annotations

import base64
import binascii
import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vos_zoo.errors import MaskError
from vos_zoo.interchange.annotation import Paint
from vos_zoo.media.image_files import DAMAGE, open_image

__all__ = ["ellipse", "paint_at", "picture_levels"]

_SIDES = 360  # of a polygon that stands for an ellipse; 0.04 pixels off at a radius of 1000


def ellipse(centre: NDArray[np.float64], radii: tuple[float, float], degrees: float = 0.0) -> NDArray[np.float64]:
    """Return a polygon that follows an ellipse.

    Args:
        centre: Its x and y.
        radii: Along x and along y, before it is turned.
        degrees: How far it is turned, clockwise on the screen.

    Returns:
        Corners (x, y), shape (N, 2).
    """
    angles = np.arange(_SIDES) * (2 * math.pi / _SIDES)
    points = np.stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles)], axis=1)
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    turned: NDArray[np.float64] = points @ np.array([[cosine, sine], [-sine, cosine]]) + centre
    return turned


def paint_at(pixels: NDArray[np.bool_], top: int, left: int) -> Paint:
    """Paint a piece of a mask at its place.

    Args:
        pixels: What belongs to the object, within its box.
        top: Row of the box's first pixel.
        left: Column of the box's first pixel.
    """

    def paint(size: tuple[int, int]) -> NDArray[np.bool_]:
        bottom, right = top + pixels.shape[0], left + pixels.shape[1]
        if top < 0 or left < 0 or bottom > size[0] or right > size[1]:
            raise ValueError(
                f"its box reaches from ({left}, {top}) to ({right}, {bottom}), beyond the frame of {size[1]}x{size[0]}"
            )
        area = np.zeros(size, np.bool_)
        area[top:bottom, left:right] = pixels
        return area

    return paint


def picture_levels(text: str, where: str) -> NDArray[np.uint8]:
    """Read an image that stands in a file as text.

    Args:
        text: The image in Base64.
        where: What messages call it.

    Returns:
        Its opacity if it has some, else its grey levels, shape (H, W).

    Raises:
        MaskError: If it is not an image, or a too large one.
    """
    try:
        with open_image(io.BytesIO(base64.b64decode(text, validate=True))) as image:
            has_alpha = "A" in image.getbands() or "transparency" in image.info
            return np.asarray(image.convert("RGBA").getchannel("A") if has_alpha else image.convert("L"))
    except Image.DecompressionBombError as error:
        raise MaskError(f"{where}: its mask is too large: {error}.") from error
    except (binascii.Error, *DAMAGE) as error:
        raise MaskError(
            f"{where}: its mask is not an image in Base64 ({error}). Export the annotations again."
        ) from error
