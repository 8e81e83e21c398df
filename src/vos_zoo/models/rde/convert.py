"""RDE-VOS's released weights: key scheme and conversion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vos_zoo.errors import CheckpointError
from vos_zoo.models.conversion import ExtraChannel, rename_tensors
from vos_zoo.models.stcn.convert import PREFIXES as STCN_PREFIXES
from vos_zoo.models.stcn.convert import with_mask_channels

from .aggregation import Aggregation
from .config import RDEConfig
from .network import RDENetwork

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["PREFIXES", "convert_state_dict"]

_AGGREGATION = "mem_compress."
_STCN_KEY = "key_proj.key_proj.weight"  # tells a file of this family from a file of another model


IDENTIFYING_PREFIX = "mem_compress."
"""How a key begins that only files of this model have."""

LICENCE = "MIT (licence of the RDE-VOS release)"
"""Licence of the authors' weights."""

LATER_MODULES = "aggregation module"
"""What a file of an early stage may lack; nothing if empty."""


def _aggregation_prefixes(kind: str) -> tuple[tuple[str, str], ...]:
    ours, theirs = f"aggregation.{kind}", f"mem_compress.{kind}_encoder"
    return (
        (f"{ours}.extract.theta", f"{theirs}.non_local.theta"),
        (f"{ours}.extract.phi", f"{theirs}.non_local.phi.0"),
        (f"{ours}.extract.g", f"{theirs}.non_local.g.0"),
        (f"{ours}.extract.project", f"{theirs}.non_local.W"),
        (f"{ours}.enhance.point", f"{theirs}.conv1.aspp1.atrous_conv"),
        *((f"{ours}.enhance.dilated.{i}", f"{theirs}.conv1.aspp{i + 2}.atrous_conv") for i in range(3)),
        (f"{ours}.enhance.fuse", f"{theirs}.conv1.conv1"),
        (f"{ours}.squeeze", f"mem_compress.compress_{kind}"),
    )


#: Pairs (zoo, authors); what is not listed has one name on both sides.
PREFIXES: tuple[tuple[str, str], ...] = (
    *STCN_PREFIXES,
    *_aggregation_prefixes("key"),
    *_aggregation_prefixes("value"),
)


def convert_state_dict(
    original: Mapping[str, Tensor], *, extra_channel: ExtraChannel = "zeros", accept_missing: bool = False
) -> dict[str, Tensor]:
    """Turn RDE-VOS's released tensors into those of :class:`RDENetwork` in the paper's size.

    Args:
        original: Tensors under the authors' names, as ``read_original`` returns them.
        extra_channel: How the fifth channel of stage-0 weights is filled.
        accept_missing: Whether a file without aggregation module (stage 0, or STCN's) is accepted and the module
            initialised again, to be trained. A file that has one keeps it.

    Returns:
        A state dict of ``RDENetwork(RDEConfig.r50())``.

    Raises:
        CheckpointError: If a tensor is missing, unexpected or of another shape.
    """
    config = RDEConfig.r50()
    with torch.device("meta"):
        network = RDENetwork(config)
    completed = with_mask_channels(original, extra_channel)
    has_aggregation = any(key.startswith(_AGGREGATION) for key in original)
    if not has_aggregation and _STCN_KEY in original:
        if not accept_missing:
            raise CheckpointError(
                f"The file has no aggregation module ({_AGGREGATION}*). Expected weights of RDE-VOS after its first "
                "stage. Convert weights of stage 0 or of STCN with --from stcn, or accept a newly initialised module, "
                "to be trained, with --accept-missing."
            )
        for kind, channels in (("key", config.key_dim), ("value", config.value_dim)):
            module = Aggregation(channels, config.aggregation_dilations)
            names = dict(_aggregation_prefixes(kind))
            for key, tensor in module.state_dict().items():
                owner, _, part = f"aggregation.{kind}.{key}".rpartition(".")
                completed[f"{names[owner]}.{part}"] = tensor
    return rename_tensors(completed, network, PREFIXES, kind="rde")
