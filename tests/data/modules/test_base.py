"""What every data module does: batches, workers, ranks, validation, and roots that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from testing.data_modules import LIGHTNING_WARNINGS, SMALL, assert_equal, batches
from vos_zoo.data.modules.bl30k import BL30KDataModule
from vos_zoo.data.modules.davis import DAVISDataModule
from vos_zoo.data.modules.folder import FolderDataModule
from vos_zoo.data.modules.mixed import MixedDataModule
from vos_zoo.data.modules.static_images import StaticImagesDataModule
from vos_zoo.data.modules.synthetic import SyntheticDataModule
from vos_zoo.data.modules.youtube_vos import YouTubeVOSDataModule
from vos_zoo.errors import ConfigError, DataError, MissingFileError

pytestmark = LIGHTNING_WARNINGS


@pytest.mark.parametrize("kind", [MixedDataModule, StaticImagesDataModule])
def test_batches(zipped_root, kind):
    found = batches(kind(str(zipped_root), **SMALL, perturb_first_mask=(0.85, 1.0)))
    assert len(found) == 3
    for batch in found:
        assert batch["images"].shape == (2, 3, 3, 32, 32)
        assert batch["valid_objects"].shape == (2, 2)


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_count_does_not_change_clips(zipped_root, workers):
    options = {**SMALL, "perturb_first_mask": (0.85, 1.0)}
    alone = batches(MixedDataModule(str(zipped_root), **options), epoch=1)
    helped = batches(MixedDataModule(str(zipped_root), **{**options, "num_workers": workers}), epoch=1)
    assert_equal(alone, helped)


def test_epochs_differ_and_persistent_workers_hear_of_them():
    data = SyntheticDataModule(**{**SMALL, "num_workers": 1})
    data.setup("fit")
    loader = data.train_dataloader()
    epochs = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)
        epochs.append(list(loader))
    assert not torch.equal(epochs[0][0]["images"], epochs[1][0]["images"])
    assert_equal(epochs[0], epochs[2])


def test_gap_reaches_the_requests():
    data = SyntheticDataModule(**SMALL)
    data.setup("fit")
    sampler = data.train_dataloader().sampler
    data.max_gap = 17
    assert [request.max_gap for request in sampler] == [17] * 6
    assert [request.number for request in sampler] == list(range(6))


class Rank:
    """What a data module asks a trainer about: its place among the devices."""

    def __init__(self, rank, world_size):
        self.global_rank, self.world_size = rank, world_size
        self.strategy = type("Strategy", (), {"root_device": torch.device("cpu")})
        self.state, self.limit_train_batches = type("State", (), {"fn": None}), 1.0


def test_an_epoch_holds_a_batch_for_every_device():
    data = SyntheticDataModule(**SMALL)
    data.setup("fit")
    data.trainer = Rank(0, 4)
    with pytest.raises(ConfigError, match="2 clips on each of 4 devices, 8 clips"):
        data.train_dataloader()


def test_ranks_share_an_epoch():
    numbers = []
    for rank in range(2):
        data = SyntheticDataModule(**SMALL)
        data.setup("fit")
        data.trainer = Rank(rank, 2)
        numbers += [request.number for request in data.train_dataloader().sampler]
    assert sorted(numbers) == list(range(6))


def test_validation_videos_from_a_folder(data_root):
    data = SyntheticDataModule(
        **SMALL, validation_root=str(data_root / "train"), validation_names=["cow"], validation_frames=2
    )
    data.setup("fit")
    (video,) = data.val_dataloader()
    assert video["name"] == "cow"
    assert np.stack(list(video["frames"])).shape == (2, 72, 96, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"samples_per_epoch": 1}, "samples_per_epoch is 1"),
        ({"num_workers": -1}, "num_workers is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"max_gap": 0}, "max_gap is 0"),
        ({"validation_frames": 1}, "validation_frames is 1"),
        ({"num_frames": 0}, "num_frames is 0"),
        ({"perturb_first_mask": (1, 0)}, "perturb_first_mask"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        SyntheticDataModule(**{**SMALL, **options})


@pytest.mark.parametrize(
    "kind",
    [
        MixedDataModule,
        StaticImagesDataModule,
        DAVISDataModule,
        YouTubeVOSDataModule,
        BL30KDataModule,
        FolderDataModule,
    ],
)
def test_missing_root(tmp_path, kind):
    with pytest.raises(MissingFileError, match=r"--data\.root"):
        kind(str(tmp_path / "nowhere"), **SMALL).setup("fit")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (MixedDataModule, r"no `pairs/` \(found: nothing\)"),
        (StaticImagesDataModule, "no image with a mask"),
        (DAVISDataModule, "there is no video. Expected JPEGImages/480p/"),
        (YouTubeVOSDataModule, "train' does not exist"),
        (BL30KDataModule, "there is no video"),
        (FolderDataModule, "videos/: is missing"),
    ],
)
def test_empty_roots_say_what_belongs_there(tmp_path, kind, message):
    with pytest.raises((DataError, MissingFileError), match=message):
        kind(str(tmp_path), **SMALL).setup("fit")


def test_the_least_area_of_objects_is_a_setting():
    assert SyntheticDataModule(min_object_area=0.0).settings.min_object_area == 0
