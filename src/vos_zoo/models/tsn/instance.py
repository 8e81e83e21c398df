"""The instance stream: heads generated from memory, evaluated on the current frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from vos_zoo.layers import ResidualBlock

from .heads import EXTRA_NUMBERS, HeadLayout, Heads, centroids, coordinate_maps, evaluate_heads, sine_code
from .predictor import KernelPredictor

if TYPE_CHECKING:
    from .config import TSNConfig

_STRIDE = 16
_SINE_CHANNELS = 8  # of the absolute position, four per axis (TSN, Table 4, gives no number)
_RELATIVE_CHANNELS = 2


class InstanceStream(nn.Module):
    """Describe objects on memory frames by generated heads, and evaluate those on other frames.

    Args:
        config: Sizes and switches.

    Source: TSN, Section 3.2.
    """

    #: Its heads are evaluated in float32 under autocast, with the weights as they are.
    computes_float32: ClassVar[bool] = True

    def __init__(self, config: TSNConfig) -> None:
        super().__init__()
        self.config = config
        self.reduction: nn.Conv2d | None = None
        self.layout: HeadLayout | None = None
        if config.head_op == "dynamic_conv":
            self.reduction = nn.Conv2d(config.value_dim, config.head_channels, 1)
            position_channels = {"relative": _RELATIVE_CHANNELS, "sine": _SINE_CHANNELS, "none": 0}[config.position]
            self.layout = HeadLayout(
                position_channels + config.head_channels,
                config.head_channels,
                config.head_out_channels,
                config.head_depth,
            )
        self.num_parameters = config.value_dim if self.layout is None else self.layout.size
        self.predictor = KernelPredictor(config) if config.predictor == "attention" else None
        self.controller = nn.Linear(config.value_dim, self.num_parameters)
        # As CondInst's controller: generated weights start small and all alike.
        nn.init.normal_(self.controller.weight, std=0.01)
        nn.init.zeros_(self.controller.bias)
        embedding = config.value_dim if self.layout is None else config.head_out_channels
        self.block = ResidualBlock(embedding + config.value_dim, config.decoder_dims[0])

    @property
    def packed_size(self) -> int:
        """Numbers that one head takes in memory."""
        return self.num_parameters + EXTRA_NUMBERS

    def describe(self, values: Tensor, probabilities: Tensor, is_annotated: Tensor) -> Heads:
        """Generate the heads of one memory frame.

        Args:
            values: The objects' values, shape (B, O, Cv, h, w).
            probabilities: Their masks, shape (B, O, H, W).
            is_annotated: Which of them a user annotated, shape (O,); for those a single pixel is enough.

        Returns:
            Heads with T = 1. With pooled heads the parameters are generated later and empty here.
        """
        origins, area = centroids(probabilities.detach() > 0.5)
        least = torch.where(is_annotated, 1.0, float(self.config.min_head_area))
        valid = (area >= least).float()
        if self.config.head_memory == "pooled":
            parameters = origins.new_empty(*area.shape, 0)
        else:
            tokens = values.flatten(0, 1).flatten(2).mT
            parameters = self._generate(tokens, values.shape[3:]).float().reshape(*area.shape, -1)
        return Heads(*(part.unsqueeze(1) for part in (parameters, origins, valid)))

    def pool(self, heads: Heads, values: Tensor, size: tuple[int, int]) -> Heads:
        """Generate one head per object from all memory frames together (ablation of Table 3).

        Its origin is the mean of the valid frames' centroids.

        Args:
            heads: Origins and validity of T frames.
            values: The frames' values, shape (B, T, hw, O, Cv).
            size: Height and width of the feature grid.
        """
        batch, _, objects = heads.valid.shape
        tokens = values.permute(0, 3, 1, 2, 4).flatten(0, 1)  # (B*O, T, hw, Cv)
        seen = heads.valid.transpose(1, 2).flatten(0, 1) > 0
        is_present = seen.any(dim=1)
        # A softmax needs something to see; the result of an absent object does not count.
        usable = (seen | ~is_present.unsqueeze(1)).unsqueeze(2).expand(-1, -1, tokens.shape[2])
        parameters = self._generate(tokens.flatten(1, 2), size, usable.flatten(1))
        origins = (heads.origins * heads.shares.unsqueeze(-1)).sum(dim=1, keepdim=True)
        return Heads(
            parameters.float().reshape(batch, 1, objects, -1),
            origins,
            is_present.float().reshape(batch, 1, objects),
        )

    def forward(self, thin: Tensor, heads: Heads, image_size: tuple[int, int]) -> Tensor:
        """Evaluate heads on a frame.

        Args:
            thin: Compressed feature of the frame, shape (B, Cv, h, w).
            heads: Of the memory frames.
            image_size: Height and width of the frame in pixels.

        Returns:
            Shape (B*O, Cd, h, w).
        """
        batch, _, objects = heads.valid.shape
        with torch.autocast(thin.device.type, enabled=False):
            embedding = self._embed(thin, heads, image_size)
        per_object = thin.unsqueeze(1).expand(batch, objects, *thin.shape[1:])
        stacked = torch.cat([embedding.to(thin.dtype), per_object], dim=2).flatten(0, 1)
        result: Tensor = self.block(stacked)
        return result

    def _embed(self, thin: Tensor, heads: Heads, image_size: tuple[int, int]) -> Tensor:
        """Return what the heads give, averaged over memory frames, shape (B, O, C, h, w)."""
        thin = thin.float()
        if self.layout is None or self.reduction is None:
            scale = (heads.parameters * heads.shares.unsqueeze(-1)).sum(dim=1)
            return thin.unsqueeze(1) * scale[..., None, None]
        features: Tensor = self.reduction(thin)
        size = (features.shape[2], features.shape[3])
        if self.config.position == "none":
            return evaluate_heads(heads, self.layout, features)
        if self.config.position == "sine":
            code = sine_code(size, _SINE_CHANNELS, thin.device).expand(len(thin), -1, -1, -1)
            return evaluate_heads(heads, self.layout, torch.cat([code, features], dim=1))
        side = self.config.coord_scale
        unit = features.new_tensor(image_size[::-1] if self.config.coord_norm == "image" else (side, side))
        coordinates = coordinate_maps(size, _STRIDE, thin.device) / unit[:, None, None]
        inputs = torch.cat([coordinates.expand(len(thin), -1, -1, -1), features], dim=1)
        return evaluate_heads(heads, self.layout, inputs, unit=unit)

    def _generate(self, tokens: Tensor, size: tuple[int, ...], usable: Tensor | None = None) -> Tensor:
        """Map tokens (M, N, Cv) of one or more frames to the numbers of a head (M, K)."""
        if self.predictor is not None:
            position = None
            if self.config.pred_position == "sine":
                code = sine_code((size[0], size[1]), tokens.shape[2], tokens.device).flatten(1).T
                position = code.repeat(tokens.shape[1] // len(code), 1)
            embedding = self.predictor(tokens, position, usable)
        elif usable is None:
            embedding = tokens.mean(dim=1)
        else:
            share = usable.to(tokens.dtype) / usable.sum(dim=1, keepdim=True)
            embedding = (share.unsqueeze(1) @ tokens).squeeze(1)
        parameters: Tensor = self.controller(embedding)
        return parameters


class PixelDivision(nn.Module):
    """Routing map: how much a position has to rely on the instance stream, because memory holds nothing like it.

    Args:
        config: Sizes and switches.

    Source: TSN, Section 3.3, Equations 4 and 5.
    """

    computes_float32: ClassVar[bool] = True

    def __init__(self, config: TSNConfig) -> None:
        super().__init__()
        self.per_channel = config.routing_input == "channel"
        self.linear = nn.Linear(config.key_dim if self.per_channel else 1, 1)
        weight, bias = config.routing_init
        nn.init.constant_(self.linear.weight, weight)
        nn.init.constant_(self.linear.bias, bias)

    def forward(self, memory_key: Tensor, key: Tensor) -> Tensor:
        """Compare the keys read from memory with the frame's own, both (B, Ck, h, w).

        Returns:
            Weight of the instance stream in (0, 1), float32, shape (B, 1, h, w).
        """
        with torch.autocast(key.device.type, enabled=False):
            # In the unit of the affinity's logits.
            distance = (memory_key.float() - key.float()).square().movedim(1, -1) / key.shape[1] ** 0.5
            if not self.per_channel:
                distance = distance.sum(dim=-1, keepdim=True)
            weight: Tensor = torch.sigmoid(self.linear(distance).squeeze(-1))
        return weight.unsqueeze(1)
