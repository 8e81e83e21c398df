"""STM's released weights: key scheme and conversion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vos_zoo.errors import CheckpointError
from vos_zoo.models.conversion import rename_tensors
from vos_zoo.network import IMAGENET_MEAN, IMAGENET_STD

from .config import STMConfig
from .network import STMNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["PREFIXES", "convert_state_dict"]

# Image statistics that the release registers as buffers; the zoo's images are normalised before the network.
_IMAGE_STATISTICS = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
_ENCODERS = ("Encoder_M", "Encoder_Q")


IDENTIFYING_PREFIX = "Encoder_M."
"""How a key begins that only files of this model have."""

LICENCE = "CC BY-NC-SA, non-commercial use only (licence of the STM release)"
"""Licence of the authors' weights."""

LATER_MODULES = ""
"""What a file of an early stage may lack; nothing if empty."""


def _trunk_prefixes(ours: str, theirs: str) -> tuple[tuple[str, str], ...]:
    # The release counts stages from the stem, as the ResNet paper does.
    return ((ours, theirs), *((f"{ours}.layer{stage}", f"{theirs}.res{stage + 1}") for stage in (1, 2, 3)))


def _refine_prefixes(ours: str, theirs: str) -> tuple[tuple[str, str], ...]:
    return (
        (f"{ours}.skip_conv", f"{theirs}.convFS"),
        (f"{ours}.skip_block", f"{theirs}.ResFS"),
        (f"{ours}.out_block", f"{theirs}.ResMM"),
    )


#: Pairs (zoo, authors).
PREFIXES: tuple[tuple[str, str], ...] = (
    *_trunk_prefixes("memory_encoder.trunk", "Encoder_M"),
    *_trunk_prefixes("query_encoder", "Encoder_Q"),
    ("memory_encoder.mask_stem", "Encoder_M.conv1_m"),
    ("memory_encoder.others_stem", "Encoder_M.conv1_o"),
    ("memory_projection.key", "KV_M_r4.Key"),
    ("memory_projection.value", "KV_M_r4.Value"),
    ("query_projection.key", "KV_Q_r4.Key"),
    ("query_projection.value", "KV_Q_r4.Value"),
    ("decoder.compress", "Decoder.convFM"),
    ("decoder.block", "Decoder.ResMM"),
    *_refine_prefixes("decoder.refine_8", "Decoder.RF3"),
    *_refine_prefixes("decoder.refine_4", "Decoder.RF2"),
    ("decoder.predict", "Decoder.pred2"),
)


def convert_state_dict(original: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn STM's released tensors into those of :class:`STMNetwork` in the paper's size.

    The image statistics that both encoders carry are checked and left out.

    Args:
        original: Tensors under the authors' names without ``module.``, as ``read_original`` returns them.

    Returns:
        A state dict of ``STMNetwork(STMConfig.r50())``.

    Raises:
        CheckpointError: If a tensor is missing, unexpected or of another shape, or images were normalised otherwise.
    """
    with torch.device("meta"):
        network = STMNetwork(STMConfig.r50())
    statistics = {f"{encoder}.{name}": values for encoder in _ENCODERS for name, values in _IMAGE_STATISTICS.items()}
    for key, values in statistics.items():
        found = original.get(key)
        # Conversion tools drop these buffers, which carry no learnt number; a different one would change every output.
        if found is not None and (
            found.numel() != len(values) or not torch.allclose(found.flatten().float(), torch.tensor(values))
        ):
            raise CheckpointError(
                f"The file normalises images with {key} = {found.flatten().tolist()}. Expected {list(values)}, which "
                "the zoo uses for every model. Give the released file."
            )
    kept = {key: tensor for key, tensor in original.items() if key not in statistics}
    return rename_tensors(kept, network, PREFIXES, kind="stm")
