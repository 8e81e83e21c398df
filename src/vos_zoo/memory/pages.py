"""Large tensors on CPUs, in huge pages where the system has them.

The values of all objects lie side by side, thousands of bytes for each token. A read that takes some columns of every
token touches another page with each, and a processor knows the places of no more than some thousand pages; it takes
longer to look up the place of a small page than to sum what is there.
"""

from __future__ import annotations

import math
import mmap
import sys
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
        self._tenants: list[weakref.finalize[..., NDArray[np.uint8]]] = []  # one for the owner of each tensor's numbers
        self._start = 0
        self._start = -self.tensor([1], torch.uint8).data_ptr() % HUGE_PAGE
        self.size = size

    @property
    def is_used(self) -> bool:
        """Whether a tensor, or a view of one, still lies here."""
        return any(tenant.alive for tenant in self._tenants)

    def tensor(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return a tensor that lies here from the start on; the memory lives as long as it does.

        Args:
            shape: Of at most ``size`` bytes, and not empty.
            dtype: Type of its numbers.
        """
        # By way of NumPy, which does not follow torch.set_default_device.
        numbers = np.frombuffer(self._memory, np.uint8, math.prod(shape) * dtype.itemsize, self._start)
        # A tensor and all its views own the array that it was made from, which dies with the last of them.
        self._tenants = [tenant for tenant in self._tenants if tenant.alive]
        self._tenants.append(weakref.finalize(numbers, int))
        self._tenants[-1].atexit = False
        return torch.from_numpy(numbers).view(dtype).view(*shape)


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
