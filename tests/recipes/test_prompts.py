"""The recipe of the prompt network, and the folder that it becomes."""

from __future__ import annotations

import csv
import sys

import pytest
import yaml

from testing.recipes import REPOSITORY
from vos_zoo.cli import lightning
from vos_zoo.cli.main import main
from vos_zoo.prompts.network import PromptNetwork
from vos_zoo.registry import find_helper
from vos_zoo.weights.checkpoint import read_model

RECIPE = REPOSITORY / "recipes" / "prompts" / "small.yaml"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The '\\w+' does not have many workers"),
]


def test_the_recipe_trains_a_network_that_can_be_exported(data_root, tmp_path, monkeypatch, capsys):
    words = [
        f"--config={RECIPE}", f"--data.root={data_root}", "--model.config=tiny",
        f"--model.backbone_weights={data_root / 'backbone.safetensors'}", "--model.training_size=null",
        "--data.held_back=1", "--data.crop_size=64", "--data.batch_size=2", "--data.samples_per_epoch=4",
        "--data.num_workers=0", "--data.validation_frames=2", "--trainer.max_steps=2", "--trainer.accelerator=cpu",
        "--trainer.precision=32-true", "--trainer.limit_val_batches=1", "--trainer.num_sanity_val_steps=0",
        "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
        "--trainer.log_every_n_steps=1", "--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs",
        "--trainer.callbacks.every_n_train_steps=1",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["lightning", "fit", *words])
    assert lightning.main() == 0, capsys.readouterr().err
    (metrics,) = tmp_path.rglob("metrics.csv")
    with metrics.open() as file:
        rows = list(csv.DictReader(file))
    assert len([row for row in rows if row["train/loss"]]) == 2
    assert 0 <= float(next(row["val/iou_box_1"] for row in rows if row["val/iou_box_1"])) <= 1

    (checkpoint,) = tmp_path.rglob("last.ckpt")
    assert main(["export", str(checkpoint), "--out", str(tmp_path / "folder")]) == 0
    assert isinstance(read_model(tmp_path / "folder", "network", find=find_helper), PromptNetwork)


def test_the_pictures_that_measure_are_left_out():
    assert yaml.safe_load(RECIPE.read_text())["data"]["init_args"]["held_back"] == 300
