from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch

from testing.data_modules import LIGHTNING_WARNINGS
from vos_zoo.data import SyntheticDataModule
from vos_zoo.prompts.network import PromptConfig
from vos_zoo.training.prompt_module import PromptModule
from vos_zoo.weights import export_checkpoint
from vos_zoo.weights.training_checkpoint import read_training_checkpoint

pytestmark = LIGHTNING_WARNINGS


def new_trainer(folder, **options):
    return pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        default_root_dir=folder,
        **options,
    )


def new_data():
    return SyntheticDataModule(
        batch_size=4, crop_size=96, num_frames=1, max_objects=1, samples_per_epoch=400, num_workers=0
    )


def fit(folder, steps, **options):
    torch.manual_seed(0)
    module = PromptModule("tiny", learning_rate=3e-3, warmup_steps=0)
    trainer = new_trainer(folder, max_steps=steps)
    trainer.fit(module, new_data(), **options)
    return trainer, module


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    trainer, module = fit(folder, 40)
    trainer.save_checkpoint(folder / "last.ckpt")
    return trainer, module, folder / "last.ckpt"


def test_it_learns_to_find_shapes(trained):
    # It begins at 0.05; a batch of four pictures lies between 0.3 and 0.6 at the end.
    assert trained[0].callback_metrics["train/iou"] > 0.25


def test_the_trunks_statistics_stay(trained):
    fresh = PromptModule("tiny")
    for name, buffer in trained[1].network.trunk.named_buffers():
        assert torch.equal(buffer, fresh.network.trunk.get_buffer(name)), name


def test_a_resumed_run_goes_on_alike(tmp_path):
    whole = fit(tmp_path, 4)[1].network.state_dict()
    # The learning rate follows the planned length, so that the first half is planned like the whole.
    torch.manual_seed(0)
    module = PromptModule("tiny", learning_rate=3e-3, warmup_steps=0)
    trainer = new_trainer(tmp_path, max_steps=4, callbacks=[_StopAfter(2)])
    trainer.fit(module, new_data())
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed = fit(tmp_path, 4, ckpt_path=tmp_path / "half.ckpt", weights_only=True)[1].network.state_dict()
    assert all(torch.allclose(whole[name], resumed[name], atol=1e-6) for name in whole)


class _StopAfter(pl.Callback):
    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.should_stop or trainer.global_step >= self.steps


def test_validation_prompts_every_object(trained, tmp_path):
    data = SyntheticDataModule(batch_size=4, crop_size=96, validation_frames=2, num_workers=0)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=1,
        default_root_dir=tmp_path,
    )
    (scores,) = trainer.validate(trained[1], data, verbose=False)
    assert set(scores) == {f"val/iou_{kind}_{count}" for kind in ("click", "box") for count in (1, 3)}
    assert all(0 <= score <= 1 for score in scores.values())
    assert scores["val/iou_box_1"] > 0.4


def test_a_checkpoint_becomes_a_folder_that_loads(trained, tmp_path):
    module, path = trained[1:]
    checkpoint = read_training_checkpoint(path)
    assert checkpoint.config == PromptConfig.tiny()
    assert checkpoint.iterations == 40
    folder = export_checkpoint(path, tmp_path / "folder", half=False)
    assert {file.name for file in folder.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    for name, tensor in checkpoint.tensors.items():
        assert torch.equal(tensor, module.network.state_dict()[name]), name
