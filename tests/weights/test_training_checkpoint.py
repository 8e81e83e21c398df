"""Checkpoints of training: what is read from them, and what is refused without being run."""

from __future__ import annotations

import pytest
import torch

from testing.checkpoints import save_training_checkpoint
from vos_zoo.errors import CheckpointError, ConfigError, MissingFileError, UnknownModelError
from vos_zoo.models.stcn import STCNConfig, STCNModule
from vos_zoo.weights.training_checkpoint import read_training_checkpoint


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return STCNModule("tiny", {"top_k": 7})


@pytest.fixture
def path(module, tmp_path):
    return save_training_checkpoint(module, tmp_path / "last.ckpt")


def change(path, key, value):
    content = torch.load(path, weights_only=True)
    content[key] = value
    torch.save(content, path)


def test_network_and_configuration_come_back(module, path):
    found = read_training_checkpoint(path)
    assert found.architecture.name == "stcn"
    assert found.config == module.network.config
    assert found.config.top_k == 7
    assert found.iterations == 0
    state = module.network.state_dict()
    assert found.tensors.keys() == state.keys()
    assert all(torch.equal(tensor, state[key]) for key, tensor in found.tensors.items())


def test_iterations_are_the_optimisers(path):
    change(path, "global_step", 1234)
    assert read_training_checkpoint(path).iterations == 1234


@pytest.mark.parametrize("value", [-1, 1.5, "many", None, True])
def test_iterations_that_are_none_are_refused(path, value):
    change(path, "global_step", value)
    with pytest.raises(CheckpointError, match="iterations"):
        read_training_checkpoint(path)


def test_missing_iterations_are_named(path):
    content = torch.load(path, weights_only=True)
    del content["global_step"]
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"last\.ckpt.*iterations"):
        read_training_checkpoint(path)


@pytest.mark.parametrize("key", ["vos_zoo", "state_dict"])
def test_what_is_missing_makes_it_another_file(path, key):
    content = torch.load(path, weights_only=True)
    del content[key]
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of this package's training"):
        read_training_checkpoint(path)


def test_an_unknown_architecture_is_named(path):
    change(path, "vos_zoo", {"architecture": "stcm", "config": {}})
    with pytest.raises(UnknownModelError, match="stcm"):
        read_training_checkpoint(path)


def test_a_configuration_that_does_not_fit_names_the_file(path):
    change(path, "vos_zoo", {"architecture": "stcn", "config": {"top_l": 3}})
    with pytest.raises(ConfigError, match=r"last\.ckpt: config.*top_l"):
        read_training_checkpoint(path)


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_the_file_is_not_run(tmp_path):
    trace = tmp_path / "trace"
    path = tmp_path / "evil.ckpt"
    torch.save({"vos_zoo": Payload(trace), "state_dict": {}, "global_step": 0}, path)
    with pytest.raises(CheckpointError, match=r"evil\.ckpt"):
        read_training_checkpoint(path)
    assert not trace.exists()


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(MissingFileError, match=r"Give the \.ckpt file"):
        read_training_checkpoint(tmp_path)


def test_the_default_configuration_is_not_assumed(path):
    assert read_training_checkpoint(path).config != STCNConfig.tiny()
