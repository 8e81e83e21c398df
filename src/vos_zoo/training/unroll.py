"""Unrolling training clips, shared by the matching papers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.nn.functional as F

from vos_zoo.layers import soft_aggregate
from vos_zoo.network import MemoryPolicy

if TYPE_CHECKING:
    from torch import Tensor

    from vos_zoo.data.clips.dataset import ClipBatch
from vos_zoo.training.module import VOSModule

FeaturesT = TypeVar("FeaturesT", bound=tuple["Tensor", ...])


def split_frames(features: FeaturesT, frames: int) -> list[FeaturesT]:
    """Split features of clips encoded as one batch (B*T, ...) into one entry per frame (B, ...)."""
    kind: Any = type(features)
    parts = [part.unflatten(0, (-1, frames)).unbind(1) for part in features]
    return [kind(*frame) for frame in zip(*parts, strict=True)]


def object_planes(masks: Tensor, valid: Tensor) -> Tensor:
    """Turn masks (B, H, W) of plane indices, 0 for background, into float planes (B, O, H, W)."""
    planes = F.one_hot(masks.long(), valid.shape[1] + 1)[..., 1:]
    return planes.permute(0, 3, 1, 2).float()


def aggregate_objects(logits: Tensor, valid: Tensor) -> Tensor:
    """Aggregate mask logits (B, O, H, W); planes that hold no object count as empty."""
    return soft_aggregate(torch.sigmoid(logits.float()) * valid[:, :, None, None])


def propagation_loss(module: VOSModule, frames: list[Any], batch: ClipBatch) -> Tensor:
    """Segment every frame after the first with all earlier ones in memory.

    The first frame is memorised with its true masks, later ones with their soft predictions, and gradients flow through
    the memory.

    Args:
        module: Network and segmentation loss.
        frames: Features of the clips' frames.
        batch: Masks and existing objects.

    Returns:
        The sum of the frames' losses.

    Source: STCN, Cheng et al., NeurIPS 2021, Section 3.3; STM, Oh et al., ICCV 2019, Section 3.5.
    """
    network, masks, valid = module.network, batch["masks"], batch["valid_objects"]
    memory = network.new_memory(MemoryPolicy(every=1))
    network.memorize(frames[0], object_planes(masks[:, 0], valid), memory, reference=True)
    losses = []
    for time in range(1, len(frames)):
        memory.tick()
        prediction = network.predict(frames[time], memory)
        logits = aggregate_objects(prediction.logits, valid)
        losses.append(module.segmentation_loss(logits, masks[:, time], valid))
        if time < len(frames) - 1:
            network.memorize(frames[time], logits.softmax(dim=1)[:, 1:], memory, prediction=prediction)
    return torch.stack(losses).sum()
