"""Weights that GIEL can start from; none of GIEL itself were released."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F

from vos_zoo.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from .network import GIELNetwork

_BODY = "backbone.body."
_COARSE = "coarse_head."


def mask_rcnn_body(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the ResNet of torchvision's ``maskrcnn_resnet50_fpn`` under torchvision's ResNet names.

    The published COCO weights were made with normalisations of epsilon 0; set ``batch_norm_eps=0``.

    Args:
        state: State dict of the whole detector; an empty result means that it is another network.

    Source: GIEL, Section 4.1 (encoders start from Mask R-CNN).

    Example:
        >>> import torch
        >>> list(mask_rcnn_body({"backbone.body.conv1.weight": torch.zeros(1), "rpn.bias": torch.zeros(1)}))
        ['conv1.weight']
    """
    return {key.removeprefix(_BODY): tensor for key, tensor in state.items() if key.startswith(_BODY)}


def full_from_fast(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what a full network takes over from a fast one: all but the coarse head.

    Load it with ``load_state_dict(..., strict=False)``; the instance decoder keeps its initial values.
    """
    return {key: tensor for key, tensor in state.items() if not key.startswith(_COARSE)}


def start_from_stcn(network: GIELNetwork, state: Mapping[str, Tensor]) -> None:
    """Let both encoders and projections begin as STCN's encoder of frames.

    Keys of remembered and current frames then match as STCN's do: the support encoder's mask plane has no effect at
    first. Values begin as STCN's compressed feature. The rest of the network keeps its initialisation.

    Args:
        network: Its backbone, widths and kernels must be those of the STCN, and its similarity should be.
        state: Tensors of an STCN by their names in this package.

    Raises:
        CheckpointError: If they do not fit.
    """
    projected = {"key.": "key_projection.", "value.": "key_compression."}
    parts = {
        "query_encoder.": {"": "key_encoder."},
        "support_encoder.": {"": "key_encoder."},
        "query_projection.": projected,
        "support_projection.": projected,
    }
    own = network.state_dict()
    loaded: dict[str, Tensor] = {}
    for part, sources in parts.items():
        for target, source in sources.items():
            for name, tensor in state.items():
                if name.startswith(source):
                    loaded[part + target + name.removeprefix(source)] = tensor
    for stem in ("support_encoder.conv1.weight", "support_encoder.conv1.0.weight"):  # one convolution or three
        if stem in loaded:
            loaded[stem] = F.pad(loaded[stem], (0, 0, 0, 0, 0, 1))
    needed = {name for name in own if name.startswith(tuple(parts)) and not name.endswith("num_batches_tracked")}
    wrong = sorted(name for name in needed if name not in loaded or loaded[name].shape != own[name].shape)
    if wrong:
        raise CheckpointError(
            f"The STCN does not fit: {len(wrong)} parameters such as {wrong[0]} are missing or have another shape. "
            "Expected an STCN with the same backbone, widths and kernels (stcn.small for giel.small)."
        )
    network.load_state_dict({name: loaded[name].to(own[name].dtype) for name in needed}, strict=False)
