"""Soft aggregation from log-odds, for networks whose probabilities are products of sigmoids."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_LEAST = 1e-7  # least probability of anything, as in ``soft_aggregate``
_LIMIT = 16.118  # log-odds of 1 - 1e-7


def product_log_odds(first: Tensor, second: Tensor) -> Tensor:
    """Return the log-odds of the product of two sigmoids.

    In log space, so that the result and its gradient stay finite however large the logits are; float32 for any type but
    float64. ``torch.sigmoid`` of the result is ``sigmoid(first) * sigmoid(second)``.

    Args:
        first: Logits of any shape.
        second: Logits of a shape that broadcasts.

    Source: GIEL, Ge et al., CVPR 2021, Equation 11, read as a product of probabilities.

    Example:
        >>> product_log_odds(torch.zeros(1), torch.zeros(1)).sigmoid().item()
        0.25
    """
    with torch.autocast(first.device.type, enabled=False):
        first, second = _wide(first), _wide(second)
        log_inside = F.logsigmoid(first) + F.logsigmoid(second)
        log_outside = torch.logaddexp(F.logsigmoid(-first), F.logsigmoid(first) + F.logsigmoid(-second))
        return log_inside - log_outside


def aggregate_log_odds(log_odds: Tensor, valid: Tensor | None = None) -> Tensor:
    """Turn independent objects' log-odds into logits over background and objects.

    The same as ``soft_aggregate`` of the probabilities, without leaving log space. The result is clamped to
    probabilities in [1e-7, 1 - 1e-7]; planes that hold no object are minus infinity, so that a softmax gives them
    exactly nothing.

    Args:
        log_odds: One plane per object, shape (B, O, H, W).
        valid: Which planes hold an object, shape (B, O); None means all.

    Returns:
        Logits with the background as plane 0, shape (B, O + 1, H, W), float32 (float64 for float64 input).

    Source: STM, Oh et al., ICCV 2019, Section 3.3 ("soft aggregation"), in log space.

    Example:
        >>> (7 * aggregate_log_odds(torch.zeros(1, 2, 1, 1)).softmax(dim=1)).round().flatten().tolist()
        [1.0, 3.0, 3.0]
    """
    with torch.autocast(log_odds.device.type, enabled=False):
        log_odds = _wide(log_odds)
        log_absent = F.logsigmoid(-log_odds)
        if valid is not None:
            empty = ~valid[:, :, None, None]
            log_absent = log_absent.masked_fill(empty, 0.0)
        log_background = log_absent.sum(dim=1, keepdim=True)
        # Clamped inside of the logarithm: where all objects are absent, 1 - p_0 is 0.
        background = log_background - torch.log((-torch.expm1(log_background)).clamp(min=_LEAST))
        logits = torch.cat([background, log_odds], dim=1).clamp(-_LIMIT, _LIMIT)
        if valid is not None:
            logits = logits.masked_fill(F.pad(empty, (0, 0, 0, 0, 1, 0)), -torch.inf)
        return logits


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
