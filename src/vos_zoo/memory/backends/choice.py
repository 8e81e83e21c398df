"""Which implementation reads the memory: the rules of the automatic choice, and how to overrule it."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from vos_zoo.errors import ConfigError
from vos_zoo.memory.backends import native, sdpa, triton_kernel, triton_softmax
from vos_zoo.memory.tokens import MemoryTokens

BackendName = Literal["reference", "cpu", "native", "sdpa", "triton"]
BACKEND_VARIABLE = "VOS_ZOO_MEMORY_BACKEND"

_NAMES: tuple[BackendName, ...] = ("reference", "cpu", "native", "sdpa", "triton")
_HALF_TYPES = (torch.float16, torch.bfloat16)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BackendChoice:
    """An implementation and why it was taken."""

    name: BackendName
    reason: str


@dataclass(frozen=True)
class BackendStatus:
    """Whether this machine can run an implementation.

    Attributes:
        name: As taken by ``read_memory(backend=...)`` and the environment variable.
        is_available: Whether it can run here at all.
        reason: What it is good for, or what it lacks.
    """

    name: BackendName
    is_available: bool
    reason: str


def available_backends() -> tuple[BackendStatus, ...]:
    """List all implementations with their state on this machine.

    Example:
        >>> [status.name for status in available_backends()]
        ['reference', 'cpu', 'native', 'sdpa', 'triton']
    """
    no_native, no_triton = native.unavailable_reason(), triton_kernel.unavailable_reason()
    return (
        BackendStatus("reference", True, "the formula, for checks and for gradients through top-k"),
        BackendStatus("cpu", True, "PyTorch operations in blocks, tuned for CPUs; runs on every device"),
        BackendStatus(
            "native",
            no_native is None,
            no_native or "compiled by this machine's C compiler, the choice for top-k on CPUs",
        ),
        BackendStatus("sdpa", True, "PyTorch's fused attention; reads all tokens, no top-k"),
        BackendStatus("triton", no_triton is None, no_triton or "fused CUDA kernels, the choice for top-k"),
    )


def choose_backend(query: Tensor, memory: MemoryTokens, top_k: int | None, *, requested: str = "auto") -> BackendChoice:
    """Choose the implementation for one read.

    An explicit request wins over the environment variable ``VOS_ZOO_MEMORY_BACKEND``, which wins over the automatic
    choice. A request that cannot serve this read is an error; a variable that cannot is passed over with a log line.

    Args:
        query: Query keys, (B, M, Ck) or (B, Ck, h, w); only type, device and width count.
        memory: Tokens.
        top_k: As for the read.
        requested: Name of an implementation, or "auto".

    Returns:
        The choice and its reason.

    Raises:
        ConfigError: If a name is unknown or the requested implementation cannot serve this read.
    """
    top_k = None if top_k is not None and top_k >= memory.count else top_k
    if requested != "auto":
        obstacle = _obstacle(_known(requested, "backend"), query, memory, top_k)
        if obstacle is not None:
            raise ConfigError(f"The memory read cannot use backend {requested!r}: {obstacle}. Use 'auto' instead.")
        return BackendChoice(_known(requested, "backend"), "requested by argument")
    variable = os.environ.get(BACKEND_VARIABLE, "auto")
    if variable != "auto":
        name = _known(variable, BACKEND_VARIABLE)
        obstacle = _obstacle(name, query, memory, top_k)
        if obstacle is None:
            return BackendChoice(name, f"requested by {BACKEND_VARIABLE}")
        _log_once(f"{BACKEND_VARIABLE}={name} cannot serve every memory read: {obstacle}. Choosing automatically.")
    return _automatic(query, memory, top_k)


def _automatic(query: Tensor, memory: MemoryTokens, top_k: int | None) -> BackendChoice:
    device = query.device.type
    if top_k is not None and _needs_gradients(query, memory):
        return BackendChoice("reference", "gradients through top-k")
    if top_k is None:
        # Triton's read of all tokens comes on request: how it compares with these two was not measured yet.
        is_fused = device == "cuda" and memory.values.dtype in _HALF_TYPES
        if is_fused and _obstacle("sdpa", query, memory, None) is None:
            return BackendChoice("sdpa", "all tokens in half precision on a CUDA device")
        return BackendChoice("cpu", f"all tokens on {device}")
    if device == "cuda":
        obstacle = _obstacle("triton", query, memory, top_k)
        if obstacle is None:
            return BackendChoice("triton", "top-k on a CUDA device")
        _log_once(f"Memory reads on this device use PyTorch operations instead of Triton: {obstacle}.")
        return BackendChoice("cpu", f"top-k on {device} without Triton: {obstacle}")
    obstacle = _obstacle("native", query, memory, top_k)
    if obstacle is None:
        return BackendChoice("native", f"top-k on {device}")
    return BackendChoice("cpu", f"top-k on {device} without machine code: {obstacle}")


def _obstacle(name: BackendName, query: Tensor, memory: MemoryTokens, top_k: int | None) -> str | None:
    """Say what keeps an implementation from serving this read; None if nothing does."""
    if name == "reference":
        return None
    if name == "sdpa":
        if top_k is not None:
            return "it reads all tokens, no top-k"
        kind = torch.promote_types(memory.keys.dtype, memory.values.dtype)
        fits = sdpa.supports(memory.keys.shape[2], kind, memory.bias is not None)
        return None if fits else f"keys of width {memory.keys.shape[2]} exceed its widest head"
    if top_k is not None and _needs_gradients(query, memory):
        return "it has no gradients through top-k"
    if name == "cpu":
        return None
    if name == "native":
        if top_k is None:
            return "it reads the k most similar tokens, not all"
        return native.refusal(query, memory) or native.unavailable_reason()
    refusal = triton_softmax.refusal(query, memory) if top_k is None else triton_kernel.refusal(query, memory, top_k)
    return triton_kernel.unavailable_reason() or refusal


def _needs_gradients(query: Tensor, memory: MemoryTokens) -> bool:
    parts = (query, memory.keys, memory.values, memory.bias)
    return torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in parts)


def _known(name: str, source: str) -> BackendName:
    for known in _NAMES:
        if name == known:
            return known
    names = ", ".join(map(repr, ("auto", *_NAMES)))
    raise ConfigError(f"The memory backend {name!r} (from {source}) is unknown. Use one of {names}.")


@cache
def _log_once(message: str) -> None:
    _logger.warning(message)
