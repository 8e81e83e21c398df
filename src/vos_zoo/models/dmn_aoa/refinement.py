"""Mask refinement: a coarse mask, the frame, and two reference frames moved onto it."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.layers.blocks import add_per_object, upsample

from .alignment import Projector, read_aligned
from .features import area_average

if TYPE_CHECKING:
    from .config import DMNAOAConfig
    from .features import DMNFeatures

_STRIDES = (4, 8, 16)
_FOLDS = (4, 2, 1)  # positions of a level in one stride-16 cell, per side


class ReferenceFrame(NamedTuple):
    """A reference frame, one row per stride-16 cell.

    Args:
        keys: Projected stride-16 feature (B, D, h, w).
        values: Base features of all levels, folded to cells (B, h·w, V).
    """

    keys: Tensor
    values: Tensor


class NormalisedResidual(nn.Module):
    """Pre-activation residual block with group normalisation after its convolutions.

    Args:
        width: Channels.
        groups: Groups of the normalisations.

    Source: STM, Oh et al., ICCV 2019, with the normalisation of DMN-AOA, Section 4.1.
    """

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm1 = nn.GroupNorm(groups, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, width)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, width, h, w) to the same shape."""
        residual: Tensor = self.norm1(self.conv1(features.relu()))
        residual = self.norm2(self.conv2(residual.relu()))
        return features + residual


class RefineBlock(nn.Module):
    """One level of refinement.

    What does not depend on the object goes through its part of the first convolution once per frame.

    Args:
        channels: Channels of the frame's base feature at this level.
        width: Channels of the block.
        groups: Groups of the normalisations.
        is_coarsest: Whether there is no coarser block.
    """

    def __init__(self, channels: int, width: int, groups: int, *, is_coarsest: bool) -> None:
        super().__init__()
        self.shared_channels = 3 * channels
        self.conv = nn.Conv2d(3 * channels + 3, width, 3, padding=1)
        self.norm = nn.GroupNorm(groups, width)
        self.skip_block = NormalisedResidual(width, groups)
        self.out_block = None if is_coarsest else NormalisedResidual(width, groups)

    def forward(self, shared: Tensor, masks: Tensor, coarser: Tensor | None) -> Tensor:
        """Refine.

        Args:
            shared: Base features of current, first and previous frame (B, 3·C, h, w).
            masks: Coarse, first and previous mask (B*O, 3, h, w).
            coarser: The coarser block's result (B*O, width, h/2, w/2).
        """
        weight = self.conv.weight
        of_frame = F.conv2d(shared, weight[:, : self.shared_channels], self.conv.bias, padding=1)
        of_masks = F.conv2d(masks.to(shared.dtype), weight[:, self.shared_channels :], None, padding=1)
        features: Tensor = self.skip_block(self.norm(add_per_object(of_frame, of_masks)))
        if coarser is not None and self.out_block is not None:
            features = self.out_block(features + upsample(coarser, 2))
        return features


class MaskRefinement(nn.Module):
    """The mask refinement network.

    Args:
        config: Widths and sharpness of the alignment.

    Source: DMN-AOA, Liang et al., ICCV 2021, Section 3.1. The paper says no more of the alignment of references than
    that it
        is like that of objects; one correspondence at stride 16, moving features and masks of all levels, is ours.
    """

    def __init__(self, config: DMNAOAConfig) -> None:
        super().__init__()
        self.config = config
        coarsest = config.widths[2]
        if config.align_reference:
            self.current_projector = Projector(coarsest, coarsest, config.groups)
            self.reference_projector = deepcopy(self.current_projector)  # alike at first, as for objects
        self.blocks = nn.ModuleList(
            RefineBlock(width, config.refine_dim, config.groups, is_coarsest=index == 2)
            for index, width in enumerate(config.widths)
        )
        self.predict = nn.Conv2d(config.refine_dim, 2, 1)

    def remember(self, features: DMNFeatures) -> ReferenceFrame:
        """Prepare a frame to serve as reference."""
        coarsest = features.stride16
        keys = self.reference_projector(coarsest) if self.config.align_reference else coarsest
        folded = [F.pixel_unshuffle(level, fold) for level, fold in zip(features.levels, _FOLDS, strict=True)]
        return ReferenceFrame(keys, torch.cat([part.flatten(2) for part in folded], dim=1).mT)

    def query(self, features: DMNFeatures) -> Tensor:
        """Prepare a frame to be refined: (B, D, h, w)."""
        if not self.config.align_reference:
            return features.stride16
        query: Tensor = self.current_projector(features.stride16)
        return query

    def forward(
        self,
        features: DMNFeatures,
        query: Tensor,
        coarse: Tensor,
        first: ReferenceFrame,
        first_masks: Tensor,
        previous: ReferenceFrame,
        previous_masks: Tensor,
    ) -> Tensor:
        """Refine objects that share their first frame.

        Args:
            features: The current frame.
            query: What :meth:`query` gave for it.
            coarse: Coarse masks (B, O, H, W) in [0, 1].
            first: First frame of these objects.
            first_masks: Their masks there (B, O, H, W).
            previous: Previous frame.
            previous_masks: Masks there (B, O, H, W).

        Returns:
            Log-odds of every object (B, O, H, W).
        """
        batch, objects = coarse.shape[:2]
        first_levels = self._move(query, first, first_masks)
        previous_levels = self._move(query, previous, previous_masks)
        refined: Tensor | None = None
        for index in (2, 1, 0):
            (of_first, mask_first), (of_previous, mask_previous) = first_levels[index], previous_levels[index]
            level = features.levels[index]
            shared = torch.cat([level, of_first.to(level.dtype), of_previous.to(level.dtype)], dim=1)
            coarse_level = area_average(coarse, _STRIDES[index])
            masks = torch.stack([coarse_level, mask_first, mask_previous], dim=2).flatten(0, 1)
            refined = self.blocks[index](shared, masks, refined)
        assert refined is not None
        logits = upsample(self.predict(refined.relu()), 4)
        pairs = logits.reshape(batch, objects, 2, *logits.shape[2:])
        # The softmax over two channels is the sigmoid of their difference.
        return pairs[:, :, 1] - pairs[:, :, 0]

    def _move(self, query: Tensor, reference: ReferenceFrame, masks: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return features (B, C, h, w) and masks (B, O, h, w) of the reference at every level, moved onto the query."""
        folded = [
            F.pixel_unshuffle(area_average(masks, stride), fold).flatten(2)
            for stride, fold in zip(_STRIDES, _FOLDS, strict=True)
        ]
        of_masks = torch.cat(folded, dim=1).mT.to(reference.values.dtype)
        values = torch.cat([reference.values, of_masks], dim=2)
        if self.config.align_reference:
            moved = read_aligned(query, reference.keys, values, self.config.alpha)
        else:
            moved = values.mT.reshape(len(query), -1, *query.shape[2:])
        objects = masks.shape[1]
        areas = [fold * fold for fold in _FOLDS]
        sizes = [width * area for width, area in zip(self.config.widths, areas, strict=True)]
        parts = moved.split([*sizes, *(objects * area for area in areas)], dim=1)
        shuffled = [F.pixel_shuffle(part, fold) for part, fold in zip(parts, (*_FOLDS, *_FOLDS), strict=True)]
        return list(zip(shuffled[:3], shuffled[3:], strict=True))
