from __future__ import annotations

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from testing.data_modules import LIGHTNING_WARNINGS, SMALL
from vos_zoo.data.modules.base import ClipDataModule
from vos_zoo.data.modules.curriculum import GapCurriculum, gap_at
from vos_zoo.data.modules.synthetic import SyntheticDataModule
from vos_zoo.errors import ConfigError


@pytest.mark.parametrize(
    ("progress", "gap"),
    [
        (0.0, 5), (0.099, 5), (0.1, 10), (0.199, 10), (0.2, 15), (0.3, 20), (0.4, 25), (0.899, 25), (0.9, 5), (1.0, 5),
    ],
)  # fmt: skip
def test_gaps_of_the_papers(progress, gap):
    assert gap_at(progress) == gap


@pytest.mark.parametrize(
    ("gaps", "milestones"),
    [
        ([5], [0.5]),
        ([5, 10, 15], [0.5]),
        ([5, 0], [0.5]),
        ([5, 10, 15], [0.6, 0.5]),
        ([5, 10], [0.0]),
        ([5, 10], [1.0]),
    ],
)
def test_numbers_that_do_not_fit(gaps, milestones):
    with pytest.raises(ConfigError, match="Gap curriculum"):
        GapCurriculum(gaps, milestones)


def trainer(**values):
    defaults = {"max_steps": -1, "max_epochs": None, "accumulate_grad_batches": 1}
    return SimpleNamespace(callbacks=[], **defaults | values)


def gaps(trainer, epochs, batches):
    curriculum = GapCurriculum([1, 2, 3], [0.25, 0.75])
    return [[curriculum.gap_of(trainer, epoch, batch, batches) for batch in range(batches)] for epoch in range(epochs)]


def test_the_gap_follows_the_iterations():
    assert gaps(trainer(max_steps=8), 2, 4) == [[1, 1, 2, 2], [2, 2, 3, 3]]


def test_accumulated_batches_are_one_iteration():
    assert gaps(trainer(max_steps=4, accumulate_grad_batches=2), 2, 4) == [[1, 1, 2, 2], [2, 2, 3, 3]]


def test_the_gap_follows_the_epochs():
    assert gaps(trainer(max_epochs=4), 4, 1) == [[1], [2], [2], [3]]


pytestmark = LIGHTNING_WARNINGS


class Recorder(pl.LightningModule):
    """Notes the gap and the first pixel of each batch instead of learning."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.gaps, self.pixels, self.videos = [], [], []

    def training_step(self, batch, batch_idx):
        trainer = self.trainer
        self.gaps.append(trainer.datamodule.gap_of(trainer.current_epoch, batch_idx, trainer.num_training_batches))
        self.pixels.append(batch["images"].sum().item())
        return self.weight * 0

    def validation_step(self, batch, batch_idx):
        self.videos.append(batch["name"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data: ClipDataModule, root, **limits) -> Recorder:
    model = Recorder()
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=root,
        callbacks=[GapCurriculum()],
        log_every_n_steps=1,
        **limits,
    )
    trainer.fit(model, data)
    return model


@pytest.mark.parametrize("limits", [{"max_steps": 12}, {"max_epochs": 4}], ids=["steps", "epochs"])
def test_lightning_trains_with_the_curriculum(tmp_path, limits):
    model = fit(SyntheticDataModule(**SMALL, validation_frames=2), tmp_path, **limits)
    steps = [0, 1 / 12, 2 / 12, 3 / 12, 4 / 12, 5 / 12, 6 / 12, 7 / 12, 8 / 12, 9 / 12, 10 / 12, 11 / 12]
    by_steps = [5, 5, 10, 15, 20, 25, 25, 25, 25, 25, 25, 5]
    by_epochs = [5] * 3 + [15] * 3 + [25] * 6
    assert len(model.gaps) == len(steps)
    assert model.gaps == (by_steps if "max_steps" in limits else by_epochs)
    assert len(set(model.pixels)) == 12
    assert model.videos[:4] == [f"moving-shapes-{index}" for index in range(4)]


def test_curriculum_by_time(tmp_path):
    model = fit(SyntheticDataModule(**SMALL, validation_frames=2), tmp_path, max_time="00:00:00:02", max_epochs=-1)
    assert model.gaps[0] == 5
    assert 25 in model.gaps
