"""Winograd's minimal filtering: 3x3 convolutions on a CPU with a quarter of the multiplications."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_OUTPUT, _KERNEL = 4, 3
_TILE = _OUTPUT + _KERNEL - 1
# Interpolation points besides infinity. The textbook's 0, ±1, ±2 lose five times as much precision: these balance the
# powers in the three transforms, and are exact in binary.
_POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
# Below this many channels the transforms cost what the multiplications save (measured: 1.1x at 96, 1.4x at 128, 2.4x
# at 512).
_LEAST_CHANNELS = 128
_TILES_AT_ONCE = 256  # a few megabytes per step, which stay in cache
_OUTPUTS_AT_ONCE = 64  # channels of a weight that are transformed in float64 at a time


class WinogradConv2d(nn.Conv2d):
    """A 3x3 convolution that computes tiles of 4x4 outputs from 6x6 inputs by 36 products instead of 144.

    It shares weight and bias with the convolution it stands for, and is that convolution wherever tiles do not apply:
    under autocast, in other types than float32, with gradients. Its errors are a few times those of the direct
    convolution in float32. The weight is transformed at once, so that later changes of it have no effect; the result
    takes four times its room.

    Args:
        convolution: What :func:`is_winograd_faster` accepts.

    Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, F(4x4, 3x3).
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__(convolution.in_channels, convolution.out_channels, _KERNEL, padding=1, device="meta")
        self.weight = convolution.weight
        self.bias = convolution.bias
        self.transformed_weight = transform_weight(convolution.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        is_exact = features.dtype == self.weight.dtype == torch.float32 and features.device.type == "cpu"
        if not is_exact or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return super().forward(features)
        return convolve_tiles(features, self.transformed_weight, self.bias)


def is_winograd_faster(convolution: nn.Conv2d) -> bool:
    """Tell whether a convolution on the CPU is one that :class:`WinogradConv2d` computes faster."""
    is_wide = min(convolution.in_channels, convolution.out_channels) >= _LEAST_CHANNELS
    is_plain = convolution.kernel_size == (3, 3) and convolution.padding == (1, 1) and convolution.groups == 1
    is_dense = convolution.stride == (1, 1) and convolution.dilation == (1, 1)
    of_floats = convolution.weight.dtype == torch.float32 and convolution.weight.device.type == "cpu"
    return is_wide and is_plain and is_dense and of_floats and convolution.padding_mode == "zeros"


def transform_weight(weight: Tensor) -> Tensor:
    """Transform a convolution's weight to one matrix per place of a tile.

    Args:
        weight: Shape (K, C, 3, 3), float32.

    Returns:
        Shape (36, C, K), float32; computed in float64.

    Source: Lavin and Gray, CVPR 2016, Section 4.
    """
    out_channels, in_channels = weight.shape[:2]
    _, of_weight, _ = _transforms()
    result = weight.new_empty(_TILE**2, in_channels, out_channels)
    for start in range(0, out_channels, _OUTPUTS_AT_ONCE):
        some = weight.detach()[start : start + _OUTPUTS_AT_ONCE]
        taps = some.double().permute(2, 3, 1, 0).reshape(_KERNEL**2, -1)
        result[:, :, start : start + len(some)] = (of_weight @ taps).view(_TILE**2, in_channels, -1)
    return result


def convolve_tiles(features: Tensor, transformed_weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve with one pixel of zeros around.

    Args:
        features: Shape (N, C, H, W), float32, in any layout.
        transformed_weight: What :func:`transform_weight` gave, shape (36, C, K).
        bias: Shape (K,), or None.

    Returns:
        Shape (N, K, H, W), stored channels-last.

    Source: Lavin and Gray, CVPR 2016, Section 4 and Algorithm 1.
    """
    images, _, height, width = features.shape
    _, in_channels, out_channels = transformed_weight.shape
    tall, wide = -(-height // _OUTPUT), -(-width // _OUTPUT)
    below, right = _OUTPUT * tall + 1 - height, _OUTPUT * wide + 1 - width
    padded = F.pad(features.permute(0, 2, 3, 1), (0, 0, 1, right, 1, below)).contiguous()
    result = features.new_empty(images, tall, _OUTPUT, wide, _OUTPUT, out_channels)

    of_input, _, of_output = _transforms(features.dtype)
    together = max(1, min(images, _TILES_AT_ONCE // (tall * wide)))  # small images share a step
    rows = min(tall, max(1, _TILES_AT_ONCE // wide))
    most = together * rows * wide
    gathered, moved = (features.new_empty(_TILE**2 * most * in_channels) for _ in range(2))
    products = features.new_empty(_TILE**2 * most * out_channels)
    for image in range(0, images, together):
        for row in range(0, tall, rows):
            some = padded[image : image + together, _OUTPUT * row :]
            count, these = len(some), min(rows, tall - row)
            strides = some.stride()
            tiles = some.as_strided(
                (_TILE, _TILE, count, these, wide, in_channels),
                (strides[1], strides[2], strides[0], _OUTPUT * strides[1], _OUTPUT * strides[2], 1),
            )
            places = count * these * wide
            inputs, spectra = (part[: _TILE**2 * places * in_channels].view(_TILE**2, -1) for part in (gathered, moved))
            inputs.view(tiles.shape).copy_(tiles)
            torch.mm(of_input, inputs, out=spectra)
            outputs = products[: _TILE**2 * places * out_channels].view(_TILE**2, places, out_channels)
            torch.bmm(spectra.view(_TILE**2, places, in_channels), transformed_weight, out=outputs)
            pixels = (of_output @ outputs.view(_TILE**2, -1)).view(_OUTPUT, _OUTPUT, count, these, wide, out_channels)
            target = result[image : image + count, row : row + these]
            pixels = pixels.permute(2, 3, 0, 4, 1, 5)
            if bias is None:
                target.copy_(pixels)
            else:
                torch.add(pixels, bias, out=target)
    full = result.view(images, _OUTPUT * tall, _OUTPUT * wide, out_channels)
    return full[:, :height, :width].permute(0, 3, 1, 2)


@lru_cache(maxsize=2)
def _transforms(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Return what transforms tiles (36, 36), weights (36, 9) and products (16, 36), rows and columns at once.

    Products of the transforms are values of polynomials at the points (Toom and Cook); infinity gives the leading
    coefficient. The input's transform is the one that makes the three together a convolution.
    """
    with torch.inference_mode(False):
        points = torch.tensor(_POINTS, dtype=torch.float64)
        differences = points[:, None] - points[None, :] + torch.eye(len(points), dtype=torch.float64)
        leading = torch.zeros(1, _TILE - 1, dtype=torch.float64)
        powers = points[:, None] ** torch.arange(_OUTPUT, dtype=torch.float64)
        of_output = torch.cat([powers, leading[:, :_OUTPUT]])
        of_output[-1, -1] = 1
        of_weight = torch.cat([powers[:, :_KERNEL] / differences.prod(dim=1, keepdim=True), leading[:, :_KERNEL]])
        of_weight[-1, -1] = 1
        both = (of_output[:, :, None] * of_weight[:, None, :]).flatten(1).T
        taps = torch.arange(_OUTPUT)[:, None] + torch.arange(_KERNEL)
        wanted = torch.eye(_TILE, dtype=torch.float64)[taps.flatten()]
        of_input = torch.linalg.lstsq(both, wanted).solution
        matrices = (torch.kron(part, part) for part in (of_input, of_weight, of_output.T.contiguous()))
        of_input, of_weight, of_output = (part.to(dtype).contiguous() for part in matrices)
        return of_input, of_weight, of_output
