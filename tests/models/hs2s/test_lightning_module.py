"""HS2S begins as a GIEL."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from vos_zoo.errors import CheckpointError
from vos_zoo.models.giel import GIELConfig, GIELNetwork
from vos_zoo.models.hs2s import HS2SConfig, HS2SNetwork
from vos_zoo.models.hs2s.convert import start_from_giel

GIEL = dataclasses.replace(GIELConfig.tiny(), kv_kernel=3)
CONFIG = dataclasses.replace(HS2SConfig.tiny(), matching="cosine", matching_kernel=3)


@pytest.fixture(autouse=True)
def _no_graph():
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


@pytest.fixture
def giel() -> GIELNetwork:
    network = GIELNetwork(GIEL).eval()
    assert network.support_projection is not None
    for projection in (network.query_projection, network.support_projection):
        torch.nn.init.normal_(projection.key.weight, std=0.2)  # keys of about the size that training gives them
    return network


@pytest.fixture
def network(giel: GIELNetwork) -> HS2SNetwork:
    network = HS2SNetwork(CONFIG).eval()
    start_from_giel(network, giel.state_dict())
    return network


def test_queries_are_giels_whatever_the_state(network: HS2SNetwork, giel: GIELNetwork) -> None:
    frame, mask = torch.randn(1, 3, 64, 96), torch.rand(1, 1, 64, 96)
    encoded = network.encoder(network.encoder.image_stem(frame), mask)
    key = giel.query_projection.key(encoded.stride16)
    for _ in range(2):
        hidden, cell = torch.rand(1, 16, 4, 6), torch.rand(1, 16, 4, 6)
        assert network.skip_cell is not None
        assert network.skip_merge is not None
        after, _ = network.skip_cell(encoded.stride16, hidden, cell)
        for branch in network.skip_merge.branches:
            # The sigmoid bends keys a little, and its gates are not quite closed.
            assert F.cosine_similarity(branch.query(after), key).mean() > 0.97


def test_references_are_encoded_as_giels_support(network: HS2SNetwork, giel: GIELNetwork) -> None:
    assert network.skip_merge is not None
    assert giel.support_projection is not None
    features = torch.randn(1, giel.support_encoder.channels[2], 4, 6)
    key, value = giel.support_projection(features)
    for branch in network.skip_merge.branches:
        torch.testing.assert_close(branch.key(features), key)
        torch.testing.assert_close(branch.value(features), value[:, :8])
    assert torch.equal(network.reference_encoder.conv1[0].weight, giel.support_encoder.conv1[0].weight)
    assert torch.equal(network.reference_encoder.layer3[0].conv1.weight, giel.support_encoder.layer3[0].conv1.weight)


def test_cells_begin_without_memory(network: HS2SNetwork) -> None:
    """Even a large state has all but vanished one frame later."""
    assert network.skip_cell is not None
    for cell, channels in ((network.cell, 16), (network.skip_cell, network.encoder.channels[2])):
        features, hidden = torch.zeros(1, channels, 4, 6), torch.zeros(1, 16, 4, 6)
        (_, fresh), (_, after) = (cell(features, hidden, state) for state in (hidden, hidden + 9))
        assert (after - fresh).abs().max() < 0.4


def test_an_encoder_without_mask_takes_the_image_part(giel: GIELNetwork) -> None:
    network = HS2SNetwork(dataclasses.replace(CONFIG, mask_input=False))
    start_from_giel(network, giel.state_dict())
    assert torch.equal(network.encoder.conv1[0].weight, giel.query_encoder.conv1[0].weight)


def test_the_previous_mask_has_no_effect_at_first(network: HS2SNetwork) -> None:
    stem = network.encoder.image_stem(torch.randn(1, 3, 64, 96))
    some, none = (network.encoder(stem, mask) for mask in (torch.rand(1, 1, 64, 96), torch.zeros(1, 1, 64, 96)))
    torch.testing.assert_close(some.stride16, none.stride16)


@pytest.mark.parametrize("field", [{"matching": "global_convolution"}, {"skip_rnn": False}, {"references": "none"}])
def test_other_matching_is_refused(giel: GIELNetwork, field: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match="Only cosine attention"):
        start_from_giel(HS2SNetwork(dataclasses.replace(CONFIG, **field)), giel.state_dict())


@pytest.mark.parametrize("field", [{"matching_width": 4}, {"matching_kernel": 1}, {"skip_kernel": 5}])
def test_other_sizes_are_refused(giel: GIELNetwork, field: dict[str, int]) -> None:
    with pytest.raises(CheckpointError, match="does not fit"):
        start_from_giel(HS2SNetwork(dataclasses.replace(CONFIG, **field)), giel.state_dict())


def test_a_network_of_another_kind_is_refused() -> None:
    with pytest.raises(CheckpointError, match="does not fit"):
        start_from_giel(HS2SNetwork(CONFIG), {"key_encoder.conv1.weight": torch.zeros(1)})
