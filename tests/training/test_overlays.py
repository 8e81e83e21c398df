"""Pictures of validation videos."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger

from vos_zoo.training import SampleOverlays


@pytest.fixture
def video():
    frames = np.full((3, 20, 30, 3), 100, np.uint8)
    masks = np.zeros((2, 20, 30), np.int32)
    masks[-1, 5:15, 5:15] = 1
    return {"frames": frames, "masks": masks, "name": "dogs/jump"}, {"frames": [0, 2], "masks": masks}


def trainer(tmp_path, loggers=()):
    return SimpleNamespace(
        sanity_checking=False, is_global_zero=True, loggers=list(loggers), log_dir=str(tmp_path), global_step=7
    )


def test_pictures_lie_in_the_run_folder(tmp_path, video):
    overlays = SampleOverlays(videos=1)
    overlays.on_validation_start(trainer(tmp_path), None)
    for index in range(2):
        overlays.on_validation_batch_end(trainer(tmp_path), None, video[1], video[0], index)
    (path,) = (tmp_path / "overlays").iterdir()
    assert path.name == "dogs_jump-7.png"
    picture = np.asarray(Image.open(path))
    assert picture.shape == (20, 30, 3)
    assert (picture[0, 0] == 100).all()
    assert (picture[10, 10] != 100).any()


def test_tensorboard_gets_them_instead(tmp_path, video):
    images = []
    board = TensorBoardLogger.__new__(TensorBoardLogger)
    board._experiment = SimpleNamespace(add_image=lambda *values, **options: images.append((values, options)))
    type(board).experiment.fget  # noqa: B018  # the name that the callback uses
    SampleOverlays().on_validation_batch_end(trainer(tmp_path, [board]), None, video[1], video[0], 0)
    ((name, picture, step), options) = images[0]
    assert (name, step, options) == ("val/dogs/jump", 7, {"dataformats": "HWC"})
    assert picture.shape == (20, 30, 3)
    assert not (tmp_path / "overlays").exists()


def test_nothing_is_drawn_in_the_sanity_check(tmp_path, video):
    checking = trainer(tmp_path)
    checking.sanity_checking = True
    SampleOverlays().on_validation_batch_end(checking, None, video[1], video[0], 0)
    assert not list(tmp_path.iterdir())
