from __future__ import annotations

import hashlib

import pytest
import torch

from vos_zoo import load_model, registry
from vos_zoo.errors import CheckpointError, ConfigError, UnknownModelError
from vos_zoo.prompts.network import PromptConfig, PromptNetwork
from vos_zoo.registry import HELPER_WEIGHTS, Weight, find_helper, find_stored_network
from vos_zoo.weights import save_checkpoint_folder
from vos_zoo.weights.helpers import load_helper


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A prompt network in size ``tiny``, the only helper weight."""
    torch.manual_seed(0)
    folder = save_checkpoint_folder(PromptNetwork(PromptConfig.tiny()), tmp_path / "prompt-tiny", card="# Tiny\n")
    data = (folder / "model.safetensors").read_bytes()
    weight = Weight(
        name="prompt.tiny",
        variant="tiny",
        folder=folder.name,
        num_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        date="2026-01-31",
        licence="Apache-2.0",
        trained_on=(),
    )
    monkeypatch.setattr(registry, "HELPER_WEIGHTS", {weight.name: weight})
    monkeypatch.setenv("VOS_ZOO_CHECKPOINTS", str(tmp_path))
    return folder


def test_a_helper_is_read_and_ready(folder):
    network = load_helper("prompt.tiny")
    assert isinstance(network, PromptNetwork)
    assert not network.training
    torch.manual_seed(0)
    fresh = PromptNetwork(PromptConfig.tiny())
    assert all(
        torch.equal(part, other.half().float())
        for part, other in zip(network.parameters(), fresh.parameters(), strict=True)
    )


def test_a_changed_file_is_refused(folder):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="sha256"):
        load_helper("prompt.tiny")


def test_another_networks_configuration_is_refused(folder, tiny_model):
    (folder / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    with pytest.raises(UnknownModelError, match="helper network 'rde'"):
        load_helper("prompt.tiny")


def test_an_unknown_name_is_refused(folder):
    with pytest.raises(UnknownModelError, match=r"Bundled ones: prompt\.tiny"):
        load_helper("prompt.huge")


@pytest.mark.parametrize("name", ["prompt", "prompt.tiny"])
def test_no_model_for_videos_is_made_of_it(folder, name):
    with pytest.raises(UnknownModelError, match="follows no objects through videos"):
        load_model(name)


def test_its_folder_is_no_model_either(folder):
    with pytest.raises(UnknownModelError, match="follows no objects through videos"):
        load_model(folder)


def test_helpers_are_found_beside_models():
    assert find_stored_network("prompt") is find_helper("prompt")
    assert find_stored_network("rde").title == "RDE-VOS"
    with pytest.raises(UnknownModelError, match="Known names: prompt"):
        find_helper("rde")
    with pytest.raises(ConfigError, match="no valid name"):
        registry.StoredNetwork(name="No", title="", config_class="a:B", network_class="a:B", module_class="a:B")


@pytest.mark.parametrize("name", sorted(HELPER_WEIGHTS))
def test_a_bundled_helper_is_what_the_registry_says(name):
    network = load_helper(name)
    assert sum(part.numel() for part in network.parameters()) > 10**6
