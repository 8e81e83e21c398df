"""The mask channels that value encoders see beside the image."""

from __future__ import annotations

import torch
from torch import Tensor


def object_channels(probabilities: Tensor) -> Tensor:
    """Stack every object's mask with the sum of the other objects' masks.

    Args:
        probabilities: One plane per object, values in [0, 1], shape (B, O, H, W).

    Returns:
        Shape (B*O, 2, H, W): channel 0 is the object's own mask, channel 1 the (unclamped) sum of the others, which is
        zero when there is one object.

    Source: STM, Oh et al., ICCV 2019, supplementary material on multi-object segmentation; unclamped as in STCN.

    Example:
        >>> object_channels(torch.tensor([[[[0.25]], [[0.5]]]])).flatten().tolist()
        [0.25, 0.5, 0.5, 0.25]
    """
    if probabilities.shape[1] == 1:
        others = torch.zeros_like(probabilities)  # exact zero; sum minus itself would leave rounding in half precision
    else:
        others = probabilities.sum(dim=1, keepdim=True) - probabilities
    return stack_channels(probabilities, others)


def stack_channels(masks: Tensor, others: Tensor) -> Tensor:
    """Stack masks (B, O, H, W) with the sums of the other objects' masks (B, O, H, W): (B*O, 2, H, W)."""
    return torch.stack([masks, others], dim=2).flatten(0, 1)
