"""The Swin trunk: sizes, weights and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vos_zoo.errors import ConfigError, ShapeError
from vos_zoo.models.tsn import TSNModule
from vos_zoo.models.tsn.swin import SwinTrunk


@pytest.mark.parametrize("size", [(33, 47), (5, 9)])
def test_a_session_on_swin_takes_odd_sizes(size):
    torch.manual_seed(0)
    module = TSNModule("tiny", overrides={"backbone": "swin_tiny_patch4_window7_224"})
    session = module.session(size=None)
    mask = np.zeros(size, np.int32)
    mask[1:4, 2:6] = 9
    session.step(np.full((*size, 3), 100, np.uint8), mask)
    result = session.step(np.full((*size, 3), 110, np.uint8))
    assert result.mask.shape == size
    assert result.probabilities.isfinite().all()


@pytest.fixture(scope="module")
def swin() -> SwinTrunk:
    torch.manual_seed(0)
    return SwinTrunk("swin_tiny_patch4_window7_224").eval()


@torch.no_grad()
@pytest.mark.parametrize("size", [(48, 80), (16, 16)])
def test_swin_takes_every_multiple_of_sixteen(swin, size):
    features = swin(torch.rand(1, 3, *size))
    for stride, channels, stage in zip((4, 8, 16), swin.channels, features, strict=True):
        assert stage.shape == (1, channels, size[0] // stride, size[1] // stride)


def test_swin_refuses_other_sizes(swin):
    with pytest.raises(ShapeError, match="50x48 pixels"):
        swin(torch.rand(1, 3, 48, 50))


def test_swin_loads_what_timm_publishes(swin):
    state = {key.replace("layers_", "layers.", 1): tensor + 1 for key, tensor in swin.model.state_dict().items()}
    swin.load_imagenet({**state, "head.fc.weight": torch.zeros(1)})
    assert torch.equal(swin.model.patch_embed.proj.weight, state["patch_embed.proj.weight"])
    with pytest.raises(ConfigError, match="is missing"):
        swin.load_imagenet({})


@pytest.mark.parametrize("name", ["resnet50", "swin_nothing"])
def test_swin_refuses_other_networks(name):
    with pytest.raises(ConfigError, match="is not a Swin"):
        SwinTrunk(name)
