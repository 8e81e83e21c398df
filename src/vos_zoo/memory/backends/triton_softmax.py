"""The memory read over all tokens on CUDA devices: Triton programs that write no affinity, forward or backward.

The forward pass goes over the memory once for each run of columns of the values, with a running maximum and sum per
query. Beside its result it leaves the logarithm of each query's sum, from which the backward pass computes the weights
again, tile by tile: once for the gradients of the values, once for those of keys and biases, once for the queries'.

Importing this module does not import Triton.

Source: Dao et al., FlashAttention, 2022, Algorithms 1 and 4; here with a bias per token, one affinity for values of any
    width, and gradients for the bias.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vos_zoo.memory.backends import triton_kernel
from vos_zoo.memory.backends.triton_kernel import is_interpreted, power_of_two, regular_rows, rows_apart
from vos_zoo.memory.tokens import MemoryTokens

_MOST_WIDTH = 256  # channels of keys, all of which a tile holds
_MOST_COLUMNS = 64  # columns of values in a tile


def refusal(query: Tensor, memory: MemoryTokens) -> str | None:
    """Say why this read is not for the kernels; None if it is."""
    width = memory.keys.shape[2]
    too_wide = f"keys of width {width} exceed {_MOST_WIDTH} channels" if width > _MOST_WIDTH else None
    return triton_kernel.refusal(query, memory, None) or too_wide


def read_triton_softmax(query: Tensor, memory: MemoryTokens, read_keys: bool) -> tuple[Tensor, Tensor | None]:
    """Weight all tokens; differentiable in queries, keys, biases and values.

    Args:
        query: Query keys, shape (B, M, Ck), float32, float16 or bfloat16, Ck at most 256.
        memory: Tokens of the same types.
        read_keys: Also read the memory keys.

    Returns:
        Values (B, M, D) and keys (B, M, Ck) or None, in the types of the memory's values and keys.
    """
    kind = torch.promote_types(query.dtype, memory.keys.dtype)
    table = memory.values
    if read_keys:
        # One read serves both: keys are further columns of the values.
        shared = torch.promote_types(memory.values.dtype, memory.keys.dtype)
        table = torch.cat([memory.values.to(shared), memory.keys.to(shared)], 2)
    read = _AllTokensRead.apply(query.to(kind), memory.keys.to(kind), memory.bias, table, memory.scale)
    width = memory.values.shape[2]
    keys_read = read[..., width:].to(memory.keys.dtype) if read_keys else None
    return read[..., :width].to(memory.values.dtype), keys_read


class _AllTokensRead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, keys: Tensor, bias: Tensor | None, table: Tensor, scale: float) -> Tensor:
        query, keys, table = regular_rows(query), regular_rows(keys), regular_rows(table)
        exact_bias = None if bias is None else bias.float().contiguous()
        batch, queries, _ = query.shape
        read = table.new_empty(batch, queries, table.shape[2])
        log_sum_exp = query.new_empty(batch, queries, dtype=torch.float32)
        arguments = _Arguments(query, keys, exact_bias, table, scale)
        with torch.cuda.device_of(query):  # Triton launches on the current device.
            arguments.tuned("read_all")[lambda chosen: (-(-queries // chosen["ROWS"]), arguments.column_runs, batch)](
                *arguments.inputs, table, read, log_sum_exp,
                *arguments.sizes, *arguments.strides, *arguments.table_strides, **arguments.constants,
            )  # fmt: skip
        ctx.save_for_backward(query, keys, exact_bias, table, read, log_sum_exp)
        ctx.scale, ctx.bias_type = scale, None if bias is None else bias.dtype
        return read

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_read: Tensor) -> tuple[Tensor | None, ...]:
        with torch.cuda.device_of(grad_read):
            return *_gradients(ctx, grad_read.contiguous()), None


def _gradients(ctx: Any, grad_read: Tensor) -> tuple[Tensor | None, ...]:
    """Return gradients of queries, keys, biases and table, as far as they are asked for."""
    query, keys, bias, table, read, log_sum_exp = ctx.saved_tensors
    needs_query, needs_keys, needs_bias, needs_table, _ = ctx.needs_input_grad
    arguments = _Arguments(query, keys, bias, table, ctx.scale)
    batch, queries, count = query.shape[0], query.shape[1], keys.shape[1]
    # What the softmax takes off the gradients of a query's weights: their mean, which the read already holds.
    mean = (grad_read.float() * read.float()).sum(2)
    inputs = (*arguments.inputs, table, log_sum_exp, grad_read, mean)
    shape = (*arguments.sizes, *arguments.strides, *arguments.table_strides)
    grad_query = grad_keys = grad_bias = grad_table = None
    if needs_table:
        grad_table = torch.empty_like(table, memory_format=torch.contiguous_format)
        arguments.tuned("grad_of_table")[lambda chosen: (-(-count // chosen["TOKENS"]), arguments.column_runs, batch)](
            *arguments.inputs, log_sum_exp, grad_read, grad_table,
            *arguments.sizes, *arguments.strides, **arguments.constants,
        )  # fmt: skip
    if needs_keys or needs_bias:
        grad_keys = torch.empty_like(keys, memory_format=torch.contiguous_format)
        grad_bias = keys.new_empty(batch, count, dtype=torch.float32)
        arguments.tuned("grad_of_keys")[lambda chosen: (-(-count // chosen["TOKENS"]), batch)](
            *inputs, grad_keys, grad_bias, *shape, **arguments.constants
        )
    if needs_query:
        grad_query = torch.empty_like(query, memory_format=torch.contiguous_format)
        arguments.tuned("grad_of_query")[lambda chosen: (-(-queries // chosen["ROWS"]), batch)](
            *inputs, grad_query, *shape, **arguments.constants
        )
    if grad_bias is not None:
        grad_bias = None if ctx.bias_type is None else grad_bias.to(ctx.bias_type)
    return grad_query, grad_keys, grad_bias, grad_table


class _Arguments:
    """What all programs take, in their order."""

    def __init__(self, query: Tensor, keys: Tensor, bias: Tensor | None, table: Tensor, scale: float) -> None:
        width, columns = query.shape[2], min(_MOST_COLUMNS, max(16, power_of_two(table.shape[2])))
        self.inputs = (query, keys, bias if bias is not None else keys)  # no bias is never read
        self.sizes = (query.shape[1], keys.shape[1], table.shape[2], scale)
        bias_batch = 0 if bias is None else bias.stride(0)
        self.strides = (rows_apart(query), query.stride(1), rows_apart(keys), keys.stride(1), bias_batch)
        self.table_strides = (rows_apart(table), table.stride(1))
        self.column_runs = -(-table.shape[2] // columns)
        self.constants = {
            "WIDTH": width,
            "PADDED_WIDTH": max(16, power_of_two(width)),  # smaller sizes would not fill a tensor-core tile
            "HAS_BIAS": bias is not None,
            "PRECISION": "tf32x3",  # float32 from three tensor-core products
            "COLUMNS": columns,
        }
        self._kind = torch.promote_types(query.dtype, table.dtype)

    def tuned(self, name: str) -> Any:
        """Return a program with tiles for the types of its arguments."""
        return _tuned(name, self._kind)


def tiles(name: str, kind: torch.dtype) -> tuple[tuple[int, int, int], ...]:
    """Return tiles worth timing, of queries, tokens and warps: all that registers hold with keys of 128 channels.

    Args:
        name: Of the program.
        kind: Of keys and values. Float32 as three products of narrower numbers takes several times the registers.
    """
    if kind != torch.float32:
        return (32, 32, 4), (32, 64, 4), (64, 32, 4), (64, 64, 8)
    if name in ("grad_of_keys", "grad_of_query"):
        return (16, 16, 4), (16, 32, 4)
    return (16, 32, 4), (32, 32, 4)


@cache
def _tuned(name: str, kind: torch.dtype) -> Any:
    """Let Triton time a few tiles of a program on first use for each key width."""
    import triton

    from vos_zoo.memory.backends import triton_softmax_programs

    chosen = ((32, 64, 4),) if is_interpreted() else tiles(name, kind)
    configs = [
        triton.Config({"ROWS": rows, "TOKENS": tokens}, num_warps=warps, num_stages=2) for rows, tokens, warps in chosen
    ]
    return triton.autotune(configs=configs, key=["WIDTH", "COLUMNS"])(getattr(triton_softmax_programs, name))
