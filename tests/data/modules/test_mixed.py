"""Mixtures of pictures, videos and shapes below one root."""

from __future__ import annotations

import pytest

from testing.data_modules import LIGHTNING_WARNINGS, SMALL, batches
from vos_zoo.data.clips.colour import STATIC_FRAME_COLOUR, VIDEO_FRAME_COLOUR, ColourRange
from vos_zoo.data.clips.compositing import PasteSettings
from vos_zoo.data.clips.motion import CHAINED_STATIC, CHAINED_VIDEO, MotionRange
from vos_zoo.data.modules.mixed import MixedDataModule
from vos_zoo.data.modules.sets import VideoSet
from vos_zoo.errors import ConfigError, DataError

pytestmark = LIGHTNING_WARNINGS


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
    ("options", "message"),
    [
        ({"video_sets": [VideoSet(), {"path": "more"}]}, r"video_sets\[1\] is .*\(dict\)\. Expected `VideoSet"),
        ({"paste": {"twins": 0.5}}, "paste is .*`PasteSettings"),
        ({"pair_motion": {"zoom": 3}}, "pair_motion is .*`MotionRange"),
        ({"video_motion": 3}, "video_motion is 3 .*`MotionRange"),
        ({"frame_colour": {"blur": 0.5}}, "frame_colour is .*`ColourRange"),
    ],
)
def test_a_mapping_where_recipes_have_one_is_refused_in_python(options, message):
    with pytest.raises(ConfigError, match=message):
        MixedDataModule("anywhere", **options)
    with pytest.raises(ConfigError, match=r"motion of PasteSettings is .*`MotionRange"):
        PasteSettings(motion={"zoom": 3})


def test_missing_part_names_what_was_found(data_root, tmp_path):
    (tmp_path / "train").symlink_to(data_root / "train")
    with pytest.raises(DataError, match=r"no `pairs/` \(found: train\).*pairs_weight"):
        MixedDataModule(str(tmp_path), **SMALL).setup("fit")
    found = batches(MixedDataModule(str(tmp_path), **SMALL, pairs_weight=0))
    assert {name for batch in found for name in batch["name"]} <= {"ant", "bee", "cow"}


def test_shapes_can_be_mixed_in(data_root):
    data = MixedDataModule(str(data_root), **SMALL, pairs_weight=0, videos_weight=0, shapes_weight=1)
    assert batches(data)[0]["name"] == ["moving-shapes"] * 2


def test_videos_for_validation_may_lie_in_the_data_root(data_root):
    data = MixedDataModule(str(data_root), **SMALL, pairs_weight=0, validation_root="train", validation_names=["cow"])
    data.setup("validate")
    assert [video["name"] for video in data.val_dataloader()] == ["cow"]


def test_ranges_reach_pictures_and_videos(data_root):
    ranges = {
        "pair_motion": MotionRange(zoom=3),
        "video_motion": MotionRange(stretch=2),
        "frame_colour": ColourRange(blur=0.5),
    }
    (pictures, _), (videos, _) = MixedDataModule(str(data_root), **SMALL, **ranges).clip_sources()
    assert (pictures.motion, videos.motion) == (ranges["pair_motion"], ranges["video_motion"])
    assert pictures.frame_colour == videos.frame_colour == ranges["frame_colour"]
    (pictures, _), (videos, _) = MixedDataModule(str(data_root), **SMALL).clip_sources()
    assert (pictures.motion, videos.motion) == (CHAINED_STATIC, CHAINED_VIDEO)
    assert (pictures.frame_colour, videos.frame_colour) == (STATIC_FRAME_COLOUR, VIDEO_FRAME_COLOUR)
