"""Losses that two or more papers share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class BootstrappedCrossEntropy(nn.Module):
    """Cross-entropy over each sample's hardest pixels, whose share shrinks during training.

    Before iteration ``start`` all pixels count. From ``start`` to ``end`` the share falls linearly from 1 to ``top_p``
    and stays there. Selection is per sample.

    Args:
        start: First iteration with a share below 1.
        end: Iteration at which the share reaches ``top_p``.
        top_p: Final share of pixels, in (0, 1].

    Source: STCN, Cheng et al., NeurIPS 2021, training code; RDE-VOS, Li et al., CVPR 2022, Section 4.1.
    """

    def __init__(self, start: int = 20_000, end: int = 70_000, top_p: float = 0.15) -> None:
        super().__init__()
        self.start = start
        self.end = end
        self.top_p = top_p

    def share(self, iteration: int) -> float:
        """Return the share of pixels that count at an iteration (0-based)."""
        if iteration < self.start:
            return 1.0
        if iteration > self.end:
            return self.top_p
        return self.top_p + (1 - self.top_p) * (self.end - iteration) / max(self.end - self.start, 1)

    def forward(self, logits: Tensor, target: Tensor, iteration: int) -> Tensor:
        """Average the loss of one sample.

        Args:
            logits: Aggregated logits over background and objects, shape (O + 1, H, W).
            target: Object index per pixel, 0 for background, shape (H, W).
            iteration: Optimiser steps done so far.
        """
        losses = F.cross_entropy(logits.unsqueeze(0), target.long().unsqueeze(0), reduction="none").flatten()
        share = self.share(iteration)
        if share >= 1:
            return losses.mean()
        return losses.topk(max(int(share * losses.numel()), 1), sorted=False).values.mean()
