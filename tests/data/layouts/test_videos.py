"""What every layout of videos does: frames in order, sizes, the cache, merged objects."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from vos_zoo.data.layouts.davis import DavisVideos
from vos_zoo.errors import DataError


def test_unpadded_frame_numbers_are_in_natural_order(tmp_path):
    for number in (1, 2, 10):
        for folder, mode, ending in (("JPEGImages", "RGB", "jpg"), ("Annotations", "L", "png")):
            path = tmp_path / f"{folder}/480p/cat/{number}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (8, 8)).save(path)
    assert [name[-6:] for name in DavisVideos(tmp_path).videos[0].frames] == ["/1.jpg", "/2.jpg", "10.jpg"]


def test_masks_without_a_frame_are_left_out(data_root, tmp_path):
    shutil.copytree(data_root / "train", tmp_path / "train")
    (tmp_path / "train/JPEGImages/480p/bee/00004.jpg").unlink()
    assert len(DavisVideos(tmp_path / "train", names=["bee"]).videos[0].frames) == 7


def test_short_videos_are_left_out(data_root, tmp_path):
    shutil.copytree(data_root / "train", tmp_path / "train")
    for path in sorted((tmp_path / "train/Annotations/480p/bee").iterdir())[2:]:
        path.unlink()
    assert [video.name for video in DavisVideos(tmp_path / "train").videos] == ["ant", "cow"]


def test_sizes_differ(data_root, tmp_path):
    shutil.copytree(data_root / "train", tmp_path / "train")
    Image.new("L", (10, 10)).save(tmp_path / "train/Annotations/480p/ant/00000.png")
    with pytest.raises(DataError, match=r"96×72 pixels and its mask .*ant/00000\.png' 10×10"):
        DavisVideos(tmp_path / "train").read(0, 0)


def test_cache_returns_equal_frames_and_keeps_its_limit(data_root):
    one_frame = 72 * 96 * 4
    cached, bare = (DavisVideos(data_root / "train", cache_bytes=limit) for limit in (3 * one_frame, 0))
    for index in (0, 1, 2, 3, 0, 4, 4, 1):
        for first, second in zip(cached.read(1, index), bare.read(1, index), strict=True):
            np.testing.assert_array_equal(first, second)
    assert cached.read(1, 4)[0] is cached.read(1, 4)[0]
    assert cached.cached_bytes == 3 * one_frame
    assert bare.cached_bytes <= one_frame


def test_decoded_frames_stay_behind_when_pickled(data_root):
    videos = DavisVideos(data_root / "train")
    image, _ = videos.read(0, 0)
    copy = pickle.loads(pickle.dumps(videos))
    assert copy.cached_bytes == 0
    np.testing.assert_array_equal(copy.read(0, 0)[0], image)


def test_merged_objects_are_one(data_root):
    plain, merged = (DavisVideos(data_root / "train", names=["bee"], merges_objects=merges) for merges in (False, True))
    mask = plain.read_mask(0, 0)
    assert mask.max() == 2
    np.testing.assert_array_equal(merged.read_mask(0, 0), mask > 0)
