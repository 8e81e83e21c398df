"""Base features of a frame, object features inside boxes, and the boxes themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from vos_zoo.layers import ResNetTrunk

if TYPE_CHECKING:
    from .config import DMNAOAConfig

LEAST_SIDE = 16.0  # pixels; one cell of the coarsest features
_STRIDES = (4, 8, 16)
_SAMPLES = 2  # per bin and side, as in DMM-Net


class DMNFeatures(NamedTuple):
    """What DMN-AOA knows of a frame before any mask.

    Args:
        image: The normalised frame (B, 3, H, W), for sources that detect proposals in it.
        stride4: Base feature (B, C4, H/4, W/4).
        stride8: Base feature (B, C8, H/8, W/8).
        stride16: Base feature (B, C16, H/16, W/16).
    """

    image: Tensor
    stride4: Tensor
    stride8: Tensor
    stride16: Tensor

    @property
    def levels(self) -> tuple[Tensor, Tensor, Tensor]:
        """The three base features, fine to coarse."""
        return self.stride4, self.stride8, self.stride16


class BaseFeatures(nn.Module):
    """ResNet with one bottleneck per level: 1x1 convolution, group normalisation, ReLU.

    Args:
        config: Backbone and widths.

    Source: DMN-AOA, Liang et al., ICCV 2021, Section 4.1; the form of the bottleneck is ours.
    """

    def __init__(self, config: DMNAOAConfig) -> None:
        super().__init__()
        self.trunk = ResNetTrunk(config.backbone)
        self.bottlenecks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, width, 1), nn.GroupNorm(config.groups, width), nn.ReLU())
            for channels, width in zip(self.trunk.channels, config.widths, strict=True)
        )

    def forward(self, image: Tensor) -> DMNFeatures:
        """Encode normalised frames (B, 3, H, W), H and W multiples of 16."""
        levels = self.trunk(image)
        return DMNFeatures(image, *(part(level) for part, level in zip(self.bottlenecks, levels, strict=True)))


def pool_objects(features: DMNFeatures, boxes: Tensor, entries: Tensor, size: int) -> Tensor:
    """Pool base features inside boxes.

    Args:
        features: A batch of frames.
        boxes: (x1, y1, x2, y2) in pixels of the frame, right and bottom exclusive, shape (n, 4).
        entries: Entry of the batch of every box, shape (n,).
        size: Side of the result.

    Returns:
        Shape (n, C4 + C8 + C16, size, size).

    Source: DMN-AOA, Section 3.1; RoIAlign, He et al., ICCV 2017, with half-pixel alignment.
    """
    rows = torch.cat([entries.to(boxes.dtype).unsqueeze(1), boxes], dim=1)
    return torch.cat(
        [_pool(level, rows, size, 1 / stride) for level, stride in zip(features.levels, _STRIDES, strict=True)], dim=1
    )


def pool_masks(masks: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Pool one mask per box, (n, H, W) to (n, 1, size, size)."""
    entries = torch.arange(len(boxes), device=boxes.device, dtype=boxes.dtype).unsqueeze(1)
    return _pool(masks.unsqueeze(1), torch.cat([entries, boxes], dim=1), size, 1.0)


def _pool(features: Tensor, rows: Tensor, size: int, scale: float) -> Tensor:
    with torch.autocast(features.device.type, enabled=False):
        exact = features if features.dtype == torch.float64 else features.float()
        pooled: Tensor = roi_align(exact, rows.to(exact.dtype), size, scale, _SAMPLES, aligned=True)
        return pooled


def label_masks(probabilities: Tensor) -> Tensor:
    """Return which plane is the most probable, background aside: bool (B, O, H, W)."""
    background = 1 - probabilities.sum(dim=1, keepdim=True)
    label = torch.cat([background, probabilities], dim=1).argmax(dim=1, keepdim=True)
    return label == torch.arange(1, probabilities.shape[1] + 1, device=label.device).view(1, -1, 1, 1)


def tight_boxes(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the tight boxes of masks and which masks have a pixel.

    Args:
        masks: Bool, shape (..., H, W).

    Returns:
        Boxes (x1, y1, x2, y2) in pixels, float32 (..., 4), right and bottom exclusive, zeros for empty masks; and bool
        (...).

    Example:
        >>> mask = torch.zeros(5, 6, dtype=torch.bool)
        >>> mask[1:3, 2] = True
        >>> [part.tolist() for part in tight_boxes(mask)]
        [[2.0, 1.0, 3.0, 3.0], True]
    """
    columns, rows = masks.any(dim=-2), masks.any(dim=-1)
    x1, x2 = _extent(columns)
    y1, y2 = _extent(rows)
    valid = columns.any(dim=-1)
    boxes = torch.stack([x1, y1, x2, y2], dim=-1).float()
    return torch.where(valid.unsqueeze(-1), boxes, torch.zeros_like(boxes)), valid


def fit_boxes(boxes: Tensor, size: tuple[int, int], *, expand: float = 1.0) -> Tensor:
    """Enlarge boxes to a least side, then clip them to the frame.

    Sides below 16 pixels, one cell of the coarsest features, are grown around their centre.

    Args:
        boxes: Shape (..., 4) in pixels.
        size: Height and width of the frame.
        expand: Factor on both sides before that.
    """
    height, width = size
    x1, y1, x2, y2 = boxes.unbind(dim=-1)
    sides = []
    for low, high, limit in ((x1, x2, width), (y1, y2, height)):
        centre, half = (low + high) / 2, ((high - low) * expand).clamp(min=LEAST_SIDE) / 2
        sides.append(((centre - half).clamp(0, limit), (centre + half).clamp(0, limit)))
    return torch.stack([sides[0][0], sides[1][0], sides[0][1], sides[1][1]], dim=-1)


def temporal_embedding(offset: int, channels: int, like: Tensor) -> Tensor:
    """Return the sinusoidal embedding of a frame's distance to its object's first frame, shape (1, channels, 1, 1).

    Source: DMN-AOA, Section 3.2; Vaswani et al., Attention Is All You Need, 2017, Section 3.1.
    """
    index = torch.arange(0, channels, 2, device=like.device, dtype=torch.float32)
    angle = offset / 10_000 ** (index / channels)
    embedding = torch.stack([angle.sin(), angle.cos()], dim=1).flatten()[:channels]
    return embedding.to(like.dtype).view(1, channels, 1, 1)


def area_average(masks: Tensor, stride: int) -> Tensor:
    """Average masks (B, O, H, W) over squares of ``stride`` pixels."""
    return F.avg_pool2d(masks, stride)


def _extent(line: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and one past the last True along the last dimension."""
    position = torch.arange(line.shape[-1], device=line.device)
    first = torch.where(line, position, line.shape[-1]).amin(dim=-1)
    last = torch.where(line, position + 1, 0).amax(dim=-1)
    return first, last
