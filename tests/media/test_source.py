from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vos_zoo.errors import MissingFileError, VideoError
from vos_zoo.media import source as source_module
from vos_zoo.media.source import copy_pipe, find_source, source_id

NAMES = [
    "2025-03-07T09:15:40.mp4",
    "run:1",
    "file:x",
    "http:x.mp4",
    "a#b?.mp4",
    "clip%03d.mp4",
    "~x.mp4",
    "0",
    "a*.mp4",
]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_on_the_disk_is_a_file_whatever_its_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    assert find_source(name).kind == "file"
    assert find_source(tmp_path / name).kind == "file"
    assert source_id(name) == str(tmp_path.resolve() / name)


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "clip.mp4").touch()
    assert find_source("~/clip.mp4").location == tmp_path / "clip.mp4"
    assert find_source("~").kind == "folder"
    assert find_source(f"file://{tmp_path}/clip.mp4").location == tmp_path / "clip.mp4"


@pytest.mark.parametrize(
    ("video", "location"),
    [
        ("https://example.org/a b.mp4", "https://example.org/a b.mp4"),
        (Path("https://example.org/clip.mp4"), "https://example.org/clip.mp4"),
        ("rtsp://camera.local:554/1", "rtsp://camera.local:554/1"),
        ("RTMP://host/live", "RTMP://host/live"),
    ],
)
def test_addresses(video, location):
    source = find_source(video)
    assert (source.kind, source.location) == ("stream", location)
    assert source_id(video) == location


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clip.mp4", "There is no video `clip.mp4`"),
        ("frames/*.jpg", "it is a pattern for several files. Give the folder with the frames, `frames`"),
        ("s3://bucket/clip.mp4", "an address of an unknown protocol"),
        ("2025-03-07T09:15.mp4", "There is no video `2025-03-07T09:15.mp4`"),
        ("99", "no file or folder `99`. If camera 99 is meant"),
    ],
)
def test_what_is_not_there_is_named_as_what_it_is(name, message, monkeypatch):
    monkeypatch.setattr(source_module.sys, "platform", "linux")
    with pytest.raises(MissingFileError) as caught:
        find_source(name)
    assert message in str(caught.value)
    assert source_id(name) == name


def test_links_that_lead_nowhere(tmp_path):
    (tmp_path / "clip.mp4").symlink_to(".git/annex/objects/x.mp4")
    with pytest.raises(MissingFileError, match=r"is a link to `\.git/annex/objects/x\.mp4`"):
        find_source(tmp_path / "clip.mp4")


@pytest.mark.parametrize(("platform", "input_format"), [("linux", "v4l2"), ("darwin", "avfoundation")])
def test_cameras(tmp_path, monkeypatch, platform, input_format):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(source_module.sys, "platform", platform)
    monkeypatch.setattr(source_module.Path, "exists", lambda path: str(path) == "/dev/video1")
    monkeypatch.setattr(source_module, "_of_path", lambda path: pytest.fail("a number is not a path"))
    source = find_source("1")
    assert (source.kind, source.input_format) == ("camera", input_format)
    assert source.location == ("/dev/video1" if platform == "linux" else "1")


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="needs a device that is not a camera")
def test_other_devices():
    with pytest.raises(VideoError, match="is a device"):
        find_source("/dev/null")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipes(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert find_source(tmp_path / "pipe").kind == "pipe"


def test_standard_input(monkeypatch):
    assert find_source("-").kind == "pipe"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"content")))
    with copy_pipe("-") as copy:
        assert Path(copy.name).read_bytes() == b"content"
    assert not Path(copy.name).exists()
    with pytest.raises(VideoError, match="Nothing came through the pipe `-`"):
        copy_pipe("-")
