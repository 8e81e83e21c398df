"""In which numbers a session computes."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import torch
from torch import nn

from vos_zoo.devices import computes_in
from vos_zoo.errors import ConfigError

from .optimize import optimize_network

if TYPE_CHECKING:
    from collections.abc import Iterator

NetworkT = TypeVar("NetworkT", bound=nn.Module)

_logger = logging.getLogger(__name__)

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
"""``fp32`` is float32 throughout. ``tf32`` rounds what convolutions multiply to 11 significant bits on CUDA devices
that can, and is ``fp32`` elsewhere. ``bf16`` and ``fp16`` compute most of the network in half precision."""

_HALF_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# What autocast runs in half precision with their own weights.
_CAST_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)


def check_precision(name: str) -> Precision | Literal["auto"]:
    """Return a precision by its name, or ``auto``.

    Raises:
        ConfigError: If there is no such precision.
    """
    for known in (*get_args(Precision), "auto"):
        if name == known:
            checked: Precision | Literal["auto"] = known
            return checked
    raise ConfigError(f"Precision is {name!r}. Expected fp32, tf32, bf16, fp16 or auto.")


def half_type(precision: Precision) -> torch.dtype | None:
    """Return the type of half precision; None for the others."""
    return _HALF_TYPES.get(precision)


def warn_of_emulation(precision: Precision, device: torch.device) -> None:
    """Say so, once, if a processor has to emulate a precision."""
    dtype = half_type(precision)
    if dtype is not None and not computes_in(dtype, device):
        _warn_once(precision, device.type)


@cache
def _warn_once(precision: Precision, device: str) -> None:
    _logger.warning(
        "This %s does not compute in %s by itself: masks will be right, but take longer than in fp32. Choose fp32, or "
        "'auto' for the fastest.",
        device,
        precision,
    )


def prepare_network(
    network: NetworkT, device: torch.device | None, precision: Precision, *, winograd: bool = True
) -> NetworkT:
    """Return the network rearranged for inference in a precision; it stays as it is.

    Args:
        network: In float32.
        device: Where the result lives; None means where the network is.
        precision: In which it will compute.
        winograd: False in front of a compiler.
    """
    half = half_type(precision)
    prepared = optimize_network(network, device, winograd=winograd and half is None)
    if half is not None:
        store_weights(prepared, half)
    return prepared


@contextmanager
def arithmetic(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute in a precision, whatever PyTorch is set to, and let cuDNN try which of its programs are fastest.

    PyTorch by itself lets convolutions on CUDA devices round to TF32. Its settings are those of the process; they are
    put back at the end.

    Args:
        precision: Of the network. Matrix products in float32 are never rounded: the memory read compares similarities.
        device: Where the network is.
    """
    with _float32_products(allows_tf32=precision == "tf32"):
        before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
        try:
            dtype = half_type(precision)
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                yield
        finally:
            torch.backends.cudnn.benchmark = before


@contextmanager
def _float32_products(*, allows_tf32: bool) -> Iterator[None]:
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    settings: list[tuple[Any, str, Any]]
    if hasattr(convolutions, "conv"):  # torch 2.9 and later, which refuses to mix both ways of saying it
        kind = "tf32" if allows_tf32 else "ieee"
        settings = [(part, "fp32_precision", kind) for part in (convolutions.conv, convolutions.rnn)]
        settings.append((products, "fp32_precision", "ieee"))
    else:
        settings = [(convolutions, "allow_tf32", allows_tf32), (products, "allow_tf32", False)]
    before = [getattr(owner, name) for owner, name, _ in settings]
    for owner, name, value in settings:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), value in zip(settings, before, strict=True):
            setattr(owner, name, value)


def store_weights(network: nn.Module, dtype: torch.dtype) -> None:
    """Hold the weights of convolutions and linear layers as autocast would cast them for every frame, in place.

    Their results stay what they were, bit by bit. Parts that compute in float32 under autocast, as their class says by
    ``computes_float32``, keep their weights.

    Args:
        network: One of its own, whose weights nobody else uses; parameters are replaced, not changed.
        dtype: Half precision.
    """
    stored: dict[int, nn.Parameter] = {}  # weights that layers share stay shared

    def visit(module: nn.Module) -> None:
        if getattr(module, "computes_float32", False):
            return
        if isinstance(module, _CAST_LAYERS):
            for name, parameter in module._parameters.items():
                if parameter is not None and parameter.dtype == torch.float32:
                    if id(parameter) not in stored:
                        stored[id(parameter)] = nn.Parameter(parameter.detach().to(dtype), requires_grad=False)
                    module._parameters[name] = stored[id(parameter)]
        for child in module.children():
            visit(child)

    visit(network)
