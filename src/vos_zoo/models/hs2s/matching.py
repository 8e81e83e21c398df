"""Matching of the recurrent state with encoded reference frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .config import HS2SConfig

_COSINE_TEMPERATURE = 10.0
_EPSILON = 1e-6


class GlobalConvolution(nn.Module):
    """A large kernel as the sum of two separable branches, applied to reference and state side by side.

    Args:
        reference_channels: Channels of the reference (N, reference_channels, h, w).
        state_channels: Channels of the state (N, state_channels, h, w).
        inner: Channels between the two convolutions of a branch.
        out_channels: Channels of the result.
        kernel: Long side of the kernels in positions.

    Source: Peng et al., Large Kernel Matters, CVPR 2017; HS2S, Azimi et al., 2020, Section 4.2.
    """

    def __init__(
        self, reference_channels: int, state_channels: int, inner: int, out_channels: int, kernel: int = 7
    ) -> None:
        super().__init__()
        channels = reference_channels + state_channels
        pad = kernel // 2
        self.column_first = nn.Conv2d(channels, inner, (kernel, 1), padding=(pad, 0))
        self.row_second = nn.Conv2d(inner, out_channels, (1, kernel), padding=(0, pad))
        self.row_first = nn.Conv2d(channels, inner, (1, kernel), padding=(0, pad))
        self.column_second = nn.Conv2d(inner, out_channels, (kernel, 1), padding=(pad, 0))

    def forward(self, reference: Tensor, state: Tensor) -> Tensor:
        """Merge (N, Cr, h, w) and (N, Cs, h, w) to (N, out_channels, h, w)."""
        both = torch.cat([reference, state.to(reference.dtype)], dim=1)
        merged: Tensor = self.row_second(self.column_first(both)) + self.column_second(self.row_first(both))
        return merged


class CosineAttention(nn.Module):
    """Read the reference where it looks like the state, and keep a direct path of the state.

    ``softmax(τ cos(q, k)) g(reference) + w(state)`` with convolutions q, k, g, w and a learnable τ, at first 10.
    The paper says no more than that cosine similarity replaces the global convolution and cites non-local networks; the
    direct path stands for the state that the global convolution also sees.

    Args:
        reference_channels: Channels of the reference.
        state_channels: Channels of the state.
        inner: Channels of queries and keys.
        out_channels: Channels of the result.
        kernel: Odd side of the kernels of k and g; q and w are 1x1.

    Source: HS2S, Azimi et al., 2020, row HS2S_sim of Table 5.
    """

    def __init__(
        self, reference_channels: int, state_channels: int, inner: int, out_channels: int, kernel: int = 1
    ) -> None:
        super().__init__()
        self.query = nn.Conv2d(state_channels, inner, 1)
        self.key = nn.Conv2d(reference_channels, inner, kernel, padding=kernel // 2)
        self.value = nn.Conv2d(reference_channels, out_channels, kernel, padding=kernel // 2)
        self.direct = nn.Conv2d(state_channels, out_channels, 1)
        self.temperature = nn.Parameter(torch.tensor(_COSINE_TEMPERATURE))

    def forward(self, reference: Tensor, state: Tensor) -> Tensor:
        """Merge (N, Cr, h, w) and (N, Cs, h, w) to (N, out_channels, h, w)."""
        state = state.to(reference.dtype)
        query, key, value = self.query(state), self.key(reference), self.value(reference)
        with torch.autocast(query.device.type, enabled=False):
            exact = torch.float64 if query.dtype == torch.float64 else torch.float32
            query_unit = F.normalize(query.flatten(2).to(exact), dim=1, eps=_EPSILON)
            key_unit = F.normalize(key.flatten(2).to(exact), dim=1, eps=_EPSILON)
            weights = (self.temperature * query_unit.mT @ key_unit).softmax(dim=-1)
            read = value.flatten(2).to(exact) @ weights.mT
        merged: Tensor = read.unflatten(2, reference.shape[2:]).to(value.dtype) + self.direct(state)
        return merged


class Merge(nn.Module):
    """One branch per reference and a 1x1 convolution over all; without references, the convolution alone.

    Args:
        config: Kind and widths.
        reference_channels: Channels of every reference.
        count: Number of references, 0 to 2.
    """

    def __init__(self, config: HS2SConfig, reference_channels: int, count: int) -> None:
        super().__init__()
        state_channels, out_channels = config.state_width, config.state_width // 2
        sizes = (reference_channels, state_channels, config.matching_width, out_channels)
        self.branches = nn.ModuleList(
            GlobalConvolution(*sizes)
            if config.matching == "global_convolution"
            else CosineAttention(*sizes, config.matching_kernel)
            for _ in range(count)
        )
        self.fuse = nn.Conv2d(out_channels * count if count else state_channels, out_channels, 1)

    def forward(self, references: Sequence[Tensor], state: Tensor) -> Tensor:
        """Merge references (N, Cr, h, w) with the state (N, Cs, h, w) to (N, Cs/2, h, w)."""
        if not references:
            return F.relu(self.fuse(state))
        parts = [F.relu(branch(reference, state)) for branch, reference in zip(self.branches, references, strict=True)]
        return F.relu(self.fuse(torch.cat(parts, dim=1)))
