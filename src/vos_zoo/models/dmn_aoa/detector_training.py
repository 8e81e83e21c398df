"""Tuning of the detector that proposes objects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from vos_zoo.network import IMAGENET_MEAN, IMAGENET_STD

from .detector import build_detector
from .features import tight_boxes

if TYPE_CHECKING:
    from vos_zoo.data.clips.dataset import ClipBatch


class DetectorModule(pl.LightningModule):
    """torchvision's Mask R-CNN v2, tuned on frames of annotated videos; its checkpoints serve ``vos-zoo proposals``.

    Videos do not say which of COCO's categories their objects are. Every object is taken as an example of the one that
    the detector itself finds most likely in the object's true box, so that heads keep what they know and no category
    has to be learnt again at the paper's tiny rate. Losses are the detector's own.

    Args:
        weights: ``COCO_V1`` downloads torchvision's weights; a path reads a state dict or a checkpoint of this module;
            None leaves random weights.
        learning_rate: Adam's learning rate (paper: 1e-6, with a batch of 8).
        min_size: Short side that frames are enlarged to, in pixels (torchvision: 800).

    Source: DMN-AOA, Liang et al., ICCV 2021, Section 4.1, which tunes a ResNeXt-101 detector on YouTube-VOS.
    """

    #: There is nothing else to start from.
    initial_weights: str | None = None

    def __init__(
        self, weights: str | Path | None = "COCO_V1", *, learning_rate: float = 1e-6, min_size: int = 800
    ) -> None:
        super().__init__()
        self.detector = build_detector(weights, min_size=min_size)
        self.learning_rate = learning_rate

    def train(self, mode: bool = True) -> DetectorModule:
        """Switch to training; batch normalisation keeps its statistics, which a few large frames would blur."""
        super().train(mode)
        for part in self.detector.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        return self

    def on_train_start(self) -> None:
        """Lightning keeps the mode that it finds."""
        self.train()

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor | None:
        """Sum the detector's losses over the frames that show objects; None if no frame of the batch does."""
        mean, std = (batch["images"].new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        images, targets = [], []
        for image, mask in zip(batch["images"].flatten(0, 1), batch["masks"].flatten(0, 1), strict=True):
            planes = torch.stack([mask == label for label in mask.unique() if label]) if mask.any() else mask[:0]
            if len(planes):
                boxes, _ = tight_boxes(planes)
                images.append((image * std + mean).clamp(0, 1))
                targets.append({"boxes": boxes.float(), "masks": planes.to(torch.uint8)})
        if not images:
            return None
        for target, labels in zip(targets, self.likely_labels(images, [t["boxes"] for t in targets]), strict=True):
            target["labels"] = labels
        losses: dict[str, Tensor] = self.detector(images, targets)
        for name, value in losses.items():
            self.log(f"train/{name.removeprefix('loss_')}", value)
        total = torch.stack(list(losses.values())).sum()
        self.log("train/loss", total, prog_bar=True, sync_dist=True)
        return total

    @torch.no_grad()
    def likely_labels(self, images: list[Tensor], boxes: list[Tensor]) -> list[Tensor]:
        """Return the category (from 1) that the detector finds most likely in every box.

        Args:
            images: RGB frames in [0, 1], each (3, H, W).
            boxes: Boxes (n, 4) in their pixels.
        """
        detector = self.detector
        resized, targets = detector.transform(images, [{"boxes": of_image} for of_image in boxes])
        assert targets is not None
        placed = [target["boxes"] for target in targets]
        features = detector.backbone(resized.tensors)
        heads = detector.roi_heads
        pooled = heads.box_roi_pool(features, placed, resized.image_sizes)
        logits, _ = heads.box_predictor(heads.box_head(pooled))
        labels: Tensor = logits[:, 1:].argmax(dim=1) + 1
        return list(labels.split([len(of_image) for of_image in boxes]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam at a constant rate, as the paper trains everything else."""
        trained: list[Any] = [part for part in self.parameters() if part.requires_grad]
        return torch.optim.Adam(trained, lr=self.learning_rate)
