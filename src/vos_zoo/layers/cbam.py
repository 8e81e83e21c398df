"""Convolutional block attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CBAM(nn.Module):
    """Channel gate, then spatial gate.

    Departs from the CBAM paper as STCN does: the spatial gate has a bias and no batch normalisation, and stacks the
    maximum before the mean.

    Args:
        channels: Channels of the input and output (B, channels, H, W).
        reduction: Factor by which the channel gate's hidden layer is narrower.

    Source: CBAM, Woo et al., ECCV 2018, Equations 2 and 3.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.channel_mlp = nn.Sequential(
            nn.Linear(channels, channels // reduction), nn.ReLU(), nn.Linear(channels // reduction, channels)
        )
        self.spatial_conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, features: Tensor) -> Tensor:
        """Scale (B, C, H, W) by both gates."""
        mean_logits: Tensor = self.channel_mlp(features.mean(dim=(2, 3)))
        max_logits: Tensor = self.channel_mlp(features.amax(dim=(2, 3)))
        features = features * torch.sigmoid(mean_logits + max_logits)[:, :, None, None]
        pooled = torch.cat([features.amax(dim=1, keepdim=True), features.mean(dim=1, keepdim=True)], dim=1)
        return features * torch.sigmoid(self.spatial_conv(pooled))
