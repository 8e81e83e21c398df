"""Keys and values against their definitions, and the papers' sizes."""

import pytest
import torch
import torch.nn.functional as F

from vos_zoo.layers.key_value import KeyValue


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_both_are_convolutions_of_the_feature_at_its_size(kernel_size):
    torch.manual_seed(0)
    layer, features = KeyValue(6, 4, 8, kernel_size=kernel_size).double(), torch.randn(2, 6, 3, 5).double()
    margin = kernel_size // 2
    windows = F.pad(features, [margin] * 4).unfold(2, kernel_size, 1).unfold(3, kernel_size, 1)
    for part, found in zip((layer.key, layer.value), layer(features), strict=True):
        expected = torch.einsum("bcyxij,dcij->bdyx", windows, part.weight) + part.bias.view(-1, 1, 1)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("channels", "kernel_size", "count"),
    # STM: 1024 channels, keys of 128, values of 512, 3x3. GIEL: the same by 1x1.
    [(1024, 3, 1024 * 640 * 9 + 640), (1024, 1, 1024 * 640 + 640)],
)
def test_parameters_of_the_papers_sizes(channels, kernel_size, count):
    with torch.device("meta"):
        layer = KeyValue(channels, 128, 512, kernel_size=kernel_size)
    assert sum(part.numel() for part in layer.parameters()) == count
