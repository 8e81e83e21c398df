"""HS2S's decoder: five levels of skips, border classes, and one mask logit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .encoder import initialise_by_fan_out

if TYPE_CHECKING:
    from .config import HS2SConfig
    from .encoder import EncoderFeatures, MaskedEncoder


class DecoderLevel(nn.Module):
    """Mix with 1x1, enlarge, convolve with 5x5; a ReLU after both.

    Args:
        in_channels: Channels of the stacked inputs.
        mixed: Channels after the 1x1 convolution.
        out_channels: Channels of the result.
    """

    def __init__(self, in_channels: int, mixed: int, out_channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(in_channels, mixed, 1)
        self.convolve = nn.Conv2d(mixed, out_channels, 5, padding=2)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, *size)."""
        mixed = F.relu(self.mix(features))
        # To the size of the next skip: twice this one, except for frames whose sides are odd multiples of 16.
        enlarged = F.interpolate(mixed, size, mode="bilinear", align_corners=False)
        return F.relu(self.convolve(enlarged))


class Decoder(nn.Module):
    """Decode merged states with the current frame's skips.

    Args:
        config: Widths.
        encoder: Encoder of the current frame, for the widths of its skips.

    Source: HS2S, Azimi et al., 2020, Section 4.3; the mask from the border classes and a parallel branch as released.
    """

    def __init__(self, config: HS2SConfig, encoder: MaskedEncoder) -> None:
        super().__init__()
        merged = config.state_width // 2
        stride4, stride8, stride16 = encoder.channels
        widths = config.decoder_dims
        self.level32 = DecoderLevel(merged + encoder.stride32_channels, 2 * widths[0], widths[0])
        self.level16 = DecoderLevel(widths[0] + stride16 + (merged if config.skip_rnn else 0), widths[0], widths[1])
        self.level8 = DecoderLevel(widths[1] + stride8, widths[1], widths[2])
        self.level4 = DecoderLevel(widths[2] + stride4, widths[2], widths[3])
        self.level2 = DecoderLevel(widths[3] + encoder.stem_channels, widths[3], widths[4])
        classes = config.border_classes
        self.border_head = nn.Conv2d(widths[4], classes, 3, padding=1) if config.border_head else None
        self.mask_branch = nn.Conv2d(widths[4], classes, 3, padding=1) if config.border_head else None
        self.predict = nn.Conv2d(2 * classes if config.border_head else widths[4], 1, 1)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                initialise_by_fan_out(part)

    def forward(
        self, merged: Tensor, skip_merged: Tensor | None, features: EncoderFeatures
    ) -> tuple[Tensor, Tensor | None]:
        """Return the mask logit (N, 1, H, W) and border logits (N, K, H, W), None without border head."""
        x = self.level32(torch.cat([merged, features.stride32], dim=1), _size(features.stride16))
        skips = [x, features.stride16] if skip_merged is None else [x, features.stride16, skip_merged]
        x = self.level16(torch.cat(skips, dim=1), _size(features.stride8))
        x = self.level8(torch.cat([x, features.stride8], dim=1), _size(features.stride4))
        x = self.level4(torch.cat([x, features.stride4], dim=1), _size(features.stride2))
        height, width = _size(features.stride2)
        x = self.level2(torch.cat([x, features.stride2], dim=1), (2 * height, 2 * width))
        if self.border_head is None or self.mask_branch is None:
            return self.predict(x), None
        borders = self.border_head(x)
        return self.predict(F.relu(torch.cat([borders, self.mask_branch(x)], dim=1))), borders


def _size(features: Tensor) -> tuple[int, int]:
    return features.shape[2], features.shape[3]
