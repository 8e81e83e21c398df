"""The fine-tuning recipe, on a weight by name and a few annotated frames."""

from __future__ import annotations

import csv
import sys

import pytest
import torch

from testing.recipes import REPOSITORY
from testing.videos import write_frames
from vos_zoo.cli import lightning
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.media.masks import write_mask

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The '\\w+' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
]

RECIPE = REPOSITORY / "recipes" / "finetune.yaml"
SMALL = (
    "--data.crop_size=48", "--data.batch_size=1", "--data.samples_per_epoch=1", "--trainer.max_epochs=2",
    "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
    "--trainer.log_every_n_steps=1", "--trainer.num_sanity_val_steps=0",
)  # fmt: skip


@pytest.fixture
def own_videos(tmp_path):
    """Six frames, three of them annotated."""
    video = moving_shapes(6, 64, 96, num_objects=2, rng=4)
    write_frames(tmp_path / "root" / "videos" / "shapes", list(video.frames))
    for index in (0, 2, 5):
        write_mask(tmp_path / "root" / "masks" / "shapes" / f"{index:05d}.png", video.masks[index])
    return tmp_path / "root"


def run(monkeypatch, command, *words):
    monkeypatch.setattr(sys, "argv", ["lightning", command, f"--config={RECIPE}", *words])
    return lightning.main()


def test_the_recipe_trains_keeps_the_best_and_predicts(own_videos, tiny_model, tmp_path, monkeypatch, capsys):
    words = (f"--model.weights={tiny_model}", f"--data.root={own_videos}")
    assert run(monkeypatch, "fit", *words, *SMALL) == 0, capsys.readouterr().err
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
            monkeypatch, "predict", *words, "--data=PredictionDataModule", f"--data.root={own_videos}",
            "--predictions.folder=masks", f"--ckpt_path={folder / 'checkpoints' / 'best.ckpt'}",
            "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
        )
        == 0
    ), capsys.readouterr().err  # fmt: skip
    assert len(list((tmp_path / "masks" / "shapes").glob("*.png"))) == 6


def test_another_architecture_needs_its_name_only(own_videos, monkeypatch, capsys, tmp_path):
    words = ("--model.weights=stcn.small", f"--data.root={own_videos}", *SMALL, "--trainer.max_epochs=1")
    assert run(monkeypatch, "fit", *words) == 0, capsys.readouterr().err
    (path,) = tmp_path.rglob("last.ckpt")
    assert torch.load(path, weights_only=True)["vos_zoo"]["architecture"] == "stcn"


def test_an_unknown_weight_is_refused(own_videos, monkeypatch, capsys):
    assert run(monkeypatch, "fit", "--model.weights=rde.smal", f"--data.root={own_videos}") == 2
    assert "rde.small" in capsys.readouterr().err
