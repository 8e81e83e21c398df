"""DMN-AOA: proposals matched with templates from an object memory, then refined."""

from __future__ import annotations

from dataclasses import fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.memory import read_memory
from vos_zoo.network import MemoryCost, MemoryPolicy, Prediction, SideInput, VOSNetwork, reference_planes

from .alignment import ObjectAlignment
from .assignment import keep_assignments, mask_overlap, pad_columns, relaxed_assignment
from .features import (
    BaseFeatures,
    DMNFeatures,
    area_average,
    fit_boxes,
    label_masks,
    pool_masks,
    pool_objects,
    tight_boxes,
)
from .memory import DMNMemory, DMNPolicy
from .proposal_files import open_proposals
from .proposals import ProposalRequest, Proposals, paste_masks
from .refinement import MaskRefinement
from .template import MemoryEncoder, QueryEncoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .config import DMNAOAConfig
    from .proposals import ProposalSource
    from .refinement import ReferenceFrame

_PROBABILITY_EPSILON = 1e-4  # coarse masks that are not refined become log-odds within these bounds


class TemplateDecoder(nn.Sequential):
    """Mask of an object decoded from its template alone (Table 3, A5).

    Args:
        config: Sizes.
    """

    def __init__(self, config: DMNAOAConfig) -> None:
        super().__init__(
            nn.Conv2d(config.object_dim, config.align_dim, 3, padding=1),
            nn.GroupNorm(config.groups, config.align_dim),
            nn.ReLU(),
            nn.Conv2d(config.align_dim, 1, 1),
        )


class DMNAOANetwork(VOSNetwork[DMNFeatures, DMNMemory]):
    """DMN-AOA behind the four verbs.

    Args:
        config: Sizes, matching and memory.

    Source: DMN-AOA, Liang et al., ICCV 2021.
    """

    #: Outputs are cropped before they become previous masks and boxes, as STM's are.
    pads_masks_with_zeros: ClassVar[bool] = True
    side_inputs: ClassVar[Mapping[str, SideInput]] = MappingProxyType(
        {"proposals": SideInput("a folder of object proposals, see `vos-zoo proposals`", open_proposals)}
    )
    #: Table 4: base features, object proposals, object templates, aligned matching, mask refinement.
    timed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {
            "BFE": ("encode",),
            "OPG": ("_propose",),
            "OTG": ("_templates", "_keep_templates", "_remember_objects"),
            "AM": ("_match",),
            "MRN": ("_refine", "_reference_frame"),
        }
    )

    def __init__(self, config: DMNAOAConfig) -> None:
        super().__init__()
        self.config = config
        self.working_size = config.working_size
        self.base = BaseFeatures(config)
        if config.template == "memory":
            self.memory_encoder = MemoryEncoder(config)
            self.query_encoder = QueryEncoder(config)
        if config.matcher:
            self.alignment = ObjectAlignment(config)
        else:
            self.template_decoder = TemplateDecoder(config)
        if config.refine:
            self.refinement = MaskRefinement(config)

    def default_policy(self) -> DMNPolicy:
        """Remember the frames that ``config.memory`` names, thinned beyond ``max_memory_frames``."""
        config = self.config
        return DMNPolicy(every=config.mem_every, max_frames=config.max_memory_frames, keeps=config.memory)

    def memory_cost(self, policy: MemoryPolicy, size: tuple[int, int], objects: int) -> MemoryCost:
        """Keys and values of every object, and two reference frames shared out over the remembered frames."""
        config = self.config
        pixels = size[0] * size[1]
        cells = pixels // self.stride**2
        tokens = cells if config.memory_source == "frame" else config.roi_size**2
        banked = 4 * objects * tokens * (config.key_dim + 1 + config.object_dim) if config.template == "memory" else 0
        fixed = objects * (pixels + 5)
        if config.refine:
            area = 16 * config.widths[0] + 4 * config.widths[1] + config.widths[2]
            fixed += objects * pixels + 2 * cells * (area + config.widths[2])
        if config.template == "first":
            fixed += objects * config.roi_size**2 * config.object_dim
        # Backbone, then refinement at stride 4 with its reference frames; proposal masks at full size.
        width = self.base.trunk.channels[0] / 16 + config.widths[0] / 4
        working = int(4 * pixels * (3 + 32 + 2 * width + 2 * config.max_proposals + objects * config.refine_dim / 4))
        frames = policy.max_frames
        shared_out = -(-4 * fixed // (frames or config.mem_every))
        return MemoryCost(banked + shared_out, frames, working)

    def new_memory(self, policy: MemoryPolicy | None = None) -> DMNMemory:
        """Make an empty memory; it keeps the graph when gradients are enabled.

        A plain policy gets the configuration's choice of frames and the proposals that need nothing but the video.
        """
        return DMNMemory(self.full_policy(policy), differentiable=torch.is_grad_enabled())

    def with_side_inputs(self, policy: MemoryPolicy, side_inputs: Mapping[str, Any]) -> DMNPolicy:
        """Return a policy whose proposals come from ``side_inputs["proposals"]``, a ``ProposalSource``."""
        return self.full_policy(policy, source=side_inputs.get("proposals"))

    def full_policy(self, policy: MemoryPolicy | None = None, *, source: ProposalSource | None = None) -> DMNPolicy:
        """Complete a plain policy with this model's choices.

        Args:
            policy: Any policy; None means ``default_policy()``.
            source: Where proposals come from; None keeps the policy's source.
        """
        if policy is None:
            policy = self.default_policy()
        elif not isinstance(policy, DMNPolicy):
            values = {field.name: getattr(policy, field.name) for field in fields(MemoryPolicy)}
            policy = DMNPolicy(**values, keeps=self.config.memory)
        return policy if source is None else replace(policy, source=source)

    def encode(self, image: Tensor) -> DMNFeatures:
        """Compute base features of a normalised frame (B, 3, H, W)."""
        features: DMNFeatures = self.base(image)
        return features

    def segment(self, features: DMNFeatures, memory: DMNMemory) -> Tensor:
        """Return mask log-odds (B, O, H, W) of the current frame."""
        memory.require()
        return self.finish(features, self.coarse_masks(features, memory), memory)

    def memorize(
        self,
        features: DMNFeatures,
        probabilities: Tensor,
        memory: DMNMemory,
        *,
        reference: bool | Sequence[int] = False,
        prediction: Prediction | None = None,
    ) -> None:
        """Update boxes, references and the object memories from the frame's masks."""
        batch, objects = probabilities.shape[:2]
        annotated = reference_planes(reference, objects)
        memory.admit(batch, objects, annotated)
        exact = probabilities if probabilities.dtype == torch.float64 else probabilities.float()
        boxes, is_seen = tight_boxes(label_masks(exact.detach()))
        fitted = fit_boxes(boxes, features.image.shape[2:])  # type: ignore[arg-type]
        self._keep_boxes(memory, fitted, is_seen)
        memory.objects["probability"] = exact
        if self.config.refine:
            frame = self._reference_frame(features)
            memory.previous = frame
            if annotated:
                memory.references[memory.clock] = frame
                memory.set_object("reference_mask", exact, annotated)
                memory.drop_references()
        places = is_seen.nonzero().tolist()
        if self.config.template == "first":
            self._keep_templates(features, memory, fitted, annotated)
        elif places:
            self._remember_objects(features, exact, fitted, places, annotated, memory)
        memory.frames_since_kept = 0
        memory.check_budget()

    def coarse_masks(self, features: DMNFeatures, memory: DMNMemory) -> Tensor:
        """Match templates with proposals: coarse masks (B, O, H, W) in [0, 1].

        Objects that have no template yet, and all objects of a frame without proposals, keep their previous
        probability.
        """
        previous = memory.objects["probability"]
        has_box = memory.objects["has_box"].tolist()
        rows = []
        for entry in range(len(previous)):
            planes = [plane for plane, has in enumerate(has_box[entry]) if has]
            of_entry = DMNFeatures(*(part[entry : entry + 1] for part in features))
            matched = self._match_entry(of_entry, entry, planes, memory) if planes else None
            masks = list(previous[entry])
            if matched is not None:
                for plane, mask in zip(planes, matched, strict=True):
                    masks[plane] = mask
            rows.append(torch.stack(masks))
        return torch.stack(rows)

    def finish(self, features: DMNFeatures, coarse: Tensor, memory: DMNMemory) -> Tensor:
        """Turn coarse masks (B, O, H, W) into log-odds, refined unless the configuration says otherwise."""
        if not self.config.refine:
            return torch.logit(coarse, eps=_PROBABILITY_EPSILON)
        return self._refine(features, coarse, memory)

    def _match_entry(self, features: DMNFeatures, entry: int, planes: list[int], memory: DMNMemory) -> Tensor | None:
        """Return coarse masks (len(planes), H, W) of one clip, or None without proposals."""
        size = (features.image.shape[2], features.image.shape[3])
        boxes = fit_boxes(memory.objects["box"][entry, planes], size, expand=self.config.box_expand)
        templates = self._templates(features, entry, planes, boxes, memory)
        if not self.config.matcher:
            return paste_masks(self.template_decoder(templates).squeeze(1).sigmoid(), boxes, size)
        previous = memory.objects["probability"][entry]
        assert memory.origin is not None
        request = ProposalRequest(
            memory.clock - memory.origin, entry, features.image[0], previous.detach(), memory.objects["box"][entry]
        )
        proposals = self._propose(request, memory)
        if len(proposals) == 0:
            return None
        return self._match(features, templates, proposals, previous[planes], is_training=memory.differentiable)

    def _propose(self, request: ProposalRequest, memory: DMNMemory) -> Proposals:
        """Return the frame's proposals from wherever the memory's policy takes them."""
        return memory.policy.source(request)

    def _match(
        self, features: DMNFeatures, templates: Tensor, proposals: Proposals, previous: Tensor, *, is_training: bool
    ) -> Tensor:
        """Align proposals to templates (K, C, r, r) and assign them: coarse masks (K, H, W)."""
        size = (features.image.shape[2], features.image.shape[3])
        proposals = self._limit(proposals, len(templates))
        boxes = fit_boxes(proposals.boxes, size)
        pooled = pool_objects(features, boxes, torch.zeros(len(proposals), device=boxes.device), self.config.roi_size)
        return self._assign(self.alignment(templates, pooled), previous, proposals, is_training=is_training)

    def _limit(self, proposals: Proposals, objects: int) -> Proposals:
        """Keep the best proposals, at least one more than there are objects."""
        most = max(self.config.max_proposals, objects + 1)
        if len(proposals) <= most:
            return proposals
        best = proposals.scores.argsort(descending=True, stable=True)[:most]
        return Proposals(proposals.boxes[best], proposals.scores[best], proposals.masks[best])

    def _assign(self, cosine: Tensor, previous: Tensor, proposals: Proposals, *, is_training: bool) -> Tensor:
        """Return coarse masks (K, H, W) from cosines (K, n)."""
        config = self.config
        masks = proposals.masks.to(cosine.dtype)
        similarity = cosine
        if config.iou_weight:
            overlap = mask_overlap(previous, masks).to(cosine.dtype)
            similarity = (1 - config.iou_weight) * cosine + config.iou_weight * overlap
        assignment = relaxed_assignment(
            -pad_columns(similarity, null_columns=config.null_columns),
            max_iter=config.train_iterations if is_training else config.eval_iterations,
            proj_iter=config.projections,
            step_size=config.step_size,
            average=config.average,
            early_stop=config.early_stop,
        )
        kept = keep_assignments(assignment, least=config.least_assignment, selection=config.selection)
        coarse = kept[:, : len(masks)] @ masks.flatten(1)
        return coarse.clamp(0, 1).reshape(-1, *masks.shape[1:])

    def _templates(
        self, features: DMNFeatures, entry: int, planes: list[int], boxes: Tensor, memory: DMNMemory
    ) -> Tensor:
        """Return the templates (len(planes), C, r, r) of one clip's objects."""
        if self.config.template == "first":
            templates: Tensor = memory.objects["template"][entry, planes]
            return templates
        pooled = pool_objects(features, boxes, torch.zeros(len(planes), device=boxes.device), self.config.roi_size)
        offsets = [memory.clock - memory.planes[plane].start for plane in planes]
        queries = self.query_encoder(pooled, offsets)
        read = [
            read_memory(query.unsqueeze(0), memory.banks[entry][plane].tokens()).values
            for query, plane in zip(queries, planes, strict=True)
        ]
        return torch.cat(read)

    def _refine(self, features: DMNFeatures, coarse: Tensor, memory: DMNMemory) -> Tensor:
        """Refine objects, those with a common first frame at a time."""
        query = self.refinement.query(features)
        assert memory.previous is not None
        refined: dict[int, Tensor] = {}
        for time, frame in memory.references.items():
            planes = [index for index, plane in enumerate(memory.planes) if plane.reference == time]
            logits = self.refinement(
                features,
                query,
                coarse[:, planes],
                frame,
                memory.objects["reference_mask"][:, planes],
                memory.previous,
                memory.objects["probability"][:, planes],
            )
            refined |= dict(zip(planes, logits.unbind(1), strict=True))
        return torch.stack([refined[plane] for plane in range(len(memory.planes))], dim=1)

    def _reference_frame(self, features: DMNFeatures) -> ReferenceFrame:
        """Prepare a frame that later ones are refined against."""
        return self.refinement.remember(features)

    def _keep_boxes(self, memory: DMNMemory, boxes: Tensor, is_seen: Tensor) -> None:
        """Move boxes of objects that are seen; others keep their last one."""
        old_boxes, old_has = memory.objects.get("box"), memory.objects.get("has_box")
        last, has_box = torch.zeros_like(boxes), is_seen
        if old_boxes is not None and old_has is not None:
            fresh = boxes.shape[1] - old_boxes.shape[1]
            last = F.pad(old_boxes, (0, 0, 0, fresh))
            has_box = is_seen | F.pad(old_has, (0, fresh))
        memory.objects["box"] = torch.where(is_seen.unsqueeze(-1), boxes, last)
        memory.objects["has_box"] = has_box

    def _keep_templates(
        self, features: DMNFeatures, memory: DMNMemory, boxes: Tensor, annotated: frozenset[int]
    ) -> None:
        """Store first-frame object features as templates, without mask and time."""
        if annotated:
            batch, objects = boxes.shape[:2]
            entries = torch.arange(batch, device=boxes.device).repeat_interleave(objects)
            pooled = pool_objects(features, boxes.flatten(0, 1), entries, self.config.roi_size)
            memory.set_object("template", pooled.reshape(batch, objects, *pooled.shape[1:]), annotated)

    def _remember_objects(
        self,
        features: DMNFeatures,
        probabilities: Tensor,
        boxes: Tensor,
        places: list[list[int]],
        annotated: frozenset[int],
        memory: DMNMemory,
    ) -> None:
        """Encode the objects that are seen, ``places`` = [clip, plane], and add them to their banks."""
        entries = torch.tensor([entry for entry, _ in places], device=boxes.device)
        planes = torch.tensor([plane for _, plane in places], device=boxes.device)
        chosen, masks = boxes[entries, planes], probabilities[entries, planes]
        offsets = [memory.clock - memory.planes[plane].start for _, plane in places]
        if self.config.memory_source == "frame":
            of_frames = _frame_features(features)
            pooled, pooled_masks = of_frames[entries], area_average(masks.unsqueeze(1), 16)
        else:
            pooled = pool_objects(features, chosen, entries, self.config.roi_size)
            pooled_masks = pool_masks(masks, chosen, self.config.roi_size)
        keys, values = self.memory_encoder(pooled, pooled_masks, offsets)
        for row, (entry, plane) in enumerate(places):
            memory.remember(entry, plane, keys[row : row + 1], values[row : row + 1], is_reference=plane in annotated)


def _frame_features(features: DMNFeatures) -> Tensor:
    """Stack the levels on the stride-16 grid: (B, C, h, w)."""
    return torch.cat([F.avg_pool2d(features.stride4, 4), F.avg_pool2d(features.stride8, 2), features.stride16], dim=1)
