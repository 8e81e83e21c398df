"""Adaptive object alignment: compare proposals with a template after moving them onto it."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.memory import MemoryTokens, read_memory

if TYPE_CHECKING:
    from .config import DMNAOAConfig

_EPSILON = 1e-6  # all-zero features occur where a frame is padded


class Projector(nn.Sequential):
    """3x3 convolution, group normalisation, ReLU, 3x3 convolution.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels between and after the convolutions.
        groups: Groups of the normalisation.
    """

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.GroupNorm(groups, out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )


class ObjectAlignment(nn.Module):
    """Similarity of every proposal to every template.

    Args:
        config: Sizes, sharpness and switches.

    Source: DMN-AOA, Liang et al., ICCV 2021, Section 3.3, Equations 2 and 3.
    """

    def __init__(self, config: DMNAOAConfig) -> None:
        super().__init__()
        self.config = config
        self.template_projector = Projector(config.object_dim, config.align_dim, config.groups)
        self.proposal_projector = deepcopy(self.template_projector)  # alike at first, so that cosines mean something

    def forward(self, templates: Tensor, proposals: Tensor) -> Tensor:
        """Compare templates (K, C, r, r) with proposals (n, C, r, r): cosines in [-1, 1], shape (K, n)."""
        template = self._center(self.template_projector(templates))
        proposal = self._center(self.proposal_projector(proposals))
        return torch.stack([self._compare(one, proposal) for one in template])

    def _compare(self, template: Tensor, proposals: Tensor) -> Tensor:
        """Compare one template (D, r, r) with proposals (n, D, r, r)."""
        templates = template.expand_as(proposals)
        moved = proposals
        if self.config.align:
            moved = read_aligned(templates, proposals, proposals.flatten(2).mT, self.config.alpha)
        if self.config.match_reduce == "flatten":
            return F.cosine_similarity(templates.flatten(1), moved.flatten(1), dim=1, eps=_EPSILON)
        return F.cosine_similarity(templates, moved, dim=1, eps=_EPSILON).mean(dim=(1, 2))

    def _center(self, features: Tensor) -> Tensor:
        exact = features if features.dtype == torch.float64 else features.float()
        return exact - exact.mean(dim=1, keepdim=True) if self.config.center else exact


def unit(features: Tensor) -> Tensor:
    """Scale channels (dim 1) to length one, in float32 or wider."""
    exact = features if features.dtype == torch.float64 else features.float()
    return F.normalize(exact, dim=1, eps=_EPSILON)


def read_aligned(target: Tensor, source: Tensor, values: Tensor, alpha: float) -> Tensor:
    """Read ``values`` where ``source`` looks like ``target``: a softmax of ``alpha`` times cosines over the source.

    Args:
        target: Shape (N, D, h, w).
        source: Shape (N, D, h', w').
        values: One row per source position, shape (N, h'·w', V).
        alpha: Sharpness.

    Returns:
        Shape (N, V, h, w).
    """
    tokens = MemoryTokens(unit(source).flatten(2).mT.contiguous(), None, values, alpha)
    return read_memory(unit(target), tokens).values
