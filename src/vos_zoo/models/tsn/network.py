"""TSN: STCN's pixel stream, a stream of generated heads, and a routing map that divides the pixels between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.layers import MaskDecoder, ResNetTrunk
from vos_zoo.layers.blocks import upsample
from vos_zoo.memory import read_memory
from vos_zoo.models.stcn.network import STCNFeatures, STCNNetwork, ValueEncoder
from vos_zoo.models.tsn.swin import SwinTrunk
from vos_zoo.network import MemoryCost, MemoryPolicy, Prediction, View, VOSNetwork, reference_planes

from .instance import InstanceStream, PixelDivision
from .memory import TSNMemory, bank_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vos_zoo.models.grouped_memory import ObjectGroup

    from .config import TSNConfig
    from .heads import Heads


@dataclass(frozen=True)
class TSNPrediction(Prediction):
    """Logits of a frame, and how its pixels were divided between the streams.

    Args:
        logits: See :class:`~vos_zoo.network.Prediction`.
        routing: Weight of the instance stream, 0-1, shape (B, O, h, w) at stride 16; None without a routing map.
        first_routing: The same against the first annotated frame alone; None unless it is watched.
    """

    routing: Tensor | None = None
    first_routing: Tensor | None = None


class TSNNetwork(VOSNetwork[STCNFeatures, TSNMemory]):
    """TSN behind the four verbs.

    Parts of the pixel stream have STCN's names, so that STCN's weights load as they are; with ``streams="pixel"`` the
    network is STCN. Without a pixel stream a frame's key has no channels.

    Args:
        config: Sizes, switches and inference policy.

    Source: Lu et al., 2022.
    """

    replayable: ClassVar[tuple[str, ...]] = (
        *("encode", "value_encoder"),
        *("decoder.compress", "decoder.up_16_8", "decoder.up_8_4"),
    )

    def __init__(self, config: TSNConfig) -> None:
        super().__init__()
        self.config = config
        self.key_encoder: ResNetTrunk | SwinTrunk = (
            SwinTrunk(config.backbone, drop_path=config.drop_path)
            if config.backbone.startswith("swin_")
            else ResNetTrunk(config.backbone)
        )
        stride4, stride8, stride16 = self.key_encoder.channels
        self.key_projection: nn.Conv2d | None = None
        if config.has_pixel_stream:
            self.key_projection = nn.Conv2d(stride16, config.key_dim, 3, padding=1)
            nn.init.orthogonal_(self.key_projection.weight.data)
            nn.init.zeros_(self.key_projection.bias.data)  # type: ignore[union-attr]
        self.key_compression = nn.Conv2d(stride16, config.value_dim, 3, padding=1)
        self.value_encoder = ValueEncoder(config, stride16)
        self.decoder = MaskDecoder(2 * config.value_dim, (stride8, stride4), config.decoder_dims)
        if not config.has_pixel_stream:
            self.decoder.compress = nn.Identity()  # type: ignore[assignment]
        self.instance_stream = InstanceStream(config) if config.has_instance_stream else None
        self.pixel_division = PixelDivision(config) if config.has_routing else None

    def default_policy(self) -> MemoryPolicy:
        """Memorise every ``mem_every``-th frame, thinned beyond ``max_memory_frames``."""
        return MemoryPolicy(every=self.config.mem_every, max_frames=self.config.max_memory_frames)

    def memory_cost(self, policy: MemoryPolicy, size: tuple[int, int], objects: int) -> MemoryCost:
        """Keys and biases once, values and heads per object, four bytes each."""
        pixels = size[0] * size[1]
        positions, key_width, value_width = self._stored_sizes(pixels // self.stride**2)
        per_object = positions * value_width + self._head_size
        width = self.key_encoder.channels[0] / 16  # stride-4 channels per pixel of the frame
        # Calibrated like the other matching networks: stems and stride-4 maps that live at the same time.
        working = int(4 * pixels * (3 + 32 + 3 * width + objects * (5 + 3 * width)))
        return MemoryCost(4 * (positions * (key_width + 1) + objects * per_object), policy.max_frames, working)

    def new_memory(self, policy: MemoryPolicy | None = None) -> TSNMemory:
        """Make an empty memory; it keeps the graph when gradients are enabled."""
        return TSNMemory(
            policy or self.default_policy(),
            similarity=self.config.similarity,
            head_size=self._head_size,
            differentiable=torch.is_grad_enabled(),
        )

    def encode(self, image: Tensor) -> STCNFeatures:
        """Encode a normalised frame (B, 3, H, W)."""
        stride4, stride8, stride16 = self.key_encoder(image)
        return STCNFeatures(
            image=image,
            key=stride16[:, :0] if self.key_projection is None else self.key_projection(stride16),
            thin=self.key_compression(stride16),
            stride16=stride16,
            stride8=stride8,
            stride4=stride4,
        )

    def segment(self, features: STCNFeatures, memory: TSNMemory) -> Tensor:
        """Return mask logits (B, O, H, W) of the current frame."""
        return self.predict(features, memory).logits

    def predict(self, features: STCNFeatures, memory: TSNMemory) -> TSNPrediction:
        """Return the current frame's logits with its routing map."""
        if self.instance_stream is None:
            pixel = self.pixel_embedding(features, self.read(features, memory))
            return TSNPrediction(self.decode_embedding(features, pixel))
        instance = memory.per_group(lambda group: self._instance_embedding(features, group)).flatten(0, 1)
        if not self.config.has_pixel_stream:
            return TSNPrediction(self.decode_embedding(features, instance))
        readout, routing = self._read_both(features, memory)
        pixel = self.pixel_embedding(features, readout)
        if routing is None:
            return TSNPrediction(self.decode_embedding(features, (pixel + instance) / 2))
        weight = routing.flatten(0, 1).unsqueeze(1).to(pixel.dtype)
        logits = self.decode_embedding(features, torch.lerp(pixel, instance.to(pixel.dtype), weight))
        return TSNPrediction(logits, routing, self._compare_first(features, memory) if memory.compares_first else None)

    def memorize(
        self,
        features: STCNFeatures,
        probabilities: Tensor,
        memory: TSNMemory,
        *,
        reference: bool | Sequence[int] = False,
        prediction: Prediction | None = None,
    ) -> None:
        """Encode the frame's values from its masks (B, O, H, W), generate its heads, and store both."""
        values = self.value_encoder(features.image, features.stride16, probabilities)
        planes = reference_planes(reference, values.shape[1])
        heads = None
        if self.instance_stream is not None:
            is_annotated = torch.tensor([plane in planes for plane in range(values.shape[1])], device=values.device)
            heads = self.instance_stream.describe(values, probabilities, is_annotated)
        keys = features.key.flatten(2).mT
        token_values = values.flatten(3).transpose(2, 3)
        rows, key_width, value_width = self._stored_sizes(keys.shape[1])
        if not self.config.has_pixel_stream:  # nothing is compared; the bank only decides which frames stay
            keys = token_values.new_zeros(len(keys), rows, key_width)
            token_values = token_values[:, :, :rows, :value_width]
        memory.write(keys, token_values, planes)
        if heads is not None:
            memory.write_heads(heads)

    def read(self, features: STCNFeatures, memory: TSNMemory) -> Tensor:
        """Read the memory at the frame's positions: (B, O, Cv, h, w)."""
        return memory.read(features.key, top_k=self._top_k(memory))

    @property
    def views(self) -> Mapping[str, str]:
        """``routing``: weight of the instance stream (Figure 5), unless it was configured without a routing map."""
        return {} if self.pixel_division is None else {"routing": "weight of the instance stream per pixel"}

    def watch(self, name: str, memory: TSNMemory) -> None:
        """Also compare every frame with the first annotated one alone (Figure 6)."""
        memory.compares_first = True

    def view(self, name: str, prediction: Prediction) -> View:
        """Return a frame's routing map, 0-1, and its mean.

        The map is the mean over objects, which differ only if they joined on different frames. Once watched, the mean
        against the first annotated frame is there, too.
        """
        assert isinstance(prediction, TSNPrediction)
        assert prediction.routing is not None
        pixels = prediction.routing.float().mean(dim=1)
        means = {"memory": float(pixels.mean())}
        if prediction.first_routing is not None:
            means["first frame"] = float(prediction.first_routing.float().mean())
        return View(pixels, means)

    @property
    def _head_size(self) -> int:
        """Numbers of a stored head."""
        if self.instance_stream is None:
            return 0
        size = self.instance_stream.packed_size
        return size - self.instance_stream.num_parameters if self.config.head_memory == "pooled" else size

    def _stored_sizes(self, positions: int) -> tuple[int, int, int]:
        """Return rows per frame, channels of a key and of a value, as they are stored for ``positions`` positions."""
        if self.config.has_pixel_stream:
            return positions, self.config.key_dim, self.config.value_dim
        if self.config.head_memory == "pooled":
            return positions, 1, self.config.value_dim
        return 1, 1, 1

    def _top_k(self, memory: TSNMemory) -> int | None:
        return self.config.train_top_k if memory.differentiable else self.config.top_k

    def _read_both(self, features: STCNFeatures, memory: TSNMemory) -> tuple[Tensor, Tensor | None]:
        """Return read-outs (B, O, Cv, h, w) and the routing map (B, O, h, w)."""
        division = self.pixel_division
        if division is None:
            return self.read(features, memory), None
        top_k = self._top_k(memory)
        routings: dict[int, Tensor] = {}

        def read(group: ObjectGroup) -> Tensor:
            readout = read_memory(features.key, group.bank.tokens(), top_k=top_k, read_keys=True)
            assert readout.keys is not None
            routings[id(group)] = division(readout.keys, features.key)
            size = (len(features.key), len(group.planes), -1, *features.key.shape[2:])
            return readout.values.reshape(size)

        values = memory.per_group(read)
        return values, memory.per_group(lambda group: routings[id(group)].expand(-1, len(group.planes), -1, -1))

    def _compare_first(self, features: STCNFeatures, memory: TSNMemory) -> Tensor:
        """Return the routing map (B, O, h, w) as if memory held the first annotated frame alone (paper, Figure 6)."""
        division = self.pixel_division
        assert division is not None

        def compare(group: ObjectGroup) -> Tensor:
            tokens = bank_of(group).first_tokens()
            readout = read_memory(features.key, tokens, top_k=self._top_k(memory), read_keys=True)
            assert readout.keys is not None
            routing: Tensor = division(readout.keys, features.key)
            return routing.expand(-1, len(group.planes), -1, -1)

        return memory.per_group(compare)

    def pixel_embedding(self, features: STCNFeatures, readout: Tensor) -> Tensor:
        """Return the pixel stream's embedding (B*O, Cd, h, w)."""
        embedding: Tensor = self.decoder.compress(STCNNetwork.decoder_input(features, readout))
        return embedding

    def _instance_embedding(self, features: STCNFeatures, group: ObjectGroup) -> Tensor:
        """Return the instance stream's embedding of a group (B, O, Cd, h, w)."""
        stream = self.instance_stream
        assert stream is not None
        size = (features.thin.shape[2], features.thin.shape[3])
        bank = bank_of(group)
        heads: Heads
        if self.config.head_memory == "pooled":
            heads = bank.pooled_heads(lambda frames, values: stream.pool(frames, values, size))
        else:
            heads = bank.heads()
        embedding: Tensor = stream(features.thin, heads, (features.image.shape[2], features.image.shape[3]))
        return embedding.reshape(len(features.thin), -1, *embedding.shape[1:])

    def decode_embedding(self, features: STCNFeatures, embedding: Tensor) -> Tensor:
        """Decode fused embeddings (B*O, Cd, h, w) to mask logits (B, O, H, W): STCN's decoder past its first block."""
        decoder = self.decoder
        embedding = decoder.up_8_4(features.stride4, decoder.up_16_8(features.stride8, embedding))
        logits = upsample(decoder.predict(F.relu(embedding)), 4)
        return logits.reshape(len(features.thin), -1, *logits.shape[2:])
