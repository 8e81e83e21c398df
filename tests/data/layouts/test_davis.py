"""Videos in the layout of DAVIS: lists, names, roots that do not fit."""

from __future__ import annotations

import shutil

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


def test_files_of_the_2016_lists_name_their_videos(tmp_path):
    listing = tmp_path / "ImageSets/480p/val.txt"
    listing.parent.mkdir(parents=True)
    names = ("bear", "bear", "cow")
    listing.write_text("".join(f"/JPEGImages/480p/{name}/0.jpg /Annotations/480p/{name}/0.png\n" for name in names))
    assert read_image_set(FileTree(tmp_path), "480p/val") == ["bear", "cow"]


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
