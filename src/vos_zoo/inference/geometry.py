"""From a frame's own size to the network's padded working size and back."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from vos_zoo.network import IMAGENET_MEAN, IMAGENET_STD

from .sizes import FrameSizes, WorkingSize
from .transfer import Uploads

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["FrameGeometry", "WorkingSize"]


class FrameGeometry(FrameSizes):
    """Sizes of one video, and what tensors they make of its frames and masks."""

    def to_image(self, frame: NDArray[np.uint8], device: torch.device, *, pad_first: bool = False) -> Tensor:
        """Turn an RGB frame (H, W, 3) into a normalised, padded image (1, 3, h, w).

        Args:
            frame: Values 0-255.
            device: Where the image goes.
            pad_first: Pad before normalising, so that the border is black, not the mean colour (STM).
        """
        return normalise(Uploads(device).send(self.scale(frame)), self.padding, pad_first)

    def scale(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Scale a frame (H, W, 3) to the working size."""
        if frame.shape[:2] == self.working_size:
            return frame
        is_smaller = self.working_size[0] < frame.shape[0]
        interpolation = cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
        return cv2.resize(frame, self.working_size[::-1], interpolation=interpolation).astype(np.uint8, copy=False)

    def to_planes(self, mask: NDArray[np.integer], ids: list[int], device: torch.device) -> Tensor:
        """Turn a mask (H, W) of ids into padded planes (1, len(ids), h, w) of 0 and 1, by nearest neighbour."""
        planes = np.stack([mask == object_id for object_id in ids]).astype(np.float32)
        tensor = torch.from_numpy(planes).to(device)[None]
        if self.frame_size != self.working_size:
            tensor = F.interpolate(tensor, self.working_size, mode="nearest-exact")
        return F.pad(tensor, self.padding)

    def crop(self, planes: Tensor) -> Tensor:
        """Remove the padding of (..., h, w)."""
        return crop(planes, self.padding, self.working_size)

    def blank_padding(self, planes: Tensor) -> Tensor:
        """Set the padding of (..., h, w) to zero."""
        return F.pad(self.crop(planes), self.padding)

    def to_frame(self, plane: Tensor) -> Tensor:
        """Enlarge one probability plane (h, w) without padding to the frame's size (H, W), bilinearly."""
        return enlarge(plane[None], self.frame_size)[0]


def normalise(pixels: Tensor, padding: tuple[int, int, int, int], pad_first: bool) -> Tensor:
    """Turn RGB of 0-255, uint8 (h, w, 3), into a normalised, padded image (1, 3, h, w)."""
    image = pixels.permute(2, 0, 1)[None].float() / 255
    mean, std = _statistics(pixels.device)
    if pad_first:
        return (F.pad(image, padding) - mean) / std
    return F.pad((image - mean) / std, padding)


def crop(planes: Tensor, padding: tuple[int, int, int, int], working_size: tuple[int, int]) -> Tensor:
    """Remove the padding of (..., h, w)."""
    left, _, top, _ = padding
    height, width = working_size
    return planes[..., top : top + height, left : left + width]


def enlarge(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge planes (N, h, w) without padding to a frame's size (H, W), bilinearly, unless they have it already."""
    if planes.shape[1:] == size:
        return planes
    return F.interpolate(planes[None], size, mode="bilinear", align_corners=False)[0]


@lru_cache(maxsize=8)
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ImageNet's mean and standard deviation, (1, 3, 1, 1), which are copied to a device once."""
    with torch.inference_mode(False):
        # The type is explicit, since PyTorch's default may be another while a program calls for the first time.
        values = torch.tensor((IMAGENET_MEAN, IMAGENET_STD), dtype=torch.float32, device=device).view(2, 1, 3, 1, 1)
        return values[0], values[1]
