"""The sizes of one video: of its frames, and of what the network sees of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vos_zoo.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LARGEST_RATIO", "LEAST_SIDE", "FrameSizes", "WorkingSize", "check_size", "native_size"]

LEAST_SIDE = 320  # pixels
LARGEST_RATIO = 4  # long side by short side of the largest area that a short side stands for
_LEAST_OBJECT = 8.0  # pixels of the network's frame, half a cell of its grid: what is smaller is mostly lost
_SIZE_STEP = 16  # pixels between the sizes that messages propose

WorkingSize = int | tuple[int, int] | None
"""Short side in pixels that larger frames are scaled to, (height, width) of all frames, or None to keep their size."""


@dataclass(frozen=True)
class FrameSizes:
    """Sizes of one video; all are (height, width) in pixels.

    Args:
        frame_size: The user's frames.
        working_size: Frames as the network sees them, before padding.
        padding: Rows and columns added on (left, right, top, bottom).
    """

    frame_size: tuple[int, int]
    working_size: tuple[int, int]
    padding: tuple[int, int, int, int]

    @classmethod
    def fit(cls, frame_size: tuple[int, int], size: WorkingSize, stride: int) -> Self:
        """Scale to the working size, then pad evenly to multiples of ``stride``.

        A short side makes larger frames smaller. Smaller ones keep their size, except for very small ones, which are
        enlarged to 320 pixels: below that the stride-16 grid has too few rows, and above it interpolated detail does
        not help (measured on 180, 240 and 360-pixel clips). Strips whose sides differ by more than 4:1 get no more
        pixels than a frame of 4:1 at that short side, which bounds memory and time. An odd row or column of padding
        goes to the bottom or right, as in STM's and STCN's code.

        Example:
            >>> FrameSizes.fit((480, 854), 480, 16).padded_size
            (480, 864)
            >>> [FrameSizes.fit((side, side), 480, 16).working_size[0] for side in (180, 360, 720)]
            [320, 360, 480]
            >>> FrameSizes.fit((480, 854), (256, 448), 32).working_size
            (256, 448)
            >>> FrameSizes.fit((64, 4096), 480, 16).working_size
            (120, 7680)
        """
        if isinstance(size, tuple):
            working = size
        else:
            height, width = frame_size
            short = min(height, width)
            scale = 1.0
            if size is not None:
                largest = (LARGEST_RATIO * size**2 / (height * width)) ** 0.5
                scale = min(min(size, max(short, LEAST_SIDE)) / short, largest)
            working = (max(1, round(height * scale)), max(1, round(width * scale)))
        vertical, horizontal = (-side % stride for side in working)
        left, top = horizontal // 2, vertical // 2
        return cls(frame_size, working, (left, horizontal - left, top, vertical - top))

    @property
    def padded_size(self) -> tuple[int, int]:
        """What the network sees."""
        left, right, top, bottom = self.padding
        return self.working_size[0] + top + bottom, self.working_size[1] + left + right

    def describe_loss(self, pixels: int) -> str | None:
        """Say what will be lost of an object that is too small in the network's frame.

        Args:
            pixels: Pixels of the object in the user's frame.

        Returns:
            The part of a message that follows the object's name; None if the object is large enough.
        """
        scale = (self.working_size[0] * self.working_size[1] / (self.frame_size[0] * self.frame_size[1])) ** 0.5
        side = pixels**0.5 * scale
        if side >= _LEAST_OBJECT:
            return None
        height, width = self.working_size
        short = min(self.working_size) * _LEAST_OBJECT / side
        size = -(-round(short) // _SIZE_STEP) * _SIZE_STEP
        advice = (
            f"size={size} (`--size {size}`) would keep it"
            if size <= min(self.frame_size)
            else "no size would keep it; cut the video to a part around it (for FFmpeg, `-vf crop=W:H:X:Y`)"
        )
        return (
            f"is {pixels} pixels large, about {side:.1f}x{side:.1f} of the {width}x{height} (width x height) that the "
            f"network sees, and likely to be lost; {advice}."
        )

    def describe_bound(self, size: WorkingSize) -> str | None:
        """Say that a strip is seen smaller than its short side asks for.

        Args:
            size: What ``fit`` was given.

        Returns:
            A message; None if the frame has an ordinary shape.
        """
        short = min(self.frame_size)
        if not isinstance(size, int) or min(self.working_size) >= min(size, max(short, LEAST_SIDE)) - 1:
            return None
        height, width = self.frame_size
        return (
            f"Frames of {width}x{height} (width x height) are long strips: the network sees them as "
            f"{self.working_size[1]}x{self.working_size[0]}, to bound memory and time. Cut the video to the part that "
            "matters, or choose the size yourself (`--size HEIGHTxWIDTH`)."
        )


def native_size(size: int | tuple[int, int], frame_size: tuple[int, int]) -> WorkingSize:
    """Return the working size that a network names, turned for upright frames.

    Example:
        >>> native_size((256, 448), (854, 480))
        (448, 256)
    """
    is_upright = frame_size[0] > frame_size[1]
    if isinstance(size, tuple) and is_upright != (size[0] > size[1]):
        return size[1], size[0]
    return size


def check_size(size: WorkingSize | Literal["native"]) -> None:
    """Refuse what is not a working size.

    Raises:
        ConfigError: If it is none.
    """
    sides = size if isinstance(size, tuple) else (size,)
    is_number = all(isinstance(side, int) and side >= 1 for side in sides)
    if size is None or size == "native" or (is_number and len(sides) == (2 if isinstance(size, tuple) else 1)):
        return
    raise ConfigError(
        f"Working size is {size!r}. Expected a short side such as 480, a pair (height, width) such as (256, 448), both "
        "in pixels, None for the frames' own size, or 'native'."
    )
