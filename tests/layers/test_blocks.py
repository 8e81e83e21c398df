"""Residual and upsampling blocks against their formulas, written with elementary operations."""

import pytest
import torch
import torch.nn.functional as F

from vos_zoo.layers import ResidualBlock, UpsampleBlock
from vos_zoo.layers.blocks import add_per_object, upsample


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def convolve(layer, x):
    return F.conv2d(x, layer.weight, layer.bias, padding=1)


@pytest.mark.parametrize(("in_channels", "out_channels"), [(6, 6), (4, 6), (6, 4)])
def test_residual_block_is_its_formula(in_channels, out_channels):
    block = ResidualBlock(in_channels, out_channels).double()
    x = torch.randn(2, in_channels, 5, 7, dtype=torch.float64)
    branch = convolve(block.conv2, convolve(block.conv1, x.clamp(min=0)).clamp(min=0))
    shortcut = x if in_channels == out_channels else convolve(block.shortcut, x)
    torch.testing.assert_close(block(x), shortcut + branch)


def test_residual_block_keeps_negative_values():
    block = ResidualBlock(3, 3)
    torch.nn.init.zeros_(block.conv2.weight)
    torch.nn.init.zeros_(block.conv2.bias)
    x = torch.randn(1, 3, 4, 4)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "expected"),
    [(1280, 512, 1280 * 512 * 9 * 2 + 512 * 512 * 9 + 3 * 512), (512, 512, 2 * (512 * 512 * 9 + 512))],
)
def test_residual_block_has_the_papers_size(in_channels, out_channels, expected):
    with torch.device("meta"):
        block = ResidualBlock(in_channels, out_channels)
    assert sum(parameter.numel() for parameter in block.parameters()) == expected


@pytest.mark.parametrize("scale", [2, 4])
def test_upsample_does_not_align_corners(scale):
    """Sample positions are (i + 1/2) / scale - 1/2, clamped at the border."""
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    expected = x
    for dim in (2, 3):
        length = x.shape[dim]
        where = ((torch.arange(length * scale, dtype=torch.float64) + 0.5) / scale - 0.5).clamp(0, length - 1)
        low = where.floor().long()
        high = (low + 1).clamp(max=length - 1)
        weight = (where - low).view([-1 if axis == dim else 1 for axis in range(4)])
        expected = expected.index_select(dim, low) * (1 - weight) + expected.index_select(dim, high) * weight
    torch.testing.assert_close(upsample(x, scale), expected)


@pytest.mark.parametrize(("batch", "objects"), [(1, 1), (1, 3), (2, 2)])
def test_the_frame_is_added_to_each_of_its_objects(batch, objects):
    shared, per_object = torch.randn(batch, 4, 2, 3), torch.randn(batch * objects, 4, 2, 3)
    expected = per_object + shared.repeat_interleave(objects, dim=0)
    assert torch.equal(add_per_object(shared, per_object), expected)


@pytest.mark.parametrize(("batch", "objects"), [(1, 1), (1, 3), (2, 2)])
def test_upsample_block_merges_the_skip_at_twice_the_size(batch, objects):
    block = UpsampleBlock(5, 4, 3).double()
    skip = torch.randn(batch, 5, 6, 8, dtype=torch.float64)
    features = torch.randn(batch * objects, 4, 3, 4, dtype=torch.float64)
    merged = block(skip, features)
    assert merged.shape == (batch * objects, 3, 6, 8)
    for index in range(batch * objects):
        frame = skip[index // objects : index // objects + 1]
        enlarged = F.interpolate(features[index : index + 1], scale_factor=2, mode="bilinear", align_corners=False)
        expected = block.out_conv(convolve(block.skip_conv, frame) + enlarged)
        torch.testing.assert_close(merged[index : index + 1], expected)
