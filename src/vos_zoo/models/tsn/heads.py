"""Segmentation heads: convolutions whose weights the kernel predictor generates, evaluated on the current frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class HeadLayout:
    """Sizes of a head's 1x1 convolutions and where their numbers lie in the generated vector.

    All weights come first, layer by layer, each as (out, in); then all biases.

    Args:
        in_channels: Channels that a head sees.
        channels: Channels between its layers.
        out_channels: Channels that it gives.
        depth: Number of convolutions, a ReLU after all but the last.

    Source: TSN, Section 3.2; order of the numbers as in CondInst, Tian et al., ECCV 2020.

    Example:
        >>> HeadLayout(in_channels=10, channels=8, out_channels=8, depth=3).size
        232
    """

    in_channels: int
    channels: int
    out_channels: int
    depth: int

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(out, in) of every layer."""
        widths = [self.in_channels, *[self.channels] * (self.depth - 1), self.out_channels]
        return list(zip(widths[1:], widths[:-1], strict=True))

    @property
    def size(self) -> int:
        """Numbers of one head."""
        return sum(out * (inner + 1) for out, inner in self.shapes)

    def split(self, parameters: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Split (..., size) into weights (..., out, in) and biases (..., out)."""
        weight_sizes = [out * inner for out, inner in self.shapes]
        parts = torch.split(parameters, [*weight_sizes, *(out for out, _ in self.shapes)], dim=-1)
        weights = [part.reshape(*part.shape[:-1], *shape) for part, shape in zip(parts, self.shapes, strict=False)]
        return weights, list(parts[self.depth :])


class Heads(NamedTuple):
    """Heads of a group of objects, one for each memory frame.

    Args:
        parameters: Generated numbers, shape (B, T, O, K).
        origins: The objects' centroids in pixels, x before y, shape (B, T, O, 2).
        valid: 1 where the object was present on the frame, 0 where the head does not count, shape (B, T, O).
    """

    parameters: Tensor
    origins: Tensor
    valid: Tensor

    def pack(self) -> Tensor:
        """Return everything side by side, shape (B, T, O, K + 3)."""
        return torch.cat([self.parameters, self.origins, self.valid.unsqueeze(-1)], dim=-1)

    @classmethod
    def unpack(cls, packed: Tensor) -> Heads:
        """Undo :meth:`pack`."""
        return cls(packed[..., :-3], packed[..., -3:-1], packed[..., -1])

    @property
    def shares(self) -> Tensor:
        """Weight of every head in the mean over its object's valid ones, shape (B, T, O); all 0 without any."""
        return self.valid / self.valid.sum(dim=1, keepdim=True).clamp(min=1)


EXTRA_NUMBERS = 3  # of a packed head: two of the origin, one for its validity


def evaluate_heads(heads: Heads, layout: HeadLayout, features: Tensor, *, unit: Tensor | None = None) -> Tensor:
    """Evaluate all heads on the current frame and average the valid ones.

    The offset of an object's origin is linear in the first layer, so it goes into that layer's bias and all heads share
    one input. The mean is linear in the last layer, which therefore sums over frames by itself.

    Args:
        heads: Of T memory frames and O objects.
        layout: Their sizes.
        features: What heads see, shape (B, in_channels, h, w); with ``unit``, its first two channels are the
            coordinates x and y divided by the unit.
        unit: Pixels per unit of the coordinates, x and y, shape (2,); None if there are no relative coordinates.

    Returns:
        Shape (B, O, out_channels, h, w); zero for an object without a valid head.

    Source: TSN, Equations 2 and 3.
    """
    batch, _, objects = heads.valid.shape
    inputs = features.float().flatten(2)
    # Objects before frames: the last layer sums over frames.
    weights, biases = layout.split(heads.parameters.float().transpose(1, 2))
    if unit is not None:
        origins = (heads.origins / unit).transpose(1, 2)
        biases[0] = biases[0] - (weights[0][..., :2] @ origins.unsqueeze(-1)).squeeze(-1)
    shares = heads.shares.transpose(1, 2)
    last_weight = weights[-1] * shares[..., None, None]
    last_bias = (biases[-1] * shares[..., None]).sum(dim=2)
    if layout.depth == 1:
        result = last_weight.sum(dim=2).flatten(1, 2) @ inputs
        result = result.reshape(batch, objects, -1, inputs.shape[2]) + last_bias.unsqueeze(-1)
        return result.reshape(*result.shape[:3], *features.shape[2:])
    hidden = torch.baddbmm(biases[0].flatten(1).unsqueeze(-1), weights[0].flatten(1, 3), inputs).relu()
    hidden = hidden.reshape(-1, layout.channels, inputs.shape[2])
    for weight, bias in zip(weights[1:-1], biases[1:-1], strict=True):
        hidden = torch.baddbmm(bias.flatten(0, 2).unsqueeze(-1), weight.flatten(0, 2), hidden).relu()
    hidden = hidden.reshape(batch * objects, -1, inputs.shape[2])
    last = last_weight.transpose(2, 3).flatten(3).flatten(0, 1)
    result = torch.baddbmm(last_bias.flatten(0, 1).unsqueeze(-1), last, hidden)
    return result.reshape(batch, objects, -1, *features.shape[2:])


def centroids(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return centroids in pixels, x before y with pixel centres at one half, and areas of hard masks.

    Soft masks would not do: a haze of 0.001 over the whole frame weighs as much as a small object.

    Args:
        masks: True inside of the object, shape (B, O, H, W).

    Returns:
        Shapes (B, O, 2) and (B, O); the centroid of an empty mask is 0.

    Example:
        >>> centre, area = centroids(torch.tensor([[[[False, True], [False, True]]]]))
        >>> centre.flatten().tolist(), area.item()
        ([1.5, 1.0], 2.0)
    """
    columns, rows = masks.sum(dim=2).float(), masks.sum(dim=3).float()
    area = columns.sum(dim=-1)
    x = (columns * pixel_centres(columns.shape[-1], 1, masks.device)).sum(dim=-1)
    y = (rows * pixel_centres(rows.shape[-1], 1, masks.device)).sum(dim=-1)
    return torch.stack([x, y], dim=-1) / area.clamp(min=1).unsqueeze(-1), area


def coordinate_maps(size: tuple[int, int], stride: int, device: torch.device) -> Tensor:
    """Return x and y of the cells' centres in pixels, shape (2, h, w)."""
    y, x = (pixel_centres(side, stride, device) for side in size)
    return torch.stack([x.expand(size), y.unsqueeze(1).expand(size)])


def sine_code(size: tuple[int, int], channels: int, device: torch.device) -> Tensor:
    """Return sines and cosines of the cells' absolute positions, half of the channels per axis, shape (C, h, w).

    Source: Vaswani et al., "Attention is all you need", 2017, Section 3.5, in two dimensions.
    """
    pairs = channels // 4
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(pairs, device=device) / max(pairs, 1))
    parts = []
    for axis, side in enumerate(size):
        angles = frequencies[:, None] * torch.arange(side, device=device)
        code = torch.cat([angles.sin(), angles.cos()])  # (C / 2, side)
        parts.append(code.unsqueeze(1 if axis else 2).expand(-1, *size))
    return torch.cat(parts)


def pixel_centres(cells: int, stride: int, device: torch.device) -> Tensor:
    """Return the centres of cells along one axis in pixels."""
    return (torch.arange(cells, device=device, dtype=torch.float32) + 0.5) * stride
