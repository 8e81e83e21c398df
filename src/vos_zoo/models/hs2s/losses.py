"""HS2S's losses: balanced cross-entropy, log-Jaccard, and border classes with their targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.errors import ConfigError

_JACCARD_EPSILON = 1e-15


@dataclass(frozen=True)
class LossWeights:
    """Weights of the three terms.

    ``released()`` is what the released weights were trained with; ``paper()`` is Equation 11 with λ = 0.8. The released
    0.6 and 0.2 together are the paper's 0.8 for the segmentation.
    """

    cross_entropy: float
    jaccard: float
    border: float

    @classmethod
    def released(cls) -> LossWeights:
        """Return the weights of the released code."""
        return cls(0.6, 0.2, 0.2)

    @classmethod
    def paper(cls) -> LossWeights:
        """Return the weights of the paper."""
        return cls(0.8, 0.0, 0.2)

    @classmethod
    def named(cls, name: Literal["released", "paper"]) -> LossWeights:
        """Return a preset.

        Raises:
            ConfigError: If there is none of this name.
        """
        presets = {"released": cls.released, "paper": cls.paper}
        if name not in presets:
            raise ConfigError(f"There are no HS2S losses {name!r}. Expected one of {', '.join(presets)}.")
        return presets[name]()


def balanced_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy in which either class weighs as much as the other one is frequent.

    Counts and sums run over the whole batch, so that the loss depends on which clips share it. It is exactly 0 where
    one of the classes does not occur at all.

    Args:
        logits: Shape (N, H, W).
        target: 0 or 1, same shape.

    Source: HS2S, Azimi et al., 2020, Equation 12; divided by the number of elements as released.

    Example:
        >>> balanced_cross_entropy(torch.zeros(1, 1, 4), torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]))
        tensor(0.2599)
    """
    positive = target >= 0.5
    count = target.numel()
    share = positive.sum().to(logits.dtype) / count
    losses = F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
    return (losses * torch.where(positive, 1 - share, share)).sum() / count


def log_jaccard(logits: Tensor, target: Tensor) -> Tensor:
    """Negative logarithm of the soft intersection over union of the whole batch.

    A batch without foreground gives a value of about 35 or more, whose gradient still pushes the masks down.

    Args:
        logits: Shape (N, H, W).
        target: 0 or 1, same shape.

    Source: released code of HS2S.
    """
    probability = logits.sigmoid()
    intersection = (probability * target).sum()
    union = probability.sum() + target.sum() - intersection
    return -torch.log((intersection + _JACCARD_EPSILON) / (union + _JACCARD_EPSILON))


def object_log_jaccard(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over objects of the negative logarithm of each one's soft intersection over union, with one pixel in both.

    In :func:`log_jaccard` an object weighs as much as it has pixels. Here a small one weighs like a large one, as it
    does in J; the added pixel bounds the loss of a lost object, and lets an empty target have an exact minimum of 0.

    Args:
        logits: Shape (N, H, W), one object each.
        target: 0 or 1, same shape.

    Example:
        >>> object_log_jaccard(torch.full((2, 1, 4), -99.0), torch.tensor([[[1.0, 1.0, 1.0, 0.0]], [[0.0] * 4]]))
        tensor(0.6931)
    """
    probability = logits.sigmoid()
    intersection = (probability * target).sum(dim=(1, 2))
    union = (probability + target).sum(dim=(1, 2)) - intersection
    return torch.log((union + 1) / (intersection + 1)).mean()


def border_targets(masks: Tensor, *, width: int = 20, bin_size: int = 1) -> Tensor:
    """Return the quantised signed distance to the object's outline as a class per pixel.

    With N = R // b: class 0 is background farther than R pixels, classes 1 to N lead up to the outline, N + 1 to 2N
    lead away from it inside the object, 2N + 1 is foreground farther than R. Distances are Euclidean, from pixel centre
    to the nearest pixel centre of the other side, rounded down. They are exact. A mask without background is far inside
    everywhere, one without foreground far outside; the released code finds an outline in the corner of such masks.

    Args:
        masks: Shape (..., H, W), values above one half are foreground.
        width: R, distance in pixels beyond which classes no longer differ.
        bin_size: b, distances per class in pixels.

    Returns:
        Classes 0 to 2N + 1, int64, in the shape of ``masks``.

    Source: Hayder et al., Boundary-aware Instance Segmentation, CVPR 2017, on both sides of the outline as in RS2S,
        Azimi et al., 2020.

    Example:
        >>> border_targets(torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0]]), width=2).tolist()
        [[0, 0, 1, 4, 5]]
    """
    inside = masks > 0.5
    bins = width // bin_size
    steps = _distance_steps(inside, width) + _distance_steps(~inside, width)  # one of the two is 0 everywhere
    is_far = steps > width
    outer = torch.where(is_far, 0, bins - steps // bin_size)
    inner = torch.where(is_far, 2 * bins + 1, bins + 1 + steps // bin_size)
    return torch.where(inside, inner, outer)


def _distance_steps(inside: Tensor, limit: int) -> Tensor:
    """Return the rounded-down distance of pixels inside to the nearest one outside; 0 outside, limit + 1 beyond it.

    Squared distances are separable: first along columns, then along rows over windows of ``limit`` pixels on either
    side. All numbers are integers, hence exact.
    """
    far = (limit + 1) ** 2
    column = torch.where(inside, far, 0).int()
    for step in range(1, limit + 1):
        is_near = _shifted(~inside, step, -2, False) | _shifted(~inside, -step, -2, False)
        column = torch.where(is_near & (column == far), step * step, column)
    squared = column
    for step in range(1, limit + 1):
        nearest = torch.minimum(_shifted(column, step, -1, far), _shifted(column, -step, -1, far))
        squared = torch.minimum(squared, nearest + step * step)
    squares = torch.arange(1, limit + 2, dtype=torch.int32, device=inside.device) ** 2
    return torch.bucketize(squared, squares, right=True)


def _shifted(values: Tensor, step: int, dim: int, fill: int) -> Tensor:
    """Move values by ``step`` places along a dimension; places that nothing moves to get ``fill``."""
    result = torch.full_like(values, fill)
    kept = values.shape[dim] - abs(step)
    if kept > 0:
        result.narrow(dim, max(step, 0), kept).copy_(values.narrow(dim, max(-step, 0), kept))
    return result
