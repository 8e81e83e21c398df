"""Keys and values of a frame: what STM and GIEL compute of it before any mask."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class KeyValueFeatures(NamedTuple):
    """What a network with query keys and values knows of a frame before any mask.

    Args:
        image: The normalised frame (B, 3, H, W); the encoder of remembered frames sees it again.
        key: Query key (B, Ck, h, w).
        value: Query value (B, Cv, h, w).
        stride8: Skip feature (B, C8, 2h, 2w).
        stride4: Skip feature (B, C4, 4h, 4w).
    """

    image: Tensor
    key: Tensor
    value: Tensor
    stride8: Tensor
    stride4: Tensor


class KeyValue(nn.Module):
    """Two convolutions from the stride-16 feature to key and value.

    Args:
        in_channels: Channels of the feature.
        key_dim: Channels of the key.
        value_dim: Channels of the value.
        kernel_size: Odd side of both kernels.

    Source: STM, Oh et al., ICCV 2019, Section 3.1 (3x3); GIEL, Ge et al., CVPR 2021, Equation 3 (1x1).
    """

    def __init__(self, in_channels: int, key_dim: int, value_dim: int, *, kernel_size: int) -> None:
        super().__init__()
        self.key = nn.Conv2d(in_channels, key_dim, kernel_size, padding=kernel_size // 2)
        self.value = nn.Conv2d(in_channels, value_dim, kernel_size, padding=kernel_size // 2)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return key and value of (B, in_channels, h, w)."""
        return self.key(features), self.value(features)
