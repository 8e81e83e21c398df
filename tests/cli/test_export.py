"""From a training run's checkpoint to a folder that loads by path."""

import pytest
import pytorch_lightning as pl
import torch

from vos_zoo import load_model
from vos_zoo.cli.main import main
from vos_zoo.errors import CheckpointError, MissingFileError
from vos_zoo.models.rde import RDEModule
from vos_zoo.weights import export_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    module = RDEModule("tiny", {"mem_every": 4})
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)
    return path, module


def test_the_exported_folder_loads_with_the_same_weights_and_config(checkpoint, tmp_path, capsys):
    path, module = checkpoint
    assert main(["export", str(path), "--out", str(tmp_path / "mine"), "--full"]) == 0
    assert "load_model" in capsys.readouterr().out
    loaded = load_model(str(tmp_path / "mine"), device="cpu")
    assert loaded.network.config == module.network.config
    for key, tensor in module.network.state_dict().items():
        torch.testing.assert_close(loaded.network.state_dict()[key], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04 no archive"])
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "other.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="lightning fit"):
        export_checkpoint(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    path = tmp_path / "other.ckpt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of this package's training"):
        export_checkpoint(path, tmp_path / "out")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="does not exist"):
        export_checkpoint(tmp_path / "none.ckpt", tmp_path / "out")
