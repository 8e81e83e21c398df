"""The memory read over all tokens, block by block, for any device, with gradients that store no affinity.

The weights of a block of queries are computed, used and dropped; the backward pass computes them again. The graph of a
training clip therefore holds the inputs only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vos_zoo.memory.tokens import MemoryTokens

_CPU_BYTES = 8 * 2**20  # similarities of one block; beyond the caches larger blocks gain nothing
_DEVICE_BYTES = 128 * 2**20  # large enough to keep a GPU's matrix units busy


def read_softmax(query: Tensor, memory: MemoryTokens, read_keys: bool) -> tuple[Tensor, Tensor | None]:
    """Weight all tokens; differentiable in queries, keys, biases and values.

    Args:
        query: Query keys, shape (B, M, Ck).
        memory: Tokens.
        read_keys: Also read the memory keys.

    Returns:
        Values (B, M, D) and keys (B, M, Ck) or None, in the types of the memory's values and keys.
    """
    values, keys = _SoftmaxRead.apply(query, memory.keys, memory.bias, memory.values, memory.scale, read_keys)
    return values, keys


class _SoftmaxRead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, keys: Tensor, bias: Tensor | None, values: Tensor, scale: float, read_keys: bool
    ) -> tuple[Tensor, Tensor | None]:
        ctx.save_for_backward(query, keys, bias, values)
        ctx.scale, ctx.read_keys = scale, read_keys
        read_values = values.new_empty(*query.shape[:2], values.shape[2])
        read = keys.new_empty(query.shape) if read_keys else None
        with torch.autocast(query.device.type, enabled=False):
            product_type = _product_type(values)
            for entries, rows in _blocks(query, keys):
                weights = _weights(query, keys, bias, scale, entries, rows)
                table = values[entries].to(product_type)
                read_values[entries, rows] = (weights.to(product_type) @ table).to(values.dtype)
                if read is not None:
                    read[entries, rows] = (weights @ keys[entries].to(weights.dtype)).to(keys.dtype)
        return read_values, read

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_values: Tensor, grad_keys_read: Tensor | None) -> tuple[Tensor | None, ...]:
        query, keys, bias, values = ctx.saved_tensors
        scale, exact = ctx.scale, _exact_type(query, keys)
        needs_keys = ctx.needs_input_grad[1]
        grad_query = torch.zeros_like(query)
        grad_keys = torch.zeros(keys.shape, dtype=exact, device=keys.device)
        grad_bias = torch.zeros(keys.shape[:2], dtype=exact, device=keys.device)
        product_type = _product_type(values)
        grad_table = torch.zeros(values.shape, dtype=product_type, device=values.device)
        with torch.autocast(query.device.type, enabled=False):
            for entries, rows in _blocks(query, keys):
                weights = _weights(query, keys, bias, scale, entries, rows)
                above = grad_values[entries, rows].to(product_type)
                grad_table[entries] += weights.to(product_type).mT @ above
                grad_weights = (above @ values[entries].to(product_type).mT).to(exact)
                if ctx.read_keys and grad_keys_read is not None:
                    above_keys = grad_keys_read[entries, rows].to(exact)
                    grad_weights += above_keys @ keys[entries].to(exact).mT
                    grad_keys[entries] += weights.mT @ above_keys
                # Derivative of the softmax: the mean of the weights' gradients is taken off each of them.
                grad_similarity = weights * (grad_weights - (weights * grad_weights).sum(-1, keepdim=True))
                grad_query[entries, rows] = (scale * grad_similarity @ keys[entries].to(exact)).to(query.dtype)
                if needs_keys:
                    grad_keys[entries] += scale * grad_similarity.mT @ query[entries, rows].to(exact)
                grad_bias[entries] += grad_similarity.sum(1)
        return (
            grad_query,
            grad_keys.to(keys.dtype),
            None if bias is None else grad_bias.to(bias.dtype),
            grad_table.to(values.dtype),
            None,
            None,
        )


def _blocks(query: Tensor, keys: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield ranges of batch entries and queries whose similarities fit the block size."""
    batch, queries, _ = query.shape
    limit = _CPU_BYTES if query.device.type == "cpu" else _DEVICE_BYTES
    fitting = max(1, limit // (4 * keys.shape[1]))  # rows of similarities
    height = min(queries, fitting)
    entries = max(1, fitting // queries)
    for entry in range(0, batch, entries):
        for row in range(0, queries, height):
            yield slice(entry, entry + entries), slice(row, row + height)


def _weights(query: Tensor, keys: Tensor, bias: Tensor | None, scale: float, entries: slice, rows: slice) -> Tensor:
    exact = _exact_type(query, keys)
    # Half-precision keys are widened, not multiplied as they are: their product would be rounded to 8 or 11 bits.
    similarity = scale * query[entries, rows].to(exact) @ keys[entries].to(exact).mT
    if bias is not None:
        similarity += bias[entries].to(exact).unsqueeze(1)
    return similarity.softmax(-1)


def _exact_type(query: Tensor, keys: Tensor) -> torch.dtype:
    return torch.float64 if torch.float64 in (query.dtype, keys.dtype) else torch.float32


def _product_type(values: Tensor) -> torch.dtype:
    """Type in which weights and values are multiplied; sums are float32 or wider in all of them."""
    if values.device.type == "cpu" and values.dtype not in (torch.float64, torch.float32):
        has_bfloat16 = torch._C._has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return values.dtype if values.dtype == torch.bfloat16 and has_bfloat16 else torch.float32
    return values.dtype
