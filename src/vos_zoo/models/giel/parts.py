"""Parts of GIEL: projections, label encoder, temporal attention, coarse head and decoder."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.layers import RefineBlock, ResidualBlock
from vos_zoo.layers.blocks import upsample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .config import GIELConfig

_LABEL_CHANNELS = 3  # this object, all others, background
_LABEL_KERNEL, _LABEL_STRIDE = 7, 4  # stride 16 in two convolutions, and no pixel skipped


def label_maps(probabilities: Tensor, background: Tensor) -> Tensor:
    """Stack each object's mask, the sum of all others and the background.

    Args:
        probabilities: Shape (B, O, H, W).
        background: One minus their sum, shape (B, 1, H, W).

    Returns:
        Shape (B, O, 3, H, W); the three channels sum to 1.

    Source: GIEL, Section 3.3.
    """
    if probabilities.shape[1] == 1:
        others = torch.zeros_like(probabilities)  # exact; a difference would leave rounding
    else:
        others = probabilities.sum(dim=1, keepdim=True) - probabilities
    return torch.stack([probabilities, others, background.expand_as(probabilities)], dim=2)


class LabelEncoder(nn.Module):
    """Turn label maps into gates that are multiplied into the class-agnostic value.

    The gates start near one, so that gated values start near the value instead of near zero.

    Args:
        config: Widths and the function on the output.

    Source: GIEL, Section 3.3 and Equation 8.
    """

    def __init__(self, config: GIELConfig) -> None:
        super().__init__()
        padding = _LABEL_KERNEL // 2
        self.conv1 = nn.Conv2d(
            _LABEL_CHANNELS, config.label_dim, _LABEL_KERNEL, _LABEL_STRIDE, padding=padding, bias=False
        )
        self.bn1 = nn.BatchNorm2d(config.label_dim)
        self.conv2 = nn.Conv2d(
            config.label_dim, config.value_dim, _LABEL_KERNEL, _LABEL_STRIDE, padding=padding, bias=False
        )
        self.bn2 = nn.BatchNorm2d(config.value_dim)
        nn.init.ones_(self.bn2.bias)
        self.gate = config.label_gate

    def forward(self, labels: Tensor) -> Tensor:
        """Map (M, 3, H, W) to gates (M, Cv, h, w)."""
        gates: Tensor = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(labels)))))
        if self.gate == "sigmoid":
            return torch.sigmoid(gates)
        return F.relu(gates) if self.gate == "relu" else gates


class TemporalAttention(nn.Module):
    """Weigh support frames by their key, the first frame's and the query's.

    Convolutions of 1x1 are linear maps of the positions, so keys stay token-major here.

    Args:
        key_dim: Channels of keys and of everything in here.
        norm: How weights are normalised over frames.

    Source: GIEL, Section 3.2 and Figure 3; widths are not given there.
    """

    def __init__(self, key_dim: int, norm: Literal["softmax", "sigmoid"]) -> None:
        super().__init__()
        self.norm = norm
        self.first = nn.Linear(key_dim, key_dim)
        self.selected = nn.Linear(key_dim, key_dim)
        self.query = nn.Linear(key_dim, key_dim)
        self.hidden1 = nn.Linear(3 * key_dim, key_dim)
        self.hidden2 = nn.Linear(key_dim, key_dim)
        self.score = nn.Linear(key_dim, 1, bias=False)  # the softmax takes a bias out again
        nn.init.normal_(self.score.weight, std=0.01)

    def forward(self, keys: Tensor, query: Tensor) -> Tensor:
        """Return log-weights (B, T) of support frames.

        Args:
            keys: Of the support frames, the first annotated one first, shape (B, T, hw, Ck).
            query: Of the current frame, shape (B, hw, Ck).
        """
        first, selected, asked = (
            F.relu(projection(tokens)).mean(dim=-2)
            for projection, tokens in ((self.first, keys[:, 0]), (self.selected, keys), (self.query, query))
        )
        frames = keys.shape[1]
        roles = [first.unsqueeze(1).expand(-1, frames, -1), selected, asked.unsqueeze(1).expand(-1, frames, -1)]
        hidden = F.relu(self.hidden2(F.relu(self.hidden1(torch.cat(roles, dim=-1)))))
        scores = self.score(hidden).squeeze(-1).float()
        return F.log_softmax(scores, dim=1) if self.norm == "softmax" else F.logsigmoid(scores)


class CoarseHead(nn.Module):
    """1x1 convolutions from an instance embedding to one logit, enlarged to the frame.

    Source: GIEL, Equations 10 and 11.
    """

    def __init__(self, in_channels: int, config: GIELConfig) -> None:
        super().__init__()
        widths = [in_channels, *[config.coarse_dim] * (config.coarse_layers - 1), 1]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(widths))

    def forward(self, embedding: Tensor) -> Tensor:
        """Map (M, C, h, w) to logits (M, 16h, 16w)."""
        for layer in self.layers[:-1]:
            embedding = F.relu(layer(embedding))
        return upsample(self.layers[-1](embedding), 16).squeeze(1)


class Decoder(nn.Module):
    """STM's decoder with one output.

    The refined skip features belong to the frame: they are computed once and shared by all that is decoded on it.

    Args:
        in_channels: Channels of embeddings.
        skip_channels: Channels of the frame's stride-8 and stride-4 features.
        channels: Width of everything inside.

    Source: STM, Oh et al., ICCV 2019, Section 3.3; GIEL, Equations 6 and 12.
    """

    def __init__(self, in_channels: int, skip_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.compress = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.block = ResidualBlock(channels, channels)
        self.refine_8 = RefineBlock(skip_channels[0], channels)
        self.refine_4 = RefineBlock(skip_channels[1], channels)
        self.predict = nn.Conv2d(channels, 1, 3, padding=1)

    def skips(self, stride8: Tensor, stride4: Tensor) -> tuple[Tensor, Tensor]:
        """Refine the frame's skip features, each (B, C, H / stride, W / stride)."""
        return (
            self.refine_8.skip_block(self.refine_8.skip_conv(stride8)),
            self.refine_4.skip_block(self.refine_4.skip_conv(stride4)),
        )

    def forward(self, embedding: Tensor, skips: tuple[Tensor, Tensor], clips: Tensor | None = None) -> Tensor:
        """Decode embeddings.

        Args:
            embedding: Shape (M, C, h, w).
            skips: What :meth:`skips` gave for the frames of B clips.
            clips: The clip of every embedding, shape (M,); None if M is a multiple of B, clip after clip.

        Returns:
            Logits, shape (M, 16h, 16w).
        """
        features = self.block(self.compress(embedding))
        for refine, skip in zip((self.refine_8, self.refine_4), skips, strict=True):
            features = refine.out_block(_add(skip, upsample(features, 2), clips))
        return upsample(self.predict(F.relu(features)), 4).squeeze(1)


def _add(skip: Tensor, features: Tensor, clips: Tensor | None) -> Tensor:
    if clips is not None:
        return features + skip[clips]
    per_clip = features.reshape(len(skip), -1, *features.shape[1:])
    return (per_clip + skip.unsqueeze(1)).flatten(0, 1)
