"""HS2S's released weights: key scheme and conversion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vos_zoo.models.conversion import rename_tensors

from .config import HS2SConfig
from .network import HS2SNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["PREFIXES", "convert_state_dict"]

_ENCODERS = (("reference_encoder", "encoder_ref"), ("encoder", "encoder"))
_MERGES = (("merge", ("GC", "GC_p"), "GCGC_p"), ("skip_merge", ("GCmm0", "GCmm_1"), "mm"))
_LEVELS = (
    ("level32", "conv_1", "conv_11"),
    ("level16", "conv_2_", "conv_22"),
    ("level8", "conv_3", "conv_33"),
    ("level4", "conv_4", "conv_44"),
    ("level2", "conv_5", "conv_55"),
)
_BRANCH = (
    ("column_first", "conv_l1"),
    ("row_second", "conv_l2"),
    ("row_first", "conv_r1"),
    ("column_second", "conv_r2"),
)


def _prefixes() -> tuple[tuple[str, str], ...]:
    pairs = [("cell", "memory"), ("skip_cell", "skip_memory")]
    for ours, theirs in _ENCODERS:
        pairs += [
            (ours, theirs),
            (f"{ours}.bn1", f"{theirs}.bn"),
            (f"{ours}.extra_conv", f"{theirs}.added_conv"),
            (f"{ours}.extra_bn", f"{theirs}.added_bn"),
            (f"{ours}.reduce_conv", f"{theirs}.reduce_channel_"),
            *((f"{ours}.layer{stage}", f"{theirs}.conv{stage + 1}") for stage in range(1, 5)),
        ]
    for merge, branches, fuse in _MERGES:
        pairs.append((f"{merge}.fuse", f"decoder.{fuse}"))
        for index, branch in enumerate(branches):
            pairs += [(f"{merge}.branches.{index}.{ours}", f"decoder.{branch}.{theirs}") for ours, theirs in _BRANCH]
    for level, mix, convolve in _LEVELS:
        pairs += [(f"decoder.{level}.mix", f"decoder.{mix}"), (f"decoder.{level}.convolve", f"decoder.{convolve}")]
    pairs += [
        ("decoder.border_head", "decoder.distance_classifier_"),
        ("decoder.mask_branch", "decoder.segmentation_branch_"),
        ("decoder.predict", "decoder.merge_"),
    ]
    return tuple(pairs)


#: Pairs (zoo, authors); what is not listed has one name on both sides.
PREFIXES: tuple[tuple[str, str], ...] = _prefixes()


def convert_state_dict(original: Mapping[str, Tensor], *, config: HS2SConfig | None = None) -> dict[str, Tensor]:
    """Turn HS2S's released tensors into those of :class:`HS2SNetwork`.

    The authors keep an encoder's first convolution in two parts, one of the image and one of the mask, whose outputs
    they add; here it is one convolution of four channels.

    Args:
        original: Tensors under the authors' names, as ``read_original`` returns them.
        config: The network; None means the paper's.

    Returns:
        A state dict of ``HS2SNetwork(config)``.

    Raises:
        CheckpointError: If a tensor is missing, unexpected or of another shape.
    """
    with torch.device("meta"):
        network = HS2SNetwork(config or HS2SConfig.r50())
    joined = dict(original)
    for _, encoder in _ENCODERS:
        image, mask = (original.get(f"{encoder}.{part}.weight") for part in ("conv1", "mask_conv"))
        if image is not None and mask is not None and image.shape[2:] == mask.shape[2:]:
            joined[f"{encoder}.conv1.weight"] = torch.cat([image, mask], dim=1)
            del joined[f"{encoder}.mask_conv.weight"]
    return rename_tensors(joined, network, PREFIXES, kind="hs2s")
