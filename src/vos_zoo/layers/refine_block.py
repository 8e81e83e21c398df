"""STM's block that refines object features by a finer skip feature."""

from __future__ import annotations

from torch import Tensor, nn

from .blocks import ResidualBlock, add_per_object, upsample


class RefineBlock(nn.Module):
    """Add the refined skip feature of the frame to the enlarged object features (STM, Section 3.3).

    The skip path does not depend on the object, so it runs once per frame.
    """

    def __init__(self, skip_channels: int, channels: int) -> None:
        super().__init__()
        self.skip_conv = nn.Conv2d(skip_channels, channels, 3, padding=1)
        self.skip_block = ResidualBlock(channels, channels)
        self.out_block = ResidualBlock(channels, channels)

    def forward(self, skip: Tensor, features: Tensor) -> Tensor:
        """Merge ``skip`` (B, Cs, 2h, 2w) into ``features`` (B*O, C, h, w) at twice their size."""
        refined: Tensor = self.skip_block(self.skip_conv(skip))
        merged: Tensor = self.out_block(add_per_object(refined, upsample(features, 2)))
        return merged
