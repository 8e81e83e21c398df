"""Fine-tuning on own videos."""

from __future__ import annotations

import pytest

from testing.data_modules import LIGHTNING_WARNINGS, SMALL, batches
from vos_zoo.data.modules.folder import FolderDataModule

pytestmark = LIGHTNING_WARNINGS


@pytest.fixture
def own_root(tmp_path, data_root):
    """Own data: the videos of the data root with three annotated frames each."""
    for name in ("ant", "bee", "cow"):
        frames = sorted((data_root / f"train/JPEGImages/480p/{name}").iterdir())
        (tmp_path / "own/videos").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"own/videos/{name}").symlink_to(frames[0].parent)
        (tmp_path / f"own/masks/{name}").mkdir(parents=True)
        for frame in (frames[0], frames[3], frames[7]):
            mask = data_root / f"train/Annotations/480p/{name}/{frame.stem}.png"
            (tmp_path / f"own/masks/{name}/{mask.name}").symlink_to(mask)
    return tmp_path / "own"


def test_own_videos_train_and_validate(own_root):
    data = FolderDataModule(str(own_root), **SMALL)
    data.prepare_data()
    assert batches(data)[0]["images"].shape == (2, 3, 3, 32, 32)
    videos = list(data.val_dataloader())
    assert [video["name"] for video in videos] == ["ant", "bee", "cow"]
    assert videos[0]["annotated"] == [0, 3, 7]


def test_videos_for_validation_are_not_trained_on(own_root):
    data = FolderDataModule(str(own_root), **SMALL, validation_names=["bee", "cow"])
    assert {name for batch in batches(data) for name in batch["name"]} == {"ant"}
    assert [video["name"] for video in data.val_dataloader()] == ["bee", "cow"]


def test_own_videos_validate_elsewhere(own_root, data_root):
    data = FolderDataModule(
        str(own_root), **SMALL, validation_root=str(data_root / "train"), validation_set="2017/train"
    )
    data.setup("validate")
    assert [video["name"] for video in data.val_dataloader()] == ["bee", "ant"]
