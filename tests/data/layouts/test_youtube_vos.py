from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vos_zoo.data.clips.from_videos import VideoClips
from vos_zoo.data.layouts.archives import FileTree
from vos_zoo.data.layouts.youtube_vos import YouTubeVosVideos, read_meta, youtube_vos_videos
from vos_zoo.data.modules.validation import WholeVideos
from vos_zoo.errors import DataError, MissingFileError
from vos_zoo.media.masks import write_mask


@pytest.fixture
def root(youtube_vos_root, tmp_path) -> Path:
    return Path(shutil.copytree(youtube_vos_root, tmp_path / "youtube-vos"))


def test_training_videos(youtube_vos_root, caplog):
    videos = YouTubeVosVideos(youtube_vos_root)
    assert [video.name for video in videos.videos] == ["0a1b", "9f8e"]
    assert [video.annotated for video in videos.videos] == [list(range(6))] * 2
    assert [video.frame_step for video in videos.videos] == [5, 5]
    assert [video.written for video in videos.videos] == [None, None]
    assert caplog.text == ""


def test_masks_stand_where_objects_appear(youtube_vos_root, caplog):
    videos = YouTubeVosVideos(youtube_vos_root, split="valid", min_frames=1)
    assert [video.annotated for video in videos.videos] == [[0], [0, 2]]
    assert set(np.unique(videos.read_mask(1, 0))) == {0, 1}
    assert 2 in videos.read_mask(1, 2)
    assert caplog.text == ""


def test_all_frames(youtube_vos_root):
    videos = YouTubeVosVideos(youtube_vos_root, split="valid", all_frames=True, min_frames=1)
    assert [len(video.frames) for video in videos.videos] == [30, 30]
    assert videos.videos[1].annotated == [0, 10]
    assert videos.videos[1].written == (0, 5, 10, 15, 20, 25)
    item = WholeVideos(videos)[1]
    assert np.stack(list(item["frames"])).shape == (11, 40, 56, 3)
    assert item["annotated"] == [0, 10]


def test_gaps_count_filmed_frames(youtube_vos_root, monkeypatch):
    asked = []

    def record(rng, total, num_frames, max_gap, **_):
        asked.append(max_gap)
        return [0] * num_frames

    monkeypatch.setattr("vos_zoo.data.clips.from_videos.sample_frame_indices", record)
    source = VideoClips(YouTubeVosVideos(youtube_vos_root))
    for max_gap in (25, 12, 3):
        source.sample(np.random.default_rng(0), num_frames=2, crop_size=16, max_gap=max_gap)
    assert asked == [5, 2, 1]


def test_ids_that_the_meta_file_does_not_know_are_background(root, caplog):
    path = root / "train/Annotations/0a1b/00005.png"
    mask = np.array(Image.open(path))
    mask[:4] = 7
    write_mask(path, mask)
    videos = YouTubeVosVideos(root)
    assert 7 not in videos.read_mask(0, 1)
    videos.read_mask(0, 1)
    assert caplog.text.count("does not list") == 1


def test_videos_by_name(youtube_vos_root):
    assert [video.name for video in YouTubeVosVideos(youtube_vos_root, names=["9f8e"]).videos] == ["9f8e"]
    assert [video.name for video in YouTubeVosVideos(youtube_vos_root, without=["9f8e"]).videos] == ["0a1b"]
    with pytest.raises(DataError, match=r"videos \['none'\]"):
        YouTubeVosVideos(youtube_vos_root, names=["none"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"meta\.json: is missing"),
        ("{", "is not JSON"),
        ("[]", "no key 'videos'"),
        ('{"videos": {"0a1b": {}}}', "video '0a1b' has no key 'objects'"),
        ('{"videos": {"0a1b": {"objects": {"1": {}}}}}', "object 1 of video '0a1b' has no list 'frames'"),
        ('{"videos": {"0a1b": {"objects": {"x": {"frames": ["00000"]}}}}}', "object 'x'. Expected ids"),
        ('{"videos": {"lost": {"objects": {"1": {"frames": ["00000"]}}}}}', "names 1 videos without frames: lost"),
    ],
)
def test_meta_files_that_lack_something(root, content, message):
    path = root / "train/meta.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(DataError, match=message):
        YouTubeVosVideos(root)


def test_missing_folders(root):
    with pytest.raises(MissingFileError):
        YouTubeVosVideos(root, split="test")
    shutil.rmtree(root / "valid_all_frames")
    with pytest.raises(MissingFileError, match="valid_all_frames"):
        YouTubeVosVideos(root, split="valid", all_frames=True)


def test_everything_wrong_is_named_at_once(root):
    split = root / "train"
    (split / "Annotations/0a1b/00010.png").unlink()
    (split / "JPEGImages/9f8e/00020.jpg").unlink()
    shutil.copytree(split / "JPEGImages/0a1b", split / "JPEGImages/extra")
    files = FileTree(split)
    objects, meta_problems = read_meta(files)
    assert meta_problems == []
    _, problems = youtube_vos_videos(files, objects)
    assert {problem.place for problem in problems} == {
        "Annotations/0a1b/00010.png",
        "Annotations/9f8e/00020.png",
        "JPEGImages/extra",
        "meta.json",
    }
