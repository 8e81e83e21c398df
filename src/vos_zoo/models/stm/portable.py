"""STM's verbs as functions of tensors, for export."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vos_zoo.layers import KeyValueFeatures
from vos_zoo.layers.mask_input import stack_channels
from vos_zoo.memory import MemoryTokens, similarity_terms
from vos_zoo.memory.backends.portable import read_portable
from vos_zoo.portable import PortableVerbs, Segmented, StateArray

if TYPE_CHECKING:
    from torch import Tensor

    from vos_zoo.portable import Tensors

    from .network import STMNetwork


class STMVerbs(PortableVerbs):
    """Keys and values per object of whole remembered frames.

    Args:
        network: STM.
        policy: What is kept.
    """

    kind = "frames"
    segment_takes: ClassVar[tuple[str, ...]] = ("key", "value", "stride8", "stride4")
    memorize_takes: ClassVar[tuple[str, ...]] = ("image",)
    network: STMNetwork

    @property
    def state(self) -> tuple[StateArray, ...]:
        """Keys and values of the frames, channels last."""
        config = self.network.config
        place = ("frames", "height/16", "width/16", "objects")
        return StateArray("keys", (*place, config.key_dim)), StateArray("values", (*place, config.value_dim))

    def segment(self, features: Tensors, state: Tensors) -> Segmented:
        """Read every object's frames and decode."""
        key = features["key"]
        keys, values = (state[name].flatten(0, 2).transpose(0, 1) for name in ("keys", "values"))
        query = key.flatten(2).mT.expand(keys.shape[0], -1, -1)
        scale, bias = similarity_terms(keys, "dot")
        readout, _ = read_portable(query, MemoryTokens(keys, bias, values, scale), self.network.config.top_k)
        known = KeyValueFeatures(key, key, features["value"], features["stride8"], features["stride4"])
        return Segmented(self.network.decode(known, readout.mT.unflatten(2, key.shape[2:]).unsqueeze(0)), {})

    def memorize(
        self, features: Tensors, masks: Tensor, others: Tensor, reference: Tensor, state: Tensors
    ) -> dict[str, Tensor]:
        """Encode keys and values of the frame with every object's mask."""
        encoded = self.network.memory_encoder.encode(features["image"], stack_channels(masks, others))
        parts = zip(("keys", "values"), self.network.memory_projection(encoded), strict=True)
        return {name: part.permute(2, 3, 0, 1) for name, part in parts}
