"""Which implementation reads the memory: the rules of the automatic choice, and how to overrule it."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from vos_zoo.errors import ConfigError
from vos_zoo.memory.backends import cpu, native, reference, sdpa, triton
from vos_zoo.memory.backends.backend import Backend, BackendStatus, Read
from vos_zoo.memory.tokens import MemoryTokens

BACKEND_VARIABLE = "VOS_ZOO_MEMORY_BACKEND"

#: All implementations.
BACKENDS: tuple[Backend, ...] = (reference.BACKEND, cpu.BACKEND, native.BACKEND, sdpa.BACKEND, triton.BACKEND)

_HALF_TYPES = (torch.float16, torch.bfloat16)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BackendChoice:
    """An implementation and why it was taken."""

    backend: Backend
    reason: str

    @property
    def name(self) -> str:
        """The implementation's name."""
        return self.backend.name


def available_backends() -> tuple[BackendStatus, ...]:
    """List all implementations with their state on this machine.

    Example:
        >>> [status.name for status in available_backends()]
        ['reference', 'cpu', 'native', 'sdpa', 'triton']
    """
    return tuple(backend.status() for backend in BACKENDS)


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
    read = Read.of(query, memory, top_k)
    if requested != "auto":
        backend = _named(requested, "backend")
        obstacle = backend.refusal(read)
        if obstacle is not None:
            raise ConfigError(f"The memory read cannot use backend {requested!r}: {obstacle}. Use 'auto' instead.")
        return BackendChoice(backend, "requested by argument")
    variable = os.environ.get(BACKEND_VARIABLE, "auto")
    if variable != "auto":
        backend = _named(variable, BACKEND_VARIABLE)
        obstacle = backend.refusal(read)
        if obstacle is None:
            return BackendChoice(backend, f"requested by {BACKEND_VARIABLE}")
        _log_once(f"{BACKEND_VARIABLE}={variable} cannot serve every memory read: {obstacle}. Choosing automatically.")
    return _automatic(read)


def _automatic(read: Read) -> BackendChoice:
    device = read.query.device.type
    if read.top_k is not None and read.needs_gradients:
        return BackendChoice(reference.BACKEND, "gradients through top-k")
    if read.top_k is None:
        # Triton's read of all tokens comes on request: how it compares with these two was not measured yet.
        is_fused = device == "cuda" and read.memory.values.dtype in _HALF_TYPES
        if is_fused and sdpa.BACKEND.refusal(read) is None:
            return BackendChoice(sdpa.BACKEND, "all tokens in half precision on a CUDA device")
        return BackendChoice(cpu.BACKEND, f"all tokens on {device}")
    if device == "cuda":
        obstacle = triton.BACKEND.refusal(read)
        if obstacle is None:
            return BackendChoice(triton.BACKEND, "top-k on a CUDA device")
        _log_once(f"Memory reads on this device use PyTorch operations instead of Triton: {obstacle}.")
        return BackendChoice(cpu.BACKEND, f"top-k on {device} without Triton: {obstacle}")
    obstacle = native.BACKEND.refusal(read)
    if obstacle is None:
        return BackendChoice(native.BACKEND, f"top-k on {device}")
    return BackendChoice(cpu.BACKEND, f"top-k on {device} without machine code: {obstacle}")


def _named(name: str, source: str) -> Backend:
    for backend in BACKENDS:
        if name == backend.name:
            return backend
    names = ", ".join(map(repr, ("auto", *(backend.name for backend in BACKENDS))))
    raise ConfigError(f"The memory backend {name!r} (from {source}) is unknown. Use one of {names}.")


@cache
def _log_once(message: str) -> None:
    _logger.warning(message)
