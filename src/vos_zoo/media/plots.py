"""Plots of tables and of curves, drawn with Pillow, which the package needs anyway."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vos_zoo.errors import ShapeError

_SCALE = 2  # pixels per unit of length below, for sharp print on dense screens
_BACKGROUND, _INK, _MUTED, _GRID = (255, 255, 255), (34, 34, 34), (110, 110, 110), (225, 225, 225)
# Okabe and Ito's colours, which stay apart for colour-blind readers.
_COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0))
_FONT, _SMALL_FONT = 13, 11
_MARGIN, _GAP = 18, 34
_ROW = 24
_PANEL_WIDTH, _PANEL_HEIGHT, _SINGLE_WIDTH = 300, 230, 560
_MOST_MARKED = 30  # points of a line that are marked; more would hide it
_DOT = 5
_SMOOTH = 2  # drawn this much larger and shrunk: Pillow draws lines without smoothing


@dataclass(frozen=True)
class DotPanel:
    """One measure of a table: our number and the paper's in each row; None where there is none."""

    title: str
    ours: tuple[float | None, ...]
    papers: tuple[float | None, ...]


@dataclass(frozen=True)
class LinePanel:
    """One measure against a length or time.

    Attributes:
        title: Measure and unit.
        lines: Points (x, y) of every line in rising x, by its name; points that are not finite are left out.
        starts_at_zero: Whether the axis begins at 0.
    """

    title: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    starts_at_zero: bool = True


def draw_dots(title: str, labels: Sequence[str], panels: Sequence[DotPanel], *, note: str = "") -> NDArray[np.uint8]:
    """Draw a table: a filled dot for our number, a ring for the paper's, a line for the difference.

    Args:
        title: Heading.
        labels: Names of the rows.
        panels: Measures, side by side, with as many values as there are labels.
        note: A line below the plot.

    Returns:
        RGB, uint8, shape (H, W, 3).
    """
    canvas = _Canvas()
    label_width = max(canvas.width(label, _FONT) for label in labels) + 16
    panel_width = max(130, min(_PANEL_WIDTH, 760 // len(panels)))
    left, top = _MARGIN + label_width, _MARGIN + 74
    bottom = top + _ROW * len(labels)
    canvas.resize(left + len(panels) * (panel_width + _GAP), bottom + 58, title, note)
    canvas.text(_MARGIN, _MARGIN, title, _FONT + 3)
    canvas.dot(_MARGIN + 6, _MARGIN + 38, _COLOURS[0])
    canvas.text(_MARGIN + 18, _MARGIN + 30, "measured", _FONT)
    canvas.ring(_MARGIN + 106, _MARGIN + 38, _COLOURS[1])
    canvas.text(_MARGIN + 118, _MARGIN + 30, "paper", _FONT)
    for row, label in enumerate(labels):
        canvas.text(_MARGIN, top + _ROW * row + 4, label, _FONT)
    for number, panel in enumerate(panels):
        start = left + number * (panel_width + _GAP)
        values = [value for value in (*panel.ours, *panel.papers) if value is not None]
        axis = _Axis.over(values, start + 10, start + panel_width - 10)
        canvas.text(start + panel_width / 2, top - 22, panel.title, _FONT, anchor="m")
        for tick in axis.ticks:
            canvas.line([(axis(tick), top), (axis(tick), bottom)], _GRID, 1)
            canvas.text(axis(tick), bottom + 6, axis.label(tick), _SMALL_FONT, anchor="m", colour=_MUTED)
        for row, (ours, papers) in enumerate(zip(panel.ours, panel.papers, strict=True)):
            y = top + _ROW * row + _ROW / 2
            if ours is not None and papers is not None:
                canvas.line([(axis(ours), y), (axis(papers), y)], _MUTED, 1.5)
            if papers is not None:
                canvas.ring(axis(papers), y, _COLOURS[1])
            if ours is not None:
                canvas.dot(axis(ours), y, _COLOURS[0])
    canvas.text(_MARGIN, bottom + 30, note, _SMALL_FONT, colour=_MUTED)
    return canvas.picture()


def draw_lines(title: str, panels: Sequence[LinePanel], *, axis_title: str, note: str = "") -> NDArray[np.uint8]:
    """Draw measures against a length or time, one panel per measure and one line per name.

    Args:
        title: Heading.
        panels: Measures, side by side, all with lines of the same names.
        axis_title: What the horizontal axis is.
        note: A line below the plot.

    Returns:
        RGB, uint8, shape (H, W, 3).

    Raises:
        ShapeError: If a panel has no finite point.
    """
    for panel in panels:
        if not any(_finite(line) for line in panel.lines.values()):
            raise ShapeError(f"The plot {title!r} has no finite point for {panel.title!r}. Expected one or more.")
    names = list(panels[0].lines)
    width = _PANEL_WIDTH if len(panels) > 1 else _SINGLE_WIDTH
    canvas = _Canvas()
    top, left = _MARGIN + 88, _MARGIN + 44
    bottom = top + _PANEL_HEIGHT
    canvas.resize(left + len(panels) * (width + _GAP + 24), bottom + (80 if note else 54), title, note)
    canvas.text(_MARGIN, _MARGIN, title, _FONT + 3)
    x = float(_MARGIN)
    for name, colour in zip(names, _colours(len(names)), strict=True):
        canvas.line([(x, _MARGIN + 38), (x + 22, _MARGIN + 38)], colour, 2)
        canvas.dot(x + 11, _MARGIN + 38, colour)
        canvas.text(x + 28, _MARGIN + 30, name, _FONT)
        x += 28 + canvas.width(name, _FONT) + 22
    for number, panel in enumerate(panels):
        start = left + number * (width + _GAP + 24)
        lines = [_finite(panel.lines[name]) for name in names]
        across = _Axis.over([0.0, *(x for line in lines for x, _ in line)], start, start + width)
        values = [y for line in lines for _, y in line]
        upward = _Axis.over([0.0, *values] if panel.starts_at_zero else values, bottom, top)
        canvas.text(start, top - 24, panel.title, _FONT)
        for tick in upward.ticks:
            canvas.line([(start, upward(tick)), (start + width, upward(tick))], _GRID, 1)
            label = upward.label(tick)
            canvas.text(start - 6, upward(tick) - 7, label, _SMALL_FONT, anchor="r", colour=_MUTED)
        for tick in across.ticks:
            canvas.text(across(tick), bottom + 6, across.label(tick), _SMALL_FONT, anchor="m", colour=_MUTED)
        canvas.text(start + width / 2, bottom + 26, axis_title, _SMALL_FONT, anchor="m", colour=_MUTED)
        for line, colour in zip(lines, _colours(len(lines)), strict=True):
            points = [(across(x), upward(y)) for x, y in line]
            if points:
                canvas.line(points, colour, 2)
            for point in points if len(points) <= _MOST_MARKED else ():
                canvas.dot(*point, colour)
    canvas.text(_MARGIN, bottom + 52, note, _SMALL_FONT, colour=_MUTED)
    return canvas.picture()


def _finite(line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [point for point in line if all(map(math.isfinite, point))]


@dataclass(frozen=True)
class _Axis:
    """From values to places, with round ticks."""

    low: float
    high: float
    step: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> _Axis:
        low, high = min(values, default=0.0), max(values, default=1.0)
        span = (high - low) or max(abs(high), 1.0) / 10
        rough = span / 4
        magnitude = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough)
        bottom = math.floor(low / step) * step
        return cls(bottom, max(math.ceil(high / step) * step, bottom + step), step, start, end)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        return [self.low + index * self.step for index in range(round((self.high - self.low) / self.step) + 1)]

    def label(self, tick: float) -> str:
        digits = max(0, -math.floor(math.log10(self.step)))
        return f"{tick:.{digits}f}"


class _Canvas:
    """A white picture in units of length, drawn enlarged."""

    def __init__(self) -> None:
        self._unit = _SCALE * _SMOOTH
        self._image = Image.new("RGB", (1, 1), _BACKGROUND)
        self._draw = ImageDraw.Draw(self._image)

    def resize(self, width: float, height: float, *texts: str) -> None:
        """Begin a picture of this size, wide enough for the texts."""
        needed = max((2 * _MARGIN + self.width(text, _FONT + 3) for text in texts), default=0)
        size = (round(max(width, needed)) * self._unit, round(height) * self._unit)
        self._image = Image.new("RGB", size, _BACKGROUND)
        self._draw = ImageDraw.Draw(self._image)

    def width(self, text: str, size: int) -> float:
        return float(self._draw.textlength(text, font=self._font(size))) / self._unit

    def text(
        self, x: float, y: float, text: str, size: int, *, anchor: str = "l", colour: tuple[int, int, int] = _INK
    ) -> None:
        place = (x * self._unit, y * self._unit)
        self._draw.text(place, text, fill=colour, font=self._font(size), anchor=f"{anchor}a")

    def line(self, points: Sequence[tuple[float, float]], colour: tuple[int, int, int], width: float) -> None:
        places = [(x * self._unit, y * self._unit) for x, y in points]
        self._draw.line(places, fill=colour, width=round(width * self._unit), joint="curve")

    def dot(self, x: float, y: float, colour: tuple[int, int, int]) -> None:
        self._draw.ellipse(self._box(x, y), fill=colour)

    def ring(self, x: float, y: float, colour: tuple[int, int, int]) -> None:
        self._draw.ellipse(self._box(x, y), fill=_BACKGROUND, outline=colour, width=2 * self._unit)

    def picture(self) -> NDArray[np.uint8]:
        return np.array(self._image.reduce(_SMOOTH))

    def _box(self, x: float, y: float) -> tuple[float, float, float, float]:
        return (x - _DOT) * self._unit, (y - _DOT) * self._unit, (x + _DOT) * self._unit, (y + _DOT) * self._unit

    def _font(self, size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
        return ImageFont.load_default(size * self._unit)


def _colours(count: int) -> list[tuple[int, int, int]]:
    return [_COLOURS[index % len(_COLOURS)] for index in range(count)]
