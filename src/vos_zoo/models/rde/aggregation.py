"""The spatio-temporal aggregation module (SAM) that folds a frame into the recurrent embedding.

The paper writes it with convolutions over time, height and width. Over the two frames that there are, all but the last
see one frame at a time, and the last one sees both as further channels: they are computed, and held, as convolutions of
images, which every device has and computes well. Files keep the shapes of the paper's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

_FRAMES = 2


class Extract(nn.Module):
    """Non-local block over both frames; similarities are divided by the number of keys, not passed through a softmax.

    As released: the projection comes before the pooling (Equation 5 pools first), the result is projected once more and
    added to the input.

    Source: RDE-VOS, Section 3.2, Equation 5.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta = nn.Conv2d(channels, channels // 2, 1)
        self.phi = nn.Conv2d(channels, channels // 2, 1)
        self.g = nn.Conv2d(channels, channels // 2, 1)
        self.project = nn.Conv2d(channels // 2, channels, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Map (2*B, C, h, w), the rows of the first frame before those of the second, to the same shape."""
        height, width = frames.shape[2:]
        query = self.theta(frames).flatten(2).mT
        key = _pooled(self.phi(frames)).flatten(2)
        value = _pooled(self.g(frames)).flatten(2).mT
        # (theta phi^T) g = theta (phi^T g): without a softmax the small C/2 x C/2 product may come first. Its sum over
        # all positions is divided by their number before it is taken, since it may be too large for float16.
        product = (key / (_FRAMES * key.shape[2])) @ value
        # Sizes are written out, not left to be inferred: exports spend most of their time on proofs about sizes.
        of_both = product.unflatten(0, (_FRAMES, frames.shape[0] // _FRAMES)).sum(0).repeat(_FRAMES, 1, 1)
        projected: Tensor = self.project((query @ of_both).mT.unflatten(2, (height, width)))
        return projected + frames


def _pooled(features: Tensor) -> Tensor:
    """Take the maximum of each 2x2 window, as ``max_pool2d``, which torch 2.10 cannot export for any size."""
    # A frame of up to 16 pixels is one position wide or high, which leaves nothing to pool.
    if features.shape[2] > 1:
        features = torch.maximum(features[:, :, :-1:2], features[:, :, 1::2])
    if features.shape[3] > 1:
        features = torch.maximum(features[..., :-1:2], features[..., 1::2])
    return features


class Enhance(nn.Module):
    """Spatial pyramid of dilated convolutions, added to its input.

    Source: RDE-VOS, Section 3.2, Equation 6; branches, dilations and the last ReLU as released.
    """

    def __init__(self, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        quarter = channels // 4
        self.point = nn.Conv2d(channels, quarter, 1, bias=False)
        self.dilated = nn.ModuleList(
            nn.Conv2d(channels, quarter, 3, padding=dilation, dilation=dilation, bias=False) for dilation in dilations
        )
        self.fuse = nn.Conv2d(quarter * (1 + len(dilations)), channels, 3, padding=1, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Map (2*B, C, h, w) to the same shape."""
        branches = [F.relu(self.point(frames)), *(F.relu(branch(frames)) for branch in self.dilated)]
        return frames + F.relu(self.fuse(torch.cat(branches, dim=1)))


class Aggregation(nn.Module):
    """Fold a newly memorised frame into the aggregated slot: extract, enhance, squeeze.

    Args:
        channels: Channels of the embedding, keys or values.
        dilations: Dilations of the pyramid.

    Source: RDE-VOS, Li et al., CVPR 2022, Section 3.2.
    """

    def __init__(self, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.extract = Extract(channels)
        self.enhance = Enhance(channels, dilations)
        self.squeeze = nn.Conv2d(_FRAMES * channels, channels, 3, padding=1)  # frames vary fastest among its inputs
        self.register_state_dict_post_hook(_with_time)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_without_time)  # type: ignore[no-untyped-call]

    def forward(self, aggregated: Tensor, current: Tensor) -> Tensor:
        """Combine the previous slot and the new frame, both (B, C, h, w), into the next slot (B, C, h, w)."""
        frames = torch.cat([aggregated, current.to(aggregated.dtype)])
        both = self.enhance(self.extract(frames)).permute(0, 2, 3, 1).unflatten(0, (_FRAMES, aggregated.shape[0]))
        slot: Tensor = self.squeeze(both.movedim(0, 4).flatten(3).permute(0, 3, 1, 2))
        return slot


def _with_time(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Give weights the shapes of files: (outputs, inputs, frames, height, width)."""
    del module, metadata
    for name in [name for name in state if name.startswith(prefix) and name.endswith(".weight")]:
        weight = state[name]
        sees_both = name == f"{prefix}squeeze.weight"
        state[name] = weight.unflatten(1, (-1, _FRAMES)) if sees_both else weight.unsqueeze(2)


def _without_time(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Take weights of files."""
    del module
    for name in [name for name in state if name.startswith(prefix) and name.endswith(".weight")]:
        if state[name].ndim == 5:
            state[name] = state[name].flatten(1, 2)
