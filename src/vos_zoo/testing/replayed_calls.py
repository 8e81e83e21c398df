"""A stand-in for CUDA graphs that works on every device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Callable


class ReplayedCalls:
    """Records a call by making it, and replays it by making it again with the same tensors, into the same results.

    Args:
        fails_from: Number of the first recording that fails, from 1.

    Attributes:
        recorded: Recordings so far.
        replayed: Replays so far.
    """

    def __init__(self, fails_from: int | None = None) -> None:
        self._fails_from = fails_from
        self.recorded = self.replayed = 0

    def record(self, call: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """Record a call.

        Raises:
            RuntimeError: If this one is to fail.
        """
        self.recorded += 1
        if self._fails_from is not None and self.recorded >= self._fails_from:
            raise RuntimeError("operation not permitted when stream is capturing\nmore that nobody wants to read")
        result = call()

        def replay() -> None:
            self.replayed += 1
            for place, made in zip(_tensors(result), _tensors(call()), strict=True):
                if place.data_ptr() != made.data_ptr():
                    place.copy_(made)

        return replay, result


def _tensors(value: Any) -> list[torch.Tensor]:
    return [part for part in tree_leaves(value) if isinstance(part, torch.Tensor)]
