"""GIEL: one class-agnostic memory read for all objects, gated per object by label embeddings."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from vos_zoo.layers import KeyValue, KeyValueFeatures, ResNetTrunk
from vos_zoo.memory import MemoryTokens, read_memory, similarity_terms
from vos_zoo.models.giel.log_odds import product_log_odds
from vos_zoo.models.grouped_memory import matching_working_bytes
from vos_zoo.network import MemoryCost, MemoryPolicy, Prediction, VOSNetwork, reference_planes

from .memory import GIELMemory, SupportFrame, stack_tokens
from .parts import CoarseHead, Decoder, LabelEncoder, TemporalAttention, label_maps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .config import GIELConfig

    #: Turns embeddings (M, C, h, w) and the clips they belong to (None: evenly) into logits (M, H, W).
    DecodeRows = Callable[[Tensor, "Tensor | None"], Tensor]


@dataclass(frozen=True)
class GIELPrediction(Prediction):
    """What the branches say about a frame.

    Args:
        logits: Log-odds of both branches assembled, before aggregation over objects, shape (B, O, H, W).
        saliency: Logits of the global branch, any object against background, shape (B, 1, H, W); None without it.
        instances: Logits of the instance branch, shape (B, O, H, W).
    """

    saliency: Tensor | None
    instances: Tensor


class GIELNetwork(VOSNetwork[KeyValueFeatures, GIELMemory]):
    """GIEL behind the four verbs.

    Objects are a batch axis; they meet in the label maps, in the global branch and in the aggregation.

    Args:
        config: Sizes, variant and support set.

    Source: Ge, Lu and Shen, CVPR 2021.
    """

    replayable: ClassVar[tuple[str, ...]] = (
        *("encode", "support_encoder", "support_projection"),
        *("label_encoder", "global_decoder", "instance_decoder", "coarse_head"),
    )

    def __init__(self, config: GIELConfig) -> None:
        super().__init__()
        self.config = config
        self.working_size = config.working_size
        self.query_encoder = ResNetTrunk(config.backbone)
        self.support_encoder = ResNetTrunk(config.backbone, in_channels=4)
        for part in (*self.query_encoder.modules(), *self.support_encoder.modules()):
            if isinstance(part, _BatchNorm):
                part.eps = config.batch_norm_eps
        stride4, stride8, stride16 = self.query_encoder.channels
        self.query_projection = KeyValue(stride16, config.key_dim, config.value_dim, kernel_size=config.kv_kernel)
        # A copy at first: where both encoders start from the same trunk, the affinity compares like with like at once.
        self.support_projection = None if config.share_kv else deepcopy(self.query_projection)
        self.temporal_attention = (
            TemporalAttention(config.key_dim, config.ta_norm) if config.temporal_attention else None
        )
        width, skips = 2 * config.value_dim, (stride8, stride4)
        self.label_encoder = LabelEncoder(config) if config.instance_embedding else None
        has_global_decoder = config.global_embedding or config.share_decoder
        self.global_decoder = Decoder(width, skips, config.decoder_dim) if has_global_decoder else None
        decodes_instances = config.variant == "full" and config.instance_embedding
        self.instance_decoder = (
            Decoder(width, skips, config.decoder_dim) if decodes_instances and not config.share_decoder else None
        )
        self.coarse_head = CoarseHead(width, config) if config.variant == "fast" else None

    def default_policy(self) -> MemoryPolicy:
        """Keep every processed frame as a candidate, thinned beyond ``max_memory_frames``."""
        return MemoryPolicy(every=1, max_frames=self.config.max_memory_frames)

    def memory_cost(self, policy: MemoryPolicy, size: tuple[int, int], objects: int) -> MemoryCost:
        """Keys, the shared value, a gated value per object and the background plane, in half precision."""
        pixels = size[0] * size[1]
        positions = pixels // self.stride**2
        if self.config.instance_embedding:
            frame_bytes = 4 * positions * (self.config.key_dim + (1 + objects) * self.config.value_dim) + 2 * pixels
        else:
            frame_bytes = 4 * positions * objects * (self.config.key_dim + self.config.value_dim)
        max_frames = 1 if self.config.support == "previous" else policy.max_frames
        return MemoryCost(frame_bytes, max_frames, matching_working_bytes(self, pixels, objects))

    def new_memory(self, policy: MemoryPolicy | None = None) -> GIELMemory:
        """Make an empty memory; it keeps the graph when gradients are enabled."""
        return GIELMemory(
            policy or self.default_policy(),
            support=self.config.support,
            support_size=self.config.support_size,
            keep_previous=self.config.keep_previous,
            trained_objects=self.config.max_objects,
            differentiable=torch.is_grad_enabled(),
        )

    def encode(self, image: Tensor) -> KeyValueFeatures:
        """Encode a normalised frame (B, 3, H, W)."""
        stride4, stride8, stride16 = self.query_encoder(image)
        key, value = self.query_projection(stride16)
        return KeyValueFeatures(image=image, key=key, value=value, stride8=stride8, stride4=stride4)

    def segment(self, features: KeyValueFeatures, memory: GIELMemory) -> Tensor:
        """Return each object's log-odds (B, O, H, W) on the current frame."""
        return self.predict(features, memory).logits

    def predict(self, features: KeyValueFeatures, memory: GIELMemory) -> GIELPrediction:
        """Segment the current frame and return both branches."""
        support = memory.support_frames()
        if not self.config.instance_embedding:
            logits = self._decode_alone(features, support, memory.num_objects)
            return GIELPrediction(logits, None, logits)
        keys = torch.stack([frame.keys[:, 0] for frame in support], dim=1)
        log_weights = self._frame_log_weights(keys, features.key)
        scaled = self._scale_keys(keys, log_weights)
        saliency, instances = self._branches(features, support, scaled, log_weights, memory)
        is_product = saliency is not None and (self.config.variant == "fast" or self.config.full_uses_global)
        log_odds = product_log_odds(instances, saliency) if is_product and saliency is not None else instances
        return GIELPrediction(log_odds, saliency, instances)

    def memorize(
        self,
        features: KeyValueFeatures,
        probabilities: Tensor,
        memory: GIELMemory,
        *,
        reference: bool | Sequence[int] = False,
        prediction: Prediction | None = None,
    ) -> None:
        """Encode the frame with its class-agnostic mask, gate its value per object (masks (B, O, H, W)), store all."""
        objects = probabilities.shape[1]
        planes = reference_planes(reference, objects)
        newcomers = memory.check_planes(objects, planes)
        background = (1 - probabilities.sum(dim=1, keepdim=True)).clamp(0, 1)
        if self.label_encoder is None:
            keys, values = self._support_tokens(features.image, probabilities)
            gated, kept = None, None
        else:
            mask = self._class_agnostic_mask(features, probabilities, background, memory, planes, prediction)
            keys, values = self._support_tokens(features.image, mask)
            gated = self._gate(values[:, 0], label_maps(probabilities, background), memory.present)
            kept = background if memory.differentiable else background.half()
        if not memory.differentiable:
            keys, values = keys.detach(), values.detach()
            gated, kept = (None if part is None else part.detach() for part in (gated, kept))
        new = SupportFrame(memory.clock, keys, values, gated, kept, bool(planes), False, [True] * objects)
        # Computed before anything is changed, so that a failure leaves the memory as it was.
        memory.write(new, [self._extend(frame, len(newcomers)) for frame in memory.frames])

    def _class_agnostic_mask(
        self,
        features: KeyValueFeatures,
        probabilities: Tensor,
        background: Tensor,
        memory: GIELMemory,
        annotated: frozenset[int],
        prediction: Prediction | None,
    ) -> Tensor:
        """Return the mask (B, 1, H, W) that the support encoder sees.

        Annotated frames show the union of the objects, predicted ones the global map. Objects that a user annotates on
        a predicted frame join the map.
        """
        union = 1 - background
        is_annotated = len(annotated) == probabilities.shape[1]
        if is_annotated or self.config.memory_mask == "union":
            return union
        both = prediction if isinstance(prediction, GIELPrediction) else self.predict(features, memory)
        if both.saliency is None:
            return union
        mask = torch.sigmoid(both.saliency.float()).to(probabilities.dtype)
        if annotated:
            mask = torch.maximum(mask, probabilities[:, sorted(annotated)].sum(dim=1, keepdim=True))
        return mask

    def _support_tokens(self, image: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Encode the frame once per mask (B, G, H, W): keys (B, G, hw, Ck) and values (B, G, hw, Cv)."""
        batch, count = masks.shape[:2]
        projection = self.support_projection or self.query_projection
        parts = []
        for start in range(0, count, self.config.max_objects):
            chunk = masks[:, start : start + self.config.max_objects]
            images = image.unsqueeze(1).expand(-1, chunk.shape[1], -1, -1, -1).flatten(0, 1)
            inputs = torch.cat([images, chunk.flatten(0, 1).unsqueeze(1).to(images.dtype)], dim=1)
            key, value = projection(self.support_encoder(inputs).stride16)
            parts.append(
                [part.flatten(2).mT.reshape(batch, chunk.shape[1], -1, part.shape[1]) for part in (key, value)]
            )
        keys, values = (torch.cat(chunks, dim=1) for chunks in zip(*parts, strict=True))
        return keys, values

    def _gate(self, value: Tensor, labels: Tensor, present: Tensor | None) -> Tensor:
        """Multiply the frame's value (B, hw, Cv) by each object's gates from labels (B, O, 3, H, W): (B, O, hw, Cv)."""
        encoder = self.label_encoder
        assert encoder is not None
        if present is not None:
            # Planes without an object would pollute the batch statistics.
            index = _present_rows(present)
            tokens: Tensor = encoder(labels.flatten(0, 1)[index]).flatten(2).mT
            every = tokens.new_zeros(present.numel(), *tokens.shape[1:]).index_put((index,), tokens)
            return value.unsqueeze(1) * every.reshape(*present.shape, *tokens.shape[1:])
        parts = []
        for start in range(0, labels.shape[1], self.config.max_objects):
            chunk = labels[:, start : start + self.config.max_objects]
            gates = encoder(chunk.flatten(0, 1)).flatten(2).mT
            parts.append(value.unsqueeze(1) * gates.reshape(*chunk.shape[:2], *gates.shape[1:]))
        return torch.cat(parts, dim=1)

    def _extend(self, frame: SupportFrame, newcomers: int) -> SupportFrame:
        """Return an earlier frame with objects that were not there yet."""
        if not newcomers:
            return frame
        has_object = [*frame.has_object, *[frame.gated is not None] * newcomers]
        keys, values, gated = frame.keys, frame.values, frame.gated
        if gated is None:
            keys, values = (
                torch.cat([part, part.new_zeros(len(part), newcomers, *part.shape[2:])], dim=1)
                for part in (keys, values)
            )
        else:
            assert frame.background is not None
            background = frame.background.to(values.dtype)
            labels = torch.stack([torch.zeros_like(background), 1 - background, background], dim=2)
            absent = self._gate(values[:, 0], labels, None)
            gated = torch.cat([gated, absent.to(gated.dtype).expand(-1, newcomers, -1, -1)], dim=1)
        return SupportFrame(
            frame.frame, keys, values, gated, frame.background, frame.is_reference, frame.is_temporary, has_object
        )

    def _frame_log_weights(self, keys: Tensor, query: Tensor) -> Tensor | None:
        """Return log-weights (B, T) of support frames with keys (B, T, hw, Ck); None for equal weights."""
        if self.temporal_attention is None or keys.shape[1] == 1:
            return None
        log_weights: Tensor = self.temporal_attention(keys, query.flatten(2).mT)
        return log_weights

    def _scale_keys(self, keys: Tensor, log_weights: Tensor | None) -> Tensor:
        """Return keys as tokens (B, T*hw, Ck), multiplied by the frames' weights in the mode ``mul``."""
        if log_weights is not None and self.config.ta_mode == "mul":
            keys = keys * log_weights.exp().to(keys.dtype)[:, :, None, None]
        return keys.flatten(1, 2)

    def _read(
        self, query: Tensor, keys: Tensor, values: Tensor, log_weights: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        """Read values (B, N, D) at every position of the query key (B, Ck, h, w): (B, D, h, w)."""
        scale, of_keys = similarity_terms(keys, self.config.similarity)
        if of_keys is not None:
            bias = of_keys if bias is None else bias + of_keys
        tokens = MemoryTokens(keys, bias, values, scale)
        added = log_weights if self.config.ta_mode == "log" else None
        return read_memory(query, tokens, frame_log_weights=added).values

    def _branches(
        self,
        features: KeyValueFeatures,
        support: list[SupportFrame],
        keys: Tensor,
        log_weights: Tensor | None,
        memory: GIELMemory,
    ) -> tuple[Tensor | None, Tensor]:
        """Return global logits (B, 1, H, W) and instance logits (B, O, H, W), some objects at a time."""
        objects, chunk = memory.num_objects, self.config.max_objects
        saliency: Tensor | None = None
        instances: list[Tensor] = []
        decode, global_skips = self._instance_decoder(features)
        for start in range(0, objects, chunk):
            planes = slice(start, start + chunk)
            with_shared = start == 0 and self.config.global_embedding
            values = stack_tokens(support, planes, with_shared=with_shared)
            readout = self._read(features.key, keys, values, log_weights, None)
            per_plane = readout.reshape(len(readout), -1, *features.value.shape[1:]).to(features.value.dtype)
            if with_shared:
                assert self.global_decoder is not None
                assert global_skips is not None
                embedding = torch.cat([features.value, per_plane[:, 0]], dim=1)
                saliency = self.global_decoder(embedding, global_skips).unsqueeze(1)
                per_plane = per_plane[:, 1:]
            value = features.value.unsqueeze(1).expand_as(per_plane)
            present = None if memory.present is None else memory.present[:, planes]
            instances.append(_decode_planes(torch.cat([value, per_plane], dim=2), present, decode))
        return saliency, torch.cat(instances, dim=1)

    def _instance_decoder(self, features: KeyValueFeatures) -> tuple[DecodeRows, tuple[Tensor, Tensor] | None]:
        """Return how embeddings of objects become logits on this frame, and the global decoder's skip features."""
        coarse, own, shared = self.coarse_head, self.instance_decoder, self.global_decoder
        global_skips = None if shared is None else shared.skips(features.stride8, features.stride4)
        if coarse is not None:
            return (lambda rows, _clips: coarse(rows)), global_skips
        if own is not None:
            own_skips = own.skips(features.stride8, features.stride4)
            return (lambda rows, clips: own(rows, own_skips, clips)), global_skips
        assert shared is not None
        assert global_skips is not None
        return (lambda rows, clips: shared(rows, global_skips, clips)), global_skips

    def _decode_alone(self, features: KeyValueFeatures, support: list[SupportFrame], objects: int) -> Tensor:
        """Segment every object by the global branch with its own mask (ablation without instance embedding)."""
        assert self.global_decoder is not None
        skips = self.global_decoder.skips(features.stride8, features.stride4)
        batch, logits = len(features.key), []
        for plane in range(objects):
            keys = torch.stack([frame.keys[:, plane] for frame in support], dim=1)
            values = torch.cat([frame.values[:, plane] for frame in support], dim=1)
            log_weights = self._frame_log_weights(keys, features.key)
            known = torch.tensor([frame.has_object[plane] for frame in support], device=keys.device)
            bias = torch.zeros(known.shape, device=keys.device).masked_fill(~known, -torch.inf)
            bias = bias.repeat_interleave(keys.shape[2]).expand(batch, -1)
            readout = self._read(features.key, self._scale_keys(keys, log_weights), values, log_weights, bias)
            embedding = torch.cat([features.value, readout.to(features.value.dtype)], dim=1)
            logits.append(self.global_decoder(embedding, skips))
        return torch.stack(logits, dim=1)


def _present_rows(present: Tensor) -> Tensor:
    """Return the positions of existing planes among all of a batch; the first plane if there is none.

    A normalisation cannot run on nothing, and every device has to use every parameter.
    """
    index = present.flatten().nonzero().squeeze(1)
    return index if len(index) else index.new_zeros(1)


def _decode_planes(embeddings: Tensor, present: Tensor | None, decode: DecodeRows) -> Tensor:
    """Decode embeddings (B, O, C, h, w) of the planes that hold an object: logits (B, O, H, W), others 0."""
    if present is None:
        logits = decode(embeddings.flatten(0, 1), None)
        return logits.reshape(*embeddings.shape[:2], *logits.shape[1:])
    index = _present_rows(present)
    logits = decode(embeddings.flatten(0, 1)[index], index // present.shape[1])
    empty = logits.new_zeros(present.numel(), *logits.shape[1:])
    return empty.index_put((index,), logits).reshape(*present.shape, *logits.shape[1:])
