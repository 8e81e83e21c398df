"""Training of STCN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from vos_zoo.data.clips.dataset import ClipBatch
from vos_zoo.training.module import VOSModule, resolve_config
from vos_zoo.training.unroll import propagation_loss, split_frames

from .config import STCNConfig
from .network import STCNFeatures, STCNNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping


class STCNModule(VOSModule):
    """STCN with its three-frame training (paper, Section 3.3).

    Args:
        config: The architecture, or the name of a variant: ``r50``, ``small``, ``tiny``.
        overrides: Fields of the configuration to replace.
        **training: Loss schedule, optimiser, schedule and initial weights, see ``VOSModule``.
    """

    network: STCNNetwork

    def __init__(
        self, config: STCNConfig | str = "r50", overrides: dict[str, Any] | None = None, **training: Any
    ) -> None:
        super().__init__(self._build(config, overrides), **training)

    def _build(self, config: STCNConfig | str, overrides: Mapping[str, Any] | None) -> STCNNetwork:
        return STCNNetwork(resolve_config(STCNConfig, config, overrides))

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Segment every frame after the first with all earlier ones in memory; the sum of the frames' losses."""
        return self.log_loss(propagation_loss(self, self.encode_clip(batch["images"]), batch))

    def encode_clip(self, images: Tensor) -> list[STCNFeatures]:
        """Encode all frames of the clips (B, T, 3, H, W) in one batch."""
        return split_frames(self.network.encode(images.flatten(0, 1)), images.shape[1])
