"""What an implementation of the memory read looks like from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vos_zoo.memory.tokens import MemoryTokens


@dataclass(frozen=True)
class Read:
    """What is asked of an implementation.

    Attributes:
        query: Query keys, shape (B, M, Ck).
        memory: Tokens.
        top_k: Number of tokens that share the weight of a query, fewer than there are; None means all.
        read_keys: Whether the memory keys are read too, with the same weights.
    """

    query: Tensor
    memory: MemoryTokens
    top_k: int | None
    read_keys: bool = False

    @classmethod
    def of(cls, query: Tensor, memory: MemoryTokens, top_k: int | None, read_keys: bool = False) -> Read:
        """Take any ``top_k``: as many as there are tokens, or more, mean all."""
        return cls(query, memory, None if top_k is not None and top_k >= memory.count else top_k, read_keys)

    @property
    def needs_gradients(self) -> bool:
        """Whether the result has to be connected to the autograd graph."""
        parts = (self.query, self.memory.keys, self.memory.values, self.memory.bias)
        return torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in parts)


@dataclass(frozen=True)
class BackendStatus:
    """Whether this machine can run an implementation.

    Attributes:
        name: As taken by ``read_memory(backend=...)`` and the environment variable.
        is_available: Whether it can run here at all.
        reason: What it is good for, or what it lacks.
    """

    name: str
    is_available: bool
    reason: str


class Backend(Protocol):
    """An implementation of the memory read; each file of this folder that has one calls it ``BACKEND``."""

    @property
    def name(self) -> str:
        """As taken by ``read_memory(backend=...)`` and the environment variable."""

    def status(self) -> BackendStatus:
        """Say whether it can run on this machine at all."""

    def refusal(self, read: Read) -> str | None:
        """Say what keeps it from serving a read, on any machine or on this one; None if nothing does."""

    def read(self, read: Read) -> tuple[Tensor, Tensor | None]:
        """Serve a read that it does not refuse.

        Returns:
            Values (B, M, D) and keys (B, M, Ck) or None, in the types of the memory's values and keys.
        """
