"""The memory read as plain loops over numpy float64 arrays, and random memories to read."""

from __future__ import annotations

import numpy as np
import torch

from vos_zoo.memory import MemoryTokens, similarity_terms


def read_by_loops(
    query: torch.Tensor, memory: MemoryTokens, top_k: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read values and keys, (B, M, D) and (B, M, Ck) in float64; equal similarities favour the lower index."""
    queries, keys, values = (part.detach().double().numpy() for part in (query, memory.keys, memory.values))
    bias = np.zeros(keys.shape[:2]) if memory.bias is None else memory.bias.detach().double().numpy()
    read_values = np.zeros((*queries.shape[:2], values.shape[2]))
    read_keys = np.zeros((*queries.shape[:2], keys.shape[2]))
    for b, m in np.ndindex(queries.shape[:2]):
        similarity = memory.scale * (keys[b] @ queries[b, m]) + bias[b]
        chosen = np.lexsort((np.arange(similarity.size), -similarity))[:top_k]
        weights = np.exp(similarity[chosen] - similarity[chosen].max())
        weights /= weights.sum()
        read_values[b, m], read_keys[b, m] = weights @ values[b, chosen], weights @ keys[b, chosen]
    return torch.from_numpy(read_values), torch.from_numpy(read_keys)


def random_read(
    *,
    queries: int,
    tokens: int,
    width: int = 8,
    columns: int = 6,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    kind: str = "l2",
    has_ties: bool = False,
    seed: int = 0,
) -> tuple[torch.Tensor, MemoryTokens]:
    """Make queries (B, M, Ck) and a memory. With ties, all similarities are small integers, exact in every type."""
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(batch, queries, width, generator=generator)
    keys = torch.randn(batch, tokens, width, generator=generator)
    if has_ties:
        query, keys = query.round(), keys.round()
    query, keys = query.to(dtype), keys.to(dtype)
    values = torch.randn(batch, tokens, columns, generator=generator).to(dtype)
    scale, bias = similarity_terms(keys, kind, scale=2.0 if has_ties else None)
    return query, MemoryTokens(keys, bias, values, scale)


def has_clear_choice(query: torch.Tensor, memory: MemoryTokens, top_k: int, margin: float) -> torch.Tensor:
    """Mark the queries (B, M) whose k-th and next similarity differ by more than rounding can move them."""
    similarity = memory.scale * query.double() @ memory.keys.double().mT
    if memory.bias is not None:
        similarity = similarity + memory.bias.double().unsqueeze(1)
    if top_k >= similarity.shape[-1]:
        return torch.ones(similarity.shape[:-1], dtype=torch.bool)
    best = similarity.topk(top_k + 1).values
    gap = best[..., top_k - 1] - best[..., top_k]
    return (gap > margin) | gap.isnan()  # minus infinity on both sides: neither counts
