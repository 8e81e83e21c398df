"""Training of DMN-AOA."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from vos_zoo.configs import check_choice
from vos_zoo.data.clips.dataset import ClipBatch
from vos_zoo.errors import ConfigError, MissingFileError
from vos_zoo.training.module import VOSModule, resolve_config
from vos_zoo.training.unroll import aggregate_objects, object_planes

from .config import DMNAOAConfig
from .detector_training import DetectorModule as DetectorModule  # a recipe can name what is imported with the model
from .memory import DMNPolicy
from .network import DMNAOANetwork
from .proposals import JoinedProposals, PropagatedProposals, ProposalSource, TrueProposals
from .training_proposals import ClipProposals

TrainingProposals = Literal["folder", "true", "propagated", "both"]


class DMNAOAModule(VOSModule):
    """DMN-AOA with its training on clips of four frames (paper, Section 4.1).

    Frames after the first are segmented in turn with all earlier ones in memory. Predictions are fed back softly and
    with gradients; boxes and the masks that overlaps are measured with carry none.

    Args:
        config: The architecture, or the name of a variant: ``r50``, ``r101``, ``small``, ``tiny``.
        overrides: Fields of the configuration to replace.
        learning_rate: Adam's learning rate outside the backbone: 1e-4 for images, 1e-6 for videos (paper).
        backbone_rate: Learning rate of the backbone as a share of ``learning_rate`` (paper: a tenth).
        weight_decay: L2 term; the paper names none.
        training_proposals: Where proposals come from in training. ``folder`` reads those of a detector (paper);
            ``true`` makes them of the true masks, displaced copies and random boxes, as a detector would find them;
            ``propagated`` of the previous prediction, as in a session that has no detector; ``both`` shows both kinds.
        proposals_folder: For ``folder``: ``VIDEO/FRAME.npz`` of videos or ``PICTURE.npz`` of images, made by
            ``vos-zoo proposals``; relative to the data root or the working directory.
        coarse_weight: Weight of a binary cross-entropy on coarse masks, which the paper does not have.
        freeze_bn_affine: Keep scale and shift of the backbone's normalisations, besides their statistics (paper).
        **training: Loss schedule, optimiser schedule and initial weights of ``VOSModule``.
    """

    network: DMNAOANetwork

    def __init__(
        self,
        config: DMNAOAConfig | str = "r50",
        overrides: dict[str, Any] | None = None,
        *,
        learning_rate: float = 1e-4,
        backbone_rate: float = 0.1,
        weight_decay: float = 0.0,
        training_proposals: TrainingProposals = "both",
        proposals_folder: str | None = None,
        coarse_weight: float = 0.0,
        freeze_bn_affine: bool = True,
        **training: Any,
    ) -> None:
        check_choice("training_proposals", training_proposals, TrainingProposals)
        if (training_proposals == "folder") != (proposals_folder is not None):
            raise ConfigError(
                f"DMNAOAModule has training_proposals={training_proposals!r} and proposals_folder="
                f"{proposals_folder!r}. Expected a folder with 'folder', and none without."
            )
        super().__init__(
            DMNAOANetwork(resolve_config(DMNAOAConfig, config, overrides)),
            learning_rate=learning_rate,
            backbone_rate=backbone_rate,
            weight_decay=weight_decay,
            **training,
        )
        self.training_proposals = training_proposals
        self.proposals_folder = proposals_folder
        self.coarse_weight = coarse_weight
        if freeze_bn_affine:
            for part in self.network.modules():
                if isinstance(part, _BatchNorm):
                    part.requires_grad_(False)

    def setup(self, stage: str) -> None:
        """Look for the proposals before training starts."""
        super().setup(stage)
        if stage != "fit" or self.proposals_folder is None:
            return
        places = [root / self.proposals_folder for root in self.search_roots()]
        found = next((place for place in places if place.is_dir()), None)
        if found is None:
            raise MissingFileError(
                f"There is no folder of proposals {' or '.join(map(str, places))}. Make them with `vos-zoo proposals` "
                "for every video that is trained on."
            )
        self._proposals = found

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Unroll clips; the mean of the predicted frames' losses."""
        network, masks, valid = self.network, batch["masks"], batch["valid_objects"]
        images = batch["images"]
        planes = torch.stack([object_planes(mask, valid) for mask in masks.unbind(1)], dim=1)
        policy = DMNPolicy(every=1, keeps="all", source=self._source(planes, batch))
        memory = network.new_memory(policy)
        network.memorize(network.encode(images[:, 0]), batch["first_masks"], memory, reference=True)
        losses, coarse_losses = [], []
        for time in range(1, images.shape[1]):
            features = network.encode(images[:, time])
            memory.tick()
            coarse = network.coarse_masks(features, memory)
            logits = aggregate_objects(network.finish(features, coarse, memory), valid)
            losses.append(self.segmentation_loss(logits, masks[:, time], valid))
            if self.coarse_weight > 0:
                within = coarse[valid].float().clamp(1e-4, 1 - 1e-4)
                with torch.autocast(within.device.type, enabled=False):
                    coarse_losses.append(F.binary_cross_entropy(within, planes[:, time][valid]))
            if time < images.shape[1] - 1:
                network.memorize(features, logits.softmax(dim=1)[:, 1:], memory)
        total = torch.stack(losses).mean()
        if coarse_losses:
            coarse_loss = torch.stack(coarse_losses).mean()
            self.log("train/coarse", coarse_loss)
            total = total + self.coarse_weight * coarse_loss
        return self.log_loss(total)

    def _source(self, planes: Tensor, batch: ClipBatch) -> ProposalSource:
        if self.training_proposals == "folder":
            return ClipProposals.of_batch(self._proposals, batch["origins"])
        if self.training_proposals == "propagated":
            return PropagatedProposals()
        true = TrueProposals(planes, seed=self.global_step)
        return true if self.training_proposals == "true" else JoinedProposals((true, PropagatedProposals()))
