"""Training of TSN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from vos_zoo.configs import check_choice
from vos_zoo.data.clips.dataset import ClipBatch
from vos_zoo.models.tsn.swin import SwinTrunk
from vos_zoo.training.module import VOSModule, resolve_config
from vos_zoo.training.unroll import propagation_loss, split_frames

from .averaging import RampedWeightAveraging as RampedWeightAveraging  # a recipe can name what is imported here
from .config import TSNConfig
from .losses import mask_iou_loss
from .network import TSNNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pytorch_lightning.utilities.types import OptimizerLRScheduler

    from vos_zoo.models.stcn.network import STCNFeatures

Optimizer = Literal["adam", "adamw"]

_NO_DECAY = ("relative_position_bias_table", "predictor.embedding")


class TSNModule(VOSModule):
    """TSN with its three-frame training and its two losses (paper, Section 3.5 and 4.1).

    Args:
        config: The architecture, or the name of a variant: ``r50``, ``swin_b``, ``small``, ``tiny``.
        overrides: Fields of the configuration to replace, such as the switches of the ablations.
        weight_iou: Weight of the mask-IoU loss beside the cross-entropy (the paper gives none; TransVOS: 1).
        freeze_bn_affine: Whether batch normalisation keeps its scales and offsets too (paper: "parameters frozen"); its
            statistics are always kept.
        optimizer: ``adam`` for ResNet-50, ``adamw`` with decoupled weight decay for Swin-B (paper, Section 4.1).
        weight_decay: Decay of the weights; AdamW leaves norms, biases and embeddings out.
        poly_power: Power of the polynomial decay of the learning rate to 0 at the end of training; None keeps it
            constant, as in stage 1. The paper says "poly"; 0.9 is the usual power.
        swin_tag: timm's pretrained weights of a Swin backbone, loaded with ``backbone_weights="timm"``.
        **training: Loss schedule, learning rate, schedule and initial weights, see ``VOSModule``.
    """

    network: TSNNetwork

    def __init__(
        self,
        config: TSNConfig | str = "r50",
        overrides: dict[str, Any] | None = None,
        *,
        weight_iou: float = 1.0,
        freeze_bn_affine: bool = True,
        optimizer: Optimizer = "adam",
        weight_decay: float = 0.0,
        poly_power: float | None = None,
        swin_tag: str = "ms_in22k",
        **training: Any,
    ) -> None:
        check_choice("optimizer", optimizer, Optimizer)
        super().__init__(self._build(config, overrides), weight_decay=weight_decay, **training)
        self.weight_iou = weight_iou
        self.optimizer = optimizer
        self.poly_power = poly_power
        self.swin_tag = swin_tag
        if freeze_bn_affine:
            for part in self.network.modules():
                if isinstance(part, _BatchNorm):
                    part.requires_grad_(False)

    def load_start(self, roots: Sequence[Path]) -> bool:
        """Load a Swin's weights too, which are not a ResNet's."""
        trunk = self.network.key_encoder
        if self.backbone_weights == "timm" and isinstance(trunk, SwinTrunk):
            import timm

            trunk.load_imagenet(timm.create_model(f"{trunk.name}.{self.swin_tag}", pretrained=True).state_dict())
        return super().load_start(roots)

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Segment every frame after the first with all earlier ones in memory; the sum of the frames' losses."""
        images = batch["images"]
        frames: list[STCNFeatures] = split_frames(self.network.encode(images.flatten(0, 1)), images.shape[1])
        division = self.network.pixel_division
        if division is None:
            return self.log_loss(propagation_loss(self, frames, batch))
        routing: list[Tensor] = []
        watch = division.register_forward_hook(lambda _module, _inputs, weight: routing.append(weight.detach().mean()))
        try:
            loss = propagation_loss(self, frames, batch)
        finally:
            watch.remove()
        # Near 0 or 1 one of the streams is not trained.
        self.log("train/routing", torch.stack(routing).mean())
        return self.log_loss(loss)

    def segmentation_loss(self, logits: Tensor, masks: Tensor, valid: Tensor) -> Tensor:
        """Bootstrapped cross-entropy plus weighted mask-IoU loss (paper, Equation 7)."""
        loss = super().segmentation_loss(logits, masks, valid)
        if self.weight_iou > 0:
            loss = loss + self.weight_iou * mask_iou_loss(logits.float().softmax(dim=1)[:, 1:], masks, valid)
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, or AdamW for Swin-B, and a schedule that is stepped on every iteration."""
        if self.optimizer == "adam":
            return super().configure_optimizers()
        named = self.network.named_parameters()
        bare = {part for name, part in named if part.ndim <= 1 or name.endswith(_NO_DECAY)}
        groups: list[dict[str, Any]] = []
        for group in self.rate_groups():
            decayed = [part for part in group["params"] if part not in bare]
            kept = [part for part in group["params"] if part in bare]
            groups += [{**group, "params": decayed}, {**group, "params": kept, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, weight_decay=self.weight_decay)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.learning_rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def learning_rate_factor(self, iteration: int) -> float:
        """Return the factor on the learning rate at an iteration (0-based)."""
        factor = super().learning_rate_factor(iteration)
        if self.poly_power is not None:
            total = self.trainer.estimated_stepping_batches
            factor *= max(0.0, 1 - iteration / total) ** self.poly_power
        return factor

    @staticmethod
    def _build(config: TSNConfig | str, overrides: Mapping[str, Any] | None) -> TSNNetwork:
        return TSNNetwork(resolve_config(TSNConfig, config, overrides))
