"""Training from a weight by name."""

from __future__ import annotations

import pytest
import torch
from pytorch_lightning import Trainer
from safetensors.torch import load_file

from vos_zoo.errors import CheckpointError, ConfigError, MissingFileError, UnknownModelError
from vos_zoo.models.rde import RDEConfig, RDEModule
from vos_zoo.models.stcn import STCNModule
from vos_zoo.registry import describe_network, find_architecture, find_weight, list_models
from vos_zoo.training import pretrained
from vos_zoo.weights import WEIGHTS_FILE
from vos_zoo.weights.bundled import verify_weight


@pytest.mark.parametrize("name", list_models(pretrained=True))
def test_a_name_is_enough(name):
    module = pretrained(name, learning_rate=3e-5)
    module.trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    module.setup("fit")
    assert module.initial_weights == name
    assert module.learning_rate == 3e-5
    architecture = find_architecture(find_weight(name).architecture)
    assert type(module) is architecture.load_class("module")
    state = load_file(verify_weight(find_weight(name)) / WEIGHTS_FILE)
    assert state.keys() == module.network.state_dict().keys()
    assert all(torch.equal(tensor, state[key].to(tensor.dtype)) for key, tensor in module.network.state_dict().items())


def test_a_folder_is_enough(tiny_model):
    module = pretrained(str(tiny_model))
    assert isinstance(module, RDEModule)
    assert module.network.config == RDEConfig.tiny()


def test_a_training_checkpoint_is_enough(tmp_path):
    network = STCNModule("tiny").network
    path = tmp_path / "last.ckpt"
    state = {f"network.{key}": tensor for key, tensor in network.state_dict().items()}
    torch.save({"vos_zoo": describe_network(network), "state_dict": state, "global_step": 1}, path)
    module = pretrained(str(path))
    assert isinstance(module, STCNModule)
    assert module.network.config == network.config


def test_options_reach_the_module(tiny_model):
    module = pretrained(str(tiny_model), options={"weight_guidance": 2.0, "evaluation_protocol": "youtube-vos"})
    assert module.weight_guidance == 2.0
    assert module.val_scores.protocol.name == "youtube-vos"


def test_what_is_frozen_is_not_trained(tiny_model):
    module = pretrained(str(tiny_model), frozen=["batch_norm", "key_encoder"])
    assert not any(parameter.requires_grad for parameter in module.network.key_encoder.parameters())
    norms = [part for part in module.network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(parameter.requires_grad for norm in norms for parameter in norm.parameters())
    assert any(parameter.requires_grad for parameter in module.network.parameters())


def test_a_part_that_is_not_there_is_refused(tiny_model):
    with pytest.raises(ConfigError, match=r"no part 'encoder' to be frozen .*\. Its parts: .*key_encoder"):
        pretrained(str(tiny_model), frozen=["encoder"])


@pytest.mark.parametrize(
    ("name", "error"),
    [("rde.smal", UnknownModelError), ("./nothing", MissingFileError), ("gone.ckpt", MissingFileError)],
)
def test_what_is_no_weight_is_refused(name, error):
    with pytest.raises(error):
        pretrained(name)


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(CheckpointError, match="not a checkpoint of this package's training"):
        pretrained(str(path))
