"""Training of STM."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vos_zoo.data.clips.dataset import ClipBatch
from vos_zoo.training.module import VOSModule, resolve_config
from vos_zoo.training.unroll import propagation_loss, split_frames

from .config import STMConfig
from .network import STMNetwork


class STMModule(VOSModule):
    """STM, trained by STCN's recipe: no training code was released, and the paper has the same three-frame unroll.

    Args:
        config: The architecture, or the name of a variant: ``r50``, ``small``, ``tiny``.
        overrides: Fields of the configuration to replace.
        **training: Loss schedule, optimiser, schedule and initial weights, see ``VOSModule``.
    """

    network: STMNetwork

    def __init__(
        self, config: STMConfig | str = "r50", overrides: dict[str, Any] | None = None, **training: Any
    ) -> None:
        super().__init__(STMNetwork(resolve_config(STMConfig, config, overrides)), **training)

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Segment every frame after the first with all earlier ones in memory; the sum of the frames' losses."""
        images = batch["images"]
        frames = split_frames(self.network.encode(images.flatten(0, 1)), images.shape[1])
        return self.log_loss(propagation_loss(self, frames, batch))
