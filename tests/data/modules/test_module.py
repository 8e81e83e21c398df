from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from vos_zoo.data.modules.base import ClipDataModule
from vos_zoo.data.modules.bl30k import BL30KDataModule
from vos_zoo.data.modules.curriculum import GapCurriculum
from vos_zoo.data.modules.davis import DAVISDataModule
from vos_zoo.data.modules.folder import FolderDataModule
from vos_zoo.data.modules.mixed import MixedDataModule
from vos_zoo.data.modules.sets import PictureSet, VideoSet
from vos_zoo.data.modules.static_images import StaticImagesDataModule
from vos_zoo.data.modules.synthetic import SyntheticDataModule
from vos_zoo.data.modules.youtube_vos import YouTubeVOSDataModule
from vos_zoo.errors import ConfigError, DataError, MissingFileError

# Lightning 2.6 asks torch for a class that torch 2.9 and later call deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]

SMALL = {"batch_size": 2, "crop_size": 32, "num_frames": 3, "samples_per_epoch": 6, "num_workers": 0}


def batches(data: ClipDataModule, epoch: int = 0) -> list[dict]:
    data.setup("fit")
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def assert_equal(first: list[dict], second: list[dict]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one["name"] == other["name"]
        for key in ("images", "masks", "valid_objects", "first_masks"):
            torch.testing.assert_close(one[key], other[key], rtol=0, atol=0)


@pytest.mark.parametrize("kind", [MixedDataModule, StaticImagesDataModule])
def test_batches(zipped_root, kind):
    found = batches(kind(str(zipped_root), **SMALL, perturb_first_mask=(0.85, 1.0)))
    assert len(found) == 3
    for batch in found:
        assert batch["images"].shape == (2, 3, 3, 32, 32)
        assert batch["valid_objects"].shape == (2, 2)


def test_davis_module_reads_an_image_set(data_root):
    found = batches(DAVISDataModule(str(data_root / "train"), image_set="2017/train", **SMALL))
    assert {name for batch in found for name in batch["name"]} <= {"ant", "bee"}


def test_static_module_accepts_the_folder_of_pairs_itself(data_root):
    assert_equal(
        batches(StaticImagesDataModule(str(data_root), **SMALL)),
        batches(StaticImagesDataModule(str(data_root / "pairs"), **SMALL)),
    )


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


def test_default_validation_needs_no_file():
    data = SyntheticDataModule(**SMALL, validation_frames=4)
    data.setup("validate")
    videos = list(data.val_dataloader())
    assert len(videos) == 4
    assert videos[0]["frames"].shape == (4, 120, 160, 3)
    assert [video["name"] for video in data.test_dataloader()] == [video["name"] for video in videos]


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
    ("options", "message"),
    [
        ({"pairs_weight": -1}, "weights? are|pairs_weight"),
        ({"pairs_weight": 0, "videos_weight": 0}, "at least one above"),
        ({"frame_step": 0}, "frame_step is 0"),
        ({"cache_bytes": -1}, "cache_bytes is -1"),
    ],
)
def test_mixture_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        MixedDataModule("anywhere", **options)


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


def test_missing_part_names_what_was_found(data_root, tmp_path):
    (tmp_path / "train").symlink_to(data_root / "train")
    with pytest.raises(DataError, match=r"no `pairs/` \(found: train\).*pairs_weight"):
        MixedDataModule(str(tmp_path), **SMALL).setup("fit")
    found = batches(MixedDataModule(str(tmp_path), **SMALL, pairs_weight=0))
    assert {name for batch in found for name in batch["name"]} <= {"ant", "bee", "cow"}


def test_shapes_can_be_mixed_in(data_root):
    data = MixedDataModule(str(data_root), **SMALL, pairs_weight=0, videos_weight=0, shapes_weight=1)
    assert batches(data)[0]["name"] == ["moving-shapes"] * 2


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


def test_youtube_vos_holds_back_validation_videos(youtube_vos_root):
    data = YouTubeVOSDataModule(str(youtube_vos_root), **SMALL, validation_names=["9f8e"], all_frames=True)
    assert {name for batch in batches(data) for name in batch["name"]} == {"0a1b"}
    (video,) = data.val_dataloader()
    assert video["name"] == "9f8e"
    assert video["annotated"] == [0, 5, 10, 15, 20, 25]
    assert len(video["frames"]) == 26


def test_bl30k(data_root, tmp_path):
    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / folder).symlink_to(data_root / "train" / folder / "480p")
    found = batches(BL30KDataModule(str(tmp_path), **SMALL))
    assert {name for batch in found for name in batch["name"]} <= {"ant", "bee", "cow"}


def test_davis_validates_on_its_own_list(data_root):
    data = DAVISDataModule(str(data_root / "train"), **SMALL, validation_set="2017/train", merges_objects=True)
    data.setup("validate")
    videos = list(data.val_dataloader())
    assert [video["name"] for video in videos] == ["bee", "ant"]
    assert max(mask.max() for video in videos for mask in video["masks"]) == 1


def test_sets_of_videos_are_weighted_by_their_number(data_root, youtube_vos_root, tmp_path):
    (tmp_path / "davis").symlink_to(data_root / "train")
    (tmp_path / "youtube").symlink_to(youtube_vos_root)
    sets = [
        VideoSet("davis", image_set="2017/train", repeat=5),
        VideoSet("youtube/train", layout="youtube-vos"),
    ]
    data = MixedDataModule(str(tmp_path), **SMALL, pairs_weight=0, videos_weight=2, video_sets=sets)
    sources = data.clip_sources()
    # 2 videos of DAVIS count five times, 2 of YouTube-VOS once.
    assert [weight for _, weight in sources] == pytest.approx([2 * 10 / 12, 2 * 2 / 12])
    assert [source.videos.videos[0].frame_step for source, _ in sources] == [1, 5]
    assert len(batches(data)) == 3


def test_one_set_of_videos_is_what_it_was(data_root):
    options = {**SMALL, "pairs_weight": 0.5, "videos_weight": 0.5}
    plain = MixedDataModule(str(data_root), **options, frame_step=2)
    as_set = MixedDataModule(str(data_root), **options, video_sets=[VideoSet("train", frame_step=2)])
    assert_equal(batches(plain), batches(as_set))


def test_sets_of_pictures(data_root, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/pairs").symlink_to(data_root / "pairs")
    masks = tmp_path / "root/apart"
    shutil.copytree(data_root / "pairs/dogs", masks, ignore=shutil.ignore_patterns("*.jpg"))
    names = [path.name for path in (data_root / "pairs/cats").glob("*.jpg")]
    images = [{"id": name, "file_name": name, "height": 70, "width": 90} for name in names]
    outline = [{"image_id": name, "segmentation": [[10, 10, 60, 10, 60, 50]]} for name in names]
    (tmp_path / "root/coco.json").write_text(json.dumps({"images": images, "annotations": outline}))
    sets = [
        PictureSet("pairs"),
        PictureSet("pairs/dogs", masks="apart", repeat=5),
        PictureSet("pairs/cats", annotations="coco.json"),
    ]
    data = StaticImagesDataModule(str(tmp_path / "root"), **SMALL, sets=sets)
    assert [weight for _, weight in data.clip_sources()] == [5, 15, 2]
    assert len(batches(data)) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MixedDataModule("x", video_sets=[VideoSet(repeat=0)]), "repeat"),
        (lambda: MixedDataModule("x", video_sets=[VideoSet()], frame_step=2), "beside video_sets"),
        (lambda: StaticImagesDataModule("x", sets=[PictureSet("a", repeat=-1)]), "repeat"),
        (lambda: StaticImagesDataModule("x", sets=[PictureSet("a")], pair_sources=["b"]), "Expected one"),
    ],
)
def test_sets_out_of_range(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_set_that_is_missing_is_named(data_root):
    data = MixedDataModule(str(data_root), **SMALL, pairs_weight=0, video_sets=[VideoSet(), VideoSet("more")])
    with pytest.raises(DataError, match=r"no `more/`"):
        data.setup("fit")


def test_videos_for_validation_may_lie_in_the_data_root(data_root):
    data = MixedDataModule(str(data_root), **SMALL, pairs_weight=0, validation_root="train", validation_names=["cow"])
    data.setup("validate")
    assert [video["name"] for video in data.val_dataloader()] == ["cow"]


def test_a_damaged_picture_ends_the_run_with_its_name(data_root, tmp_path):
    shutil.copytree(data_root / "train", tmp_path / "train")
    for path in (tmp_path / "train/JPEGImages/480p/ant").iterdir():
        path.write_bytes(b"\xff\xd8\xff damaged")
    data = DAVISDataModule(str(tmp_path / "train"), **{**SMALL, "num_workers": 1}, image_set="2017/train")
    with pytest.raises(DataError, match=r"^Picture 'JPEGImages/480p/ant/000\d\d\.jpg' in .* cannot be decoded"):
        batches(data)


@pytest.mark.parametrize("area", [(0, 1), (0.5, 0.4), (0.5, 1.5)])
def test_crop_areas_out_of_range(area):
    with pytest.raises(ConfigError, match="crop_area"):
        MixedDataModule("x", crop_area=area)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (MixedDataModule, r"no `pairs/` \(found: nothing\)"),
        (StaticImagesDataModule, "no picture with a mask"),
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
