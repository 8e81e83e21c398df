"""The spatio-temporal aggregation module (SAM) that folds a frame into the recurrent embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class Extract(nn.Module):
    """Non-local block over both frames; similarities are divided by the number of keys, not passed through a softmax.

    As released: the projection comes before the pooling (Equation 5 pools first), the result is projected once more and
    added to the input.

    Source: RDE-VOS, Section 3.2, Equation 5.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta = nn.Conv3d(channels, channels // 2, 1)
        self.phi = nn.Conv3d(channels, channels // 2, 1)
        self.g = nn.Conv3d(channels, channels // 2, 1)
        self.project = nn.Conv3d(channels // 2, channels, 1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map (B, C, 2, h, w) to the same shape."""
        query = self.theta(embeddings).flatten(2).mT
        # A frame of up to 16 pixels is one position wide or high, which leaves nothing to pool.
        window = (1, min(2, embeddings.shape[3]), min(2, embeddings.shape[4]))
        key = F.max_pool3d(self.phi(embeddings), window).flatten(2)
        value = F.max_pool3d(self.g(embeddings), window).flatten(2).mT
        # (theta phi^T) g = theta (phi^T g): without a softmax the small C/2 x C/2 product may come first.
        gathered = query @ ((key @ value) / key.shape[2])
        projected: Tensor = self.project(gathered.mT.unflatten(2, embeddings.shape[2:]))
        return projected + embeddings


class Enhance(nn.Module):
    """Spatial pyramid of dilated convolutions, added to its input.

    Source: RDE-VOS, Section 3.2, Equation 6; branches, dilations and the last ReLU as released.
    """

    def __init__(self, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        quarter = channels // 4
        self.point = nn.Conv3d(channels, quarter, 1, bias=False)
        self.dilated = nn.ModuleList(
            nn.Conv3d(
                channels, quarter, (1, 3, 3), padding=(0, dilation, dilation), dilation=(1, dilation, dilation),
                bias=False,
            )
            for dilation in dilations
        )  # fmt: skip
        self.fuse = nn.Conv3d(quarter * (1 + len(dilations)), channels, (1, 3, 3), padding=(0, 1, 1), bias=False)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map (B, C, 2, h, w) to the same shape."""
        branches = [F.relu(self.point(embeddings)), *(F.relu(branch(embeddings)) for branch in self.dilated)]
        return embeddings + F.relu(self.fuse(torch.cat(branches, dim=1)))


class Aggregation(nn.Module):
    """Fold a newly memorised frame into the aggregated slot: extract, enhance, squeeze.

    Args:
        channels: Channels of the embedding, keys or values.
        dilations: Dilations of the pyramid.

    Source: RDE-VOS, Li et al., CVPR 2022, Section 3.2.
    """

    def __init__(self, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.extract = Extract(channels)
        self.enhance = Enhance(channels, dilations)
        self.squeeze = nn.Conv3d(channels, channels, (2, 3, 3), padding=(0, 1, 1))

    def forward(self, aggregated: Tensor, current: Tensor) -> Tensor:
        """Combine the previous slot and the new frame, both (B, C, h, w), into the next slot (B, C, h, w)."""
        embeddings = torch.stack([aggregated, current.to(aggregated.dtype)], dim=2)
        slot: Tensor = self.squeeze(self.enhance(self.extract(embeddings)))
        return slot.squeeze(2)
