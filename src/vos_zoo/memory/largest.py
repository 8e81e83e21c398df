"""The largest numbers of each row, by numpy's vectorised selection where that is faster than PyTorch's.

PyTorch selects among pairs of number and place, one comparison at a time. numpy selects among plain numbers with vector
instructions, several times as fast; so number and place are packed into one integer of 64 bits, which is ordered by the
number first. numpy does so on one thread: more of them would compete with PyTorch's, which wait for work actively.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

_LOW = 2**32 - 1
_MAGNITUDE = 2**31 - 1
_MOST_THREADS = 8  # beyond, PyTorch's selection on all of them overtakes numpy's on one


def largest(numbers: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest numbers of each row, the least of them first, the others in any order, and their places.

    Args:
        numbers: Shape (rows, n), float32 or float64; minus infinity is the least number.
        k: At most n.

    Returns:
        Numbers and places (int64), both (rows, k). Of equal numbers any may be returned.
    """
    if not _packs(numbers):
        values, places = numbers.topk(k)
        return values.flip(1), places.flip(1)
    packed = _select(numbers, k)
    return _mirror((packed >> 32).int()).view(torch.float32), packed & _LOW


def places_of_largest(numbers: Tensor, k: int) -> Tensor:
    """Return the places (int64) of the k largest numbers of each row in any order, as :func:`largest` does."""
    if not _packs(numbers):
        return numbers.topk(k, sorted=False).indices
    return _select(numbers, k) & _LOW


def _packs(numbers: Tensor) -> bool:
    return numbers.dtype == torch.float32 and numbers.device.type == "cpu" and torch.get_num_threads() <= _MOST_THREADS


def _select(numbers: Tensor, k: int) -> Tensor:
    """Return the k largest numbers of each row, packed: ordered like the numbers, the place in the lower half."""
    high = _mirror(numbers.view(torch.int32)).to(torch.int64, memory_format=torch.contiguous_format)
    rows = torch.add(_places(numbers.shape[1]), high, alpha=2**32).numpy()
    rows.partition(-k, axis=1)
    return torch.from_numpy(rows[:, -k:])


def _mirror(integers: Tensor) -> Tensor:
    """Turn around what is below zero: the bits of floats grow away from zero on both sides. Undoes itself."""
    negative = integers >> 31
    negative &= _MAGNITUDE
    negative ^= integers
    return negative


@lru_cache(maxsize=64)
def _places(count: int) -> Tensor:
    with torch.inference_mode(False):
        return torch.arange(count)
