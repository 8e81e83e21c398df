"""The memory read as its formula says it: the arbiter of every other backend, differentiable, and not fast."""

from __future__ import annotations

import torch
from torch import Tensor

from vos_zoo.memory.backends.backend import BackendStatus, Read
from vos_zoo.memory.tokens import MemoryTokens


def read_reference(query: Tensor, memory: MemoryTokens, top_k: int | None = None) -> tuple[Tensor, Tensor]:
    """Weight every token for every query and sum, with the whole weight matrix in memory.

    Softmax and sums run in float32, or float64 if any input is float64.

    Args:
        query: Query keys, shape (B, M, Ck).
        memory: Tokens, N of them.
        top_k: Number of tokens that share the weight of a query; None or at least N means all. Among equal
            similarities at the k-th place the lower token index wins.

    Returns:
        Values, shape (B, M, D), and keys, shape (B, M, Ck), read with the same weights, in the type of the softmax.
    """
    exact = torch.float64 if torch.float64 in (query.dtype, memory.keys.dtype, memory.values.dtype) else torch.float32
    keys, values = memory.keys.to(exact), memory.values.to(exact)
    with torch.autocast(query.device.type, enabled=False):
        similarity = memory.scale * query.to(exact) @ keys.mT
        if memory.bias is not None:
            similarity = similarity + memory.bias.to(exact).unsqueeze(1)
        if top_k is not None and top_k < memory.count:
            # A stable descending sort leaves equal entries in token order.
            order = similarity.sort(dim=-1, descending=True, stable=True).indices
            dropped = torch.ones_like(similarity, dtype=torch.bool).scatter_(-1, order[..., :top_k], False)
            similarity = similarity.masked_fill(dropped, -torch.inf)
        weights = similarity.softmax(-1)
        return weights @ values, weights @ keys


class _Reference:
    name = "reference"

    def status(self) -> BackendStatus:
        return BackendStatus(self.name, True, "the formula, for checks and for gradients through top-k")

    def refusal(self, read: Read) -> str | None:
        del read
        return None

    def read(self, read: Read) -> tuple[Tensor, Tensor | None]:
        values, keys = read_reference(read.query, read.memory, read.top_k)
        return values.to(read.memory.values.dtype), keys.to(read.memory.keys.dtype) if read.read_keys else None


BACKEND = _Reference()
