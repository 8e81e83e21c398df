"""Large tensors on CPUs, in huge pages where the system has them.

The values of all objects lie side by side, thousands of bytes for each token. A read that takes some columns of every
token touches another page with each, and a processor knows the places of no more than some thousand pages; it takes
longer to look up the place of a small page than to sum what is there.
"""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

HUGE_PAGE = 2**21  # bytes, on x86 and most of ARM


class Pages:
    """Fresh memory, zeros at first, that is taken from the system page by page when it is first touched.

    Args:
        size: Bytes, at least one.

    Raises:
        torch.OutOfMemoryError: If the system has too little, as PyTorch's own memory would be refused.
    """

    def __init__(self, size: int) -> None:
        assert sys.platform == "linux"
        size = -(-size // HUGE_PAGE) * HUGE_PAGE
        # Not shared with child processes: few systems have huge pages for what is.
        try:
            self._memory = mmap.mmap(-1, size + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise torch.OutOfMemoryError(f"There is not enough memory for {size:,} bytes ({error}).") from error
        with suppress(OSError):  # a kernel without huge pages
            self._memory.madvise(mmap.MADV_HUGEPAGE)
        self._start = 0
        self._start = -self.tensor([1], torch.uint8).data_ptr() % HUGE_PAGE
        self.size = size
        self._references_if_unused = self._references()

    @property
    def is_used(self) -> bool:
        """Whether a tensor, or a view of one, still lies here."""
        return self._references() > self._references_if_unused

    def tensor(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return a tensor that lies here from the start on; the memory lives as long as it does.

        Args:
            shape: Of at most ``size`` bytes, and not empty.
            dtype: Type of its numbers.
        """
        # By way of NumPy, which does not follow torch.set_default_device.
        numbers = np.frombuffer(self._memory, np.uint8, math.prod(shape) * dtype.itemsize, self._start)
        return torch.from_numpy(numbers).view(dtype).view(*shape)

    def _references(self) -> int:
        return sys.getrefcount(self._memory)  # each tensor from it holds one


def zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return zeros, in huge pages if they fill several of them on a CPU under Linux.

    Args:
        shape: Any; without numbers too.
        dtype: Type of the numbers.
        device: Where.
    """
    size = math.prod(shape) * dtype.itemsize
    if sys.platform == "linux" and device.type == "cpu" and size >= 2 * HUGE_PAGE:
        return Pages(size).tensor(shape, dtype)
    return torch.zeros(*shape, dtype=dtype, device=device)
