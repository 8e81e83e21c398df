"""Dynamic memory network: object features in, template out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .features import temporal_embedding

if TYPE_CHECKING:
    from .config import DMNAOAConfig


class MemoryEncoder(nn.Module):
    """Keys and values of an object feature with its mask.

    Args:
        config: Sizes.

    Source: DMN-AOA, Liang et al., ICCV 2021, Section 3.2; no activation after the convolutions, as in STM.
    """

    def __init__(self, config: DMNAOAConfig) -> None:
        super().__init__()
        self.key = nn.Conv2d(config.object_dim + 1, config.key_dim, 3, padding=1)
        self.value = nn.Conv2d(config.object_dim + 1, config.object_dim, 3, padding=1)

    def forward(self, features: Tensor, masks: Tensor, offsets: list[int]) -> tuple[Tensor, Tensor]:
        """Encode features (n, C, r, r) with masks (n, 1, r, r), ``offsets`` frames after their objects' first frames.

        Returns:
            Keys (n, r·r, Ck) and values (n, r·r, C).
        """
        inputs = torch.cat([with_time(features, offsets), masks.to(features.dtype)], dim=1)
        return self.key(inputs).flatten(2).mT, self.value(inputs).flatten(2).mT


class QueryEncoder(nn.Module):
    """Query keys of an object feature.

    Args:
        config: Sizes.

    Source: DMN-AOA, Section 3.2.
    """

    def __init__(self, config: DMNAOAConfig) -> None:
        super().__init__()
        self.key = nn.Conv2d(config.object_dim, config.key_dim, 3, padding=1)

    def forward(self, features: Tensor, offsets: list[int]) -> Tensor:
        """Encode features (n, C, r, r) to keys (n, Ck, r, r)."""
        key: Tensor = self.key(with_time(features, offsets))
        return key


def with_time(features: Tensor, offsets: list[int]) -> Tensor:
    """Add each row's temporal embedding to features (n, C, h, w)."""
    times = [temporal_embedding(offset, features.shape[1], features) for offset in offsets]
    return features + torch.cat(times)
