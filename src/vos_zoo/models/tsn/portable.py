"""TSN's verbs as functions of tensors, for export."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vos_zoo.errors import ConfigError
from vos_zoo.memory.backends.portable import read_portable
from vos_zoo.models.stcn.network import STCNFeatures
from vos_zoo.models.stcn.portable import STCNVerbs
from vos_zoo.portable import Segmented, StateArray

from .heads import Heads

if TYPE_CHECKING:
    from torch import Tensor

    from vos_zoo.network import MemoryPolicy
    from vos_zoo.portable import Tensors

    from .network import TSNNetwork


class TSNVerbs(STCNVerbs):
    """STCN's frames, and beside each frame the heads that were generated from it.

    Args:
        network: TSN with both streams and a routing map.
        policy: What is kept.

    Raises:
        ConfigError: If the network is one of the ablations.
    """

    network: TSNNetwork  # type: ignore[assignment]

    def __init__(self, network: TSNNetwork, policy: MemoryPolicy | None = None) -> None:
        super().__init__(network, policy)
        config = network.config
        if network.instance_stream is None or network.pixel_division is None or config.head_memory != "per_frame":
            raise ConfigError(
                f"TSN with streams={config.streams!r}, fusion={config.fusion!r} and head_memory={config.head_memory!r} "
                "cannot be exported: its memory has another form. Expected both streams, a routing map and heads per "
                "frame; let ablations run in a VideoSession."
            )

    @property
    def state(self) -> tuple[StateArray, ...]:
        """Keys, values and packed heads of the frames."""
        assert self.network.instance_stream is not None
        return (*super().state, StateArray("heads", ("frames", "objects", self.network.instance_stream.packed_size)))

    def segment(self, features: Tensors, state: Tensors) -> Segmented:
        """Read the frames, evaluate their heads, and let the routing map choose between both."""
        network, key, thin = self.network, features["key"], features["thin"]
        assert network.instance_stream is not None
        assert network.pixel_division is not None
        tokens = self.tokens(state["keys"], state["values"])
        values, read_keys = read_portable(key.flatten(2).mT, tokens, network.config.top_k, read_keys=True)
        assert read_keys is not None
        readout = self.per_object(values, key)
        keys = read_keys.mT.unflatten(2, key.shape[2:])
        routing = network.pixel_division(keys, key).to(thin.dtype)
        size = (16 * thin.shape[2], 16 * thin.shape[3])
        instance = network.instance_stream(thin, Heads.unpack(state["heads"].unsqueeze(0)), size)
        known = STCNFeatures(key, key, thin, key, features["stride8"], features["stride4"])  # image, stride16: not used
        pixel = network.pixel_embedding(known, readout)
        return Segmented(network.decode_embedding(known, torch.lerp(pixel, instance, routing)), {})

    def memorize(
        self, features: Tensors, masks: Tensor, others: Tensor, reference: Tensor, state: Tensors
    ) -> dict[str, Tensor]:
        """Encode the frame's values and generate its heads."""
        assert self.network.instance_stream is not None
        frame = self.encode_frame(features, masks, others)
        values = frame["values"].permute(2, 3, 0, 1).unsqueeze(0)
        heads = self.network.instance_stream.describe(values, masks, reference > 0)
        return {**frame, "heads": heads.pack()[0, 0]}
