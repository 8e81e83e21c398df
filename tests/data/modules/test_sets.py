"""Several sets of pictures or videos below one root."""

from __future__ import annotations

import json
import shutil

import pytest

from testing.data_modules import LIGHTNING_WARNINGS, SMALL, assert_equal, batches
from vos_zoo.data.modules.mixed import MixedDataModule
from vos_zoo.data.modules.sets import PictureSet, VideoSet
from vos_zoo.data.modules.static_images import StaticImagesDataModule
from vos_zoo.errors import ConfigError, DataError

pytestmark = LIGHTNING_WARNINGS


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


def test_a_layout_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match=r"VideoSet\.layout is 'Davis'. Expected one of 'davis'"):
        VideoSet(layout="Davis")
