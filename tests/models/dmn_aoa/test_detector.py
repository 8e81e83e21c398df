"""Proposals of torchvision's Mask R-CNN, here with random weights, against torchvision's own results."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torchvision.models.detection as models

from vos_zoo.errors import CheckpointError, MissingFileError
from vos_zoo.models.dmn_aoa.detector import MaskRCNNProposals
from vos_zoo.models.dmn_aoa.proposals import ProposalRequest
from vos_zoo.network import IMAGENET_MEAN, IMAGENET_STD

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network():
    """The detector as torchvision builds it, for small frames."""
    torch.manual_seed(0)
    return models.maskrcnn_resnet50_fpn_v2(
        weights=None, weights_backbone=None, box_score_thresh=0.0, box_detections_per_img=20, min_size=64
    ).eval()


@pytest.fixture
def built(network, monkeypatch):
    """Arguments with which detectors are built; all share one network, because building it takes seconds."""
    arguments = []
    monkeypatch.setattr(models, "maskrcnn_resnet50_fpn_v2", lambda **given: arguments.append(given) or network)
    return arguments


@torch.no_grad()
def test_instances_are_torchvisions(built, network, monkeypatch):
    stored = MaskRCNNProposals(None).detect(IMAGE)
    (expected,) = network([torch.from_numpy(IMAGE).permute(2, 0, 1) / 255])
    assert stored.size == (48, 64)
    assert 0 < len(stored.boxes) <= 20
    np.testing.assert_allclose(stored.boxes, expected["boxes"].numpy(), atol=1e-3)
    np.testing.assert_allclose(stored.scores, expected["scores"].numpy(), atol=1e-6)
    assert stored.labels.tolist() == expected["labels"].tolist()
    # Before its post-processing, torchvision's masks are the grids that are stored in 256 steps.
    monkeypatch.setattr(network.transform, "postprocess", lambda result, *_: result)
    (raw,) = network([torch.from_numpy(IMAGE).permute(2, 0, 1) / 255])
    np.testing.assert_allclose(stored.grids / 255, raw["masks"][:, 0].numpy(), atol=0.5 / 255 + 1e-5)


@torch.no_grad()
def test_a_source_sees_the_frame_that_the_network_sees(built, network):
    source = MaskRCNNProposals(None, top_k=5, mask_threshold=0.1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    image = (torch.from_numpy(IMAGE).permute(2, 0, 1) / 255 - mean) / std
    found = source(ProposalRequest(1, 0, image, torch.zeros(1, 48, 64), torch.zeros(1, 4)))
    assert 0 < len(found) <= 5
    assert found.masks.shape[1:] == (48, 64)
    assert (found.scores.diff() <= 0).all()
    (expected,) = network([torch.from_numpy(IMAGE).permute(2, 0, 1) / 255])
    assert found.scores[0].item() == pytest.approx(expected["scores"][0].item(), abs=1e-5)


def test_no_weights_are_downloaded_for_a_file(built, tmp_path):
    torch.save({}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"weights\.pth does not hold the weights of torchvision's maskrcnn"):
        MaskRCNNProposals(tmp_path / "weights.pth")
    with pytest.raises(MissingFileError, match=r"nowhere\.pth does not exist"):
        MaskRCNNProposals(tmp_path / "nowhere.pth")
    assert [(given["weights"], given["weights_backbone"]) for given in built] == [(None, None)] * 2


def test_the_weights_of_a_file_are_loaded(built, network, tmp_path):
    before = copy.deepcopy(network.roi_heads.box_predictor.state_dict())
    state = network.state_dict()
    name = "roi_heads.box_predictor.cls_score.bias"
    torch.save({**state, name: state[name] + 1}, tmp_path / "weights.pth")
    try:
        MaskRCNNProposals(tmp_path / "weights.pth")
        assert torch.equal(network.state_dict()[name], before["cls_score.bias"] + 1)
    finally:
        network.roi_heads.box_predictor.load_state_dict(before)


def test_weights_that_cannot_be_downloaded_are_an_error_of_ours(monkeypatch):
    def fail(**options):
        raise OSError("no route to host")

    monkeypatch.setattr(models, "maskrcnn_resnet50_fpn_v2", fail)
    with pytest.raises(CheckpointError, match=r"cannot be downloaded \(no route to host\)"):
        MaskRCNNProposals()
