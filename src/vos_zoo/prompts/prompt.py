"""What a person can point out on a frame: boxes, polygons, points, scribbles and strokes of a brush."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vos_zoo.errors import PromptError

__all__ = ["Box", "Brush", "Points", "Polygon", "Prompt", "Scribbles"]

Point = tuple[float, float]

_MAX_ID = 2**16 - 1  # of mask files
_MAX_RADIUS = 1000


@dataclass(frozen=True)
class Box:
    """A box around an object.

    Coordinates of all prompts are in pixels, x to the right and y down, from the frame's top-left corner: the first
    pixel covers 0 to 1 in both directions, and the frame ends at its width and height.

    Attributes:
        object_id: The object, 1 or more.
        left: Left edge.
        top: Upper edge.
        right: Right edge.
        bottom: Lower edge.

    Raises:
        PromptError: If a number is out of range, or the box has no area.

    Example:
        >>> Box(1, 120, 40, 310, 420)
        Box(object_id=1, left=120.0, top=40.0, right=310.0, bottom=420.0)
    """

    object_id: int
    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        _check_id(self, self.object_id)
        corners = _points(self, [(self.left, self.top), (self.right, self.bottom)])
        for name, value in zip(("left", "top", "right", "bottom"), (*corners[0], *corners[1]), strict=True):
            object.__setattr__(self, name, value)
        if not (self.left < self.right and self.top < self.bottom):
            raise PromptError(
                f"The box of object {self.object_id} goes from {_spell(corners[0])} to {_spell(corners[1])}, which "
                "leaves no area. Expected left, top, right and bottom, with left below right and top below bottom."
            )

    @property
    def points(self) -> tuple[Point, ...]:
        """The corners that define it."""
        return (self.left, self.top), (self.right, self.bottom)


@dataclass(frozen=True)
class Polygon:
    """The outline of an object, or of a part of it; its pixels are those whose centres lie inside.

    Attributes:
        object_id: The object, 1 or more.
        outline: Corners (x, y) in order, three or more; the last one is joined to the first. Where the outline
            crosses itself, inside and outside alternate.

    Raises:
        PromptError: If a number is out of range, there are too few corners, or all lie on one line.

    Example:
        >>> Polygon(1, [(0, 0), (4, 0), (4, 3)]).outline
        ((0.0, 0.0), (4.0, 0.0), (4.0, 3.0))
    """

    object_id: int
    outline: Sequence[Point]

    def __post_init__(self) -> None:
        _check_id(self, self.object_id)
        outline = _points(self, self.outline)
        object.__setattr__(self, "outline", outline)
        if len(set(outline)) < 3:
            raise PromptError(
                f"The polygon of object {self.object_id} has {len(set(outline))} different corners. Expected at least "
                "three, as x and y by turns."
            )
        x0, y0 = outline[0]
        x1, y1 = next(point for point in outline if point != outline[0])
        if all((x1 - x0) * (y - y0) == (y1 - y0) * (x - x0) for x, y in outline):
            raise PromptError(
                f"The corners of the polygon of object {self.object_id} lie on one line. Expected an outline around "
                "an area."
            )

    @property
    def points(self) -> tuple[Point, ...]:
        """The corners."""
        return tuple(self.outline)


@dataclass(frozen=True)
class Points:
    """Clicks: points of an object, and points that do not belong to it.

    Attributes:
        object_id: The object, 1 or more.
        positive: Points (x, y) of the object; each means the pixel that it lies in.
        negative: Points outside of it.

    Raises:
        PromptError: If a number is out of range, or there is no point.

    Example:
        >>> Points(1, positive=[(200, 180)], negative=[(40, 40)]).negative
        ((40.0, 40.0),)
    """

    object_id: int
    positive: Sequence[Point] = ()
    negative: Sequence[Point] = ()

    def __post_init__(self) -> None:
        _check_id(self, self.object_id)
        object.__setattr__(self, "positive", _points(self, self.positive))
        object.__setattr__(self, "negative", _points(self, self.negative))
        if not self.points:
            raise PromptError(
                f"Points of object {self.object_id} hold no point. Expected a positive or a negative one."
            )

    @property
    def points(self) -> tuple[Point, ...]:
        """All points."""
        return (*self.positive, *self.negative)


@dataclass(frozen=True)
class Scribbles:
    """Lines drawn over an object, and lines drawn beside it.

    Attributes:
        object_id: The object, 1 or more.
        positive: Lines on the object, each a sequence of points (x, y) that are joined.
        negative: Lines outside of it.

    Raises:
        PromptError: If a number is out of range, or there is no line, or one without points.

    Example:
        >>> Scribbles(2, positive=[[(10, 10), (20, 15), (30, 15)]]).positive
        (((10.0, 10.0), (20.0, 15.0), (30.0, 15.0)),)
    """

    object_id: int
    positive: Sequence[Sequence[Point]] = ()
    negative: Sequence[Sequence[Point]] = ()

    def __post_init__(self) -> None:
        _check_id(self, self.object_id)
        for name in ("positive", "negative"):
            lines = _sequence(self, getattr(self, name), "lines")
            object.__setattr__(self, name, tuple(_points(self, line) for line in lines))
        if not (self.positive or self.negative) or not all((*self.positive, *self.negative)):
            raise PromptError(
                f"Scribbles of object {self.object_id} hold no line, or one without points. Expected lines of points."
            )

    @property
    def points(self) -> tuple[Point, ...]:
        """The points of all lines."""
        return tuple(point for line in (*self.positive, *self.negative) for point in line)


@dataclass(frozen=True)
class Brush:
    """A stroke of a round brush that paints an object, or erases it; nothing is grown from it.

    Attributes:
        object_id: The object, 1 or more.
        line: Points (x, y) that the middle of the brush passes, one or more.
        radius: Half the width of the stroke, in pixels.
        erase: Whether pixels are taken from the object.

    Raises:
        PromptError: If a number is out of range, or the line has no points.

    Example:
        >>> Brush(1, [(10, 10), (20, 15)], radius=4).erase
        False
    """

    object_id: int
    line: Sequence[Point]
    radius: float
    erase: bool = False

    def __post_init__(self) -> None:
        _check_id(self, self.object_id)
        object.__setattr__(self, "line", _points(self, self.line))
        if not self.line:
            raise PromptError(f"The brush stroke of object {self.object_id} has no points. Expected one or more.")
        is_number = isinstance(self.radius, (int, float)) and not isinstance(self.radius, bool)
        if not is_number or not 0 < self.radius <= _MAX_RADIUS:
            raise PromptError(
                f"The brush of object {self.object_id} has radius {self.radius!r}. Expected pixels, more than 0 and at "
                f"most {_MAX_RADIUS}."
            )
        if not isinstance(self.erase, bool):
            raise PromptError(f"Brush has erase {self.erase!r}. Expected true or false.")

    @property
    def points(self) -> tuple[Point, ...]:
        """The points of its line."""
        return tuple(self.line)


Prompt = Box | Polygon | Points | Scribbles | Brush


def _check_id(prompt: object, object_id: object) -> None:
    if type(object_id) is not int or not 1 <= object_id <= _MAX_ID:
        raise PromptError(
            f"{type(prompt).__name__} has object id {object_id!r}. Expected a whole number from 1 to {_MAX_ID}; 0 is "
            "the background."
        )


def _sequence(prompt: object, value: object, what: str) -> list[object]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise PromptError(f"{type(prompt).__name__} has {value!r} as {what}. Expected a sequence of them.")
    return list(value)


def _points(prompt: object, points: object) -> tuple[Point, ...]:
    return tuple(_checked(prompt, _sequence(prompt, points, "points")))


def _checked(prompt: object, points: Iterable[object]) -> Iterator[Point]:
    for point in points:
        numbers = _sequence(prompt, point, "a point")
        try:
            if any(isinstance(number, (bool, str, bytes)) for number in numbers):
                raise TypeError("no number")
            x, y = (float(number) for number in numbers)  # type: ignore[arg-type]
            if not (math.isfinite(x) and math.isfinite(y)):
                raise ValueError("not finite")
        except (TypeError, ValueError, OverflowError) as error:
            raise PromptError(
                f"{type(prompt).__name__} has the point {point!r} ({error}). Expected x and y, in pixels from the "
                "frame's top-left corner."
            ) from error
        yield x, y


def _spell(point: Point) -> str:
    return f"{point[0]:g},{point[1]:g}"
