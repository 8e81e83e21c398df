"""STM's refinement block against its definition."""

import pytest
import torch
import torch.nn.functional as F

from vos_zoo.layers import RefineBlock


def convolve(layer, features):
    return F.conv2d(features, layer.weight, layer.bias, padding=1)


def residual(block, features):
    """STM, Section 3.3: ReLU, convolution, ReLU, convolution, and the input added."""
    return features + convolve(block.conv2, convolve(block.conv1, features.relu()).relu())


@pytest.mark.parametrize(("clips", "objects"), [(1, 1), (2, 3)])
def test_it_is_its_formula_for_every_object(clips, objects):
    torch.manual_seed(0)
    block = RefineBlock(6, 4).double()
    skip, features = torch.randn(clips, 6, 8, 12).double(), torch.randn(clips * objects, 4, 4, 6).double()
    found = block(skip, features)
    assert found.shape == (clips * objects, 4, 8, 12)
    for row in range(clips * objects):
        refined = residual(block.skip_block, convolve(block.skip_conv, skip[row // objects][None]))
        larger = F.interpolate(features[row][None], size=(8, 12), mode="bilinear", align_corners=False)
        torch.testing.assert_close(found[row][None], residual(block.out_block, refined + larger))


def test_parameters_of_the_papers_sizes():
    with torch.device("meta"):
        blocks = [RefineBlock(channels, 256) for channels in (512, 256)]
    per_convolution = 256 * 256 * 9 + 256
    for block, channels in zip(blocks, (512, 256), strict=True):
        assert sum(part.numel() for part in block.parameters()) == channels * 256 * 9 + 256 + 4 * per_convolution
