"""Keys and values of an object's feature against their definition."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from vos_zoo.models.dmn_aoa.config import DMNAOAConfig
from vos_zoo.models.dmn_aoa.template import MemoryEncoder, QueryEncoder, with_time

CONFIG = DMNAOAConfig.tiny()
OFFSETS = [0, 3, 50]


@pytest.fixture
def features():
    torch.manual_seed(0)
    return torch.randn(3, CONFIG.object_dim, 4, 4, dtype=torch.float64)


def clock(offset):
    """Attention Is All You Need, Section 3.1: sine and cosine in turn."""
    channels = CONFIG.object_dim
    angles = [offset / 10_000 ** (index / channels) for index in range(0, channels, 2)]
    return torch.tensor([wave(angle) for angle in angles for wave in (math.sin, math.cos)], dtype=torch.float64)


def timed(features):
    return features + torch.stack([clock(offset) for offset in OFFSETS])[:, :, None, None]


def test_every_row_is_told_its_own_time(features):
    # Angles up to 50 are computed in float32, whose spacing is 4e-6 there.
    torch.testing.assert_close(with_time(features, OFFSETS), timed(features), atol=1e-5, rtol=0)


def test_memory_sees_feature_time_and_mask(features):
    encoder, masks = MemoryEncoder(CONFIG).double(), torch.rand(3, 1, 4, 4)
    keys, values = encoder(features, masks, OFFSETS)
    inputs = torch.cat([timed(features), masks.double()], dim=1)
    for layer, found, width in ((encoder.key, keys, CONFIG.key_dim), (encoder.value, values, CONFIG.object_dim)):
        expected = F.conv2d(inputs, layer.weight, layer.bias, padding=1)
        assert found.shape == (3, 16, width)
        for row in range(4):
            for column in range(4):
                torch.testing.assert_close(
                    found[:, 4 * row + column], expected[:, :, row, column], atol=1e-5, rtol=1e-5
                )


def test_a_query_sees_no_mask(features):
    encoder = QueryEncoder(CONFIG).double()
    expected = F.conv2d(timed(features), encoder.key.weight, encoder.key.bias, padding=1)
    torch.testing.assert_close(encoder(features, OFFSETS), expected, atol=1e-5, rtol=1e-5)
