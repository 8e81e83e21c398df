"""Shards: what was packed is what is read, as tar files that others read too, and damage is named."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tarfile

import numpy as np
import pytest

from testing.videos import write_frames, write_video
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.data.layouts import packed
from vos_zoo.data.layouts.davis import DavisVideos
from vos_zoo.data.layouts.folder import FolderVideos
from vos_zoo.data.layouts.packed import PackedVideos, pack_videos
from vos_zoo.data.layouts.youtube_vos import YouTubeVosVideos
from vos_zoo.errors import ConfigError, DataError, MissingFileError, OutputExistsError
from vos_zoo.media.masks import write_mask

LENGTHS = {"ash": 3, "birch": 5, "cedar": 4, "oak": 3}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    place = tmp_path_factory.mktemp("davis")
    for number, (name, frames) in enumerate(LENGTHS.items()):
        video = moving_shapes(frames, 24, 32, num_objects=2, rng=number)
        write_frames(place / "JPEGImages" / "480p" / name, list(video.frames))
        for index, mask in enumerate(video.masks):
            write_mask(place / "Annotations" / "480p" / name / f"{index:05d}.png", mask)
    return place


def pack(root, out, **options):
    return pack_videos(DavisVideos(root, cache_bytes=0), out, source=root, **{"shard_bytes": 4000, **options})


def same(first, second):
    names = [video.name for video in second.videos]
    for index, video in enumerate(first.videos):
        other = names.index(video.name)
        assert len(video.annotated) == len(second.videos[other].frames)
        assert video.frame_step == second.videos[other].frame_step
        for at, frame in enumerate(video.annotated):
            for ours, theirs in zip(first.read(index, frame), second.read(other, at), strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_what_is_packed_is_what_is_read(root, tmp_path):
    report = pack(root, tmp_path / "out")
    assert (report.videos, report.frames) == (4, sum(LENGTHS.values()))
    assert report.shards > 1
    videos = PackedVideos(tmp_path / "out")
    same(DavisVideos(root), videos)
    assert sorted(index for shard in videos.shards for index in shard) == [0, 1, 2, 3]
    assert [video.name for video in videos.videos] != sorted(LENGTHS)  # in an order drawn once
    assert [video.name for video in PackedVideos(tmp_path / "out", names=["oak", "ash"]).videos] == ["oak", "ash"]
    assert [video.name for video in PackedVideos(tmp_path / "out", min_frames=5).videos] == ["birch"]


def test_shards_are_tar_files_of_samples(root, tmp_path):
    pack(root, tmp_path / "out")
    found = {}
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(path) as shard:
            members = shard.getmembers()
            assert [member.mtime for member in members] == [0] * len(members)
            for member in members:
                key, _, kind = member.name.partition(".")  # as WebDataset tells samples apart
                found.setdefault(key, {})[kind] = shard.extractfile(member).read()
    assert len(found) == sum(LENGTHS.values())
    assert {tuple(sample) for sample in found.values()} == {("png", "mask.png")}
    original = root / "JPEGImages" / "480p" / "birch" / "00002.png"
    assert found["birch/00002"]["png"] == original.read_bytes()  # no picture loses anything


def test_equal_data_give_equal_shards(root, tmp_path):
    for name in ("one", "two"):
        pack(root, tmp_path / name)
    for path in (tmp_path / "one").glob("shard-*"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_run_that_was_stopped_goes_on(root, tmp_path, monkeypatch):
    pack(root, tmp_path / "whole")
    write = packed._write_shard
    calls = []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(packed, "_write_shard", failing)
        with pytest.raises(KeyboardInterrupt):
            pack(root, tmp_path / "out")
    first = (tmp_path / "out" / "shard-00000.tar").stat().st_mtime_ns
    pack(root, tmp_path / "out")
    assert (tmp_path / "out" / "shard-00000.tar").stat().st_mtime_ns == first
    for path in (tmp_path / "whole").glob("shard-*"):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


def test_own_videos_and_unknown_ids(tmp_path):
    video = moving_shapes(4, 24, 32, num_objects=1, rng=5)
    (tmp_path / "own" / "videos").mkdir(parents=True)
    write_video(tmp_path / "own" / "videos" / "cat.mp4", list(video.frames))
    for index in (0, 2, 3):
        write_mask(tmp_path / "own" / "masks" / "cat" / f"{index:05d}.png", video.masks[index])
    own = FolderVideos(tmp_path / "own")
    pack_videos(own, tmp_path / "out", source=tmp_path / "own")
    same(own, PackedVideos(tmp_path / "out"))

    split = tmp_path / "train"
    write_frames(split / "JPEGImages" / "0a", list(video.frames), [f"{index * 5:05d}.jpg" for index in range(4)])
    for index, mask in enumerate(video.masks):
        write_mask(split / "Annotations" / "0a" / f"{index * 5:05d}.png", np.where(mask == 1, 1, 7))
    names = [f"{index * 5:05d}" for index in range(4)]
    (split / "meta.json").write_text(json.dumps({"videos": {"0a": {"objects": {"1": {"frames": names}}}}}))
    split_videos = YouTubeVosVideos(tmp_path, split="train")
    pack_videos(split_videos, tmp_path / "split", source=split)
    again = PackedVideos(tmp_path / "split")
    same(split_videos, again)
    assert again.videos[0].frame_step == 5
    assert again.videos[0].frames[0] == "0a/00000.jpg"  # pictures keep their bytes though masks change


def test_workers_open_files_of_their_own(root, tmp_path):
    pack(root, tmp_path / "out")
    videos = PackedVideos(tmp_path / "out")
    first = videos.read_frame(0, 0)
    copy = pickle.loads(pickle.dumps(videos))
    np.testing.assert_array_equal(copy.read_frame(0, 0), first)
    copy._process = os.getpid() + 1  # as after a fork
    np.testing.assert_array_equal(copy.read_frame(0, 0), first)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda out: (out / "shard-00000.tar").unlink(), r"shard-00000\.tar' is missing"),
        (lambda out: os.truncate(out / "shard-00000.tar", 100), "has 100 bytes"),
        (lambda out: (out / "shard-00000.json").write_text("{"), "Index .* is damaged"),
        (lambda out: (out / "shard-00000.json").write_text('{"bytes": 1, "videos": [{}]}'), "is damaged"),
        (lambda out: (out / "shard-00000.json").unlink(), "with gaps"),
        (lambda out: [path.unlink() for path in out.glob("shard-*")], "has no shards"),
        (lambda out: shutil.rmtree(out), "is not a folder"),
    ],
)
def test_damage_is_named(root, tmp_path, damage, said):
    pack(root, tmp_path / "out")
    damage(tmp_path / "out")
    with pytest.raises((DataError, MissingFileError), match=said):
        PackedVideos(tmp_path / "out")


def test_videos_that_are_not_there_are_named(root, tmp_path):
    pack(root, tmp_path / "out")
    with pytest.raises(DataError, match=r"videos \['elm'\] are missing"):
        PackedVideos(tmp_path / "out", names=["elm"])
    with pytest.raises(DataError, match="no video has 9 annotated frames"):
        PackedVideos(tmp_path / "out", min_frames=9)


def test_other_data_and_other_folders_are_refused(root, tmp_path):
    pack(root, tmp_path / "out")
    with pytest.raises(ConfigError, match="shard_bytes differ"):
        pack(root, tmp_path / "out", shard_bytes=5000)
    with pytest.raises(ConfigError, match="at least 1"):
        pack(root, tmp_path / "new", shard_bytes=0)
    with pytest.raises(OutputExistsError, match="input of this command"):
        pack(root, root)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(OutputExistsError, match=r"holds thesis\.tex and no shards"):
        pack(root, tmp_path / "full")
