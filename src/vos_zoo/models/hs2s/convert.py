"""Weights that HS2S can start from: the released ones, and those of a GIEL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from vos_zoo.errors import CheckpointError
from vos_zoo.models.conversion import rename_tensors

from .config import HS2SConfig
from .matching import CosineAttention
from .network import HS2SNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from .recurrence import ConvLSTM

__all__ = ["PREFIXES", "convert_state_dict", "start_from_giel"]

# How the skip cell's first channels begin: its sigmoid is nearly linear at this scale of GIEL's keys, and a gate's bias
# of this size opens or closes it to within two percent.
_KEY_SCALE, _OPEN = 0.5, 4.0
_TEMPERATURE = 30.0  # of cosines, as sharp as GIEL's softmax of its similarities

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


IDENTIFYING_PREFIX = "encoder_ref."
"""How a key begins that only files of this model have."""

LICENCE = (
    "none found with the HS2S release; without one all rights stay with its authors, so ask them before "
    "passing the weights on"
)
"""Licence of the authors' weights."""

LATER_MODULES = ""
"""What a file of an early stage may lack; nothing if empty."""


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


def start_from_giel(network: HS2SNetwork, state: Mapping[str, Tensor]) -> None:
    """Let encoders and stride-16 matching begin as GIEL's, so that references are read where they fit from the start.

    The encoder begins as GIEL's of the current frame, without an effect of the mask, the reference encoder as the one
    of its support frames. The skip cell's first channels begin as GIEL's query key, scaled to the linear part of the
    sigmoid and passed on without memory; the cosine attentions take them as queries, GIEL's support keys as keys, and
    the first of its values as values. Both cells begin without memory. Everything else keeps its initialisation.

    Args:
        network: Its stride-16 matching must be cosine attention, with GIEL's backbone, key width and kernel.
        state: Tensors of a GIEL with dot-product or squared-distance keys, by their names in this package.

    Raises:
        CheckpointError: If they do not fit.
    """
    merge, cell = network.skip_merge, network.skip_cell
    branches = [] if merge is None else [part for part in merge.branches if isinstance(part, CosineAttention)]
    if cell is None or not branches:
        raise CheckpointError(
            "Only cosine attention on the stride-16 skip can start from a GIEL. Expected matching='cosine', "
            "skip_rnn=True and at least one reference (hs2s.small)."
        )
    loaded: dict[str, Tensor] = {}
    for ours, theirs in (("encoder.", "query_encoder."), ("reference_encoder.", "support_encoder.")):
        for name, tensor in state.items():
            if name.startswith(theirs):
                loaded[ours + name.removeprefix(theirs)] = tensor
    own = network.state_dict()
    for stem in ("encoder.conv1.weight", "encoder.conv1.0.weight"):  # one convolution or three
        if stem in loaded and network.encoder.takes_mask:
            loaded[stem] = F.pad(loaded[stem], (0, 0, 0, 0, 0, 1))
    keys = network.config.matching_width
    for index, branch in enumerate(branches):
        name = f"skip_merge.branches.{index}"
        outputs = branch.value.out_channels
        for part in ("weight", "bias"):
            loaded[f"{name}.key.{part}"] = state.get(f"support_projection.key.{part}", torch.empty(0))
            loaded[f"{name}.value.{part}"] = state.get(f"support_projection.value.{part}", torch.empty(0))[:outputs]
    query = state.get("query_projection.key.weight", torch.empty(0))
    expected = (keys, cell.conv.in_channels - network.config.state_width, *cell.conv.kernel_size)
    wrong = sorted(name for name, tensor in loaded.items() if name not in own or own[name].shape != tensor.shape)
    if query.shape != expected or keys > network.config.state_width:
        wrong.append("query_projection.key.weight")
    if wrong:
        raise CheckpointError(
            f"The GIEL does not fit: {', '.join(wrong[:3])} are missing or have another shape. "
            "Expected a GIEL with the same backbone, key width and kernel (giel.small for hs2s.small)."
        )
    network.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in loaded.items()}, strict=False)
    for recurrent in (cell, network.cell):
        _forget(recurrent)
    _pass_keys(cell, query, state["query_projection.key.bias"])
    for branch in branches:
        _take_keys(branch, keys)


def _forget(cell: ConvLSTM) -> None:
    """Close the forget gates: the candidate is never negative, and states that add up grow beyond the longest clip."""
    _bias(cell.conv).unflatten(0, (4, -1))[1] = -_OPEN


def _pass_keys(cell: ConvLSTM, weight: Tensor, bias: Tensor) -> None:
    """Make the cell's first hidden channels the sigmoid of scaled keys, without memory."""
    keys, inputs = weight.shape[:2]
    kernels = cell.conv.weight.data.unflatten(0, (4, -1))[:, :keys]
    biases = _bias(cell.conv).unflatten(0, (4, -1))[:, :keys]  # of input, forget and output gate, and candidate
    kernels.zero_()
    kernels[3, :, :inputs] = _KEY_SCALE * weight
    biases[:3] = biases.new_tensor([_OPEN, -_OPEN, _OPEN]).unsqueeze(1)
    biases[3] = _KEY_SCALE * bias


def _take_keys(branch: CosineAttention, keys: int) -> None:
    """Make queries of the first hidden channels, minus the half that a sigmoid adds."""
    passed = torch.sigmoid(torch.tensor(_OPEN)).item() ** 2
    weight = branch.query.weight.data
    weight.zero_()
    weight[:, :keys, 0, 0] = torch.eye(keys)
    _bias(branch.query).fill_(-0.5 * passed)
    branch.temperature.data.fill_(_TEMPERATURE)


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias.data
