"""From whatever a user calls a model to its network."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from vos_zoo.errors import ConfigError, UsageError
from vos_zoo.network import VOSNetwork
from vos_zoo.weights import load_network

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ["Model", "NetworkHolder", "find_network"]

_logger = logging.getLogger(__name__)


class NetworkHolder(Protocol):
    """Anything with a network, such as the LightningModules of this package."""

    @property
    def network(self) -> VOSNetwork[Any, Any]:
        """The network."""
        ...


Model: TypeAlias = "str | Path | NetworkHolder | VOSNetwork[Any, Any] | nn.Module"
"""A name for ``load_model``, a loaded model or its network, as it is or wrapped by PyTorch."""


def find_network(model: Model) -> VOSNetwork[Any, Any]:
    """Return the network of a model, whatever is wrapped around it.

    ``DataParallel``, ``DistributedDataParallel`` and Fabric split batches, of which a video has none, and
    ``torch.compile`` compiles ``forward``, which no network here has; so their wrappers are taken off.

    Args:
        model: A name for :func:`vos_zoo.load_model`, which is loaded to the CPU; a model, its network, or one of them
            wrapped by PyTorch.

    Raises:
        UsageError: If it is none of these.
        ConfigError: If the weights are not float32, or have no values.
        VosZooError: As :func:`vos_zoo.load_model` says, if it is a name.
    """
    if isinstance(model, (str, Path)):
        return load_network(model)
    inner: Any = model
    while not isinstance(inner, VOSNetwork):
        inner = _inside(inner)
        if inner is None:
            raise UsageError(
                f"{_described(model)} is not a model of this package. Expected a name such as 'rde', what "
                "`vos_zoo.load_model` returns, or its network."
            )
    network: VOSNetwork[Any, Any] = inner
    _check_weights(network)
    return network


def _inside(wrapper: Any) -> Any:
    """Return what a wrapper holds; None if it is none."""
    if isinstance(wrapper, type):  # a class has attributes, but no weights
        return None
    parts = wrapper.__dict__.get("_modules", {}) if isinstance(wrapper, nn.Module) else {}
    if "_orig_mod" in parts:
        _logger.warning(
            "The model was compiled by torch.compile, which has no effect on a session; VideoSession(compile=True) "
            "compiles what it runs."
        )
        return parts["_orig_mod"]
    if "module" in parts:  # DataParallel, DistributedDataParallel, Fabric
        return parts["module"]
    return getattr(wrapper, "network", None)


def _check_weights(network: VOSNetwork[Any, Any]) -> None:
    for name, weight in network.named_parameters():
        if weight.is_meta:
            raise ConfigError(f"{name} of the {type(network).__name__} has no values (device meta). Load the weights.")
        if weight.dtype != torch.float32:
            raise ConfigError(
                f"{name} of the {type(network).__name__} is {weight.dtype}. A session starts from float32 weights: "
                "call `model.float()`, or load the model again, and choose the arithmetic with "
                "`VideoSession(model, precision='bf16')` or `'fp16'`."
            )


def _described(thing: object) -> str:
    if isinstance(thing, type):
        return f"The class {thing.__name__}, not an object of it,"
    return f"A {type(thing).__name__}"
