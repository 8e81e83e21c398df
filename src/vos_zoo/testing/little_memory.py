"""A device that runs out of memory at a chosen moment."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LittleMemory(TorchDispatchMode):
    """Refuses memory for a new tensor once so many got theirs.

    Args:
        tensors: How many do.
    """

    def __init__(self, tensors: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tensors = tensors
        self.taken = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        given = {part.untyped_storage().data_ptr() for part in tree_leaves(args) if isinstance(part, torch.Tensor)}
        made = [part.untyped_storage().data_ptr() for part in tree_leaves(result) if isinstance(part, torch.Tensor)]
        if any(place not in given for place in made):
            # What only makes a new tensor has changed nothing else, so that it may fail afterwards as well.
            if self.taken == self.tensors:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            self.taken += 1
        return result
