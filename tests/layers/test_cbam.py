"""CBAM against its two equations."""

import pytest
import torch

from vos_zoo.layers import CBAM


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return CBAM(32, reduction=4).double()


def by_loops(attention, x):
    """Evaluate both gates for every channel and position of one image."""
    first, _, second = attention.channel_mlp

    def gate(summary):
        return second.weight @ (first.weight @ summary + first.bias).clamp(min=0) + second.bias

    channels = torch.sigmoid(gate(x.mean(dim=(1, 2))) + gate(x.amax(dim=(1, 2))))
    x = x * channels[:, None, None]
    stacked = torch.zeros(2, x.shape[1] + 6, x.shape[2] + 6, dtype=x.dtype)
    stacked[0, 3:-3, 3:-3], stacked[1, 3:-3, 3:-3] = x.amax(dim=0), x.mean(dim=0)
    kernel = attention.spatial_conv.weight[0]
    result = torch.empty_like(x)
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            logit = (kernel * stacked[:, row : row + 7, column : column + 7]).sum() + attention.spatial_conv.bias[0]
            result[:, row, column] = x[:, row, column] * torch.sigmoid(logit)
    return result


def test_it_is_the_two_gates_in_turn(attention):
    x = torch.randn(2, 32, 5, 6, dtype=torch.float64)
    expected = torch.stack([by_loops(attention, image) for image in x])
    torch.testing.assert_close(attention(x), expected)


def test_it_only_scales(attention):
    x = torch.randn(1, 32, 5, 6, dtype=torch.float64)
    ratio = attention(x) / x
    assert ((ratio > 0) & (ratio < 1)).all()


def test_parameters_of_the_papers_size():
    with torch.device("meta"):
        attention = CBAM(512)
    shapes = {tuple(parameter.shape) for parameter in attention.parameters()}
    assert shapes == {(32, 512), (32,), (512, 32), (512,), (1, 2, 7, 7), (1,)}
