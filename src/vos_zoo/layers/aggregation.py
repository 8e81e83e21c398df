"""Soft aggregation of per-object probabilities, shared by every model."""

from __future__ import annotations

import torch
from torch import Tensor

# The same bound in training and inference; 1 - 1e-7 exists in float32 and not in half precision.
_EPSILON = 1e-7


def soft_aggregate(probabilities: Tensor) -> Tensor:
    """Turn independent object probabilities into logits over background and objects.

    The background probability is the product of the complements, ``p_0 = prod_i (1 - p_i)``; every entry is clamped
    to ``[1e-7, 1 - 1e-7]`` and becomes its log-odds. A softmax over dim 1 gives the final probabilities. The training
    losses use the logits themselves. Computed in float32 (float64 for float64 input), also inside autocast.

    Args:
        probabilities: One plane per object, values in [0, 1], shape (B, O, H, W).

    Returns:
        Logits with the background as plane 0, shape (B, O + 1, H, W).

    Source: STM, Oh et al., ICCV 2019, Section 3.3 ("soft aggregation"), here in log-odds form.

    Example:
        >>> logits = soft_aggregate(torch.tensor([[[[1.0]], [[0.0]]]]))
        >>> logits.softmax(dim=1).argmax(dim=1).item()
        1
    """
    with torch.autocast(probabilities.device.type, enabled=False):
        wide = probabilities if probabilities.dtype == torch.float64 else probabilities.float()
        background = torch.prod(1 - wide, dim=1, keepdim=True)
        clamped = torch.cat([background, wide], dim=1).clamp(_EPSILON, 1 - _EPSILON)
        return torch.log(clamped / (1 - clamped))
