"""Residual and upsampling blocks of the matching papers' decoders."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Pre-activation residual block of two 3x3 convolutions, without normalisation and without a final ReLU.

    The shortcut is the un-activated input, through a 3x3 convolution when the number of channels changes.

    Args:
        in_channels: Channels of the input (B, in_channels, H, W).
        out_channels: Channels of the output (B, out_channels, H, W).

    Source: STM, Oh et al., ICCV 2019, Section 3.3; STCN, Cheng et al., NeurIPS 2021, uses the same block.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.shortcut = (
            nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 3, padding=1)
        )
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H, W)."""
        residual = self.conv2(F.relu(self.conv1(F.relu(features))))
        shortcut: Tensor = self.shortcut(features)
        return shortcut + residual


def upsample(features: Tensor, scale: int) -> Tensor:
    """Enlarge (B, C, H, W) bilinearly by an integer factor, corners not aligned as in all papers of the zoo."""
    return F.interpolate(features, scale_factor=scale, mode="bilinear", align_corners=False)


def add_per_object(shared: Tensor, per_object: Tensor) -> Tensor:
    """Add a map of the frame (B, C, H, W) to maps of its objects (B*O, C, H, W) without copying it per object."""
    batch = shared.shape[0]
    objects = per_object.unflatten(0, (batch, -1))
    return (objects + shared.unsqueeze(1)).flatten(0, 1)


class UpsampleBlock(nn.Module):
    """Double the resolution of object features and merge the frame's skip feature.

    The skip convolution does not depend on the object, so it runs once per frame and is broadcast.

    Args:
        skip_channels: Channels of the frame's skip feature (B, skip_channels, 2H, 2W).
        in_channels: Channels of the object features (B*O, in_channels, H, W).
        out_channels: Channels of the result (B*O, out_channels, 2H, 2W).

    Source: STCN, Cheng et al., NeurIPS 2021, Section 3.1 (decoder of STM, simplified).
    """

    def __init__(self, skip_channels: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.skip_conv = nn.Conv2d(skip_channels, in_channels, 3, padding=1)
        self.out_conv = ResidualBlock(in_channels, out_channels)

    def forward(self, skip: Tensor, features: Tensor) -> Tensor:
        """Merge ``skip`` of the frame into ``features`` of its objects at twice their size."""
        merged: Tensor = self.out_conv(add_per_object(self.skip_conv(skip), upsample(features, 2)))
        return merged
