"""TSN's pixel stream is STCN, with STCN's weights."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from vos_zoo import VideoSession
from vos_zoo.models.stcn import STCNConfig, STCNNetwork
from vos_zoo.models.tsn import TSNConfig, TSNNetwork
from vos_zoo.models.tsn.convert import from_stcn
from vos_zoo.network import MemoryPolicy
from vos_zoo.testing import VIDEO, planes, relabel, unroll
from vos_zoo.weights import checkpoints_folder


@pytest.mark.parametrize("has_bias", [False, True])
@torch.no_grad()
def test_the_pixel_stream_is_stcn(has_bias):
    torch.manual_seed(0)
    stcn = STCNNetwork(dataclasses.replace(STCNConfig.tiny(), value_conv_bias=has_bias)).eval()
    network = TSNNetwork(dataclasses.replace(TSNConfig.tiny(), streams="pixel", value_conv_bias=has_bias)).eval()
    network.load_state_dict(from_stcn(stcn.state_dict(), network.config))
    frames, masks = torch.rand(3, 1, 3, 48, 64), planes(1, 2, (48, 64))
    assert torch.equal(unroll(network, frames, masks), unroll(stcn, frames, masks))
    # Also in a session with a late object and a correction, which is compared with the authors' procedure for STCN.
    given = {0: relabel(VIDEO.masks[0], (1, 2)), 3: relabel(VIDEO.masks[3], (0, 2, 3))}
    sessions = [VideoSession(each, size=None, policy=MemoryPolicy(every=2)) for each in (network, stcn)]
    for index, frame in enumerate(VIDEO.frames):
        ours, theirs = (session.step(frame, given.get(index)).probabilities for session in sessions)
        assert torch.equal(ours, theirs)


@torch.no_grad()
def test_biases_of_stcn_move_into_the_running_means():
    torch.manual_seed(0)
    stcn = STCNNetwork(dataclasses.replace(STCNConfig.tiny(), value_conv_bias=True)).eval()
    for name, part in stcn.named_parameters():
        if name.startswith("value_encoder.trunk") and name.endswith("bias"):
            part.normal_()
    network = TSNNetwork(dataclasses.replace(TSNConfig.tiny(), streams="pixel")).eval()
    network.load_state_dict(from_stcn(stcn.state_dict(), network.config))
    frames, masks = torch.rand(3, 1, 3, 48, 64), planes(1, 2, (48, 64))
    # x + b - mean and x - (mean - b) round differently.
    torch.testing.assert_close(unroll(network, frames, masks), unroll(stcn, frames, masks), atol=1e-5, rtol=1e-4)


def test_stcn_in_paper_size_has_only_parameters_of_tsn():
    with torch.device("meta"):
        stcn = STCNNetwork(dataclasses.replace(STCNConfig.r50(), value_conv_bias=False)).state_dict()
        network = TSNNetwork(TSNConfig.r50()).state_dict()
    assert {key: tensor.shape for key, tensor in stcn.items()}.items() <= {
        key: tensor.shape for key, tensor in network.items()
    }.items()


def test_the_bundled_stcn_fits_the_pixel_stream():
    state = load_file(checkpoints_folder() / "stcn-small" / "model.safetensors")
    network = TSNNetwork(TSNConfig.small())
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert unexpected == []
    assert {key.partition(".")[0] for key in missing} == {"instance_stream", "pixel_division"}
