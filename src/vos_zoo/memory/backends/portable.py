"""The memory read in operations that graphs of every runtime have, for export.

:mod:`vos_zoo.memory.backends.choice` never takes it: with tensors at hand, the others are faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from vos_zoo.memory.tokens import MemoryTokens

#: Added to the similarity of tokens that do not count, which leaves a weight of exactly zero. Infinity would make the
#: softmax of a row without other tokens NaN.
UNUSED = -1e30

_TOGETHER = 8  # rows of each query that exist at once


def read_portable(
    query: Tensor, memory: MemoryTokens, top_k: int | None = None, read_keys: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Compare every token with every query, and sum the values of all of them, or of the best.

    All sizes may be symbols of ``torch.export``. Among equal similarities at the k-th place any wins.

    Args:
        query: Query keys, shape (B, M, Ck).
        memory: Tokens, N of them.
        top_k: Number of tokens that share the weight of a query; None or at least N means all.
        read_keys: Also read the memory keys.

    Returns:
        Values, shape (B, M, D), and keys (B, M, Ck) or None.
    """
    similarity = memory.scale * query @ memory.keys.mT
    if memory.bias is not None:
        similarity = similarity + memory.bias.unsqueeze(1)
    if top_k is None:
        weights = similarity.softmax(-1)
        return weights @ memory.values, weights @ memory.keys if read_keys else None
    count = torch.sym_min(top_k, similarity.shape[2])
    best, places = similarity.topk(count, dim=-1, sorted=False)
    # Filled up without weight, so that the number is the same in every graph. In an export the size is a symbol.
    missing: Any = (0, top_k - count)
    weights, places = F.pad(best.softmax(-1), missing), F.pad(places, missing)
    values = _weighted_rows(memory.values, places, weights)
    return values, _weighted_rows(memory.keys, places, weights) if read_keys else None


def _weighted_rows(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Sum k rows of tables (B, N, D) per query, by rows and weights (B, M, k): (B, M, D).

    A few rows of every query at a time: all of them would take k times the memory of the result.
    """
    batch, tokens = table.shape[:2]
    places = rows + tokens * torch.arange(batch).view(-1, 1, 1)
    flat = table.flatten(0, 1)
    result: Tensor | None = None
    for some, of_some in zip(places.split(_TOGETHER, -1), weights.split(_TOGETHER, -1), strict=True):
        part = (of_some.unsqueeze(2) @ F.embedding(some, flat)).squeeze(2)
        result = part if result is None else result + part
    assert result is not None
    return result
