"""From a frame's own size to the network's padded working size and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from vos_zoo.network import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_LEAST_SIDE = 320  # pixels
_LARGEST_RATIO = 4  # long side by short side of the largest area that a short side stands for
_LEAST_OBJECT = 8.0  # pixels of the network's frame, half a cell of its grid: what is smaller is mostly lost
_SIZE_STEP = 16  # pixels between the sizes that messages propose

WorkingSize = int | tuple[int, int] | None
"""Short side in pixels that larger frames are scaled to, (height, width) of all frames, or None to keep their size."""


@dataclass(frozen=True)
class FrameGeometry:
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
    def fit(cls, frame_size: tuple[int, int], size: WorkingSize, stride: int) -> FrameGeometry:
        """Scale to the working size, then pad evenly to multiples of ``stride``.

        A short side makes larger frames smaller. Smaller ones keep their size, but for very small ones, which are
        enlarged to 320 pixels: below that the stride-16 grid has too few rows, and above it interpolated detail does
        not help (measured on 180, 240 and 360-pixel clips). Strips whose sides differ by more than 4:1 get no more
        pixels than a frame of 4:1 at that short side, which bounds memory and time. An odd row or column of padding
        goes to the bottom or right, as in STM's and STCN's code.

        Example:
            >>> FrameGeometry.fit((480, 854), 480, 16).padded_size
            (480, 864)
            >>> [FrameGeometry.fit((side, side), 480, 16).working_size[0] for side in (180, 360, 720)]
            [320, 360, 480]
            >>> FrameGeometry.fit((480, 854), (256, 448), 32).working_size
            (256, 448)
            >>> FrameGeometry.fit((64, 4096), 480, 16).working_size
            (120, 7680)
        """
        if isinstance(size, tuple):
            working = size
        else:
            height, width = frame_size
            short = min(height, width)
            scale = 1.0
            if size is not None:
                largest = (_LARGEST_RATIO * size**2 / (height * width)) ** 0.5
                scale = min(min(size, max(short, _LEAST_SIDE)) / short, largest)
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
        if not isinstance(size, int) or min(self.working_size) >= min(size, max(short, _LEAST_SIDE)) - 1:
            return None
        height, width = self.frame_size
        return (
            f"Frames of {width}x{height} (width x height) are long strips: the network sees them as "
            f"{self.working_size[1]}x{self.working_size[0]}, to bound memory and time. Cut the video to the part that "
            "matters, or choose the size yourself (`--size HEIGHTxWIDTH`)."
        )

    def to_image(self, frame: NDArray[np.uint8], device: torch.device, *, pad_first: bool = False) -> Tensor:
        """Turn an RGB frame (H, W, 3) into a normalised, padded image (1, 3, h, w).

        Args:
            frame: Values 0-255.
            device: Where the image goes.
            pad_first: Pad before normalising, so that the border is black, not the mean colour (STM).
        """
        if frame.shape[:2] != self.working_size:
            is_smaller = self.working_size[0] < frame.shape[0]
            interpolation = cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
            frame = cv2.resize(frame, self.working_size[::-1], interpolation=interpolation).astype(np.uint8, copy=False)
        pixels = np.require(frame, requirements=["C", "W"])  # torch warns of arrays that cannot be written to
        image = torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None].float() / 255
        mean, std = _statistics(device)
        if pad_first:
            return (F.pad(image, self.padding) - mean) / std
        return F.pad((image - mean) / std, self.padding)

    def to_planes(self, mask: NDArray[np.integer], ids: list[int], device: torch.device) -> Tensor:
        """Turn a mask (H, W) of ids into padded planes (1, len(ids), h, w) of 0 and 1, by nearest neighbour."""
        planes = np.stack([mask == object_id for object_id in ids]).astype(np.float32)
        tensor = torch.from_numpy(planes).to(device)[None]
        if self.frame_size != self.working_size:
            tensor = F.interpolate(tensor, self.working_size, mode="nearest-exact")
        return F.pad(tensor, self.padding)

    def crop(self, planes: Tensor) -> Tensor:
        """Remove the padding of (..., h, w)."""
        left, _, top, _ = self.padding
        height, width = self.working_size
        return planes[..., top : top + height, left : left + width]

    def blank_padding(self, planes: Tensor) -> Tensor:
        """Set the padding of (..., h, w) to zero."""
        return F.pad(self.crop(planes), self.padding)

    def to_frame(self, plane: Tensor) -> Tensor:
        """Enlarge one probability plane (h, w) without padding to the frame's size (H, W), bilinearly."""
        return enlarge(plane[None], self.frame_size)[0]


def enlarge(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge planes (N, h, w) without padding to a frame's size (H, W), bilinearly, unless they have it already."""
    if planes.shape[1:] == size:
        return planes
    return F.interpolate(planes[None], size, mode="bilinear", align_corners=False)[0]


@lru_cache(maxsize=8)
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ImageNet's mean and standard deviation, (1, 3, 1, 1), which are copied to a device once."""
    with torch.inference_mode(False):
        # The type is said, since PyTorch's default may be another while a program calls for the first time.
        values = torch.tensor((IMAGENET_MEAN, IMAGENET_STD), dtype=torch.float32, device=device).view(2, 1, 3, 1, 1)
        return values[0], values[1]
