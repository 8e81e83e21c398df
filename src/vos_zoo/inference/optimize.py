"""A network rearranged for inference: same weights, same results, fewer operations."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import BatchNorm2d
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vos_zoo.errors import ConfigError

from .winograd import WinogradConv2d, is_winograd_faster

ModuleT = TypeVar("ModuleT", bound=nn.Module)

_logger = logging.getLogger(__name__)


def optimize_network(network: ModuleT, device: torch.device | None = None, *, winograd: bool = True) -> ModuleT:
    """Return a network of the same class with batch normalisation folded into convolutions, stored channels-last.

    On a CPU wide 3x3 convolutions go by :class:`vos_zoo.inference.winograd.WinogradConv2d`. The result equals the
    original within rounding of float32. It shares every parameter that did not have to change, and the original stays
    as it is, so that it can be trained and saved as before.

    A network that is rearranged already costs next to nothing: the result shares everything with it. Whoever opens many
    sessions hands such a one to all of them.

    Args:
        network: Any network; the result is in evaluation mode whatever this one's mode.
        device: Where the result lives; None means where the network is.
        winograd: False where it would not be used: under autocast, or in front of a compiler.

    Example:
        >>> block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        >>> [type(part).__name__ for part in optimize_network(block)]
        ['Conv2d', 'Identity']
    """
    optimized = copy_network(network, device).eval()
    for module in list(optimized.modules()):
        _fold_children(module)
    for module in list(optimized.modules()) if winograd else ():
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d) and not isinstance(child, WinogradConv2d) and is_winograd_faster(child):
                setattr(module, name, WinogradConv2d(child))
    for part in optimized.modules():
        if isinstance(part, nn.Conv2d) and not isinstance(part, WinogradConv2d):
            part.weight = nn.Parameter(
                part.weight.detach().contiguous(memory_format=torch.channels_last), requires_grad=False
            )
    return optimized


def compile_network(network: ModuleT, device: torch.device) -> ModuleT:
    """Return a copy whose parts are compiled by ``torch.compile``, each on its first call.

    Parts, not verbs, because the memory between them changes its size. The first frames take up to minutes, and more
    whenever the number of objects changes.

    Args:
        network: Any network; it stays as it is.
        device: Where it runs.

    Raises:
        ConfigError: If nothing can be compiled here, for lack of a C++ compiler for example.
    """
    _logger.info("Compiling; the first frames take up to minutes ...")
    try:
        torch.compile(lambda number: number + 1)(torch.zeros(8, device=device))
    except Exception as error:  # whatever the compiler of this device may raise
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"compile=True needs a working compiler for {device.type} ({type(error).__name__}: {reason}). Install one "
            "(on Debian: g++ and python3-dev), or leave compile out."
        ) from error
    compiled = shallow_copy(network)
    for part in _parts(compiled):
        part.compile()
    return compiled


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the parts of a network; those of lists and dictionaries one by one, because nothing calls these."""
    for child in module.children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            yield from _parts(child)
        else:
            yield child


def copy_network(network: ModuleT, device: torch.device | None = None) -> ModuleT:
    """Return a copy that shares its tensors with the original, or has its own ones on another device.

    ``Module.to`` would not do: it moves shared parameters in place, and the original with them.
    """
    clone = shallow_copy(network)
    moved: dict[int, nn.Parameter] = {}  # weights that parts share stay shared
    for part in clone.modules() if device is not None else ():
        for name, parameter in part._parameters.items():
            if parameter is not None and parameter.device != device:
                if id(parameter) not in moved:
                    moved[id(parameter)] = nn.Parameter(parameter.detach().to(device), requires_grad=False)
                part._parameters[name] = moved[id(parameter)]
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = buffer.to(device)
    return clone


def shallow_copy(module: ModuleT) -> ModuleT:
    """Copy the tree of modules, not their tensors."""
    clone = copy.copy(module)
    clone.__dict__ = module.__dict__.copy()
    clone._parameters = module._parameters.copy()
    clone._buffers = module._buffers.copy()
    clone._modules = {name: None if child is None else shallow_copy(child) for name, child in module._modules.items()}
    return clone


def _fold_children(module: nn.Module) -> None:
    """Fold every batch normalisation into the convolution registered right before it.

    timm's ResNets register ``conv1, bn1, …, conv2, bn2`` and, on shortcuts, a convolution and its normalisation in this
    order; other modules between a convolution and its normalisation (identities for anti-aliasing) break the pair only
    if they compute something.
    """
    convolution: tuple[str, nn.Conv2d] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Conv2d):
            convolution = (name, child)
        elif isinstance(child, BatchNorm2d) and convolution is not None:
            conv_name, conv = convolution
            if conv.out_channels == child.num_features and name not in getattr(module, "unfolded", ()):
                with torch.no_grad():
                    setattr(module, conv_name, fuse_conv_bn_eval(conv, child))
                setattr(module, name, nn.Identity())
            convolution = None
        elif not isinstance(child, nn.Identity):
            convolution = None
