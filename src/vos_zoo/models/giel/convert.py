"""Weights that GIEL can start from; none of GIEL itself were released."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

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
