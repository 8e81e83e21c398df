"""Training of GIEL."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.configs import check_choice
from vos_zoo.data.clips.dataset import ClipBatch
from vos_zoo.errors import CheckpointError
from vos_zoo.models.giel.log_odds import aggregate_log_odds
from vos_zoo.network import MemoryPolicy
from vos_zoo.training.initial_weights import find_source, read_checkpoint
from vos_zoo.training.module import VOSModule, resolve_config
from vos_zoo.training.unroll import object_planes, split_frames
from vos_zoo.weights.torch_files import plain_tensors, read_torch_file

from .config import GIELConfig
from .convert import mask_rcnn_body, start_from_stcn
from .network import GIELNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from vos_zoo.layers import KeyValueFeatures

    from .network import GIELPrediction

TrainSupport = Literal["predicted", "gt"]


class GIELModule(VOSModule):
    """GIEL with its recurrent training on four-frame clips (paper, Sections 3.5 and 4.1).

    Args:
        config: The architecture, or the name of a variant: ``r50``, ``r50_fast``, ``small``, ``tiny``.
        overrides: Fields of the configuration to replace, such as the switches of the ablations.
        weight_instance: Weight of the aggregated masks' loss beside the global one (paper, Equation 13: 1).
        weight_coarse: Weight of a loss on the instance maps alone; the paper has none, they learn through the product.
        train_support: Memorise ``predicted`` masks, as at inference, or true ones (``gt``); the paper speaks of both.
        detach_masks: Whether gradients stop at memorised masks.
        freeze_label_bn: Whether the label encoder's normalisations keep their statistics. By default they learn, being
            new; with very few objects per device they are noisy.
        mask_rcnn_weights: File of torchvision's COCO weights of ``maskrcnn_resnet50_fpn``, from which the paper's
            encoders start, relative to the data root or the working directory; see ``batch_norm_eps``.
        stcn_weights: Name or folder of an STCN of the same backbone and key width to start from: both encoders, and
            their projections to keys and values (see ``convert.start_from_stcn``).
        weight_decay: L2 term; the paper gives none.
        final_decay: Share of training over which the learning rate falls linearly to 0; 1 is the paper's "poly" with
            power 1.
        **training: Learning rate, schedule and initial weights, see ``VOSModule``; the bootstrap is not used.
    """

    network: GIELNetwork

    def __init__(
        self,
        config: GIELConfig | str = "r50",
        overrides: dict[str, Any] | None = None,
        *,
        weight_instance: float = 1.0,
        weight_coarse: float = 0.0,
        train_support: TrainSupport = "predicted",
        detach_masks: bool = False,
        freeze_label_bn: bool = False,
        mask_rcnn_weights: str | None = None,
        stcn_weights: str | None = None,
        weight_decay: float = 0.0,
        final_decay: float = 1.0,
        **training: Any,
    ) -> None:
        check_choice("train_support", train_support, TrainSupport)
        super().__init__(self._build(config, overrides), weight_decay=weight_decay, final_decay=final_decay, **training)
        self.weight_instance = weight_instance
        self.weight_coarse = weight_coarse
        self.train_support = train_support
        if self.network.config.support != "sampled" and self.network.temporal_attention is not None:
            # A clip's one support frame needs no weight. Several devices would wait for gradients that never come.
            self._freeze("temporal_attention")
        self.detach_masks = detach_masks
        self.freeze_label_bn = freeze_label_bn
        self.mask_rcnn_weights = mask_rcnn_weights
        self.stcn_weights = stcn_weights

    def load_start(self, roots: Sequence[Path]) -> bool:
        """Load the STCN or the Mask R-CNN that the encoders start from, besides what every model can start from."""
        found = super().load_start(roots)
        if self.stcn_weights is not None:
            start_from_stcn(self.network, read_checkpoint(self.stcn_weights, roots))
        if self.mask_rcnn_weights is not None:
            body = _read_mask_rcnn(find_source(self.mask_rcnn_weights, roots))
            self.network.query_encoder.load_imagenet(body)
            self.network.support_encoder.load_imagenet(body)
        return found or self.stcn_weights is not None or self.mask_rcnn_weights is not None

    def train(self, mode: bool = True) -> GIELModule:
        """Switch to training; the encoders' batch statistics stay frozen, the label encoder's learn."""
        super().train(mode)
        if self.network.label_encoder is not None and not self.freeze_label_bn:
            self.network.label_encoder.train(mode)
        return self

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Segment every frame after the first with all earlier ones in memory; the mean of the frames' losses."""
        network, images = self.network, batch["images"]
        masks, valid = batch["masks"], batch["valid_objects"]
        frames: list[KeyValueFeatures] = split_frames(network.encode(images.flatten(0, 1)), images.shape[1])
        memory = network.new_memory(MemoryPolicy(every=1))
        memory.present = valid
        network.memorize(frames[0], object_planes(masks[:, 0], valid), memory, reference=True)
        losses = []
        for time in range(1, len(frames)):
            memory.tick()
            prediction = network.predict(frames[time], memory)
            logits = aggregate_log_odds(prediction.logits, valid)
            losses.append(self._frame_loss(prediction, logits, masks[:, time], valid))
            if time == len(frames) - 1:
                break
            if self.train_support == "gt":
                network.memorize(frames[time], object_planes(masks[:, time], valid), memory, reference=True)
                continue
            probabilities = logits.softmax(dim=1)[:, 1:]
            if self.detach_masks:
                probabilities = probabilities.detach()
                if prediction.saliency is not None:
                    prediction = replace(prediction, saliency=prediction.saliency.detach())
            network.memorize(frames[time], probabilities, memory, prediction=prediction)
        return self.log_loss(torch.stack(losses).mean())

    def _frame_loss(self, prediction: GIELPrediction, logits: Tensor, masks: Tensor, valid: Tensor) -> Tensor:
        """Sum the losses of one frame (paper, Equation 13)."""
        loss = self.weight_instance * F.cross_entropy(logits, masks.long())
        if prediction.saliency is not None:
            union = (masks > 0).float().unsqueeze(1)
            loss = loss + F.binary_cross_entropy_with_logits(prediction.saliency.float(), union)
        if self.weight_coarse > 0:
            target = object_planes(masks, valid)
            coarse = F.binary_cross_entropy_with_logits(prediction.instances.float(), target, reduction="none")
            per_plane = coarse.mean(dim=(2, 3)) * valid
            loss = loss + self.weight_coarse * per_plane.sum() / valid.sum().clamp(min=1)
        return loss

    @staticmethod
    def _build(config: GIELConfig | str, overrides: Mapping[str, Any] | None) -> GIELNetwork:
        return GIELNetwork(resolve_config(GIELConfig, config, overrides))


def _read_mask_rcnn(path: Path) -> dict[str, Tensor]:
    body = mask_rcnn_body(plain_tensors(read_torch_file(path), path))
    if not body:
        raise CheckpointError(
            f"{path} holds no parameter below backbone.body. Expected torchvision's maskrcnn_resnet50_fpn weights; for "
            "a plain ResNet use backbone_weights."
        )
    return body
