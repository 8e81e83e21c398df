"""Videos by name: the same as the layouts open as a whole, without their files."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from testing.videos import write_frames
from vos_zoo.data.layouts import archives
from vos_zoo.data.layouts.davis import DavisVideos
from vos_zoo.data.layouts.folder import FolderVideos
from vos_zoo.data.layouts.listing import DavisListing, FolderListing, OpenedListing, YouTubeVosListing, has_shards
from vos_zoo.data.layouts.youtube_vos import YouTubeVosVideos
from vos_zoo.errors import VosZooError
from vos_zoo.media.masks import write_mask

LENGTHS = {"ash": 2, "birch": 4, "cedar": 3}
FRAME = np.zeros((8, 8, 3), np.uint8)
MASK = np.eye(8, dtype=np.uint8)


@pytest.fixture
def davis(tmp_path):
    for name, count in LENGTHS.items():
        write_frames(tmp_path / "JPEGImages" / "480p" / name, [FRAME] * count)
        write_mask(tmp_path / "Annotations" / "480p" / name / "00000.png", MASK)
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "val.txt").write_text("cedar\nash\n")
    return tmp_path


@pytest.fixture
def youtube(tmp_path):
    split = tmp_path / "valid"
    for name, count in LENGTHS.items():
        write_frames(split / "JPEGImages" / name, [FRAME] * count)
        write_mask(split / "Annotations" / name / "00000.png", MASK)
    videos = {name: {"objects": {"1": {"frames": ["00000"]}}} for name in LENGTHS}
    (split / "meta.json").write_text(json.dumps({"videos": videos}))
    return split


@pytest.fixture
def own(tmp_path):
    for name, count in LENGTHS.items():
        write_frames(tmp_path / "videos" / name, [FRAME] * count)
        write_mask(tmp_path / "masks" / f"{name}.png", MASK)
    write_frames(tmp_path / "videos" / "without masks", [FRAME])
    return tmp_path


def opened(listing):
    found = {}
    for video in listing.videos():
        videos, index = listing.open(video)
        found[video.name] = videos.videos[index]
    return found


def test_davis_is_listed_as_it_is_opened(davis):
    whole = {video.name: video for video in DavisVideos(davis, min_frames=1).videos}
    assert opened(DavisListing(davis)) == whole
    assert [video.name for video in DavisListing(davis).videos()] == ["birch", "cedar", "ash"]
    assert [video.name for video in DavisListing(davis, image_set="val").videos()] == ["cedar", "ash"]
    assert [video.name for video in DavisListing(davis, names=["ash"]).videos()] == ["ash"]
    assert DavisListing(davis, names=["ash", "oak"]).videos() == []
    assert DavisListing(davis, image_set="train").videos() == []


def test_a_split_is_listed_as_it_is_opened(youtube):
    whole = YouTubeVosVideos(youtube.parent, split="valid", min_frames=1)
    listing = YouTubeVosListing(youtube)
    assert opened(listing) == {video.name: video for video in whole.videos}
    videos, index = listing.open(listing.videos()[0])
    np.testing.assert_array_equal(videos.read_mask(index, 0), MASK)
    shutil.rmtree(youtube / "JPEGImages" / "ash")
    assert YouTubeVosListing(youtube).videos() == []  # opening the split says what is missing


def test_all_frames_of_a_split(youtube):
    dense = youtube.with_name("valid_all_frames")
    for name, count in LENGTHS.items():
        write_frames(dense / "JPEGImages" / name, [FRAME] * (5 * count))
    whole = YouTubeVosVideos(youtube.parent, split="valid", all_frames=True, min_frames=1)
    listing = YouTubeVosListing(youtube, all_frames=True)
    assert opened(listing) == {video.name: video for video in whole.videos}
    assert [video.length for video in listing.videos()] == [20, 15, 10]


def test_own_videos_are_listed_as_they_are_opened(own):
    whole = FolderVideos(own, min_frames=1)
    listing = FolderListing(own)
    assert opened(listing) == {video.name: video for video in whole.videos}
    assert FolderListing(own, names=["ash", "oak"]).videos() == []


def test_a_broken_video_is_broken_alone(own):
    for file in (own / "videos" / "birch").iterdir():
        file.unlink()
    listing = FolderListing(own)
    videos = {video.name: video for video in listing.videos()}
    listing.open(videos["ash"])
    with pytest.raises(VosZooError, match="birch"):
        listing.open(videos["birch"])


def test_no_file_is_listed_before_its_video_is_opened(davis, monkeypatch):
    walked = []
    walk = os.walk
    monkeypatch.setattr(archives.os, "walk", lambda top, **options: walked.append(str(top)) or walk(top, **options))
    listing = DavisListing(davis)
    videos = listing.videos()
    assert walked == []
    listing.open(videos[-1])
    assert {path for path in walked if "birch" in path or "cedar" in path} == set()


def test_open_videos_are_listed(davis):
    listing = OpenedListing(DavisVideos(davis, min_frames=1))
    assert [(video.name, video.length) for video in listing.videos()] == [("birch", 4), ("cedar", 3), ("ash", 2)]
    assert opened(listing)["cedar"].name == "cedar"


def test_shards_are_noticed(davis):
    assert not has_shards(davis)
    shutil.make_archive(str(davis / "more"), "zip", davis / "JPEGImages")
    assert has_shards(davis)
    assert has_shards(davis / "more.zip")
