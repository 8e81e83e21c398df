"""Label maps and temporal attention of GIEL."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from testing.giel import tiny
from vos_zoo.models.giel import GIELNetwork
from vos_zoo.models.giel.parts import TemporalAttention, label_maps
from vos_zoo.testing import planes, unroll


@torch.no_grad()
def test_equal_weights_are_no_temporal_attention():
    network = tiny()
    network.temporal_attention.score.weight.zero_()
    plain = GIELNetwork(dataclasses.replace(network.config, temporal_attention=False)).eval()
    plain.load_state_dict(network.state_dict(), strict=False)
    frames, masks = torch.rand(3, 1, 3, 48, 64), planes(1, 2, (48, 64))
    torch.testing.assert_close(unroll(network, frames, masks), unroll(plain, frames, masks), atol=1e-5, rtol=1e-5)


def test_temporal_weights_sum_to_one():
    log_weights = TemporalAttention(8, "softmax")(torch.randn(2, 4, 12, 8), torch.randn(2, 12, 8))
    torch.testing.assert_close(log_weights.exp().sum(dim=1), torch.ones(2))


def test_every_part_of_the_temporal_attention_learns():
    torch.manual_seed(0)
    attention = TemporalAttention(8, "softmax")
    log_weights = attention(torch.randn(2, 4, 12, 8) * torch.arange(1, 5)[:, None, None], torch.randn(2, 12, 8))
    log_weights[:, 1].sum().backward()
    assert all(part.grad.abs().max() > 0 for part in attention.parameters())


@pytest.mark.parametrize("objects", [1, 3])
def test_labels_sum_to_one(objects):
    probabilities = torch.rand(2, objects + 1, 6, 6).softmax(dim=1)[:, 1:]
    background = 1 - probabilities.sum(dim=1, keepdim=True)
    labels = label_maps(probabilities, background)
    assert labels.shape == (2, objects, 3, 6, 6)
    torch.testing.assert_close(labels.sum(dim=2), torch.ones(2, objects, 6, 6))
