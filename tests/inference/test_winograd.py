"""Winograd convolution against PyTorch's direct one in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vos_zoo.inference.optimize import optimize_network
from vos_zoo.inference.session import VideoSession
from vos_zoo.inference.winograd import WinogradConv2d, convolve_tiles, is_winograd_faster, transform_weight
from vos_zoo.models.stcn import STCNConfig, STCNNetwork


def convolution(in_channels=128, out_channels=128, **options):
    torch.manual_seed(0)
    return nn.Conv2d(in_channels, out_channels, 3, **{"padding": 1, **options})


def direct(features, convolution):
    bias = None if convolution.bias is None else convolution.bias.double()
    return F.conv2d(features.double(), convolution.weight.double(), bias, padding=1)


@settings(deadline=None, max_examples=60)
@given(
    images=st.integers(0, 4),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    has_bias=st.booleans(),
    layout=st.sampled_from(["channels_first", "channels_last", "cut"]),
)
def test_it_is_the_direct_convolution(images, channels, size, has_bias, layout):
    layer = convolution(*channels, bias=has_bias)
    features = torch.randn(images, channels[0], *size, generator=torch.Generator().manual_seed(1))
    if layout == "channels_last":
        features = features.contiguous(memory_format=torch.channels_last)
    elif layout == "cut":
        features = F.pad(features, (2, 3, 1, 1), value=7.0)[:, :, 1:-1, 2:-3]
    with torch.inference_mode():
        result = convolve_tiles(features, transform_weight(layer.weight), layer.bias)
    expected = direct(features, layer)
    assert result.shape == expected.shape
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=2e-5)


def test_its_errors_are_those_of_sums_in_float32():
    layer = convolution(256, 128)
    features = torch.randn(1, 256, 30, 54)
    with torch.inference_mode():
        expected = direct(features, layer)
        ours = (WinogradConv2d(layer)(features) - expected).abs().max()
        # A direct convolution that adds one product after another. Libraries sum in parts, on some processors in so
        # many that ours is twelve times as far off as theirs.
        windows = F.unfold(features, 3, padding=1)[0].numpy()
        kernels = layer.weight[:8].flatten(1).numpy()
        sums = np.stack([np.add.accumulate(windows * kernel[:, None], axis=0)[-1] for kernel in kernels])
        theirs = np.abs(sums + layer.bias[:8, None].numpy() - expected[0, :8].flatten(1).numpy()).max()
    assert ours < 5 * theirs


@pytest.mark.parametrize("magnitude", [1e-20, 1e20])
def test_extreme_magnitudes_keep_their_precision(magnitude):
    layer = convolution(bias=False)
    features = magnitude * torch.randn(1, 128, 9, 10)
    with torch.inference_mode():
        result = WinogradConv2d(layer)(features)
    torch.testing.assert_close(result.double() / magnitude, direct(features, layer) / magnitude, rtol=0, atol=2e-5)


def test_one_place_does_not_reach_far():
    """A pixel that is infinite spoils the tiles that read it and no others."""
    layer = convolution()
    features = torch.zeros(1, 128, 32, 32)
    features[0, 0, 0, 0] = torch.inf
    with torch.inference_mode():
        result = WinogradConv2d(layer)(features)
    assert result[:, :, 8:].isfinite().all()
    assert not result[:, :, :4, :4].isfinite().all()


def test_it_is_the_convolution_where_tiles_do_not_apply():
    layer = convolution()
    tiled = WinogradConv2d(layer)
    features = torch.randn(1, 128, 8, 8)
    assert torch.equal(tiled(features), layer(features))  # gradients are on
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert tiled(features).dtype == torch.bfloat16
    with torch.inference_mode():
        assert torch.equal(tiled.double()(features.double()), layer.double()(features.double()))


@pytest.mark.parametrize(
    "other",
    [
        {"in_channels": 64},
        {"out_channels": 64},
        {"stride": 2},
        {"padding": 0},
        {"dilation": 2},
        {"groups": 2},
        {"padding_mode": "reflect"},
        {"dtype": torch.float64},
        {"device": "meta"},
    ],
)
def test_other_convolutions_are_left_alone(other):
    assert is_winograd_faster(convolution())
    assert not is_winograd_faster(convolution(**other))


def test_a_rearranged_network_uses_it_and_shares_the_weights():
    network = nn.Sequential(convolution(), nn.BatchNorm2d(128), nn.ReLU(), convolution()).eval()
    network[1].running_mean.normal_()
    network[1].running_var.uniform_(0.5, 2)
    optimized = optimize_network(network)
    assert [type(part) for part in optimized] == [WinogradConv2d, nn.Identity, nn.ReLU, WinogradConv2d]
    assert optimized[3].weight is network[3].weight
    assert type(network[3]) is nn.Conv2d
    features = torch.randn(2, 128, 13, 18)
    with torch.inference_mode():
        torch.testing.assert_close(optimized(features), network(features), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("precision", "expected"), [("fp32", True), ("bf16", False)])
def test_sessions_use_it_where_it_applies(precision, expected):
    session = VideoSession(STCNNetwork(STCNConfig.small()), precision=precision)
    parts = session._network.modules()
    assert any(isinstance(part, WinogradConv2d) for part in parts) == expected


def test_later_changes_of_the_weight_have_no_effect():
    layer = convolution()
    tiled = WinogradConv2d(layer)
    features = torch.randn(1, 128, 8, 8)
    with torch.inference_mode():
        before = tiled(features)
    with torch.no_grad():
        layer.weight.mul_(2)
    with torch.inference_mode():
        assert torch.equal(tiled(features), before)


def test_a_network_that_uses_it_gives_the_same_logits():
    torch.manual_seed(0)
    network = STCNNetwork(STCNConfig.small()).eval()
    optimized = optimize_network(network)
    assert sum(isinstance(part, WinogradConv2d) for part in optimized.modules()) >= 3
    first, second = torch.rand(2, 1, 3, 96, 128)
    masks = torch.zeros(1, 2, 96, 128)
    masks[:, 0, 10:40, 10:60] = masks[:, 1, 50:90, 70:120] = 1
    logits = []
    with torch.inference_mode():
        for model in (network, optimized):
            memory = model.new_memory()
            model.memorize(model.encode(first), masks, memory, reference=True)
            memory.tick()
            logits.append(model.segment(model.encode(second), memory))
    torch.testing.assert_close(*logits, rtol=0, atol=1e-4)
