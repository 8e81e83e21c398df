"""Mask-IoU loss of TSN."""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-7  # both sums; an object that is absent and not predicted has no loss


def mask_iou_loss(probabilities: Tensor, masks: Tensor, valid: Tensor) -> Tensor:
    """Return one minus the soft overlap of each object, averaged over a clip's objects and over clips.

    Args:
        probabilities: Aggregated object probabilities without background, shape (B, O, H, W).
        masks: Object per pixel, 0 for background, shape (B, H, W).
        valid: Which planes hold an object, shape (B, O); a clip without any has no loss.

    Source: TSN, Equation 7; TransVOS, Mei et al., 2021.

    Example:
        >>> perfect = torch.tensor([[[[1.0, 0.0]]]])
        >>> mask_iou_loss(perfect, torch.tensor([[[1, 0]]]), torch.tensor([[True]])).item()
        0.0
    """
    objects = torch.arange(1, valid.shape[1] + 1, device=masks.device)
    target = (masks.unsqueeze(1) == objects[:, None, None]).to(probabilities.dtype)
    overlap = torch.minimum(probabilities, target).sum(dim=(2, 3)) + _EPSILON
    union = torch.maximum(probabilities, target).sum(dim=(2, 3)) + _EPSILON
    losses = (1 - overlap / union) * valid
    return (losses.sum(dim=1) / valid.sum(dim=1).clamp(min=1)).mean()
