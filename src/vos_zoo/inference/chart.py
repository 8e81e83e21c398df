"""A plain line chart, for curves over the frames of a video."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vos_zoo.errors import ShapeError

_PAPER, _INK, _GRID = (255, 255, 255), (40, 40, 40), (225, 225, 225)
# Okabe and Ito's colours, which colour-blind readers can tell apart.
_COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0))
_SIZE = (420, 720)  # height and width in pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 24, 44, 52  # margins in pixels
_TICKS = 5


def line_chart(
    curves: Mapping[str, Sequence[tuple[float, float]]], *, title: str, x_label: str, y_label: str
) -> NDArray[np.uint8]:
    """Draw curves over one horizontal axis; the vertical axis spans the values, and need not start at 0.

    Args:
        curves: Points (x, y) of every curve in rising x, by the name of the curve.
        title: Printed above.
        x_label: Printed below.
        y_label: Printed above the vertical axis.

    Returns:
        RGB, uint8, shape (420, 720, 3).

    Raises:
        ShapeError: If no curve has a point, or a number is not finite.
    """
    points = [point for curve in curves.values() for point in curve]
    if not points or not all(math.isfinite(value) for point in points for value in point):
        raise ShapeError(f"A chart of {len(points)} points was asked for. Expected one or more, of finite numbers.")
    low, high = min(x for x, _ in points), max(x for x, _ in points)
    least, most = min(y for _, y in points), max(y for _, y in points)
    x_step = _nice_step(max(high - low, 1))
    y_step = _nice_step(most - least or abs(most) or 1)
    first, last = math.floor(least / y_step), math.ceil(most / y_step)
    last = max(last, first + 1)
    height, width = _SIZE

    def place(x: float, y: float) -> tuple[float, float]:
        right, down = (x - low) / max(high - low, 1), (last - y / y_step) / (last - first)
        return _LEFT + right * (width - _LEFT - _RIGHT), _TOP + down * (height - _TOP - _BOTTOM)

    picture = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(picture)
    font, large = ImageFont.load_default(13), ImageFont.load_default(15)
    for number in range(first, last + 1):
        left, level = place(low, number * y_step)
        draw.line((left, level, width - _RIGHT, level), fill=_INK if number == first else _GRID)
        draw.text((left - 8, level), f"{number * y_step:.10g}", fill=_INK, font=font, anchor="rm")
    for number in range(math.ceil(low / x_step), math.floor(high / x_step) + 1):
        across, bottom = place(number * x_step, first * y_step)
        draw.line((across, bottom, across, bottom + 5), fill=_INK)
        draw.text((across, bottom + 8), f"{number * x_step:.10g}", fill=_INK, font=font, anchor="ma")
    draw.text((width / 2, 12), title, fill=_INK, font=large, anchor="ma")
    draw.text((8, 22), y_label, fill=_INK, font=font)
    draw.text((width / 2, height - 12), x_label, fill=_INK, font=font, anchor="ms")
    for number, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        draw.line([place(x, y) for x, y in curve], fill=colour, width=2, joint="curve")
        if len(curve) == 1:
            across, level = place(*curve[0])
            draw.ellipse((across - 2, level - 2, across + 2, level + 2), fill=colour)
        line = _TOP + 8 + 18 * number
        draw.line((_LEFT + 12, line, _LEFT + 36, line), fill=colour, width=3)
        draw.text((_LEFT + 44, line), name, fill=_INK, font=font, anchor="lm")
    return np.array(picture)


def _nice_step(span: float) -> float:
    """Return 1, 2 or 5 times a power of ten that divides a span into about five parts.

    Example:
        >>> [_nice_step(span) for span in (43, 1, 0.3)]
        [10.0, 0.2, 0.1]
    """
    power = 10.0 ** math.floor(math.log10(span / _TICKS))
    return next(round(factor * power, 12) for factor in (1, 2, 5, 10) if factor * power >= span / _TICKS * 0.999)
