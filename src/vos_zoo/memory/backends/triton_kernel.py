"""The memory read with top-k on CUDA devices: five small Triton programs, none of which writes the affinity.

1. The largest similarity of each query within each group of consecutive tokens, from tensor-core tiles.
2. The groups that can hold one of the k best tokens: the k best groups and a few more, because the next step sums
   in another order and could otherwise miss a token by its last bit.
3. The similarities of the tokens in these groups, again.
4. The k best of them and their softmax weights.
5. The weighted sum of k rows per query over the values of all objects.

Importing this module does not import Triton.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from functools import cache
from typing import Any

import torch
from torch import Tensor

from vos_zoo.memory.tokens import MemoryTokens

_SMALLEST_GROUP = 32
_MOST_GROUPS = 4096  # maxima of one query that stay in the registers of one program
_LARGEST_GROUP = 256
_SPARE_GROUPS = 4
_MOST_TOP_K = 124  # with the spare groups 128, whose similarities step 4 keeps in registers
_CANDIDATES = 128  # tokens of one query whose similarities one program computes again
_TYPES = (torch.float32, torch.float16, torch.bfloat16)


@cache
def unavailable_reason() -> str | None:
    """Say why Triton cannot run here; None if it can. The first call on a CUDA machine compiles the kernels."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if is_interpreted():
        return None
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    from triton.errors import TritonError

    keys = torch.zeros(1, 64, 16, device="cuda")
    try:
        read_triton(keys, MemoryTokens(keys, None, keys, 1.0), 4, read_keys=False)
    # What a missing C compiler, an old driver or an unsupported device raise.
    except (TritonError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        return f"its kernels do not compile or run here ({type(error).__name__}: {error})"
    return None


def refusal(query: Tensor, memory: MemoryTokens, top_k: int | None) -> str | None:
    """Say why this read is not for the kernels; None if it is. With ``top_k`` None only what holds for all of them."""
    if query.device.type != "cuda" and not is_interpreted():
        return f"the tensors are on {query.device.type}"
    for part in (query, memory.keys, memory.values):
        if part.dtype not in _TYPES:
            return f"it has no kernels for {part.dtype}"
        if part.dtype == torch.bfloat16 and is_interpreted():
            return "its interpreter multiplies the bit patterns of bfloat16"
    if top_k is None:
        return None
    if memory.count > _MOST_GROUPS * _LARGEST_GROUP:
        return f"the memory has more than {_MOST_GROUPS * _LARGEST_GROUP} tokens"
    if top_k > _MOST_TOP_K:
        return f"top_k {top_k} is above {_MOST_TOP_K}"
    return None


def read_triton(query: Tensor, memory: MemoryTokens, top_k: int, read_keys: bool) -> tuple[Tensor, Tensor | None]:
    """Read the k most similar tokens of each query; without gradients.

    Args:
        query: Query keys, shape (B, M, Ck), float32, float16 or bfloat16.
        memory: Tokens, more than ``top_k``, of the same types.
        top_k: Number of tokens per query, at most 124.
        read_keys: Also read the memory keys.

    Returns:
        Values (B, M, D) and keys (B, M, Ck) or None, in the types of the memory's values and keys.
    """
    kind = torch.promote_types(query.dtype, memory.keys.dtype)
    kind = torch.float32 if kind not in _TYPES else kind
    tokens, weights = _select(_rows(query.to(kind)), _rows(memory.keys.to(kind)), memory.bias, memory.scale, top_k)
    values = _read(_rows(memory.values), tokens, weights)
    return values, _read(_rows(memory.keys), tokens, weights) if read_keys else None


def _select(query: Tensor, keys: Tensor, bias: Tensor | None, scale: float, top_k: int) -> tuple[Tensor, Tensor]:
    """Return token indices, int32, and softmax weights, float32, both (B, M, k); tokens ascend."""
    from vos_zoo.memory.backends import triton_programs

    batch, queries, width = query.shape
    count = keys.shape[1]
    group = _SMALLEST_GROUP
    while -(-count // group) > _MOST_GROUPS:
        group *= 2
    groups = -(-count // group)
    chosen = power_of_two(top_k + _SPARE_GROUPS)
    # Sizes below 16 would not fill a tensor-core tile.
    padded_width = max(16, power_of_two(width))
    if bias is not None:
        bias = bias if bias.dtype == torch.float32 and bias.stride(1) == 1 else bias.float().contiguous()
    bias_batch = 0 if bias is None else bias.stride(0)
    strides = (query.stride(0), query.stride(1), keys.stride(0), keys.stride(1), bias_batch)
    maxima = query.new_empty(batch, queries, groups, dtype=torch.float32)
    group_maxima = _tuned_group_maxima()

    def grid(settings: dict[str, Any]) -> tuple[int, int, int]:
        return -(-queries // settings["ROWS"]), -(-count // settings["TOKENS"]), batch

    group_maxima[grid](
        query, keys, bias, maxima, queries, count, groups, scale, *strides,
        WIDTH=width, PADDED_WIDTH=padded_width, HAS_BIAS=bias is not None, GROUP=group,
        # Float32 from three tensor-core products; the spare groups make up for its last bits.
        PRECISION="tf32x3",
    )  # fmt: skip
    best = query.new_empty(batch, queries, chosen, dtype=torch.int32)
    padded_groups = max(power_of_two(groups), chosen)
    triton_programs.select_groups[(queries, batch)](
        maxima, best, queries, groups, CHOSEN=chosen, PADDED_GROUPS=padded_groups,
        num_warps=_warps(padded_groups),
    )  # fmt: skip
    candidates = chosen * group
    part = min(_CANDIDATES, candidates)
    similarity = query.new_empty(batch, queries, candidates, dtype=torch.float32)
    triton_programs.candidate_similarity[(queries, candidates // part, batch)](
        query, keys, bias, best, similarity, queries, count, scale, *strides,
        WIDTH=width, HAS_BIAS=bias is not None, GROUP=group, CHOSEN=chosen, CANDIDATES=part,
        CHANNELS=min(16, padded_width),
    )  # fmt: skip
    tokens = query.new_empty(batch, queries, top_k, dtype=torch.int32)
    weights = query.new_empty(batch, queries, top_k, dtype=torch.float32)
    triton_programs.select_tokens[(queries, batch)](
        similarity, best, tokens, weights, queries, count,
        GROUP=group, CHOSEN=chosen, TOP_K=top_k, num_warps=_warps(candidates),
    )  # fmt: skip
    return tokens, weights


def _read(table: Tensor, tokens: Tensor, weights: Tensor) -> Tensor:
    from vos_zoo.memory.backends import triton_programs

    batch, queries, top_k = tokens.shape
    width = table.shape[2]
    columns = min(256, max(16, power_of_two(width)))
    out = table.new_empty(batch, queries, width)
    triton_programs.weighted_rows[(queries, -(-width // columns), batch)](
        table, tokens, weights, out, queries, width, table.stride(0), table.stride(1),
        TOP_K=top_k, PADDED_K=power_of_two(top_k), COLUMNS=columns,
    )  # fmt: skip
    return out


@cache
def _tuned_group_maxima() -> Any:
    """Let Triton time a few tile sizes on first use for each key width, type and order of magnitude of the memory."""
    import triton

    from vos_zoo.memory.backends import triton_programs

    sizes = [(64, 128, 4), (64, 256, 4), (128, 128, 4), (128, 128, 8), (128, 256, 8)]
    configs = [triton.Config({"ROWS": rows, "TOKENS": tokens}, num_warps=warps) for rows, tokens, warps in sizes]
    if is_interpreted():
        configs = [triton.Config({"ROWS": 32, "TOKENS": 256})]
    return triton.autotune(configs=configs, key=["WIDTH", "GROUP"])(triton_programs.group_maxima)


def _rows(table: Tensor) -> Tensor:
    return table if table.stride(2) == 1 else table.contiguous()


def _warps(places: int) -> int:
    """Warps of a program that holds this many places in registers."""
    return min(16, max(1, places // 512))


def power_of_two(size: int) -> int:
    """Round a size up to a power of two."""
    return 1 << max(0, size - 1).bit_length()


def is_interpreted() -> bool:
    """Tell whether Triton's interpreter runs the programs, on any device."""
    return os.environ.get("TRITON_INTERPRET") == "1"
