"""What a network takes beside frames and masks: opened where it is declared, refused where it is not."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest
import torch

from vos_zoo import VideoSession
from vos_zoo.errors import ConfigError, MissingFileError
from vos_zoo.inference.side_inputs import check_side_inputs, open_side_inputs
from vos_zoo.models.dmn_aoa import DMNAOAConfig, DMNAOANetwork
from vos_zoo.models.stcn import STCNConfig, STCNNetwork
from vos_zoo.network import SideInput

FRAMES = ["00000", "00001"]


class DepthNetwork(STCNNetwork):
    """An STCN that also takes a folder of depth maps, and notes how it was opened."""

    opened: list = []  # noqa: RUF012

    @staticmethod
    def open_depth(path, frames, *, needed, size):
        DepthNetwork.opened.append((path, frames, list(needed), size))
        return "depth"

    side_inputs = MappingProxyType({"depth": SideInput("a folder of depth maps", open_depth)})
    working_size = 96


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setattr(DepthNetwork, "opened", [])
    return DepthNetwork(STCNConfig.tiny())


@pytest.mark.parametrize(("size", "expected"), [("native", 96), (64, 64), (None, None)])
def test_it_is_opened_for_the_sessions_frames_and_size(network, tmp_path, size, expected):
    assert open_side_inputs(network, {"depth": tmp_path}, FRAMES, needed=["00001"], size=size) == {"depth": "depth"}
    assert network.opened == [(tmp_path, FRAMES, ["00001"], expected)]


def test_nothing_given_opens_nothing(network):
    assert open_side_inputs(network, {}, FRAMES, needed=FRAMES) == {}
    assert network.opened == []


def test_another_name_is_answered_with_those_there_are(network):
    with pytest.raises(ConfigError, match=r"DepthNetwork takes no 'depths'.*'depth' \(a folder of depth maps\)"):
        open_side_inputs(network, {"depths": "x"}, FRAMES, needed=FRAMES)
    assert network.opened == []


def test_most_networks_take_nothing(tmp_path):
    network = STCNNetwork(STCNConfig.tiny())
    check_side_inputs(network, [])
    with pytest.raises(ConfigError, match=r"STCNNetwork takes no 'proposals'.*it takes nothing"):
        check_side_inputs(network, ["proposals"])
    with pytest.raises(ConfigError, match="takes no 'proposals'"):
        VideoSession(network, side_inputs={"proposals": tmp_path})


def test_a_file_that_a_frame_needs_is_missed_before_the_first_frame(tmp_path):
    network = DMNAOANetwork(DMNAOAConfig.tiny()).eval()
    (tmp_path / "proposals.json").write_text('{"format": 1, "settings": {}}')
    with pytest.raises(MissingFileError, match="00001"):
        open_side_inputs(network, {"proposals": tmp_path}, FRAMES, needed=["00001"])


@torch.no_grad()
def test_a_session_hands_it_to_the_memory():
    seen = []

    class Source(DMNAOANetwork):
        def with_side_inputs(self, policy, side_inputs):
            seen.append(dict(side_inputs))
            return super().with_side_inputs(policy, {})

    session = VideoSession(Source(DMNAOAConfig.tiny()).eval(), size=None, side_inputs={"proposals": "mine"})
    mask = np.zeros((32, 48), np.int32)
    mask[4:20, 4:20] = 1
    session.step(np.zeros((32, 48, 3), np.uint8), mask)
    assert seen
    assert all(given == {"proposals": "mine"} for given in seen)
