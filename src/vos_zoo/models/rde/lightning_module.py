"""Training of RDE-VOS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from vos_zoo.configs import check_choice
from vos_zoo.data.clips.dataset import ClipBatch
from vos_zoo.models.stcn.lightning_module import STCNModule
from vos_zoo.training.module import resolve_config
from vos_zoo.training.unroll import aggregate_objects, object_planes

from .config import RDEConfig
from .losses import distribution_distance
from .memory import RDEPolicy
from .network import RDENetwork

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vos_zoo.models.stcn.network import STCNFeatures

FrameWeights = Literal["halving", "uniform"]
GuidanceTarget = Literal["decoder_input", "readout"]
KLReduction = Literal["element", "position"]


class RDEModule(STCNModule):
    """RDE-VOS with its training losses (paper, Section 3.3; Table 6 for the switches).

    Frames are segmented in turn from the STM-style memory of all earlier frames (odd frames) and from the aggregated
    slot alone (even frames). What is memorised always comes from the STM-style prediction.

    Args:
        config: The architecture, or the name of a variant: ``r50``, ``small``, ``tiny``.
        overrides: Fields of the configuration to replace.
        weight_consistency: Weight of the mask consistency loss (paper: 10; released README: 5).
        weight_guidance: Weight of the unbiased guidance loss (paper: 10; released README: 5).
        stm_pattern_loss: Whether the frames segmented from the STM-style memory count in the segmentation loss.
        frame_weights: ``halving`` as released, each frame half the weight of the next; ``uniform`` as in Equation 9.
        guidance_target: Compare the whole ``decoder_input`` as released, or the ``readout`` of Equation 7.
        kl_reduction: Average divergences over every ``element`` as released, or per ``position``.
        detach_teacher: Whether gradients stop at the teachers (released code: no).
        use_aggregation: Whether the aggregated slot is trained; off in pretraining on static images, which
            then leaves the aggregation modules as they are.
        **training: Loss schedule of ``STCNModule``; optimiser, schedule and initial weights of ``VOSModule``.
    """

    network: RDENetwork

    def __init__(
        self,
        config: RDEConfig | str = "r50",
        overrides: dict[str, Any] | None = None,
        *,
        weight_consistency: float = 10.0,
        weight_guidance: float = 10.0,
        stm_pattern_loss: bool = True,
        frame_weights: FrameWeights = "halving",
        guidance_target: GuidanceTarget = "decoder_input",
        kl_reduction: KLReduction = "element",
        detach_teacher: bool = False,
        use_aggregation: bool = True,
        **training: Any,
    ) -> None:
        check_choice("frame_weights", frame_weights, FrameWeights)
        check_choice("guidance_target", guidance_target, GuidanceTarget)
        check_choice("kl_reduction", kl_reduction, KLReduction)
        super().__init__(config, overrides, **training)
        self.weight_consistency = weight_consistency
        self.weight_guidance = weight_guidance
        self.stm_pattern_loss = stm_pattern_loss
        self.frame_weights = frame_weights
        self.guidance_target = guidance_target
        self.kl_reduction = kl_reduction
        self.detach_teacher = detach_teacher
        self.use_aggregation = use_aggregation
        if not use_aggregation:  # Several devices would wait for gradients that never come.
            self._freeze("aggregation")

    def _build(self, config: Any, overrides: Mapping[str, Any] | None) -> RDENetwork:
        return RDENetwork(resolve_config(RDEConfig, config, overrides))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over training; optimiser states of version 0.1 have the shapes that the aggregation's files have."""
        super().on_load_checkpoint(checkpoint)
        for optimizer in checkpoint.get("optimizer_states", ()):
            for state in optimizer["state"].values():
                for name, value in state.items():
                    if isinstance(value, Tensor) and value.ndim == 5:
                        state[name] = value.flatten(1, 2)

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Unroll a clip with both memory patterns and sum the three losses."""
        network, masks, valid = self.network, batch["masks"], batch["valid_objects"]
        frames = self.encode_clip(batch["images"])
        last = len(frames) - 1
        memory = network.new_memory(RDEPolicy(every=1, entries=("all", "rde") if self.use_aggregation else ("all",)))
        values = network.value_encoder(frames[0].image, frames[0].stride16, batch["first_masks"])
        network.remember(frames[0], values, memory, reference=True)
        segmentation: list[Tensor] = []
        guidance: list[Tensor] = []
        for time in range(1, len(frames)):
            memory.tick()
            is_aggregated = self.use_aggregation and time % 2 == 0
            with memory.reading(("all",)):
                readout = network.read(frames[time], memory)
            if is_aggregated:
                with memory.reading(("rde",)):
                    slot_readout = network.read(frames[time], memory)
                guidance.append(self._guidance(frames[time], slot_readout, readout))
                logits = aggregate_objects(network.decode(frames[time], slot_readout), valid)
                segmentation.append(self.segmentation_loss(logits, masks[:, time], valid))
            if not is_aggregated or time < last:
                logits = aggregate_objects(network.decode(frames[time], readout), valid)
            if not is_aggregated:
                loss = self.segmentation_loss(logits, masks[:, time], valid)
                segmentation.append(loss if self.stm_pattern_loss or not self.use_aggregation else loss * 0)
            if time < last:
                network.memorize(frames[time], logits.softmax(dim=1)[:, 1:], memory)
        total = self._weighted(segmentation)
        self.log("train/segmentation", total, prog_bar=True)
        if self.weight_consistency > 0:
            exact = network.value_encoder(frames[0].image, frames[0].stride16, object_planes(masks[:, 0], valid))
            consistency = self._distance(values.flatten(0, 1), exact.flatten(0, 1)) * values.shape[1]
            self.log("train/consistency", consistency)
            total = total + self.weight_consistency * consistency
        if self.weight_guidance > 0 and guidance:
            self.log("train/guidance", sum(guidance))
            total = total + self.weight_guidance * torch.stack(guidance).sum()
        return self.log_loss(total)

    def _guidance(self, features: STCNFeatures, student: Tensor, teacher: Tensor) -> Tensor:
        """Unbiased guidance, summed over objects: read-outs of slot and full memory should agree (Equation 7)."""
        objects = student.shape[1]
        if self.guidance_target == "readout":
            return self._distance(student.flatten(0, 1), teacher.flatten(0, 1)) * objects
        network = self.network
        return (
            self._distance(network.decoder_input(features, student), network.decoder_input(features, teacher)) * objects
        )

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        return distribution_distance(
            student, teacher.detach() if self.detach_teacher else teacher, per_position=self.kl_reduction == "position"
        )

    def _weighted(self, losses: list[Tensor]) -> Tensor:
        if self.frame_weights == "uniform":
            return torch.stack(losses).sum() / 2
        weights = [0.5 ** (len(losses) - index) for index in range(len(losses))]
        return torch.stack([weight * loss for weight, loss in zip(weights, losses, strict=True)]).sum()
