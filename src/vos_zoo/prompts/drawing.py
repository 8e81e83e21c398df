"""Images that show what was understood: the mask over its frame, with the prompts drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vos_zoo.media.overlay import draw_overlay

from .prompt import Box, Brush, Point, Points, Polygon, Prompt, Scribbles

__all__ = ["draw_prompts"]

_SHORT_SIDE = 480  # pixels of the frame's short side per unit of the sizes below
_RADIUS = 7
_THICKNESS = 2
_POSITIVE, _NEGATIVE = (40, 200, 80), (225, 50, 50)
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_BITS = 4  # binary digits of a pixel's fraction, for OpenCV


def draw_prompts(frame: NDArray[np.uint8], mask: NDArray[Any], prompts: Sequence[Prompt]) -> NDArray[np.uint8]:
    """Draw a mask and the prompts that led to it over their frame.

    Boxes and outlines are white with a black rim, positive points and lines are green with a plus, negative ones red
    with a minus.

    Args:
        frame: RGB, uint8, shape (H, W, 3); it is left as it is.
        mask: Object ids, shape (H, W).
        prompts: Prompts of this frame.

    Returns:
        RGB, uint8, shape (H, W, 3).

    Raises:
        ShapeError: If frame and mask do not fit together.
    """
    image = draw_overlay(frame, mask)
    unit = max(min(frame.shape[:2]) / _SHORT_SIDE, 0.5)
    for prompt in sorted(prompts, key=lambda entry: isinstance(entry, (Points, Scribbles))):  # points on top
        if isinstance(prompt, Box):
            left, top, right, bottom = prompt.left, prompt.top, prompt.right, prompt.bottom
            _outline(image, [(left, top), (right, top), (right, bottom), (left, bottom)], unit)
        elif isinstance(prompt, Polygon):
            _outline(image, prompt.outline, unit)
        elif not isinstance(prompt, Brush):  # whose strokes are in the mask as they are
            signs = ((prompt.negative, False), (prompt.positive, True))
            for group, is_positive in signs:
                for entry in group:
                    line = [entry] if isinstance(prompt, Points) else entry
                    _line(image, line, is_positive, unit)  # type: ignore[arg-type]  # the two kinds nest differently
    return image


def _outline(image: NDArray[np.uint8], corners: Sequence[Point], unit: float) -> None:
    # Edges lie between pixels, where 0 is the outer edge of the first one; OpenCV counts from its centre.
    points = _fixed([(x - 0.5, y - 0.5) for x, y in corners])
    for colour, width in ((_BLACK, 2 * _THICKNESS), (_WHITE, _THICKNESS)):
        thickness = max(round(width * unit), 1)
        cv2.polylines(image, [points], True, colour, thickness, cv2.LINE_AA, shift=_BITS)


def _line(image: NDArray[np.uint8], line: Sequence[Point], is_positive: bool, unit: float) -> None:
    # The image's pixel that a point lies in has its centre here.
    points = _fixed([(np.floor(x), np.floor(y)) for x, y in line])
    colour = _POSITIVE if is_positive else _NEGATIVE
    radius, thickness = max(round(_RADIUS * unit), 2), max(round(_THICKNESS * unit), 1)
    if len(points) > 1:
        cv2.polylines(image, [points], False, _WHITE, 3 * thickness, cv2.LINE_AA, shift=_BITS)
        cv2.polylines(image, [points], False, colour, 2 * thickness, cv2.LINE_AA, shift=_BITS)
    x, y = (int(value) >> _BITS for value in points[0])
    cv2.circle(image, (x, y), radius, colour, cv2.FILLED, cv2.LINE_AA)
    cv2.circle(image, (x, y), radius, _WHITE, thickness, cv2.LINE_AA)
    arm = max(radius // 2, 1)
    cv2.line(image, (x - arm, y), (x + arm, y), _WHITE, thickness)
    if is_positive:
        cv2.line(image, (x, y - arm), (x, y + arm), _WHITE, thickness)


def _fixed(points: Sequence[Point]) -> NDArray[np.int32]:
    return np.round(np.asarray(points, np.float64) * 2**_BITS).astype(np.int32)
