"""Decoder from memory read-out to one mask logit per object."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import ResidualBlock, UpsampleBlock, upsample

if TYPE_CHECKING:
    from collections.abc import Sequence


class MaskDecoder(nn.Module):
    """Residual block at stride 16, two upsampling blocks with skips at strides 8 and 4, one logit at full size.

    Args:
        in_channels: Channels of the object features at stride 16.
        skip_channels: Channels of the frame's stride-8 and stride-4 features.
        widths: Channels after the stride-16, stride-8 and stride-4 blocks.

    Source: STCN, Cheng et al., NeurIPS 2021, Section 3.1.
    """

    def __init__(self, in_channels: int, skip_channels: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.compress = ResidualBlock(in_channels, widths[0])
        self.up_16_8 = UpsampleBlock(skip_channels[0], widths[0], widths[1])
        self.up_8_4 = UpsampleBlock(skip_channels[1], widths[1], widths[2])
        self.predict = nn.Conv2d(widths[2], 1, 3, padding=1)

    def forward(self, features: Tensor, stride8: Tensor, stride4: Tensor) -> Tensor:
        """Decode object features.

        Args:
            features: Shape (B*O, in_channels, h, w) at stride 16.
            stride8: The frame's feature, shape (B, C8, 2h, 2w).
            stride4: The frame's feature, shape (B, C4, 4h, 4w).

        Returns:
            Mask logits, shape (B, O, 16h, 16w).
        """
        features = self.compress(features)
        features = self.up_16_8(stride8, features)
        features = self.up_8_4(stride4, features)
        logits = upsample(self.predict(F.relu(features)), 4)
        return logits.unflatten(0, (stride8.shape[0], -1)).squeeze(2)
