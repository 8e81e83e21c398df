from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from vos_zoo.data.layouts.archives import FileTree
from vos_zoo.data.layouts.davis import DavisVideos, davis_videos, read_image_set
from vos_zoo.errors import DataError, MissingFileError


def test_all_videos_sorted_with_their_frames(data_root):
    videos = DavisVideos(data_root / "train")
    assert [video.name for video in videos.videos] == ["ant", "bee", "cow"]
    assert videos.videos[0].frames[1] == "JPEGImages/480p/ant/00002.jpg"
    assert videos.videos[0].masks[1] == "Annotations/480p/ant/00002.png"


def test_image_set_and_names(data_root):
    assert [v.name for v in DavisVideos(data_root / "train", image_set="2017/train").videos] == ["bee", "ant"]
    assert [v.name for v in DavisVideos(data_root / "train", names=["cow"]).videos] == ["cow"]


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["ant", "elk"]}, r"videos \['elk'\]"),
        ({"resolution": "1080p"}, r"there is no video\. .*folders in JPEGImages: 480p"),
        ({"min_frames": 9}, "no video of at least 9"),
        ({"image_set": "2016/train"}, r"ImageSets/2016/train\.txt' is missing.*Lists found: 2017/train"),
    ],
)
def test_nothing_usable(data_root, options, message):
    with pytest.raises(DataError, match=message):
        DavisVideos(data_root / "train", **options)


def test_missing_root(tmp_path):
    with pytest.raises(MissingFileError):
        DavisVideos(tmp_path / "nowhere")


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


def test_files_of_the_2016_lists_name_their_videos(tmp_path):
    listing = tmp_path / "ImageSets/480p/val.txt"
    listing.parent.mkdir(parents=True)
    names = ("bear", "bear", "cow")
    listing.write_text("".join(f"/JPEGImages/480p/{name}/0.jpg /Annotations/480p/{name}/0.png\n" for name in names))
    assert read_image_set(FileTree(tmp_path), "480p/val") == ["bear", "cow"]


def test_merged_objects_are_one(data_root):
    plain, merged = (DavisVideos(data_root / "train", names=["bee"], merges_objects=merges) for merges in (False, True))
    mask = plain.read_mask(0, 0)
    assert mask.max() == 2
    np.testing.assert_array_equal(merged.read_mask(0, 0), mask > 0)


def test_first_masks_alone_make_a_test_video(data_root, tmp_path):
    shutil.copytree(data_root / "train", tmp_path / "train")
    for path in sorted((tmp_path / "train/Annotations/480p/bee").iterdir())[1:]:
        path.unlink()
    videos, problems = davis_videos(FileTree(tmp_path / "train"), names=["bee"])
    assert problems == []
    assert videos[0].annotated == [0]
    assert len(videos[0].frames) == 8


def test_everything_wrong_is_named_at_once(data_root, tmp_path):
    root = tmp_path / "train"
    shutil.copytree(data_root / "train", root)
    (root / "Annotations/480p/ant/00004.png").unlink()
    (root / "JPEGImages/480p/bee/00006.jpg").unlink()
    shutil.rmtree(root / "JPEGImages/480p/cow")
    (root / "JPEGImages/480p/dog").mkdir()
    Image.new("RGB", (8, 8)).save(root / "JPEGImages/480p/dog/0.jpg")
    _, problems = davis_videos(FileTree(root), image_set="2017/train")
    assert {problem.place for problem in problems} == {
        "JPEGImages/480p/ant/00004.jpg",
        "Annotations/480p/bee/00006.png",
        "Annotations/480p/cow",
        "JPEGImages/480p/dog",
    }
    assert not any(problem.is_fatal for problem in problems)


def test_a_root_one_level_too_high_says_so(data_root):
    with pytest.raises(DataError, match="JPEGImages lies in 'train/'"):
        DavisVideos(data_root)
