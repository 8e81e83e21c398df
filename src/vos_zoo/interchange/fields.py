"""Reading the fields of parsed files whose content nobody has checked: every wrong one is named with its place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import MaskError
from vos_zoo.limits import pixel_excess

__all__ = ["Fields", "frame_size", "polygon_points", "shown"]

_FARTHEST = 2.0**24  # pixels; no image reaches so far, and float arithmetic stays exact enough
_MOST_SHOWN = 40


class Fields:
    """An object of a JSON file, or the attributes of an XML element.

    Args:
        value: What is there.
        where: What messages call it, such as "`a.json`, annotations[3]".

    Raises:
        MaskError: If it is not an object. All methods raise it for fields that are not as asked for.
    """

    def __init__(self, value: Any, where: str) -> None:
        self.where = where
        if not isinstance(value, dict):
            raise MaskError(f"{where} is {shown(value)}. Expected an object with named fields.")
        self._value: dict[str, Any] = value

    def __contains__(self, key: str) -> bool:
        """Tell whether a field is there and not null."""
        return self._value.get(key) is not None

    def __getitem__(self, key: str) -> Any:
        """Return a field as it is; None if it is not there."""
        return self._value.get(key)

    def __iter__(self) -> Iterator[str]:
        """Return the names of all fields."""
        return iter(self._value)

    def integer(self, key: str, *, low: int | None = None, high: int | None = None) -> int:
        """Return a whole number, also one that is written as text or as 3.0."""
        value = self._value.get(key)
        number: float | None = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        if isinstance(value, str) and value.strip().lstrip("-").isdecimal() and value.isascii() and len(value) < 19:
            number = int(value)
        ranges = "" if low is None else f" from {low} on" if high is None else f" from {low} to {high}"
        # Bounded before it is converted, since infinity has no integer.
        if number is None or not abs(number) < 2**63 or number != int(number):
            raise self.wrong(key, f"a whole number{ranges}")
        if (low is not None and number < low) or (high is not None and number > high):
            raise self.wrong(key, f"a whole number{ranges}")
        return int(number)

    def number(self, key: str) -> float:
        """Return a finite number, also one that is written as text."""
        value = self._value.get(key)
        try:
            number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not abs(number) <= _FARTHEST:  # also if it is NaN
            raise self.wrong(key, "a number")
        return number

    def text(self, key: str) -> str:
        """Return a text; numbers are written as text."""
        value = self._value.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def array(self, key: str) -> list[Any]:
        """Return a list."""
        value = self._value.get(key)
        if not isinstance(value, list):
            raise self.wrong(key, "a list")
        return value

    def records(self, key: str) -> list[Fields]:
        """Return a list of objects."""
        return [Fields(value, f"{self.where}, {key}[{index}]") for index, value in enumerate(self.array(key))]

    def record(self, key: str) -> Fields:
        """Give an object."""
        return Fields(self._value.get(key), f"{self.where}, {key}")

    def wrong(self, key: str, expected: str) -> MaskError:
        """Make the error for a field that is not as expected."""
        found = f"`{key}` is {shown(self._value[key])}" if key in self else f"`{key}` is missing"
        return MaskError(f"{self.where}: {found}. Expected {expected}. Export the annotations again, or correct it.")


def frame_size(fields: Fields, height: str = "height", width: str = "width") -> tuple[int, int]:
    """Return the size of an image that a file declares.

    Args:
        fields: Where it stands.
        height: Name of the field.
        width: Name of the field.

    Returns:
        (H, W), both at least 1.

    Raises:
        MaskError: If it is not a size, or more than ``VOS_ZOO_MAX_PIXELS``.
    """
    size = fields.integer(height, low=1), fields.integer(width, low=1)
    excess = pixel_excess(*size)
    if excess is not None:
        raise MaskError(f"{fields.where} is too large: {excess}.")
    return size


def polygon_points(value: Any, where: str, *, scale: tuple[float, float] = (1.0, 1.0)) -> NDArray[np.float64]:
    """Return the corners of a polygon.

    Args:
        value: A list of pairs, or of x and y in turn.
        where: What messages call it.
        scale: What x and y are multiplied by to become pixels.

    Returns:
        Corners (x, y) in pixels, shape (N, 2), N at least 3.

    Raises:
        MaskError: If it is none.
    """
    try:
        points = np.array(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise MaskError(f"{where} is {shown(value)}. Expected corners as pairs of x and y.") from error
    is_flat = points.ndim == 1 and points.size % 2 == 0
    if not is_flat and (points.ndim != 2 or points.shape[1] != 2):
        raise MaskError(
            f"{where} has {points.size} numbers of shape {points.shape}. Expected corners as pairs of x and y."
        )
    points = points.reshape(-1, 2) * scale
    if len(points) < 3:
        raise MaskError(
            f"{where} has {len(points)} corners. A polygon has three at least; remove it, or draw it again."
        )
    if not (np.abs(points) <= _FARTHEST).all():  # also if one is NaN
        raise MaskError(f"{where} has a corner that is not a point of an image ({shown(value)}). Draw it again.")
    return points


def shown(value: Any) -> str:
    """Show the beginning of a value in a message."""
    text = repr(value[:3] if isinstance(value, (list, str)) and len(value) > _MOST_SHOWN else value)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + " …"
