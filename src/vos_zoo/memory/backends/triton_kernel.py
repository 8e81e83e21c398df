"""The memory read with top-k on CUDA devices: two small Triton programs, one after the other.

1. From tensor-core tiles, the similarity of each query to each token, if there are so few tokens that one program can
   hold them; of more tokens, the largest similarity within each group of consecutive ones.
2. For one query: the k best tokens, their softmax weights, and the weighted sum of their rows over the values of all
   objects. Of more tokens, first the groups that can hold one of the k best, which are the k best groups and a few
   more, because the next sum is taken in another order and could otherwise miss a token by its last bit; and the
   similarities of the tokens in these groups, again. Of thousands of groups the best of each part are found before, by
   a program of its own.

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

# Tokens of one query whose similarities stay in registers of one program: a memory of one frame at 480p, and of five.
_FEW_TOKENS, _MOST_TOKENS = 2048, 8192
# Tokens that share a maximum beyond; fewer mean more maxima to write, more mean more similarities to repeat. The larger
# groups come where the smaller ones would be too many.
_GROUP, _LARGE_GROUP = 8, 16
_MOST_GROUPS = 4096  # of one query, likewise in registers; of more groups each part of as many is narrowed down first
_SPARE_GROUPS = 4
_MOST_TOP_K = 124  # with the spare groups 128, whose similarities step 2 keeps in registers
_MOST_SCORES = 16 * 2**20  # that exist at once, 64 MiB; queries beyond that wait for their turn
_CHANNELS_OF_CANDIDATES = 8  # of which step 2 reads the keys at a time
_SUMMED = 8192  # numbers of the table that step 2 reads at a time
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
        _read(keys, keys, None, keys, 1.0, 4)
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
        table = regular_rows(memory.values)
        if not is_interpreted():
            _warm_up(
                query.device, kind, query.shape[2], memory.bias is not None, top_k, table.dtype, table.shape[2]
            )  # fmt: skip
        values, tokens, weights = _read(query, keys, memory.bias, table, memory.scale, top_k)
        return values, _sum(regular_rows(memory.keys), tokens, weights) if read_keys else None


@cache
def _warm_up(
    device: torch.device, kind: torch.dtype, width: int, has_bias: bool, top_k: int, of_table: torch.dtype, columns: int
) -> None:
    """Compile all that a growing memory calls for, and let Triton time its tiles on a memory of some size."""
    tokens = _LARGE_GROUP * _MOST_GROUPS + 1
    numbers = torch.arange(1000, device=device).sin()  # some that differ, without the generator's state
    keys = numbers.repeat(1 + tokens * width // 1000)[: tokens * width].view(1, tokens, width).to(kind)
    table = torch.zeros(1, 1, columns, device=device, dtype=of_table).expand(1, tokens, columns)
    bias = torch.zeros(1, tokens, device=device) if has_bias else None
    with announced(_logger, f"Compiling the memory read for {device}"):
        for count in (tokens, _GROUP * _MOST_GROUPS + 1, _MOST_TOKENS + 1, _FEW_TOKENS + 1, top_k + 1):
            some = None if bias is None else bias[:, :count]
            _read(keys[:, :_WARM_UP_QUERIES], keys[:, :count], some, table[:, :count], 1.0, top_k)


def _read(
    query: Tensor, keys: Tensor, bias: Tensor | None, table: Tensor, scale: float, top_k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return sums (B, M, D), token indices, int32, and softmax weights, float32, both (B, M, k); tokens ascend."""
    from vos_zoo.memory.backends import triton_programs

    batch, queries, width = query.shape
    count, columns = keys.shape[1], table.shape[2]
    # The larger of two sizes for few tokens would do for all of them, but a memory of one frame is read most often.
    padded_tokens = next((size for size in (_FEW_TOKENS, _MOST_TOKENS) if count <= size), None)
    group = 1 if padded_tokens is not None else _GROUP if count <= _GROUP * _MOST_GROUPS else _LARGE_GROUP
    groups, kept = -(-count // group), top_k + _SPARE_GROUPS
    if bias is not None:
        bias = bias if bias.dtype == torch.float32 and bias.stride(1) == 1 else bias.float().contiguous()
    bias_batch = 0 if bias is None else bias.stride(0)
    strides = (rows_apart(query), query.stride(1), rows_apart(keys), keys.stride(1), bias_batch)
    scores_row = _round_up(groups)
    most = max(1, _MOST_SCORES // (batch * scores_row))
    # Triton's ranges are powers of two. Rounding up costs idle lanes, but no byte: loads are masked, and the masks hold
    # exactly ``kept`` groups and ``top_k`` tokens. For top-20 among 4,050 groups of 64 channels, a query takes 172,000
    # lane operations instead of 160,000, because the search among groups is three quarters of them. Pieces of powers of
    # two (128 + 64 candidates, 16 + 4 rows) would save these 7 %, but would repeat the 32 rounds of the selection among
    # candidates, each of which waits for all warps, and leave more of a program's 256 threads idle.
    padded_k, padded_groups = power_of_two(top_k), power_of_two(kept)
    scores = query.new_empty(batch, min(most, queries), scores_row, dtype=torch.float32)
    chosen = query.new_empty(batch, min(most, queries), padded_groups, dtype=torch.int32) if group > 1 else None
    tokens = query.new_empty(batch, queries, top_k, dtype=torch.int32)
    weights = query.new_empty(batch, queries, top_k, dtype=torch.float32)
    out = table.new_empty(batch, queries, columns)
    group_maxima = _tuned_group_maxima(query.dtype, architecture(query.device))
    of_table = (rows_apart(table), table.stride(1))
    summing = {"TOP_K": top_k, "PADDED_K": padded_k, "COLUMNS": _columns_at_a_time(columns, padded_k)}
    for first in range(0, queries, most):
        rows = min(most, queries - first)

        def grid(settings: dict[str, Any], rows: int = rows) -> tuple[int, int]:
            return -(-rows // settings["ROWS"]) * -(-count // settings["TOKENS"]), batch

        group_maxima[grid](
            query, keys, bias, scores, first, rows, count, scale, *strides, scores_row,
            WIDTH=width, HAS_BIAS=bias is not None, GROUP=group,
            # Float32 from three tensor-core products; the spare groups make up for its last bits.
            PRECISION="tf32x3",
        )  # fmt: skip
        if chosen is None:
            triton_programs.read_best[(rows, batch)](
                scores, table, tokens, weights, out, first, rows, queries, count, columns, scores_row, *of_table,
                PADDED_ENTRIES=padded_tokens, **summing, num_warps=8,
            )  # fmt: skip
            continue
        places, entries = _narrow(scores, rows, groups, kept)
        triton_programs.read_best_of_groups[(rows, batch)](
            query, keys, bias, scores, chosen if places is None else places, chosen, table, tokens, weights, out,
            first, rows, queries, count, entries, columns, scale, *strides, scores_row,
            _ALIGNED if places is None else places.shape[2], *of_table,
            WIDTH=width, CHANNELS=min(_CHANNELS_OF_CANDIDATES, power_of_two(width)), HAS_BIAS=bias is not None,
            GROUP=group, K=kept, PADDED_GROUPS=padded_groups, PADDED_ENTRIES=_MOST_GROUPS,
            HAS_PLACES=places is not None, **summing, num_warps=8,
        )  # fmt: skip
    return out, tokens, weights


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


def _sum(table: Tensor, tokens: Tensor, weights: Tensor) -> Tensor:
    """Sum the chosen rows (B, M, k) of another table."""
    from vos_zoo.memory.backends import triton_programs

    batch, queries, top_k = tokens.shape
    columns, padded_k = table.shape[2], power_of_two(top_k)
    out = table.new_empty(batch, queries, columns)
    triton_programs.weighted_rows[(queries, batch)](
        table, tokens, weights, out, queries, columns, rows_apart(table), table.stride(1),
        TOP_K=top_k, PADDED_K=padded_k, COLUMNS=_columns_at_a_time(columns, padded_k),
    )  # fmt: skip
    return out


def _columns_at_a_time(columns: int, rows: int) -> int:
    return max(16, min(_SUMMED // rows, 256, power_of_two(columns)))


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
