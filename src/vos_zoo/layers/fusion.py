"""Fusion of mask features with the key encoder's features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import ResidualBlock
from .cbam import CBAM


class FusionBlock(nn.Module):
    """End of the value encoder: merge the mask branch with the frame's stride-16 feature.

    Args:
        mask_channels: Channels of the mask branch (B*O, mask_channels, h, w).
        frame_channels: Channels of the key encoder's feature (B, frame_channels, h, w).
        out_channels: Channels of the value (B*O, out_channels, h, w).
        cbam: Whether the attention branch exists.

    Source: STCN, Cheng et al., NeurIPS 2021, Section 3.1 and its appendix on feature fusion.
    """

    def __init__(self, mask_channels: int, frame_channels: int, out_channels: int, *, cbam: bool = True) -> None:
        super().__init__()
        self.block1 = ResidualBlock(mask_channels + frame_channels, out_channels)
        self.attention = CBAM(out_channels) if cbam else None
        self.block2 = ResidualBlock(out_channels, out_channels)

    def forward(self, mask_features: Tensor, frame_features: Tensor) -> Tensor:
        """Return the value of every object; ``frame_features`` are shared by the objects of a frame."""
        batch, objects = frame_features.shape[0], mask_features.shape[0] // frame_features.shape[0]
        per_object = frame_features.unsqueeze(1).expand(batch, objects, *frame_features.shape[1:]).flatten(0, 1)
        fused: Tensor = self.block1(torch.cat([mask_features, per_object], dim=1))
        if self.attention is not None:
            fused = fused + self.attention(fused)
        value: Tensor = self.block2(fused)
        return value
