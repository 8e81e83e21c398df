"""Weights that training starts from."""

import dataclasses
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from safetensors.torch import save_file

from vos_zoo.errors import CheckpointError, ConfigError, MissingFileError
from vos_zoo.layers import ResNetTrunk
from vos_zoo.models.rde import RDEConfig, RDENetwork
from vos_zoo.models.stcn import STCNConfig, STCNNetwork
from vos_zoo.registry import describe_network
from vos_zoo.training.initial_weights import load_initial_weights, load_trunks
from vos_zoo.weights import save_checkpoint_folder


def network(kind=STCNNetwork, config=STCNConfig, seed=0):
    torch.manual_seed(seed)
    return kind(config.tiny())


def small_network():
    """A network whose two trunks are ResNet-18, one with five input channels and fewer blocks."""
    config = dataclasses.replace(STCNConfig.tiny(), backbone="resnet18", value_backbone="resnet18")
    return STCNNetwork(dataclasses.replace(config, value_blocks=(1, 1, 1)))


@pytest.fixture(scope="module")
def trunk():
    """Weights of a ResNet-18 under torchvision's names."""
    torch.manual_seed(3)
    state = ResNetTrunk("resnet18").state_dict()
    return {key: tensor.contiguous() for key, tensor in state.items() if tensor.is_floating_point()}


@pytest.fixture
def root(tmp_path, trunk):
    (tmp_path / "backbones").mkdir()
    save_file(trunk, tmp_path / "backbones" / "trunk.safetensors")
    return tmp_path


def test_a_file_fills_every_trunk(root, trunk):
    target = small_network()
    load_trunks(target, "backbones/trunk.safetensors", [root])
    torch.testing.assert_close(target.key_encoder.state_dict()["conv1.weight"], trunk["conv1.weight"])
    value = target.value_encoder.trunk.state_dict()
    torch.testing.assert_close(value["conv1.weight"][:, :3], trunk["conv1.weight"])
    assert value["conv1.weight"].shape[1] == 5
    assert not value["conv1.bias"].any()
    torch.testing.assert_close(value["layer3.0.conv1.weight"], trunk["layer3.0.conv1.weight"])


def test_the_first_root_that_has_the_file_counts(root, tmp_path_factory, trunk):
    elsewhere = tmp_path_factory.mktemp("other")
    (elsewhere / "backbones").mkdir()
    save_file({key: tensor + 1 for key, tensor in trunk.items()}, elsewhere / "backbones" / "trunk.safetensors")
    target = small_network()
    load_trunks(target, "backbones/trunk.safetensors", [elsewhere, root])
    torch.testing.assert_close(target.key_encoder.state_dict()["conv1.weight"], trunk["conv1.weight"] + 1)


def test_a_missing_file_is_named_with_the_places(root):
    with pytest.raises(MissingFileError, match=r"none\.safetensors was not found as .*none\.safetensors or none"):
        load_trunks(network(), "none.safetensors", [root, Path()])


def test_what_is_no_safetensors_file_is_refused(root):
    (root / "page.safetensors").write_text("<html>404</html>")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_trunks(network(), "page.safetensors", [root])


def test_weights_of_another_network_fit_nothing(root, caplog):
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, root / "other.safetensors")
    target = network()
    before = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    with caplog.at_level(logging.WARNING), pytest.raises(ConfigError, match="fits none of the encoders key_encoder"):
        load_trunks(target, "other.safetensors", [root])
    assert all(torch.equal(tensor, before[key]) for key, tensor in target.state_dict().items())
    assert "keeps its initial weights" in caplog.text


def test_training_starts_from_a_checkpoint_folder(tmp_path):
    source = network(seed=5)
    folder = save_checkpoint_folder(source, tmp_path / "source", card="# Untrained\n", half=False)
    target = network()
    load_initial_weights(target, folder.name, [tmp_path])
    assert all(torch.equal(target.state_dict()[key], tensor) for key, tensor in source.state_dict().items())


def test_half_precision_weights_become_float32(tmp_path):
    folder = save_checkpoint_folder(network(seed=5), tmp_path / "source", card="# Untrained\n")
    target = network()
    load_initial_weights(target, str(folder), [tmp_path])
    assert {tensor.dtype for tensor in target.state_dict().values()} == {torch.float32, torch.int64}


def test_rde_starts_from_stcn_with_a_fresh_aggregation(tmp_path, caplog):
    source = network(seed=5)
    folder = save_checkpoint_folder(source, tmp_path / "source", card="# Untrained\n", half=False)
    target = network(RDENetwork, RDEConfig)
    fresh = {key: tensor.clone() for key, tensor in target.aggregation.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        load_initial_weights(target, str(folder), [Path()])
    assert "has no aggregation" in caplog.text
    assert all(torch.equal(target.state_dict()[key], tensor) for key, tensor in source.state_dict().items())
    assert all(torch.equal(tensor, fresh[key]) for key, tensor in target.aggregation.state_dict().items())
    with pytest.raises(CheckpointError, match="has no aggregation, so this network would not be a trained one"):
        load_initial_weights(target, str(folder), [Path()], is_whole=True)


def test_each_parameter_comes_from_the_first_source_that_has_it(tmp_path, caplog):
    stcn, rde = network(seed=5), network(RDENetwork, RDEConfig, seed=6)
    for name, source in (("pixels", stcn), ("whole", rde)):
        save_checkpoint_folder(source, tmp_path / name, card="# Untrained\n", half=False)
    target = network(RDENetwork, RDEConfig)
    with caplog.at_level(logging.WARNING):
        load_initial_weights(target, ["pixels", "whole"], [tmp_path], is_whole=True)
    assert not caplog.text
    for key, tensor in target.state_dict().items():
        source = rde if key.startswith("aggregation.") else stcn
        assert torch.equal(tensor, source.state_dict()[key])


def test_a_source_that_does_not_fit_is_named(tmp_path):
    for name, source in (("pixels", network()), ("whole", network(RDENetwork, RDEConfig))):
        save_checkpoint_folder(source, tmp_path / name, card="# Untrained\n")
    with pytest.raises(CheckpointError, match=r"whole holds \d+ parameters that do not fit"):
        load_initial_weights(network(), ["pixels", "whole"], [tmp_path])


def test_training_starts_from_a_lightning_checkpoint(tmp_path):
    source = network(seed=5)
    state = {f"network.{key}": tensor for key, tensor in source.state_dict().items()}
    content = {"vos_zoo": describe_network(source), "global_step": 3}
    torch.save(content | {"state_dict": state | {"val_scores.total": torch.zeros(1)}}, tmp_path / "last.ckpt")
    target = network()
    load_initial_weights(target, "last.ckpt", [tmp_path])
    assert all(torch.equal(target.state_dict()[key], tensor) for key, tensor in source.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 torn"])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        load_initial_weights(network(), "last.ckpt", [tmp_path])


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {"other.weight": torch.zeros(1)}}])
def test_a_checkpoint_of_something_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        load_initial_weights(network(), "last.ckpt", [tmp_path])


def test_weights_of_another_model_or_size_are_refused(tmp_path):
    folder = save_checkpoint_folder(network(RDENetwork, RDEConfig), tmp_path / "source", card="# Untrained\n")
    target = network()
    before = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    with pytest.raises(CheckpointError, match="parameters that do not fit this network, first aggregation"):
        load_initial_weights(target, str(folder), [Path()])
    assert all(torch.equal(tensor, before[key]) for key, tensor in target.state_dict().items())


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere"):
        load_initial_weights(network(), "nowhere", [tmp_path])


def test_a_trunk_starts_from_the_frame_encoder_of_a_zoo_checkpoint(tmp_path):
    source = small_network()
    save_checkpoint_folder(source, tmp_path / "encoder", card="", half=False)
    target = small_network()
    load_trunks(target, "encoder", [tmp_path])
    for name, tensor in source.key_encoder.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(target.key_encoder.state_dict()[name], tensor)
            if name != "conv1.weight" and name in (value := target.value_encoder.trunk.state_dict()):
                torch.testing.assert_close(value[name], tensor)


def test_a_checkpoint_without_a_frame_encoder_fits_no_trunk(tmp_path):
    (tmp_path / "other").mkdir()
    save_file({"backbone.conv1.weight": torch.zeros(1)}, tmp_path / "other" / "model.safetensors")
    with pytest.raises(ConfigError, match="other holds no key_encoder or query_encoder"):
        load_trunks(small_network(), "other", [tmp_path])


def test_timm_gives_the_weights_that_the_papers_start_from(monkeypatch, trunk):
    asked = []

    def create(name, **options):
        asked.append((name, options))
        return SimpleNamespace(state_dict=lambda: trunk)

    target = small_network()
    with monkeypatch.context() as patched:
        patched.setattr("timm.create_model", create)
        load_trunks(target, "timm", [])
    # torchvision's first weights; timm's own default is another training.
    assert asked == [("resnet18.tv_in1k", {"pretrained": True})] * 2
    torch.testing.assert_close(target.key_encoder.state_dict()["conv1.weight"], trunk["conv1.weight"])


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet101"])
def test_timm_has_those_weights(name):
    assert timm.models.get_pretrained_cfg(f"{name}.tv_in1k").origin_url == "https://github.com/pytorch/vision"
