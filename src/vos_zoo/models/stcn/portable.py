"""STCN's verbs as functions of tensors, for export."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vos_zoo.layers.mask_input import stack_channels
from vos_zoo.memory import MemoryTokens, similarity_terms
from vos_zoo.memory.backends.portable import read_portable
from vos_zoo.portable import PortableVerbs, Segmented, StateArray

from .network import STCNFeatures

if TYPE_CHECKING:
    from torch import Tensor

    from vos_zoo.portable import MemoryKind, Tensors

    from .network import STCNNetwork


class STCNVerbs(PortableVerbs):
    """Keys once and values per object of whole remembered frames.

    Args:
        network: STCN, or a network with its parts.
        policy: What is kept.
    """

    kind: ClassVar[MemoryKind] = "frames"
    segment_takes: ClassVar[tuple[str, ...]] = ("key", "thin", "stride8", "stride4")
    memorize_takes: ClassVar[tuple[str, ...]] = ("image", "key", "stride16")
    network: STCNNetwork

    @property
    def state(self) -> tuple[StateArray, ...]:
        """Keys and values of the frames, channels last, so that frames side by side are the tokens of a read."""
        config = self.network.config
        return (
            StateArray("keys", ("frames", "height/16", "width/16", config.key_dim)),
            StateArray("values", ("frames", "height/16", "width/16", "objects", config.value_dim)),
        )

    def segment(self, features: Tensors, state: Tensors) -> Segmented:
        """Read all frames and decode."""
        return Segmented(self.decode(features, self.read(features, self.tokens(state["keys"], state["values"]))), {})

    def memorize(
        self, features: Tensors, masks: Tensor, others: Tensor, reference: Tensor, state: Tensors
    ) -> dict[str, Tensor]:
        """Encode the frame's values."""
        return self.encode_frame(features, masks, others)

    def tokens(self, keys: Tensor, values: Tensor) -> MemoryTokens:
        """Lay frames out for a read: keys (F, h, w, Ck) and values (F, h, w, O, Cv)."""
        rows = keys.flatten(0, 2).unsqueeze(0)
        scale, bias = similarity_terms(rows, self.network.config.similarity)
        return MemoryTokens(rows, bias, values.flatten(3).flatten(0, 2).unsqueeze(0), scale)

    def read(self, features: Tensors, tokens: MemoryTokens) -> Tensor:
        """Read (1, O, Cv, h, w)."""
        values, _ = read_portable(features["key"].flatten(2).mT, tokens, self.network.config.top_k)
        return self.per_object(values, features["key"])

    def per_object(self, values: Tensor, key: Tensor) -> Tensor:
        """Split values (1, hw, O*Cv) read at the positions of ``key`` (1, Ck, h, w): (1, O, Cv, h, w)."""
        split = values.unflatten(2, (-1, self.network.config.value_dim)).unflatten(1, key.shape[2:])
        return split.permute(0, 3, 4, 1, 2)

    def decode(self, features: Tensors, readout: Tensor) -> Tensor:
        """Decode read-outs (1, O, Cv, h, w) to logits (1, O, H, W)."""
        key, thin = features["key"], features["thin"]
        known = STCNFeatures(key, key, thin, key, features["stride8"], features["stride4"])  # image, stride16: not used
        return self.network.decode(known, readout)

    def encode_frame(self, features: Tensors, masks: Tensor, others: Tensor) -> dict[str, Tensor]:
        """Return a frame's keys (h, w, Ck) and values (h, w, O, Cv)."""
        channels = stack_channels(masks, others)
        values = self.network.value_encoder.encode(features["image"], features["stride16"], channels)
        return {"keys": features["key"][0].permute(1, 2, 0), "values": values[0].permute(2, 3, 0, 1)}
