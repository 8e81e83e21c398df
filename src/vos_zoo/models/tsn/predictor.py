"""Kernel predictor: from an object's value map to the numbers of its segmentation head."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from .config import TSNConfig


class TokenAttention(nn.Module):
    """Multi-head attention of one embedding over tokens.

    Because there is one query, the projections of keys and values are applied on the side of the query and of the
    result instead of to every token: q (W x + b) = (W' q) x + q b. The result is the same, the cost falls by the number
    of channels per head.

    Args:
        channels: Channels of embedding and tokens.
        heads: Attention heads.
        dropout: Rate at which attention weights are dropped in training.
    """

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)
        for part in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)

    def forward(self, embedding: Tensor, keys: Tensor, tokens: Tensor, usable: Tensor | None = None) -> Tensor:
        """Gather tokens.

        Args:
            embedding: Shape (M, C).
            keys: Tokens that similarities are computed with, shape (M, N, C).
            tokens: Tokens that are gathered, shape (M, N, C).
            usable: Which tokens may be seen, shape (M, N); at least one of each row.

        Returns:
            Shape (M, C).
        """
        channels = embedding.shape[1]
        query = self.query(embedding).unflatten(1, (self.heads, -1))
        width = query.shape[2]
        key_bias = self.key.bias.reshape(self.heads, width).to(query.dtype)
        key_weight = self.key.weight.reshape(self.heads, width, channels).to(query.dtype)
        folded = torch.einsum("mhd,hdc->mhc", query, key_weight)
        logits = (folded @ keys.mT.to(folded.dtype) + (query * key_bias).sum(-1, keepdim=True)) / math.sqrt(width)
        if usable is not None:
            logits = logits.masked_fill(~usable.unsqueeze(1), -torch.inf)
        weights = F.dropout(logits.float().softmax(dim=-1), self.dropout, self.training)
        gathered = weights.to(tokens.dtype) @ tokens
        value_weight = self.value.weight.reshape(self.heads, width, channels).to(gathered.dtype)
        value = torch.einsum("mhc,hdc->mhd", gathered, value_weight).flatten(1) + self.value.bias
        result: Tensor = self.out(value)
        return result


class PredictorLayer(nn.Module):
    """One layer of the predictor: attention over the tokens, then a small network, each normalised after its sum."""

    def __init__(self, config: TSNConfig) -> None:
        super().__init__()
        channels = config.value_dim
        self.self_attention = (
            TokenAttention(channels, config.pred_heads, config.pred_dropout) if config.pred_self_attention else None
        )
        self.self_norm = nn.LayerNorm(channels) if config.pred_self_attention else None
        self.attention = TokenAttention(channels, config.pred_heads, config.pred_dropout)
        self.attention_norm = nn.LayerNorm(channels)
        self.hidden = nn.Linear(channels, config.pred_ffn_factor * channels)
        self.out = nn.Linear(config.pred_ffn_factor * channels, channels)
        self.out_norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(config.pred_dropout)

    def forward(self, embedding: Tensor, keys: Tensor, tokens: Tensor, usable: Tensor | None) -> Tensor:
        """Update (M, C) from tokens (M, N, C)."""
        if self.self_attention is not None and self.self_norm is not None:
            itself = embedding.unsqueeze(1)
            embedding = self.self_norm(embedding + self.dropout(self.self_attention(embedding, itself, itself)))
        gathered = self.attention(embedding, keys, tokens, usable)
        embedding = self.attention_norm(embedding + self.dropout(gathered))
        hidden = self.dropout(F.relu(self.hidden(embedding)))
        result: Tensor = self.out_norm(embedding + self.dropout(self.out(hidden)))
        return result


class KernelPredictor(nn.Module):
    """A learnt embedding that gathers an object's information from its value map, layer by layer.

    Args:
        config: Sizes.

    Source: TSN, Section 3.2 ("three transformer layers"), read as a decoder with one query.
    """

    def __init__(self, config: TSNConfig) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(config.value_dim))
        nn.init.normal_(self.embedding, std=0.02)
        self.layers = nn.ModuleList(PredictorLayer(config) for _ in range(config.pred_layers))

    def forward(self, tokens: Tensor, position: Tensor | None = None, usable: Tensor | None = None) -> Tensor:
        """Map tokens (M, N, C) to embeddings (M, C).

        Args:
            tokens: Value maps, row by row.
            position: Position code added to the keys, shape (N, C).
            usable: Which tokens may be seen, shape (M, N); at least one of each row.
        """
        keys = tokens if position is None else tokens + position.to(tokens.dtype)
        embedding = self.embedding.expand(tokens.shape[0], -1)
        for layer in self.layers:
            embedding = layer(embedding, keys, tokens, usable)
        return embedding
