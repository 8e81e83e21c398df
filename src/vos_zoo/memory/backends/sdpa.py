"""The memory read over all tokens as PyTorch's scaled-dot-product attention, for its fused CUDA kernels.

Those kernels take no bias per key, and want keys and values of one width. So the bias becomes an extra coordinate of
the keys, where every query has a one, and the values are cut into heads as wide as the keys; all heads share the keys.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.memory.backends.backend import BackendStatus, Read
from vos_zoo.memory.tokens import MemoryTokens

_HEAD_WIDTHS = (64, 128, 256)  # widths that the fused kernels are written for
_BIAS_PARTS = {torch.bfloat16: 3, torch.float16: 3}  # pieces that together keep a float32's precision


def supports(width: int, dtype: torch.dtype, has_bias: bool) -> bool:
    """Tell whether keys of this width fit a head together with their biases."""
    return width + (_BIAS_PARTS.get(dtype, 1) if has_bias else 0) <= _HEAD_WIDTHS[-1]


def read_sdpa(query: Tensor, memory: MemoryTokens, read_keys: bool) -> tuple[Tensor, Tensor | None]:
    """Weight all tokens; differentiable in queries, keys, biases and values.

    Args:
        query: Query keys, shape (B, M, Ck).
        memory: Tokens.
        read_keys: Also read the memory keys.

    Returns:
        Values (B, M, D) and keys (B, M, Ck) or None, in the types of the memory's values and keys.
    """
    kind = torch.promote_types(torch.promote_types(query.dtype, memory.keys.dtype), memory.values.dtype)
    keys, ones = memory.keys.to(kind), query.new_ones(*query.shape[:2], 0, dtype=kind)
    if memory.bias is not None:
        pieces = _split(memory.bias / memory.scale, kind)
        keys = torch.cat([keys, *(piece.unsqueeze(2) for piece in pieces)], 2)
        ones = ones.new_ones(*query.shape[:2], len(pieces))
    table = torch.cat([memory.values.to(kind), memory.keys.to(kind)], 2) if read_keys else memory.values.to(kind)
    head = next(width for width in _HEAD_WIDTHS if width >= keys.shape[2])
    padding = head - keys.shape[2]
    queries = F.pad(torch.cat([query.to(kind), ones], 2), (0, padding))
    heads = -(-table.shape[2] // head)
    values = F.pad(table, (0, heads * head - table.shape[2])).reshape(*table.shape[:2], heads, head).transpose(1, 2)
    with torch.autocast(query.device.type, enabled=False):
        read = F.scaled_dot_product_attention(
            queries.unsqueeze(1).expand(-1, heads, -1, -1),
            F.pad(keys, (0, padding)).unsqueeze(1).expand(-1, heads, -1, -1),
            values,
            scale=memory.scale,
        )
    read = read.transpose(1, 2).flatten(2)
    width = memory.values.shape[2]
    keys_read = read[..., width : width + memory.keys.shape[2]].to(memory.keys.dtype) if read_keys else None
    return read[..., :width].to(memory.values.dtype), keys_read


def _split(bias: Tensor, kind: torch.dtype) -> list[Tensor]:
    """Write a bias as a sum of numbers of a narrower type; minus infinity is its own first piece."""
    pieces = []
    for _ in range(_BIAS_PARTS.get(kind, 1)):
        piece = bias.to(kind)
        pieces.append(piece)
        bias = torch.where(piece.isinf(), torch.zeros_like(bias), bias - piece.to(bias.dtype))
    return pieces


class _SDPA:
    name = "sdpa"

    def status(self) -> BackendStatus:
        return BackendStatus(self.name, True, "PyTorch's fused attention; reads all tokens, no top-k")

    def refusal(self, read: Read) -> str | None:
        if read.top_k is not None:
            return "it reads all tokens, no top-k"
        keys, values = read.memory.keys, read.memory.values
        kind = torch.promote_types(keys.dtype, values.dtype)
        fits = supports(keys.shape[2], kind, read.memory.bias is not None)
        return None if fits else f"keys of width {keys.shape[2]} exceed its widest head"

    def read(self, read: Read) -> tuple[Tensor, Tensor | None]:
        return read_sdpa(read.query, read.memory, read.read_keys)


BACKEND = _SDPA()
