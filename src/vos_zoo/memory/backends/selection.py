"""The largest numbers of each row, by numpy's vectorised selection where that is faster than PyTorch's.

PyTorch selects among pairs of number and place, one comparison at a time. numpy selects among plain numbers with vector
instructions, several times as fast; so number and place are packed into one double, whose last 29 bits no float32 uses.
It is ordered by the number first. numpy does so on one thread: more of them would compete with PyTorch's, which wait
for work actively.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

_PLACE = 2**29 - 1  # the bits of a double beyond the fraction of a float32
# Doubles that become infinite, or zero, when they are narrowed. The bits of a place make infinities into something that
# is not a number, which numpy does not tell apart, and zeros into numbers so small that processors may ignore them.
_INFINITE = 2.0**1000
_ZERO = 2.0**-1000
_MOST_THREADS = 8  # beyond, PyTorch's selection on all of them overtakes numpy's on one


def largest(numbers: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest numbers of each row, the least of them first, the others in any order, and their places.

    Args:
        numbers: Shape (rows, n), float32 or float64; minus infinity is the least number, and what is not a number is
            larger than all.
        k: At most n.

    Returns:
        Numbers and places (int64), both (rows, k). Of equal numbers any may be returned. What is not a number may be
        returned as infinity.
    """
    if not _packs(numbers):
        values, places = numbers.topk(k)
        return values.flip(1), places.flip(1)
    packed = _select(numbers, k)
    return (packed & ~_PLACE).view(torch.float64).float(), packed & _PLACE


def places_of_largest(numbers: Tensor, k: int) -> Tensor:
    """Return the places (int64) of the k largest numbers of each row in any order, as :func:`largest` does."""
    if not _packs(numbers):
        return numbers.topk(k, sorted=False).indices
    return _select(numbers, k) & _PLACE


def _packs(numbers: Tensor) -> bool:
    return numbers.dtype == torch.float32 and numbers.device.type == "cpu" and torch.get_num_threads() <= _MOST_THREADS


def _select(numbers: Tensor, k: int) -> Tensor:
    """Return the k largest numbers of each row as the bits of doubles that hold a number and, at the end, its place."""
    wide = numbers.to(torch.float64, memory_format=torch.contiguous_format)
    wide.nan_to_num_(nan=2 * _INFINITE, posinf=_INFINITE, neginf=-_INFINITE).add_(_ZERO)
    bits = wide.view(torch.int64)
    bits |= _places(numbers.shape[1])
    wide.numpy().partition(-k, axis=1)
    return bits[:, -k:]


@lru_cache(maxsize=64)
def _places(count: int) -> Tensor:
    with torch.inference_mode(False):
        return torch.arange(count, device="cpu")
