"""The one function through which every network of the zoo reads its memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vos_zoo.errors import ConfigError, EmptyMemoryError, ShapeError
from vos_zoo.memory.reference import read_reference
from vos_zoo.memory.tokens import MemoryTokens


@dataclass(frozen=True)
class MemoryReadout:
    """What the current frame sees in memory.

    Attributes:
        values: Shape (B, D, h, w), in the type of the memory's values.
        keys: Memory keys under the same weights, shape (B, Ck, h, w); None unless asked for.
    """

    values: Tensor
    keys: Tensor | None


def read_memory(
    query_key: Tensor,
    memory: MemoryTokens,
    *,
    top_k: int | None = None,
    frame_log_weights: Tensor | None = None,
    read_keys: bool = False,
    backend: str = "auto",
) -> MemoryReadout:
    """Read the memory at every query position, weighted by key similarity.

    Args:
        query_key: Keys of the current frame, shape (B, Ck, h, w).
        memory: Tokens of the remembered frames.
        top_k: Number of tokens that share the weight of a query; None means all.
        frame_log_weights: Added to the similarity of all tokens of a frame, shape (B, T) with N divisible by T.
        read_keys: Also read the memory keys with the same weights.
        backend: Name of an implementation, or "auto".

    Returns:
        Values, and keys if asked for.

    Raises:
        ShapeError: If the shapes do not fit together. The message names all of them.
        EmptyMemoryError: If the memory holds no token.
        ConfigError: If ``top_k`` or ``backend`` is out of range.
    """
    memory = _checked(query_key, memory, top_k, frame_log_weights)
    if backend not in ("auto", "reference"):
        raise ConfigError(f"Backend {backend!r} is unknown. Use 'auto' or 'reference'.")
    h, w = query_key.shape[2:]
    query = query_key.flatten(2).mT
    values, keys = read_reference(query, memory, top_k)
    return MemoryReadout(
        values.to(memory.values.dtype).mT.reshape(values.shape[0], -1, h, w),
        keys.to(memory.keys.dtype).mT.reshape(keys.shape[0], -1, h, w) if read_keys else None,
    )


def _checked(
    query_key: Tensor, memory: MemoryTokens, top_k: int | None, frame_log_weights: Tensor | None
) -> MemoryTokens:
    shapes = (
        f"query_key {tuple(query_key.shape)}, keys {tuple(memory.keys.shape)}, values {tuple(memory.values.shape)}, "
        f"bias {None if memory.bias is None else tuple(memory.bias.shape)}, "
        f"frame_log_weights {None if frame_log_weights is None else tuple(frame_log_weights.shape)}"
    )
    fits = query_key.ndim == 4 and memory.keys.ndim == 3 and memory.values.ndim == 3
    fits = fits and query_key.shape[:2] == (memory.keys.shape[0], memory.keys.shape[2])
    fits = fits and memory.keys.shape[:2] == memory.values.shape[:2]
    fits = fits and (memory.bias is None or memory.bias.shape == memory.keys.shape[:2])
    if not fits:
        raise ShapeError(
            f"The memory read got {shapes}. Expected query_key (B, Ck, h, w), keys (B, N, Ck), values (B, N, D) and "
            "bias (B, N) with equal B, N and Ck. Check which frame or object group each of them belongs to."
        )
    if memory.count == 0:
        raise EmptyMemoryError(
            f"The memory read got {shapes}: no token. At least one frame must be memorised before the first read. "
            "Memorise the annotated frame first."
        )
    if top_k is not None and top_k < 1:
        raise ConfigError(f"top_k is {top_k}. Expected at least 1, or None to read all tokens.")
    if frame_log_weights is None:
        return memory
    if (
        frame_log_weights.ndim != 2
        or frame_log_weights.shape[0] != memory.keys.shape[0]
        or memory.count % frame_log_weights.shape[1]
    ):
        raise ShapeError(
            f"The memory read got {shapes}. Expected frame_log_weights (B, T) with N a multiple of T. "
            "Give one weight for each frame that the memory holds."
        )
    bias = frame_log_weights.to(torch.promote_types(frame_log_weights.dtype, torch.float32))
    bias = bias.repeat_interleave(memory.count // frame_log_weights.shape[1], dim=1)
    return replace(memory, bias=bias if memory.bias is None else memory.bias + bias)
