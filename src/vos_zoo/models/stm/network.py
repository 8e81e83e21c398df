"""STM: space-time memory with keys that see the mask, so every object has its own affinity."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.layers import KeyValue, KeyValueFeatures, RefineBlock, ResidualBlock, ResNetTrunk, object_channels
from vos_zoo.layers.blocks import upsample
from vos_zoo.memory import MemoryBank
from vos_zoo.models.grouped_memory import MatchingMemory, matching_working_bytes
from vos_zoo.network import MemoryCost, MemoryPolicy, Prediction, VOSNetwork, reference_planes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .config import STMConfig


class MemoryEncoder(nn.Module):
    """ResNet whose stem also sees an object's mask and the clamped sum of the others' (paper, Section 3.1)."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.trunk = ResNetTrunk(backbone)
        self.trunk.unfolded = ("bn1",)  # the mask stems are added before it
        stem_channels = self.trunk.stem_channels
        self.mask_stem = nn.Conv2d(1, stem_channels, 7, stride=2, padding=3, bias=False)
        self.others_stem = nn.Conv2d(1, stem_channels, 7, stride=2, padding=3, bias=False)

    def forward(self, image: Tensor, probabilities: Tensor) -> Tensor:
        """Return stride-16 features (B*O, C, h, w) of masks (B, O, H, W)."""
        return self.encode(image, object_channels(probabilities))

    def encode(self, image: Tensor, channels: Tensor) -> Tensor:
        """Return stride-16 features (B*O, C, h, w) of mask channels (B*O, 2, H, W), see :func:`object_channels`."""
        objects = channels.shape[0] // image.shape[0]
        images = image.unsqueeze(1).expand(-1, objects, -1, -1, -1).flatten(0, 1)
        own, others = channels.to(images.dtype).split(1, dim=1)
        offset = self.mask_stem(own) + self.others_stem(others.clamp(0, 1))
        stride16: Tensor = self.trunk(images, stem_offset=offset).stride16
        return stride16


class STMDecoder(nn.Module):
    """Decoder of constant width with two output channels per object, background and foreground (paper, Section 3.3)."""

    def __init__(self, in_channels: int, skip_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.compress = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.block = ResidualBlock(channels, channels)
        self.refine_8 = RefineBlock(skip_channels[0], channels)
        self.refine_4 = RefineBlock(skip_channels[1], channels)
        self.predict = nn.Conv2d(channels, 2, 3, padding=1)

    def forward(self, features: Tensor, stride8: Tensor, stride4: Tensor) -> Tensor:
        """Decode (B*O, C, h, w) to mask logits (B, O, H, W).

        The two channels' softmax probability of the foreground is the sigmoid of their difference.
        """
        features = self.block(self.compress(features))
        features = self.refine_4(stride4, self.refine_8(stride8, features))
        background, foreground = upsample(self.predict(F.relu(features)), 4).unbind(1)
        return (foreground - background).unflatten(0, (stride8.shape[0], -1))


class STMNetwork(VOSNetwork[KeyValueFeatures, MatchingMemory]):
    """STM behind the four verbs.

    Args:
        config: Sizes and inference policy.

    Source: Oh, Lee, Xu and Kim, ICCV 2019.
    """

    pads_before_normalisation: ClassVar[bool] = True
    pads_masks_with_zeros: ClassVar[bool] = True
    replayable: ClassVar[tuple[str, ...]] = ("encode", "decoder", "memory_encoder", "memory_projection")

    def __init__(self, config: STMConfig) -> None:
        super().__init__()
        self.config = config
        self.memory_encoder = MemoryEncoder(config.backbone)
        self.query_encoder = ResNetTrunk(config.backbone)
        stride4, stride8, stride16 = self.query_encoder.channels
        self.memory_projection = KeyValue(stride16, config.key_dim, config.value_dim, kernel_size=3)
        self.query_projection = KeyValue(stride16, config.key_dim, config.value_dim, kernel_size=3)
        self.decoder = STMDecoder(2 * config.value_dim, (stride8, stride4), config.decoder_dim)

    def default_policy(self) -> MemoryPolicy:
        """Keep every ``mem_every``-th frame and, for one frame, the previous one (paper, Section 3.4)."""
        return MemoryPolicy(every=self.config.mem_every, max_frames=self.config.max_memory_frames, keep_latest=True)

    def memory_cost(self, policy: MemoryPolicy, size: tuple[int, int], objects: int) -> MemoryCost:
        """Keys, biases and values per object, four bytes each."""
        pixels = size[0] * size[1]
        positions = pixels // self.stride**2
        frame_bytes = 4 * positions * objects * (self.config.key_dim + 1 + self.config.value_dim)
        return MemoryCost(frame_bytes, policy.max_frames, matching_working_bytes(self, pixels, objects))

    def new_memory(self, policy: MemoryPolicy | None = None) -> MatchingMemory:
        """Make an empty memory; it keeps the graph when gradients are enabled."""
        differentiable = torch.is_grad_enabled()
        return MatchingMemory(
            policy or self.default_policy(),
            partial(MemoryBank, similarity="dot", differentiable=differentiable),
            keys_per_object=True,
            differentiable=differentiable,
        )

    def encode(self, image: Tensor) -> KeyValueFeatures:
        """Encode a normalised frame (B, 3, H, W)."""
        stride4, stride8, stride16 = self.query_encoder(image)
        key, value = self.query_projection(stride16)
        return KeyValueFeatures(image=image, key=key, value=value, stride8=stride8, stride4=stride4)

    def segment(self, features: KeyValueFeatures, memory: MatchingMemory) -> Tensor:
        """Return mask logits (B, O, H, W) of the current frame."""
        return self.decode(features, self.read(features, memory))

    def read(self, features: KeyValueFeatures, memory: MatchingMemory) -> Tensor:
        """Read every object's memory at the frame's positions: (B, O, Cv, h, w)."""
        return memory.read(features.key, top_k=None if memory.differentiable else self.config.top_k)

    def decode(self, features: KeyValueFeatures, readout: Tensor) -> Tensor:
        """Decode read-outs (B, O, Cv, h, w), stacked before the query value, to mask logits (B, O, H, W)."""
        value = features.value.unsqueeze(1).expand_as(readout)
        stacked = torch.cat([readout.to(value.dtype), value], dim=2).flatten(0, 1)
        logits: Tensor = self.decoder(stacked, features.stride8, features.stride4)
        return logits

    def memorize(
        self,
        features: KeyValueFeatures,
        probabilities: Tensor,
        memory: MatchingMemory,
        *,
        reference: bool | Sequence[int] = False,
        prediction: Prediction | None = None,
    ) -> None:
        """Encode keys and values of the frame with every object's mask (B, O, H, W) and store them."""
        batch, objects = probabilities.shape[:2]
        key, value = self.memory_projection(self.memory_encoder(features.image, probabilities))
        keys, values = (part.unflatten(0, (batch, objects)).flatten(3).transpose(2, 3) for part in (key, value))
        memory.write(keys, values, reference_planes(reference, objects))
