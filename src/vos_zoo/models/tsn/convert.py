"""STCN's weights as the pixel stream of TSN; no weights of TSN itself were released."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from .config import TSNConfig

_TRUNK = "value_encoder.trunk."


def from_stcn(state: Mapping[str, Tensor], config: TSNConfig) -> dict[str, Tensor]:
    """Return STCN's tensors under TSN's names, which are the same.

    The value encoder of the released STCN has convolution biases. Where TSN has none, they move into the running mean
    of the batch normalisation behind them, which changes no output as long as that is frozen.

    Args:
        state: State dict of a ``STCNNetwork`` of TSN's sizes.
        config: The TSN to load it into, with ``load_state_dict(..., strict=False)`` if it has an instance stream.
    """
    converted = dict(state)
    if config.value_conv_bias:
        return converted
    pending: Tensor | None = None
    for name, tensor in state.items():  # a convolution comes right before its normalisation
        if not name.startswith(_TRUNK):
            continue
        is_convolution = name.endswith(".bias") and f"{name.removesuffix('bias')}running_mean" not in state
        if is_convolution:
            pending = converted.pop(name)
        elif name.endswith(".running_mean") and pending is not None:
            converted[name] = tensor - pending.to(tensor.dtype)
            pending = None
    return converted
