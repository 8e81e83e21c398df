"""Images for people: masks drawn over frames, heat maps, and contact sheets."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vos_zoo.errors import ConfigError, ShapeError
from vos_zoo.files import atomic_path
from vos_zoo.media.mask_values import davis_palette

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Endings of the image files that can be written."""

_CONTOUR_SHORT_SIDE = 480  # pixels of the short side per pixel of contour width
_GAP = 6  # pixels between the tiles of a contact sheet
_SHEET_COLOUR = (24, 24, 24)
_LABEL_COLOUR = (235, 235, 235)


def draw_overlay(
    image: NDArray[np.uint8],
    mask: NDArray[Any],
    *,
    alpha: float = 0.5,
    palette: NDArray[np.uint8] | None = None,
    contours: bool = True,
) -> NDArray[np.uint8]:
    """Draw the objects of a mask over their frame, each in the colour its id has in mask files.

    Args:
        image: RGB, uint8, shape (H, W, 3); it is left as it is.
        mask: Object ids, shape (H, W); 0 is not drawn.
        alpha: Strength of the fill, 0 (none) to 1 (opaque).
        palette: RGB colours of the ids, shape (K, 3); None means ``davis_palette()``. Larger ids begin again at 1.
        contours: Also draw the outline of every object, inside the object.

    Returns:
        RGB, uint8, shape (H, W, 3).

    Raises:
        ShapeError: If image, mask and palette do not fit together.
        ConfigError: If ``alpha`` is not within 0..1.

    Example:
        >>> frame = np.zeros((1, 2, 3), np.uint8)
        >>> draw_overlay(frame, np.array([[0, 1]]), contours=False).tolist()
        [[[0, 0, 0], [64, 0, 0]]]
    """
    _check_image(image)
    if mask.shape != image.shape[:2] or mask.dtype.kind not in "bui":
        raise ShapeError(
            f"The mask has shape {mask.shape} and type {mask.dtype}, the image {image.shape}. "
            "Both must have the same height and width, and the mask holds whole ids."
        )
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha is {alpha}. The strength of the fill goes from 0 to 1.")
    colours = _object_colours(mask, davis_palette() if palette is None else palette)
    is_object: NDArray[np.bool_] = mask != 0
    drawn = _paste(image.copy(), cv2.addWeighted(image, 1 - alpha, colours, alpha, 0), is_object)
    if contours:
        # Half-way to white: the palette's own dark colours would vanish on dark images.
        _paste(drawn, colours // 2 + 128, _outline(mask) & is_object)
    return drawn


def draw_heatmap(
    image: NDArray[np.uint8],
    values: NDArray[np.floating[Any]],
    *,
    alpha: float = 0.6,
    limits: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """Draw a map of numbers over a frame, from dark violet (low) to yellow (high).

    Args:
        image: RGB, uint8, shape (H, W, 3); it is left as it is.
        values: Numbers, shape (h, w) of any size; stretched to the frame. NaN and infinity are not drawn.
        alpha: Strength of the colours, 0 to 1.
        limits: The numbers at the two ends of the colour scale; None means the smallest and the largest.

    Returns:
        RGB, uint8, shape (H, W, 3).

    Raises:
        ShapeError: If ``image`` or ``values`` have other shapes.
        ConfigError: If ``alpha`` is not within 0..1.
    """
    _check_image(image)
    if values.ndim != 2 or values.size == 0:
        raise ShapeError(f"The values have shape {values.shape}. A heat map takes one number per position, (h, w).")
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha is {alpha}. The strength of the colours goes from 0 to 1.")
    is_finite = np.isfinite(values)
    low, high = limits or (float(values[is_finite].min(initial=np.inf)), float(values[is_finite].max(initial=-np.inf)))
    span = high - low if high > low else 1.0
    scaled = (
        np.clip((np.where(is_finite, values, low) - low) / span, 0, 1) if is_finite.any() else np.zeros(values.shape)
    )
    size = (image.shape[1], image.shape[0])
    stretched = cv2.resize(scaled.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    visible = cv2.resize(is_finite.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    levels = np.rint(stretched * 255).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    return _paste(image.copy(), cv2.addWeighted(image, 1 - alpha, colours, alpha, 0), visible)


def contact_sheet(
    frames: Iterable[tuple[str, NDArray[np.uint8]]], columns: int = 4, *, tile_width: int = 320
) -> NDArray[np.uint8]:
    """Lay labelled images out in rows, such as every tenth frame of a result.

    The images are shrunk as they come, so a whole video can be passed as a generator.

    Args:
        frames: Pairs of a label and an RGB image, uint8, (H, W, 3). The first one sets the shape of the tiles;
            others are fitted into it.
        columns: Tiles per row; fewer images give a narrower sheet.
        tile_width: Width of a tile in pixels.

    Returns:
        RGB, uint8, shape (sheet height, sheet width, 3).

    Raises:
        ShapeError: If there is no image, or one is not RGB uint8.
        ConfigError: If ``columns`` or ``tile_width`` are too small.
    """
    if columns < 1 or tile_width < 16:
        raise ConfigError(f"columns={columns}, tile_width={tile_width}: expected at least 1 column and 16 pixels.")
    tiles: list[tuple[str, NDArray[np.uint8]]] = []
    tile_height = 0
    for label, image in frames:
        _check_image(image)
        tile_height = tile_height or max(1, round(tile_width * image.shape[0] / image.shape[1]))
        tiles.append((label, _fit(image, tile_height, tile_width)))
    if not tiles:
        raise ShapeError("The contact sheet got no images. Give at least one.")
    font_size = max(10, tile_width // 20)
    cell_height, cell_width = tile_height + round(1.5 * font_size) + _GAP, tile_width + _GAP
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * cell_width + _GAP, rows * cell_height + _GAP), _SHEET_COLOUR)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(font_size)
    for number, (label, tile) in enumerate(tiles):
        left, top = _GAP + number % columns * cell_width, _GAP + number // columns * cell_height
        sheet.paste(Image.fromarray(tile), (left, top))
        draw.text((left + 2, top + tile_height + font_size // 6), label, fill=_LABEL_COLOUR, font=font)
    return np.array(sheet)


def write_image(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write an image, completely or not at all.

    Args:
        path: Where to write; ends in .png, .jpg, .jpeg or .webp. Missing folders are made.
        image: RGB, uint8, shape (H, W, 3).

    Raises:
        ShapeError: If the image is not RGB uint8.
        ConfigError: If the name has another ending.
    """
    path = Path(path)
    _check_image(image)
    check_image_name(path)
    suffix = path.suffix.lower()
    kind = {".png": "PNG", ".webp": "WEBP"}.get(suffix, "JPEG")
    content = io.BytesIO()  # Pillow writing to a full disk does not say that it is full
    Image.fromarray(np.ascontiguousarray(image)).save(content, format=kind, quality=92)
    with atomic_path(path) as partial:
        partial.write_bytes(content.getvalue())


def check_image_name(path: Path) -> None:
    """Refuse a name that no image can be written under, before there is one.

    Raises:
        ConfigError: If it has another ending than ``IMAGE_SUFFIXES``.
    """
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise ConfigError(f"Image `{path}` must end in one of {', '.join(IMAGE_SUFFIXES)}. Rename it.")


def _object_colours(mask: NDArray[Any], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Look up the colour of every pixel, shape (H, W, 3)."""
    if palette.ndim != 2 or palette.shape[1] != 3 or len(palette) < 2:
        raise ShapeError(
            f"The palette has shape {palette.shape}. Expected (K, 3) with background and one colour or more."
        )
    last = len(palette) - 1
    ids = mask.view(np.uint8) if mask.dtype == np.bool_ else mask
    if ids.max(initial=0) > last:
        ids = np.where(ids > last, (ids.astype(np.int64) - 1) % last + 1, ids)
    return np.take(palette, ids, axis=0)


def _outline(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark the pixels on both sides of every change of id, a wider band in larger frames."""
    outline = np.zeros(mask.shape, dtype=np.uint8)
    across = mask[1:] != mask[:-1]
    along = mask[:, 1:] != mask[:, :-1]
    for edge, change in (
        (outline[1:], across),
        (outline[:-1], across),
        (outline[:, 1:], along),
        (outline[:, :-1], along),
    ):
        edge |= change
    width = max(1, round(min(mask.shape) / _CONTOUR_SHORT_SIDE))
    if width > 1:
        outline = cv2.dilate(outline, np.ones((2 * width - 1, 2 * width - 1), np.uint8))
    return outline.view(np.bool_)


def _paste(image: NDArray[np.uint8], picture: NDArray[np.uint8], where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Copy the marked pixels of one image into another; OpenCV does it far faster than NumPy's broadcasting."""
    cv2.copyTo(picture, where.view(np.uint8), image)
    return image


def _fit(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scale an image into a tile, centred, without changing its shape."""
    scale = min(height / image.shape[0], width / image.shape[1])
    inner = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    resized = cv2.resize(image, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    tile = np.full((height, width, 3), _SHEET_COLOUR, dtype=np.uint8)
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    tile[top : top + inner[1], left : left + inner[0]] = resized
    return tile


def _check_image(image: NDArray[Any]) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ShapeError(f"The image has shape {image.shape} and type {image.dtype}. Expected RGB, uint8, (H, W, 3).")
