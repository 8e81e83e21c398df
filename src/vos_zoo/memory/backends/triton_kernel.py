"""The memory read with top-k on CUDA devices: three small Triton programs, none of which writes the affinity.

1. The largest similarity of each query within each group of consecutive tokens, from tensor-core tiles.
2. For one query: the groups that can hold one of its k best tokens, which are the k best groups and a few more, because
   the next step sums in another order and could otherwise miss a token by its last bit; the similarities of the tokens
   in these groups, again; the k best of them and their softmax weights. Of thousands of groups the best of each part
   are found first, by a program of its own.
3. The weighted sum of k rows per query over the values of all objects.

A video's memory grows, so nothing that grows with it is a constant of a program, and the few programs that its growth
calls for are compiled at the first read.

Importing this module does not import Triton.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from vos_zoo.errors import is_out_of_memory
from vos_zoo.memory.tokens import MemoryTokens
from vos_zoo.waiting import announced

_logger = logging.getLogger(__name__)

_GROUP = 16  # tokens that share a maximum; fewer mean more maxima to write, more mean more similarities to repeat
_FEW_GROUPS = 512  # of one query, which stay in the registers of one program; a memory of up to five frames at 480p
_MOST_GROUPS = 4096  # likewise; of more groups each part of as many is narrowed down first
_SPARE_GROUPS = 4
_MOST_TOP_K = 124  # with the spare groups 128, whose similarities step 2 keeps in registers
_MOST_MAXIMA = 8 * 2**20  # that exist at once, 32 MiB; queries beyond that wait for their turn
_CHANNELS_OF_CANDIDATES = 8  # of which step 2 reads the keys at a time
_WARM_UP_QUERIES = 2048
_ALIGNED = 16  # A row that starts at a multiple of this is read and written in pieces of 16 bytes.
_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def unavailable_reason(device: torch.device | None = None) -> str | None:
    """Say why Triton cannot run on a device; None if it can. The first call for a CUDA device compiles the kernels.

    Args:
        device: By default the current CUDA device.

    Raises:
        RuntimeError: If the device has too little memory left to tell. Nothing is remembered then.
    """
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if is_interpreted():
        return None
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    if device is None or device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return _probe(device)


@cache
def _probe(device: torch.device) -> str | None:
    from triton.errors import TritonError

    keys = torch.zeros(1, 64, 16, device=device)
    try:
        tokens, weights = _select(keys, keys, None, 1.0, 4)
        _read(keys, tokens, weights)
        torch.cuda.synchronize(device)
    # What a missing C compiler, an old driver or an unsupported device raise.
    except (TritonError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        if is_out_of_memory(error):
            raise
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
    if memory.count >= 2**30:  # with a tile more, token numbers still fit 31 bits
        return "the memory has 2³⁰ tokens or more"
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
    query, keys = regular_rows(query.to(kind)), regular_rows(memory.keys.to(kind))
    with torch.cuda.device_of(query):  # Triton launches on the current device.
        if not is_interpreted():
            _warm_up(query.device, kind, query.shape[2], memory.bias is not None, top_k)
        tokens, weights = _select(query, keys, memory.bias, memory.scale, top_k)
        values = _read(regular_rows(memory.values), tokens, weights)
        return values, _read(regular_rows(memory.keys), tokens, weights) if read_keys else None


@cache
def _warm_up(device: torch.device, kind: torch.dtype, width: int, has_bias: bool, top_k: int) -> None:
    """Compile all that a growing memory calls for, and let Triton time its tiles on a memory of some size."""
    tokens = _GROUP * (_MOST_GROUPS + 1)
    numbers = torch.arange(1000, device=device).sin()  # some that differ, without the generator's state
    keys = numbers.repeat(1 + tokens * width // 1000)[: tokens * width].view(1, tokens, width).to(kind)
    bias = torch.zeros(1, tokens, device=device) if has_bias else None
    with announced(_logger, f"Compiling the memory read for {device}"):
        for count in (tokens, _GROUP * (_FEW_GROUPS + 1), top_k + 1):
            some = None if bias is None else bias[:, :count]
            _select(keys[:, :_WARM_UP_QUERIES], keys[:, :count], some, 1.0, top_k)


def _select(query: Tensor, keys: Tensor, bias: Tensor | None, scale: float, top_k: int) -> tuple[Tensor, Tensor]:
    """Return token indices, int32, and softmax weights, float32, both (B, M, k); tokens ascend."""
    from vos_zoo.memory.backends import triton_programs

    batch, queries, width = query.shape
    count = keys.shape[1]
    groups, kept = -(-count // _GROUP), top_k + _SPARE_GROUPS
    if bias is not None:
        bias = bias if bias.dtype == torch.float32 and bias.stride(1) == 1 else bias.float().contiguous()
    bias_batch = 0 if bias is None else bias.stride(0)
    strides = (rows_apart(query), query.stride(1), rows_apart(keys), keys.stride(1), bias_batch)
    maxima_row = _round_up(groups)
    most = max(1, _MOST_MAXIMA // (batch * maxima_row))
    padded = power_of_two(kept)
    maxima = query.new_empty(batch, min(most, queries), maxima_row, dtype=torch.float32)
    chosen = query.new_empty(batch, min(most, queries), padded, dtype=torch.int32)
    tokens = query.new_empty(batch, queries, top_k, dtype=torch.int32)
    weights = query.new_empty(batch, queries, top_k, dtype=torch.float32)
    group_maxima = _tuned_group_maxima(query.dtype, architecture(query.device))
    for first in range(0, queries, most):
        rows = min(most, queries - first)

        def grid(settings: dict[str, Any], rows: int = rows) -> tuple[int, int]:
            return -(-rows // settings["ROWS"]) * -(-count // settings["TOKENS"]), batch

        group_maxima[grid](
            query, keys, bias, maxima, first, rows, count, scale, *strides, maxima_row,
            WIDTH=width, HAS_BIAS=bias is not None, GROUP=_GROUP,
            # Float32 from three tensor-core products; the spare groups make up for its last bits.
            PRECISION="tf32x3",
        )  # fmt: skip
        places, entries = _narrow(maxima, rows, groups, kept)
        padded_entries = _FEW_GROUPS if places is None and entries <= _FEW_GROUPS else _MOST_GROUPS
        triton_programs.select_tokens[(rows, batch)](
            query, keys, bias, maxima, chosen if places is None else places, chosen, tokens, weights,
            first, rows, queries, count, entries, scale, *strides, maxima_row,
            _ALIGNED if places is None else places.shape[2],
            WIDTH=width, CHANNELS=min(_CHANNELS_OF_CANDIDATES, power_of_two(width)), HAS_BIAS=bias is not None,
            GROUP=_GROUP, K=kept, PADDED_K=padded, PADDED_ENTRIES=padded_entries, HAS_PLACES=places is not None,
            TOP_K=top_k, num_warps=8,
        )  # fmt: skip
    return tokens, weights


def _narrow(maxima: Tensor, rows: int, groups: int, kept: int) -> tuple[Tensor | None, int]:
    """Return which groups are left when a program can hold their maxima, None for all of them, and how many."""
    from vos_zoo.memory.backends import triton_programs

    places, entries = None, groups
    while entries > _MOST_GROUPS:
        parts = -(-entries // _MOST_GROUPS)
        narrowed = maxima.new_empty(len(maxima), rows, _round_up(parts * kept), dtype=torch.int32)
        triton_programs.narrow_groups[(rows, parts, len(maxima))](
            maxima, narrowed if places is None else places, narrowed, rows, groups, entries,
            maxima.shape[2], _ALIGNED if places is None else places.shape[2], narrowed.shape[2],
            K=kept, PART=_MOST_GROUPS, HAS_PLACES=places is not None, num_warps=8,
        )  # fmt: skip
        places, entries = narrowed, parts * kept
    return places, entries


def _read(table: Tensor, tokens: Tensor, weights: Tensor) -> Tensor:
    from vos_zoo.memory.backends import triton_programs

    batch, queries, top_k = tokens.shape
    width = table.shape[2]
    columns = min(256, max(16, power_of_two(width)))
    out = table.new_empty(batch, queries, width)
    triton_programs.weighted_rows[(queries, -(-width // columns), batch)](
        table, tokens, weights, out, queries, width, rows_apart(table), table.stride(1),
        TOP_K=top_k, PADDED_K=power_of_two(top_k), COLUMNS=columns,
    )  # fmt: skip
    return out


@cache
def _tuned_group_maxima(kind: torch.dtype, architecture: int) -> Any:
    """Let Triton time some tiles for each key width at the first read."""
    import triton

    from vos_zoo.memory.backends import triton_programs

    configs = [
        triton.Config({"ROWS": tile.rows, "TOKENS": tile.tokens, "CHANNELS": tile.channels}, tile.warps, num_stages=2)
        for tile in ((Tile(32, 256, 64, 4),) if is_interpreted() else tiles(kind, architecture))
    ]
    return triton.autotune(configs=configs, key=["WIDTH"])(triton_programs.group_maxima)


@dataclass(frozen=True)
class Tile:
    """Queries and tokens whose similarities one program computes, channels that it takes at a time, and its warps."""

    rows: int
    tokens: int
    channels: int
    warps: int


def tiles(kind: torch.dtype, architecture: int) -> tuple[Tile, ...]:
    """Return tiles worth timing: all that the registers of an architecture hold.

    Args:
        kind: Of the keys. Float32 as three products of narrower numbers takes several times the registers.
        architecture: Compute capability, 90 for 9.0. From 9.0 on, but not on the smaller chips of 12.0, matrix units
            take their operands from shared memory.
    """
    if kind != torch.float32:
        return Tile(64, 128, 64, 4), Tile(64, 256, 64, 8), Tile(128, 128, 64, 8)
    if 90 <= architecture < 120:
        return Tile(32, 128, 16, 4), Tile(64, 128, 32, 4), Tile(64, 128, 32, 8), Tile(128, 128, 32, 8)
    return Tile(32, 64, 32, 4), Tile(32, 128, 16, 4), Tile(64, 64, 32, 8), Tile(64, 128, 32, 8)


def architecture(device: torch.device) -> int:
    """Return the compute capability, 90 for 9.0; 0 without a CUDA device."""
    if device.type != "cuda":
        return 0
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def regular_rows(table: Tensor) -> Tensor:
    """Return a table whose rows are contiguous and equally far apart, also from one entry of the batch to the next."""
    row = table.stride(1)
    is_regular = table.stride(2) == 1 and row >= table.shape[2] and (len(table) == 1 or table.stride(0) % row == 0)
    return table if is_regular else table.contiguous()


def rows_apart(table: Tensor) -> int:
    """Return how many rows lie from one entry of the batch to the next: a number of rows is never beyond 32 bits."""
    return 0 if len(table) == 1 else table.stride(0) // table.stride(1)


def _round_up(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


def power_of_two(size: int) -> int:
    """Round a size up to a power of two."""
    return 1 << max(0, size - 1).bit_length()


def is_interpreted() -> bool:
    """Tell whether Triton's interpreter runs the programs, on any device."""
    return os.environ.get("TRITON_INTERPRET") == "1"
