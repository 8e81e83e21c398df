"""The memory read in operations that graphs of every runtime have, for export.

:mod:`vos_zoo.memory.backends.choice` never takes it: with tensors at hand, the others are faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from vos_zoo.memory.tokens import MemoryTokens

#: Added to the similarity of tokens that do not count, which leaves a weight of exactly zero. Infinity would make the
#: softmax of a row without other tokens NaN.
UNUSED = -1e30


def read_portable(query: Tensor, memory: MemoryTokens, top_k: int | None = None) -> tuple[Tensor, Tensor]:
    """Weight every token for every query and sum, with the whole weight matrix in memory.

    All sizes may be symbols of ``torch.export``. Among equal similarities at the k-th place any wins.

    Args:
        query: Query keys, shape (B, M, Ck).
        memory: Tokens, N of them.
        top_k: Number of tokens that share the weight of a query; None or at least N means all.

    Returns:
        Values, shape (B, M, D), and weights, shape (B, M, N).
    """
    similarity = memory.scale * query @ memory.keys.mT
    if memory.bias is not None:
        similarity = similarity + memory.bias.unsqueeze(1)
    if top_k is None:
        weights = similarity.softmax(-1)
    else:
        best, places = similarity.topk(torch.sym_min(top_k, similarity.shape[2]), dim=-1)
        weights = torch.zeros_like(similarity).scatter(2, places, best.softmax(-1))
    return weights @ memory.values, weights
