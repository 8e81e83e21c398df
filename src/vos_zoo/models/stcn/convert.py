"""STCN's released weights: key scheme and conversion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vos_zoo.models.conversion import ExtraChannel, rename_tensors, widen_mask_input

from .config import STCNConfig
from .network import STCNNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["PREFIXES", "convert_state_dict"]

_MASK_STEM = "value_encoder.conv1.weight"
_MASK_CHANNELS = 5  # image, this object's mask, the other objects' masks
_AGGREGATION = "mem_compress."
_GATES = ("value_encoder.fusion.attention", "value_encoder.fuser.attention")

IDENTIFYING_PREFIX = "value_encoder.fuser."
"""How a key begins that only files of this model have."""

LICENCE = "MIT (licence of the STCN release)"
"""Licence of the authors' weights."""

LATER_MODULES = ""
"""What a file of an early stage may lack; nothing if empty."""

#: Pairs (zoo, authors); what is not listed has one name on both sides.
PREFIXES: tuple[tuple[str, str], ...] = (
    ("key_encoder.layer1", "key_encoder.res2"),
    ("key_projection", "key_proj.key_proj"),
    ("key_compression", "key_comp"),
    ("value_encoder.trunk", "value_encoder"),
    ("value_encoder.fusion", "value_encoder.fuser"),
    ("value_encoder.fusion.block1.shortcut", "value_encoder.fuser.block1.downsample"),
    (f"{_GATES[0]}.channel_mlp.0", f"{_GATES[1]}.ChannelGate.mlp.1"),
    (f"{_GATES[0]}.channel_mlp.2", f"{_GATES[1]}.ChannelGate.mlp.3"),
    (f"{_GATES[0]}.spatial_conv", f"{_GATES[1]}.SpatialGate.spatial.conv"),
    ("decoder.compress.shortcut", "decoder.compress.downsample"),
    ("decoder.up_16_8.out_conv.shortcut", "decoder.up_16_8.out_conv.downsample"),
    ("decoder.predict", "decoder.pred"),
)


def convert_state_dict(original: Mapping[str, Tensor], *, extra_channel: ExtraChannel = "zeros") -> dict[str, Tensor]:
    """Turn STCN's released tensors into those of :class:`STCNNetwork` in the paper's size.

    Single-object weights of stage 0 get a fifth input channel; the aggregation module of an RDE-VOS file, whose other
    tensors have STCN's names, is dropped.

    Args:
        original: Tensors under the authors' names, as ``read_original`` returns them.
        extra_channel: How the fifth channel of stage-0 weights is filled.

    Returns:
        A state dict of ``STCNNetwork(STCNConfig.r50())``.

    Raises:
        CheckpointError: If a tensor is missing, unexpected or of another shape.
    """
    with torch.device("meta"):
        network = STCNNetwork(STCNConfig.r50())
    kept = {key: tensor for key, tensor in original.items() if not key.startswith(_AGGREGATION)}
    return rename_tensors(with_mask_channels(kept, extra_channel), network, PREFIXES, kind="stcn")


def with_mask_channels(original: Mapping[str, Tensor], extra_channel: ExtraChannel) -> dict[str, Tensor]:
    """Return the tensors with a five-channel value stem; stage-0 weights have four."""
    stem = original.get(_MASK_STEM)
    if stem is None or stem.ndim != 4 or stem.shape[1] != _MASK_CHANNELS - 1:
        return dict(original)
    return {**original, _MASK_STEM: widen_mask_input(stem, _MASK_CHANNELS, extra_channel)}
