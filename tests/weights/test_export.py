"""What an exported folder holds, beside the commands' own tests."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from testing.checkpoints import save_training_checkpoint
from vos_zoo.errors import CheckpointError, OutputExistsError
from vos_zoo.models.stm import STMModule
from vos_zoo.weights import export_checkpoint, load_network


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return STMModule("tiny")


@pytest.fixture
def path(module, tmp_path):
    return save_training_checkpoint(module, tmp_path / "last.ckpt")


def change(path, **changes):
    content = torch.load(path, weights_only=True)
    torch.save(content | changes, path)


def test_an_export_is_stored_in_half_precision(module, path, tmp_path):
    folder = export_checkpoint(path, tmp_path / "mine")
    stored = load_file(folder / "model.safetensors")
    for key, tensor in module.network.state_dict().items():
        is_statistic = key.endswith(("running_mean", "running_var"))
        is_half = tensor.dtype == torch.float32 and not is_statistic
        assert torch.equal(stored[key], tensor.half() if is_half else tensor)
    assert load_network(folder).config == module.network.config


def test_the_card_says_how_long_was_trained_and_what_is_missing(path, tmp_path):
    change(path, global_step=98765)
    card = (export_checkpoint(path, tmp_path / "mine") / "README.md").read_text()
    assert card.startswith("# STM\n")
    assert "98765 iterations" in card
    assert "under which licence" in card


def test_weights_of_another_network_are_refused(path, tmp_path):
    state = torch.load(path, weights_only=True)["state_dict"]
    name = next(key for key in state if key.startswith("network."))
    change(path, state_dict={**state, name: torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        export_checkpoint(path, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_checkpoint_is_not_replaced(path, tmp_path):
    export_checkpoint(path, tmp_path / "mine")
    before = (tmp_path / "mine" / "model.safetensors").read_bytes()
    with pytest.raises(OutputExistsError, match="never replaced"):
        export_checkpoint(path, tmp_path / "mine")
    assert (tmp_path / "mine" / "model.safetensors").read_bytes() == before
