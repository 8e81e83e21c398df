"""Training from shards: epochs are exact over devices and workers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.trainer.states import TrainerFn

from testing.videos import write_frames
from vos_zoo.data import PackedDataModule
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.data.layouts.davis import DavisVideos
from vos_zoo.data.layouts.packed import pack_videos
from vos_zoo.data.modules.sets import VideoSet
from vos_zoo.errors import MissingFileError
from vos_zoo.media.masks import write_mask

VIDEOS = 8


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    place = tmp_path_factory.mktemp("packed")
    for number in range(VIDEOS):
        video = moving_shapes(3, 24, 32, num_objects=1, rng=number)
        write_frames(place / "davis" / "JPEGImages" / "480p" / f"v{number}", list(video.frames))
        for index, mask in enumerate(video.masks):
            write_mask(place / "davis" / "Annotations" / "480p" / f"v{number}" / f"{index:05d}.png", mask)
    pack_videos(DavisVideos(place / "davis"), place / "shards", source=place / "davis", shard_bytes=3000)
    return place / "shards"


def names(shards, *, epoch=0, devices=1, rank=0, workers=0, samples=VIDEOS):
    data = PackedDataModule(
        str(shards), batch_size=2, crop_size=16, num_frames=2, samples_per_epoch=samples, num_workers=workers
    )
    data.setup("fit")
    data.trainer = SimpleNamespace(
        world_size=devices, global_rank=rank, limit_train_batches=1.0, state=SimpleNamespace(fn=TrainerFn.TESTING),
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )  # fmt: skip
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [name for batch in loader for name in batch["name"]]


def test_an_epoch_has_every_video_once(shards):
    assert sorted(names(shards)) == [f"v{number}" for number in range(VIDEOS)]
    assert names(shards, epoch=1) != names(shards, epoch=0)


def test_devices_share_an_epoch_exactly(shards):
    one = names(shards)
    parts = [names(shards, devices=2, rank=rank) for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == sorted(one)
    assert [name for pair in zip(*parts, strict=True) for name in pair] == one


def test_workers_change_nothing(shards):
    assert names(shards, workers=2) == names(shards)


def test_half_an_epoch_is_continued_by_the_next(shards):
    halves = [names(shards, epoch=epoch, samples=VIDEOS // 2) for epoch in range(2)]
    assert sorted(halves[0] + halves[1]) == [f"v{number}" for number in range(VIDEOS)]


def test_shards_are_a_set_among_others(shards):
    videos = VideoSet(shards.name, layout="packed").open(shards.parent, 0)
    assert len(videos) == VIDEOS


def test_a_root_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere"):
        PackedDataModule(str(tmp_path / "nowhere")).setup("fit")
