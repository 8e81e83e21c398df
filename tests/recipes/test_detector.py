"""The recipe that tunes DMN-AOA's detector, and proposals of what it has tuned."""

from __future__ import annotations

import csv
import math
import sys

import pytest
import torch

from testing.recipes import REPOSITORY
from vos_zoo.cli import lightning
from vos_zoo.models.dmn_aoa.detector import build_detector

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The '\\w+' does not have many workers"),
    pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader`"),
]


def test_the_detector_is_tuned_and_can_propose(data_root, tmp_path, monkeypatch, capsys):
    words = [
        f"--config={REPOSITORY / 'recipes' / 'dmn_aoa' / 'detector.yaml'}", f"--data.root={data_root}",
        "--model.weights=null", "--model.min_size=64", "--data.crop_size=[64,96]", "--data.batch_size=1",
        "--data.samples_per_epoch=2", "--data.num_workers=0", "--trainer.max_steps=1", "--trainer.accelerator=cpu",
        "--trainer.accumulate_grad_batches=2", "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false", "--trainer.log_every_n_steps=1", "--trainer.logger=CSVLogger",
        "--trainer.logger.save_dir=logs", "--trainer.callbacks.every_n_train_steps=1",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["lightning", "fit", *words])
    assert lightning.main() == 0, capsys.readouterr().err
    (metrics,) = tmp_path.rglob("metrics.csv")
    with metrics.open() as file:
        (row,) = [row for row in csv.DictReader(file) if row["train/loss"]]
    parts = {
        name: float(row[f"train/{name}"]) for name in ("classifier", "box_reg", "mask", "objectness", "rpn_box_reg")
    }
    assert all(math.isfinite(value) for value in parts.values())
    assert float(row["train/loss"]) == pytest.approx(sum(parts.values()), rel=1e-4)

    checkpoint = tmp_path / "runs" / "dmn_aoa" / "detector" / "last.ckpt"
    written = torch.load(checkpoint, weights_only=True)
    assert written["global_step"] == 1
    # What `vos-zoo proposals --weights` builds; running it at its own size would take minutes.
    tuned = build_detector(checkpoint).state_dict()
    assert all(torch.equal(tensor, written["state_dict"][f"detector.{name}"]) for name, tensor in tuned.items())
