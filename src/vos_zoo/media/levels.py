"""From pixels of more than 8 bits to 8 bits: which values become black and white."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import ConfigError

__all__ = ["SAMPLES", "Levels", "LevelsChoice", "check_levels", "find_levels", "to_8_bits", "type_range"]

LevelsChoice = Literal["clip", "type"] | tuple[float, float] | None
"""The range of values that is scaled to 0-255: that of the clip, of the type, or (low, high). None chooses."""

SAMPLES = 64
"""Frames, spread over a clip, whose values tell its range."""

_TAIL = 0.01  # percent of a frame's pixels at either end that may saturate, such as a camera's hot pixels
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Levels:
    """Values that become 0 and 255; what lies outside is clipped.

    Attributes:
        low: Becomes 0.
        high: Becomes 255.
    """

    low: float
    high: float

    def apply(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """Scale pixels to 8 bits.

        Args:
            pixels: Grey (H, W) or RGB (H, W, 3), any number type; NaN becomes 0.

        Returns:
            RGB, uint8, shape (H, W, 3).

        Example:
            >>> Levels(200, 3800).apply(np.array([[0, 2000, 3800]], np.uint16))[0, :, 0].tolist()
            [0, 128, 255]
        """
        span = self.high - self.low
        scaled = (np.clip(pixels.astype(np.float64), self.low, self.high) - self.low) * (255 / span if span > 0 else 0)
        # Halves go up, so that the grey levels are of one width.
        grey = np.floor(np.nan_to_num(scaled) + 0.5).astype(np.uint8)
        return grey if grey.ndim == 3 else np.repeat(grey[:, :, None], 3, axis=2)


def check_levels(choice: LevelsChoice) -> None:
    """Refuse what is not a choice of levels.

    Raises:
        ConfigError: If it is neither a name nor a rising pair of finite numbers.
    """
    if choice is None or choice in ("clip", "type"):
        return
    if isinstance(choice, (tuple, list)) and len(choice) == 2:
        is_finite = all(isinstance(value, (int, float)) and np.isfinite(value) for value in choice)
        if is_finite and choice[0] < choice[1]:
            return
    raise ConfigError(
        f"Levels are {choice!r}. Expected 'clip' (the range of the clip's values), 'type' (all that their type holds), "
        "or a pair (low, high) of the values that become black and white."
    )


def find_levels(samples: Iterable[NDArray[Any]], choice: LevelsChoice, *, name: str, bits: int | None = None) -> Levels:
    """Choose the levels of a clip, and log them.

    Args:
        samples: Frames spread over the clip; read only for the range of the clip.
        choice: What the user asked for; None means the range of the clip.
        name: What messages call the clip.
        bits: Bits per value of a video; None for pixels whose type tells.

    Returns:
        The levels. Of a clip, one in 10,000 pixels of a frame may lie outside at either end.
    """
    if isinstance(choice, (tuple, list)):
        levels, origin = Levels(*choice), "as asked for"
    elif choice == "type":
        levels, origin = type_range(next(iter(samples)), bits), "the range of their type"
    else:
        levels, origin = _clip_range(samples), "the range of the clip's values"
    kind = f"{bits} bits" if bits else "more than 8 bits"
    _logger.warning(
        "%s has %s per value: %g to %g, %s, become 0 to 255 (reported once). `--levels type`, `--levels clip` and "
        "`--levels LOW:HIGH` choose another range.", name, kind, levels.low, levels.high, origin,
    )  # fmt: skip
    return levels


def to_8_bits(pixels: NDArray[Any], levels: Levels | None = None) -> NDArray[np.uint8]:
    """Give pixels as RGB of 8 bits.

    Args:
        pixels: RGB uint8 (H, W, 3), which stays as it is, or wide pixels, (H, W) or (H, W, 3).
        levels: How wide ones are scaled; None means their own range.
    """
    if pixels.dtype == np.uint8:
        return pixels
    return (levels or _clip_range([pixels])).apply(pixels)


def type_range(pixels: NDArray[Any], bits: int | None = None) -> Levels:
    """Return all values that a type can hold; 0 to 1 for fractions.

    Example:
        >>> type_range(np.zeros((1, 1), np.uint16)).high
        65535.0
    """
    if bits is not None:
        return Levels(0.0, float(2**bits - 1))
    if pixels.dtype.kind == "f":
        return Levels(0.0, 1.0)
    # Files hold 16 bits even where Pillow hands them over in 32.
    is_16_bit = pixels.dtype.itemsize > 2 and pixels.min() >= 0 and pixels.max() <= np.iinfo(np.uint16).max
    limits = np.iinfo(np.uint16 if is_16_bit else pixels.dtype)
    return Levels(float(limits.min), float(limits.max))


def _clip_range(samples: Iterable[NDArray[Any]]) -> Levels:
    low, high = np.inf, -np.inf
    for pixels in samples:
        values = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels.ravel()
        if values.size:
            # Values that occur, not ones interpolated between them: a bead of a few bright pixels keeps its own.
            ends = np.percentile(values, [_TAIL, 100 - _TAIL], method="inverted_cdf")
            low, high = min(low, float(ends[0])), max(high, float(ends[1]))
    return Levels(low, high) if low <= high else Levels(0.0, 1.0)
