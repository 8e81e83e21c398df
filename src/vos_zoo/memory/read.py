"""The one function through which every network of the zoo reads its memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vos_zoo.errors import ConfigError, EmptyMemoryError, ShapeError
from vos_zoo.memory.backends import reference
from vos_zoo.memory.backends.backend import Read
from vos_zoo.memory.backends.choice import choose_backend
from vos_zoo.memory.tokens import MemoryTokens


@dataclass(frozen=True)
class MemoryReadout:
    """What the current frame sees in memory.

    Attributes:
        values: Shape (B, D, h, w), in the type of the memory's values.
        keys: Memory keys under the same weights, shape (B, Ck, h, w), in their own type; None unless asked for.
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

    The similarity of query ``q`` and token ``n`` is ``scale * <q, keys[n]> + bias[n]``. Its softmax runs over all
    tokens, or over the k most similar ones of each query; among equal similarities at the k-th place the lower token
    index wins. Similarities, softmax and sums are float32 for every type but float64, also under autocast. Gradients
    flow to queries, keys, biases and values.

    Args:
        query_key: Keys of the current frame, shape (B, Ck, h, w).
        memory: Tokens of the remembered frames, at least one of them used.
        top_k: Number of tokens that share the weight of a query; None or at least N means all.
        frame_log_weights: Added to the similarity of all tokens of a frame, shape (B, T) with N a multiple of T and
            each frame's N/T tokens side by side. Temporal attention gives the logarithm of its weights here.
        read_keys: Also read the memory keys with the same weights.
        backend: "reference", "cpu", "native", "sdpa", "triton", or "auto" for the rules of
            :func:`vos_zoo.memory.choose_backend`.

    Returns:
        Values, and keys if asked for. Both are channels-last views.

    Raises:
        ShapeError: If the shapes do not fit together. The message names all of them.
        EmptyMemoryError: If the memory holds no token.
        ConfigError: If ``top_k`` is below one, if the tensors are on several devices or hold no numbers, or if the
            backend is unknown or cannot serve this read.

    Source: Oh et al., STM, 2019, Eqs. 1-2; Cheng et al., STCN, 2021, Sec. 3.3 and 3.4 (L2 similarity, top-k); Ge et
        al., GIEL, 2021 (frame weights).

    Example:
        >>> memory = MemoryTokens(torch.zeros(1, 12, 4), None, torch.ones(1, 12, 16), scale=0.5)
        >>> read_memory(torch.zeros(1, 4, 2, 3), memory, top_k=5).values.shape
        torch.Size([1, 16, 2, 3])
    """
    _check(query_key, memory, top_k, frame_log_weights)
    if frame_log_weights is not None:
        memory = replace(memory, bias=_with_frame_weights(memory, frame_log_weights))
    choice = choose_backend(query_key, memory, top_k, requested=backend)
    height, width = query_key.shape[2:]
    query = query_key.flatten(2).mT
    # Nothing to read is left to the formula.
    chosen = reference.BACKEND if query.shape[0] == 0 else choice.backend
    values, keys = chosen.read(Read.of(query, memory, top_k, read_keys))
    return MemoryReadout(
        values.mT.reshape(*values.shape[::2], height, width),
        None if keys is None else keys.mT.reshape(*keys.shape[::2], height, width),
    )


def _with_frame_weights(memory: MemoryTokens, frame_log_weights: Tensor) -> Tensor:
    exact = torch.float64 if torch.float64 in (frame_log_weights.dtype, memory.keys.dtype) else torch.float32
    rows = memory.count // frame_log_weights.shape[1]
    added = frame_log_weights.to(exact).repeat_interleave(rows, dim=1)
    return added if memory.bias is None else memory.bias + added


def _check(query_key: Tensor, memory: MemoryTokens, top_k: int | None, frame_log_weights: Tensor | None) -> None:
    if top_k is not None and top_k < 1:
        raise ConfigError(f"top_k is {top_k}. Expected at least 1. Use None to read all tokens.")
    keys, values, bias = memory.keys, memory.values, memory.bias
    parts = {
        "query_key": query_key,
        "keys": keys,
        "bias": bias,
        "values": values,
        "frame_log_weights": frame_log_weights,
    }
    fits = query_key.ndim == 4 and keys.ndim == 3 and values.ndim == 3
    fits = fits and query_key.shape[:2] == (keys.shape[0], keys.shape[2]) and keys.shape[:2] == values.shape[:2]
    fits = fits and (bias is None or bias.shape == keys.shape[:2])
    if fits and memory.count == 0:
        raise EmptyMemoryError(
            f"The memory holds no token (keys {tuple(keys.shape)}). Expected at least one remembered frame. "
            "Memorise the annotated frame before the first read."
        )
    if fits and frame_log_weights is not None:
        frames = frame_log_weights.shape[1] if frame_log_weights.ndim == 2 else 0
        fits = frames > 0 and frame_log_weights.shape[0] == keys.shape[0] and memory.count % frames == 0
    if not fits:
        found = ", ".join(f"{name} {None if part is None else tuple(part.shape)}" for name, part in parts.items())
        raise ShapeError(
            f"The memory read got {found}. Expected query_key (B, Ck, h, w), keys (B, N, Ck), bias (B, N) or None, "
            "values (B, N, D) and frame_log_weights (B, T) or None, N a multiple of T. "
            "Check that they belong to the same video and group of objects."
        )
    devices = {name: str(part.device) for name, part in parts.items() if part is not None}
    if len(set(devices.values())) > 1 or "meta" in devices.values():
        raise ConfigError(
            f"The memory read got {', '.join(f'{name} on {device}' for name, device in devices.items())}. Expected all "
            "of them on one device, and not on meta, where tensors hold no numbers. Move them with `.to(device)`."
        )
