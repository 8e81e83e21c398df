"""From a name to a model that is ready for a video."""

from __future__ import annotations

import hashlib

import pytest
import torch

from testing.checkpoints import save_tiny
from vos_zoo import load_model
from vos_zoo.errors import ConfigError, UnknownModelError
from vos_zoo.registry import ARCHITECTURES, find_architecture
from vos_zoo.weights import find as find_module
from vos_zoo.weights import load_network


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_a_folder_of_every_paper_is_a_module_in_eval_mode(name, tmp_path):
    folder = save_tiny(name, tmp_path)
    model = load_model(folder, device="cpu")
    assert type(model) is find_architecture(name).load_class("module")
    assert not any(part.training for part in model.modules())
    expected = load_network(folder).state_dict()
    assert model.network.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in model.network.state_dict().items())


def test_the_model_knows_its_file(tiny_model):
    origin = load_model(tiny_model, device="cpu").origin
    assert origin.path == tiny_model / "model.safetensors"
    assert origin.sha256 == hashlib.sha256(origin.path.read_bytes()).hexdigest()


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta"])
def test_a_device_that_is_not_there_is_refused_before_anything_is_read(device, monkeypatch):
    monkeypatch.setattr(find_module, "find_checkpoint", lambda *_: pytest.fail("a weight was looked for"))
    with pytest.raises(ConfigError, match="Device"):
        load_model("rde", device=device)


def test_a_slip_in_a_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownModelError, match=r"rde\.small"):
        load_model("rde.smal")
