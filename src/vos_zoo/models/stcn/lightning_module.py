"""Training of STCN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.layers import soft_aggregate
from vos_zoo.losses import BootstrappedCrossEntropy
from vos_zoo.models.base import MemoryPolicy
from vos_zoo.models.module import TrainingBatch, VOSModule, resolve_config

from .config import STCNConfig
from .network import STCNFeatures, STCNNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping

NetworkT = TypeVar("NetworkT", bound=STCNNetwork)


def split_frames(features: STCNFeatures, frames: int) -> list[STCNFeatures]:
    """Split features of clips encoded as one batch (B*T, ...) into one entry per frame (B, ...)."""
    parts = [part.unflatten(0, (-1, frames)).unbind(1) for part in features]
    return [STCNFeatures(*frame) for frame in zip(*parts, strict=True)]


class STCNModule(VOSModule):
    """STCN with its three-frame training (paper, Section 3.3).

    Args:
        config: The architecture, or the name of a variant: ``r50``, ``small``, ``tiny``.
        overrides: Fields of the configuration to replace.
        bootstrap_start: Iteration at which easy pixels begin to be left out of the loss.
        bootstrap_end: Iteration at which only the hardest 15 % count.
        **training: Optimiser, schedule and initial weights, see ``VOSModule``.
    """

    network: STCNNetwork

    def __init__(
        self,
        config: STCNConfig | str = "r50",
        overrides: dict[str, Any] | None = None,
        *,
        bootstrap_start: int = 20_000,
        bootstrap_end: int = 70_000,
        **training: Any,
    ) -> None:
        super().__init__(self._build(config, overrides), **training)
        self.cross_entropy = BootstrappedCrossEntropy(bootstrap_start, bootstrap_end)

    def _build(self, config: STCNConfig | str, overrides: Mapping[str, Any] | None) -> STCNNetwork:
        return STCNNetwork(resolve_config(STCNConfig, config, overrides))

    def training_step(self, batch: TrainingBatch, batch_idx: int) -> Tensor:
        """Segment every frame after the first with all earlier ones in memory; the sum of the frames' losses."""
        masks, valid = batch["masks"], batch["valid_objects"]
        frames = self.encode_clip(batch["images"])
        memory = self.network.new_memory(MemoryPolicy(every=1))
        self.network.memorize(frames[0], object_planes(masks[:, 0], valid), memory, reference=True)
        losses = []
        for time in range(1, len(frames)):
            logits = self.aggregate(self.network.segment(frames[time], memory), valid)
            losses.append(self.segmentation_loss(logits, masks[:, time], valid))
            if time < len(frames) - 1:
                self.network.memorize(frames[time], logits.softmax(dim=1)[:, 1:], memory)
        loss = torch.stack(losses).sum()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def encode_clip(self, images: Tensor) -> list[STCNFeatures]:
        """Encode all frames of the clips (B, T, 3, H, W) in one batch."""
        return split_frames(self.network.encode(images.flatten(0, 1)), images.shape[1])

    @staticmethod
    def aggregate(logits: Tensor, valid: Tensor) -> Tensor:
        """Aggregate mask logits (B, O, H, W); planes that hold no object count as empty."""
        return soft_aggregate(torch.sigmoid(logits.float()) * valid[:, :, None, None])

    def segmentation_loss(self, logits: Tensor, masks: Tensor, valid: Tensor) -> Tensor:
        """Average the bootstrapped cross-entropy over clips; planes that hold no object are left out.

        Args:
            logits: Aggregated, shape (B, O + 1, H, W).
            masks: Object per pixel, shape (B, H, W).
            valid: Which planes hold an object, existing ones first, shape (B, O).
        """
        counts = valid.sum(dim=1).tolist()
        return torch.stack(
            [
                self.cross_entropy(sample[: 1 + int(count)], mask, self.global_step)
                for sample, mask, count in zip(logits, masks, counts, strict=True)
            ]
        ).mean()


def object_planes(masks: Tensor, valid: Tensor) -> Tensor:
    """Turn masks (B, H, W) of plane indices, 0 for background, into float planes (B, O, H, W)."""
    planes = F.one_hot(masks.long(), valid.shape[1] + 1)[..., 1:]
    return planes.permute(0, 3, 1, 2).float()
