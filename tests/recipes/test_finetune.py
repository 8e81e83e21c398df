"""The fine-tuning recipe, on a weight by name and a few annotated frames."""

from __future__ import annotations

import csv
import sys

import pytest
import torch

from vos_zoo.cli import lightning

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The '\\w+' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
]


def run(monkeypatch, command, *words):
    monkeypatch.setattr(sys, "argv", ["lightning", command, *words])
    return lightning.main()


def test_the_recipe_trains_keeps_the_best_and_predicts(own_videos, finetune_words, tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, "fit", *finetune_words) == 0, capsys.readouterr().err
    (folder,) = (tmp_path / "runs" / "lightning_logs").iterdir()
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"config.yaml", "metrics.csv", "checkpoints/best.ckpt", "checkpoints/last.ckpt"} <= names
    assert {"overlays/shapes-1.png", "overlays/shapes-2.png"} <= names
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len([row for row in rows if row["train/loss"]]) == 2
    assert len([row for row in rows if row["val/jf_mean"]]) == 2
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    start = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["vos_zoo"]
    assert start["architecture"] == "rde"
    assert any("bn" in name for name in state)

    assert (
        run(
            monkeypatch, "predict", *finetune_words[:2], "--data=PredictionDataModule", f"--data.root={own_videos}",
            "--predictions.folder=masks", f"--ckpt_path={folder / 'checkpoints' / 'best.ckpt'}",
            "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
        )
        == 0
    ), capsys.readouterr().err  # fmt: skip
    assert len(list((tmp_path / "masks" / "shapes").glob("*.png"))) == 6


def test_another_architecture_needs_its_name_only(finetune_words, monkeypatch, capsys, tmp_path):
    words = ("--model.weights=stcn.small", "--trainer.max_epochs=1")
    assert run(monkeypatch, "fit", *finetune_words, *words) == 0, capsys.readouterr().err
    (path,) = tmp_path.rglob("last.ckpt")
    assert torch.load(path, weights_only=True)["vos_zoo"]["architecture"] == "stcn"


def test_an_unknown_weight_is_refused(finetune_words, monkeypatch, capsys):
    assert run(monkeypatch, "fit", *finetune_words, "--model.weights=rde.smal") == 2
    assert "rde.small" in capsys.readouterr().err
