"""Soft aggregation of objects and background in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["aggregate", "sigmoid"]

_LEAST = np.float32(1e-7)
_LARGEST = np.float32(1 - 1e-7)
_LIMIT = 30.0  # beyond, a sigmoid in float32 is 0 or 1


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities of logits."""
    odds = np.exp(-np.clip(logits, -_LIMIT, _LIMIT))
    odds += 1
    probabilities: NDArray[np.float32] = np.reciprocal(odds, out=odds)
    return probabilities


def aggregate(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Share pixels out between background and objects, in proportion to their odds.

    The background's probability is the product of the complements; every entry is clamped to [1e-7, 1 - 1e-7].

    Args:
        probabilities: One plane per object, values in [0, 1], shape (O, H, W).

    Returns:
        Probabilities that sum to one, shape (1 + O, H, W), background first.

    Source: STM, Oh et al., ICCV 2019, Section 3.3.

    Example:
        >>> aggregate(np.array([[[1.0]], [[0.0]]], np.float32)).argmax(axis=0).item()
        1
    """
    shares = np.empty((1 + len(probabilities), *probabilities.shape[1:]), np.float32)
    shares[1:] = probabilities
    np.prod(1 - probabilities, axis=0, out=shares[0])
    np.clip(shares, _LEAST, _LARGEST, out=shares)
    shares /= 1 - shares
    shares /= shares.sum(axis=0)
    return shares
