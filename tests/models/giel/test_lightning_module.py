"""GIEL's training: what learns, its options, and the weights it starts from."""

from __future__ import annotations

import pytest
import torch

from vos_zoo.errors import CheckpointError, MissingFileError
from vos_zoo.layers import ResNetTrunk
from vos_zoo.models.giel import GIELModule
from vos_zoo.models.stcn import STCNConfig, STCNNetwork
from vos_zoo.testing import HEIGHT, WIDTH, ignore, training_batch
from vos_zoo.weights import save_checkpoint_folder


def test_the_label_encoders_statistics_learn():
    module = GIELModule("tiny")
    module.log = ignore
    module.train()
    means = {
        name: part.running_mean.clone()
        for name, part in module.network.named_modules()
        if isinstance(part, torch.nn.BatchNorm2d)
    }
    module.training_step(training_batch(frames=3), 0)
    moved = {
        name for name, mean in means.items() if not torch.equal(module.network.get_submodule(name).running_mean, mean)
    }
    assert moved == {"label_encoder.bn1", "label_encoder.bn2"}


def test_planes_without_an_object_change_nothing():
    losses = []
    for planes_given in (2, 4):
        torch.manual_seed(0)
        module = GIELModule("tiny", weight_coarse=1.0)
        module.log = ignore
        module.train()
        batch = training_batch(frames=3)
        batch["valid_objects"] = torch.nn.functional.pad(batch["valid_objects"], (0, planes_given - 2))
        losses.append(module.training_step(batch, 0))
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize(
    "options", [{"train_support": "gt"}, {"detach_masks": True}, {"weight_coarse": 0.5}, {"weight_instance": 0.3}]
)
def test_training_options_change_the_gradients(options):
    gradients = []
    for chosen in ({}, options):
        torch.manual_seed(0)
        module = GIELModule("tiny", **chosen)
        module.log = ignore
        module.training_step(training_batch(frames=4), 0).backward()
        gradients.append(module.network.label_encoder.conv1.weight.grad)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert not torch.equal(*gradients)


@pytest.mark.parametrize("is_first_object_listed", [True, False])
def test_clips_without_objects_train_on_the_background(is_first_object_listed):
    module = GIELModule("tiny")
    module.log = ignore
    module.train()
    batch = training_batch(frames=3)
    batch["masks"], batch["valid_objects"] = torch.zeros_like(batch["masks"]), torch.zeros(2, 2, dtype=torch.bool)
    batch["valid_objects"][0, 0] = is_first_object_listed
    module.training_step(batch, 0).backward()
    assert all(part.grad is None or part.grad.isfinite().all() for part in module.network.parameters())


class Fitting:
    """What loading initial weights asks a trainer."""

    ckpt_path = None
    datamodule = None


def test_encoders_start_from_mask_rcnn(tmp_path, monkeypatch):
    monkeypatch.setattr(GIELModule, "trainer", Fitting())
    plain = ResNetTrunk("resnet18").state_dict()
    body = {key: tensor + 1 for key, tensor in plain.items() if tensor.is_floating_point()}
    path = tmp_path / "detector.pth"
    torch.save({f"backbone.body.{key}": tensor for key, tensor in body.items()}, path)
    module = GIELModule("tiny", overrides={"backbone": "resnet18"}, mask_rcnn_weights=str(path))
    module.setup("fit")
    network = module.network
    assert torch.equal(network.query_encoder.bn1.running_mean, body["bn1.running_mean"])
    assert torch.equal(network.support_encoder.conv1.weight[:, :3], body["conv1.weight"])
    assert network.support_encoder.conv1.weight[:, 3].abs().max() > 0
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="no parameter below backbone"):
        GIELModule("tiny", mask_rcnn_weights=str(path)).setup("fit")
    with pytest.raises(MissingFileError, match=r"missing\.pth was not found"):
        GIELModule("tiny", mask_rcnn_weights=str(tmp_path / "missing.pth")).setup("fit")


def test_keys_start_as_those_of_stcn(tmp_path, monkeypatch):
    monkeypatch.setattr(GIELModule, "trainer", Fitting())
    torch.manual_seed(0)
    stcn = STCNNetwork(STCNConfig.tiny()).eval()
    for buffer in stcn.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    folder = tmp_path / "stcn"
    save_checkpoint_folder(stcn, folder, card="# Untrained\n", half=False)
    module = GIELModule(
        "tiny",
        {"kv_kernel": 3, "similarity": "l2", "key_dim": stcn.config.key_dim, "value_dim": stcn.config.value_dim},
        stcn_weights=str(folder),
    ).eval()
    module.setup("fit")
    image, mask = torch.rand(1, 3, HEIGHT, WIDTH), torch.rand(1, 1, HEIGHT, WIDTH).round()
    with torch.no_grad():
        expected, features = stcn.encode(image), module.network.encode(image)
        keys, _ = module.network._support_tokens(image, mask)
    torch.testing.assert_close(features.key, expected.key)
    torch.testing.assert_close(features.value, expected.thin)
    torch.testing.assert_close(keys[0, 0].T, expected.key[0].flatten(1))
    other = GIELModule("tiny", stcn_weights=str(folder))
    with pytest.raises(CheckpointError, match="does not fit"):
        other.setup("fit")
