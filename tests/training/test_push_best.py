"""A training run ends with its best weights on a Hub."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from testing.hub_server import READER, WRITER, LoopbackHub, card_errors
from vos_zoo.data import SyntheticDataModule
from vos_zoo.errors import ConfigError, HubError
from vos_zoo.models.load import load_model
from vos_zoo.models.stcn import STCNModule
from vos_zoo.training import PushBestToHub

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '\\w+' does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Found .* module\\(s\\) in eval mode"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),  # the client's own upload
]
REPOSITORY = "owner/mine"


@pytest.fixture
def writer(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    monkeypatch.setenv("HF_TOKEN", WRITER)
    return hub


def fit(folder: Path, *callbacks: pl.Callback, **options) -> STCNModule:
    pl.seed_everything(5, verbose=False)
    module = STCNModule("tiny", learning_rate=1e-3, evaluation_size=None)
    data = SyntheticDataModule(batch_size=1, crop_size=32, samples_per_epoch=1, num_workers=0, validation_frames=3)
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, max_epochs=2,
        num_sanity_val_steps=0, limit_val_batches=1, default_root_dir=str(folder), callbacks=list(callbacks), **options,
    )  # fmt: skip
    trainer.fit(module, data)
    return module


def test_the_best_weights_are_published_with_their_scores(writer, tmp_path, caplog):
    best = ModelCheckpoint(monitor="val/jf_mean", mode="max")
    push = PushBestToHub(REPOSITORY, licence="cc-by-nc-4.0")
    with caplog.at_level(logging.WARNING):
        fit(tmp_path, push, best)
    published = push.publication
    assert writer.repositories[REPOSITORY].private
    assert published.revision == writer.repositories[REPOSITORY].head
    assert f"load_model('{published.name}')" in caplog.text
    state = torch.load(best.best_model_path, weights_only=True)["state_dict"]
    loaded = load_model(published.name, device="cpu")
    for key, tensor in loaded.network.state_dict().items():  # stored in half precision
        torch.testing.assert_close(tensor, state[f"network.{key}"], rtol=2**-11, atol=6e-8)
    assert card_errors(published.card) == []
    assert "license: cc-by-nc-4.0" in published.card
    assert f"value: {round(100 * float(best.best_model_score), 2)}\n" in published.card


def test_without_a_monitor_the_last_weights_are_published(writer, tmp_path):
    push = PushBestToHub(REPOSITORY, private=False)
    module = fit(tmp_path, push)
    loaded = load_model(push.publication.name, device="cpu")
    assert not writer.repositories[REPOSITORY].private
    for key, tensor in loaded.network.state_dict().items():
        torch.testing.assert_close(tensor, module.network.state_dict()[key], rtol=2**-11, atol=6e-8)


@pytest.mark.parametrize("token", [None, READER])
def test_a_missing_right_shows_before_training(hub, tmp_path, monkeypatch, token):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match="hf auth login"):
        fit(tmp_path, PushBestToHub(REPOSITORY))
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_public_repository_is_refused_before_training(writer, tmp_path):
    writer.add(REPOSITORY)
    with pytest.raises(ConfigError, match="exists and is public"):
        fit(tmp_path, PushBestToHub(REPOSITORY))


def test_a_hub_that_fails_in_the_end_loses_nothing(writer, tmp_path, monkeypatch):
    class Break(pl.Callback):
        def on_train_end(self, trainer, pl_module):
            writer.faults.status["/preupload/"] = 500

    with pytest.raises(HubError, match=r"status 500.*weights are safe in .*\.ckpt.*vos-zoo export.*vos-zoo publish"):
        fit(tmp_path, PushBestToHub(REPOSITORY), Break())
    assert list(tmp_path.rglob("*.ckpt"))


def test_nothing_to_publish_shows_before_training(writer, tmp_path):
    with pytest.raises(ConfigError, match="checkpoints are switched off"):
        fit(tmp_path, PushBestToHub(REPOSITORY), enable_checkpointing=False)
    assert writer.requests == []


def test_a_fast_development_run_publishes_nothing(writer, tmp_path):
    fit(tmp_path, PushBestToHub(REPOSITORY), fast_dev_run=True)
    assert writer.requests == []
