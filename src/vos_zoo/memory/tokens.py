"""What a memory read needs to know about the past: keys, biases and values, one row per position.

A *token* is one position of one remembered frame. The similarity of a query ``q`` to a token with key ``k`` is
``scale * <q, k> + bias``, which covers both measures used in the zoo (see :func:`similarity_terms`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from vos_zoo.errors import ConfigError, ShapeError

Similarity = Literal["l2", "dot"]


@dataclass(frozen=True)
class MemoryTokens:
    """Remembered positions, one row each, in the order that decides ties.

    Attributes:
        keys: Shape (B, N, Ck).
        bias: Added to each token's similarity, shape (B, N), float32 (float64 for float64 keys). Minus infinity
            marks a token that must not be read; its key and value must still be finite. None means zero everywhere.
        values: Shape (B, N, D); the values of all objects that share these frames lie side by side, D = O · Cv.
        scale: Factor on the dot product of query and key.
    """

    keys: Tensor
    bias: Tensor | None
    values: Tensor
    scale: float

    @property
    def count(self) -> int:
        """Number of tokens N, unused ones included."""
        return int(self.keys.shape[1])


def similarity_terms(
    keys: Tensor, kind: Similarity = "l2", *, scale: float | None = None
) -> tuple[float, Tensor | None]:
    """Write a similarity measure as a scaled dot product plus one bias per token.

    - ``"l2"``: negative squared distance ``-scale/2 * |q - k|²``. Its term ``|q|²`` is the same for every token of a
      query and cancels in the softmax, so the measure is ``scale * <q, k> - scale/2 * |k|²``. The default scale is
      ``2/sqrt(Ck)``.
    - ``"dot"``: ``scale * <q, k>``, by default with scale ``1/sqrt(Ck)``.

    Args:
        keys: Token keys, shape (..., Ck).
        kind: Which measure.
        scale: Replaces the default factor.

    Returns:
        The scale and the bias, shape (...), or None where it is zero. The bias is float32 for any key type but float64,
        because half precision would shift similarities by whole units when keys are long.

    Raises:
        ConfigError: If ``kind`` is neither name.

    Source: Cheng et al., STCN, 2021, Eqs. 5 and 9 (L2); Oh et al., STM, 2019, Eq. 2 (dot product).

    Example:
        >>> scale, bias = similarity_terms(torch.tensor([[3.0, 4.0, 0.0, 0.0]]))
        >>> scale, bias
        (1.0, tensor([-12.5000]))
    """
    width = keys.shape[-1]
    if kind == "l2":
        factor = 2.0 / math.sqrt(width) if scale is None else float(scale)
        exact = keys if keys.dtype == torch.float64 else keys.float()
        return factor, exact.square().sum(-1).mul(-0.5 * factor)
    if kind == "dot":
        return (1.0 / math.sqrt(width) if scale is None else float(scale)), None
    raise ConfigError(f"Similarity {kind!r} is unknown. Use one of {', '.join(map(repr, get_args(Similarity)))}.")


def tokens_from_frames(
    keys: Tensor, values: Tensor, kind: Similarity = "l2", *, scale: float | None = None
) -> MemoryTokens:
    """Lay key and value maps of T frames out as tokens, frame after frame, row by row.

    Args:
        keys: Key maps, shape (B, T, Ck, h, w).
        values: Value maps of each object, shape (B, T, O, Cv, h, w).
        kind: Similarity measure, see :func:`similarity_terms`.
        scale: Replaces the measure's default factor.

    Returns:
        Tokens with N = T · h · w and D = O · Cv, connected to the inputs' graph.

    Raises:
        ShapeError: If the maps do not belong together.

    Example:
        >>> tokens = tokens_from_frames(torch.zeros(2, 3, 8, 4, 5), torch.zeros(2, 3, 1, 16, 4, 5))
        >>> tokens.keys.shape, tokens.values.shape
        (torch.Size([2, 60, 8]), torch.Size([2, 60, 16]))
    """
    agrees = keys.ndim == 5 and values.ndim == 6
    if not agrees or keys.shape[:2] != values.shape[:2] or keys.shape[3:] != values.shape[4:]:
        raise ShapeError(
            f"Keys have shape {tuple(keys.shape)} and values {tuple(values.shape)}. Expected (B, T, Ck, h, w) and "
            "(B, T, O, Cv, h, w) with equal B, T, h and w. Give both for the same frames."
        )
    token_keys = keys.permute(0, 1, 3, 4, 2).flatten(1, 3)
    token_values = values.permute(0, 1, 4, 5, 2, 3).flatten(4, 5).flatten(1, 3)
    factor, bias = similarity_terms(token_keys, kind, scale=scale)
    return MemoryTokens(token_keys, bias, token_values, factor)
