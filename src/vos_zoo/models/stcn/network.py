"""STCN: keys from the image alone, one affinity for all objects."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from vos_zoo.layers import FusionBlock, MaskDecoder, ResNetTrunk, object_channels
from vos_zoo.memory import MemoryBank
from vos_zoo.models.grouped_memory import MatchingMemory, matching_working_bytes
from vos_zoo.network import MemoryCost, MemoryPolicy, Prediction, VOSNetwork, reference_planes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .config import STCNConfig


class STCNFeatures(NamedTuple):
    """What STCN knows of a frame before any mask.

    Args:
        image: The normalised frame (B, 3, H, W); the value encoder sees it again.
        key: Query key, or memory key once the frame is memorised (B, Ck, h, w).
        thin: Compressed stride-16 feature for the decoder (B, Cv, h, w).
        stride16: Key encoder's feature (B, C16, h, w).
        stride8: Skip feature (B, C8, 2h, 2w).
        stride4: Skip feature (B, C4, 4h, 4w).
    """

    image: Tensor
    key: Tensor
    thin: Tensor
    stride16: Tensor
    stride8: Tensor
    stride4: Tensor


class ValueEncoder(nn.Module):
    """Encode a frame with one object's mask and the sum of the others' (paper, Section 3.1).

    Args:
        config: Sizes.
        frame_channels: Channels of the key encoder's stride-16 feature.
    """

    def __init__(self, config: STCNConfig, frame_channels: int) -> None:
        super().__init__()
        self.trunk = ResNetTrunk(
            config.value_backbone, in_channels=5, blocks=config.value_blocks, conv_bias=config.value_conv_bias
        )
        self.fusion = FusionBlock(self.trunk.channels[2], frame_channels, config.value_dim, cbam=config.cbam)

    def forward(self, image: Tensor, stride16: Tensor, probabilities: Tensor) -> Tensor:
        """Return values (B, O, Cv, h, w) of masks (B, O, H, W)."""
        return self.encode(image, stride16, object_channels(probabilities))

    def encode(self, image: Tensor, stride16: Tensor, channels: Tensor) -> Tensor:
        """Return values (B, O, Cv, h, w) of mask channels (B*O, 2, H, W), see :func:`object_channels`."""
        batch, objects = image.shape[0], channels.shape[0] // image.shape[0]
        images = image.unsqueeze(1).expand(batch, objects, *image.shape[1:]).flatten(0, 1)
        inputs = torch.cat([images, channels.to(images.dtype)], dim=1)
        values: Tensor = self.fusion(self.trunk(inputs).stride16, stride16)
        return values.unflatten(0, (batch, objects))


class STCNNetwork(VOSNetwork[STCNFeatures, MatchingMemory]):
    """STCN behind the four verbs.

    Args:
        config: Sizes and inference policy.

    Source: Cheng, Tai and Tang, NeurIPS 2021.
    """

    replayable: ClassVar[tuple[str, ...]] = ("encode", "decoder", "value_encoder")

    def __init__(self, config: STCNConfig) -> None:
        super().__init__()
        self.config = config
        self.key_encoder = ResNetTrunk(config.backbone)
        stride4, stride8, stride16 = self.key_encoder.channels
        self.key_projection = nn.Conv2d(stride16, config.key_dim, 3, padding=1)
        nn.init.orthogonal_(self.key_projection.weight.data)
        nn.init.zeros_(self.key_projection.bias.data)  # type: ignore[union-attr]
        self.key_compression = nn.Conv2d(stride16, config.value_dim, 3, padding=1)
        self.value_encoder = ValueEncoder(config, stride16)
        self.decoder = MaskDecoder(2 * config.value_dim, (stride8, stride4), config.decoder_dims)

    def default_policy(self) -> MemoryPolicy:
        """Memorise every ``mem_every``-th frame, thinned beyond ``max_memory_frames``."""
        return MemoryPolicy(every=self.config.mem_every, max_frames=self.config.max_memory_frames)

    def memory_cost(self, policy: MemoryPolicy, size: tuple[int, int], objects: int) -> MemoryCost:
        """Keys and biases once and values per object, four bytes each."""
        pixels = size[0] * size[1]
        positions = pixels // self.stride**2
        frame_bytes = 4 * positions * (self.config.key_dim + 1 + objects * self.config.value_dim)
        return MemoryCost(frame_bytes, policy.max_frames, matching_working_bytes(self, pixels, objects))

    def new_memory(self, policy: MemoryPolicy | None = None) -> MatchingMemory:
        """Make an empty memory; it keeps the graph when gradients are enabled."""
        differentiable = torch.is_grad_enabled()
        new_bank = partial(MemoryBank, similarity=self.config.similarity, differentiable=differentiable)
        return MatchingMemory(policy or self.default_policy(), new_bank, differentiable=differentiable)

    def encode(self, image: Tensor) -> STCNFeatures:
        """Encode a normalised frame (B, 3, H, W)."""
        stride4, stride8, stride16 = self.key_encoder(image)
        return STCNFeatures(
            image=image,
            key=self.key_projection(stride16),
            thin=self.key_compression(stride16),
            stride16=stride16,
            stride8=stride8,
            stride4=stride4,
        )

    def segment(self, features: STCNFeatures, memory: MatchingMemory) -> Tensor:
        """Return mask logits (B, O, H, W) of the current frame."""
        return self.decode(features, self.read(features, memory))

    def memorize(
        self,
        features: STCNFeatures,
        probabilities: Tensor,
        memory: MatchingMemory,
        *,
        reference: bool | Sequence[int] = False,
        prediction: Prediction | None = None,
    ) -> None:
        """Encode the frame's values from its masks (B, O, H, W) and store them."""
        values = self.value_encoder(features.image, features.stride16, probabilities)
        self.remember(features, values, memory, reference=reference)

    def remember(
        self,
        features: STCNFeatures,
        values: Tensor,
        memory: MatchingMemory,
        *,
        reference: bool | Sequence[int] = False,
    ) -> None:
        """Store values (B, O, Cv, h, w) that are already computed."""
        keys = features.key.flatten(2).transpose(1, 2)
        memory.write(keys, values.flatten(3).transpose(2, 3), reference_planes(reference, values.shape[1]))

    def read(self, features: STCNFeatures, memory: MatchingMemory) -> Tensor:
        """Read the memory at the frame's positions: (B, O, Cv, h, w).

        In training all positions share the weight, at inference the ``top_k`` best (released code).
        """
        return memory.read(features.key, top_k=None if memory.differentiable else self.config.top_k)

    def decode(self, features: STCNFeatures, readout: Tensor) -> Tensor:
        """Decode read-outs (B, O, Cv, h, w) to mask logits (B, O, H, W)."""
        logits: Tensor = self.decoder(self.decoder_input(features, readout), features.stride8, features.stride4)
        return logits

    @staticmethod
    def decoder_input(features: STCNFeatures, readout: Tensor) -> Tensor:
        """Stack read-out and compressed frame feature, in this order: (B*O, 2*Cv, h, w)."""
        batch, objects = readout.shape[:2]
        thin = features.thin.unsqueeze(1).expand(batch, objects, *features.thin.shape[1:])
        return torch.cat([readout.to(thin.dtype), thin], dim=2).flatten(0, 1)
