from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from lightning_fabric.utilities import move_data_to_device

from vos_zoo.data.layouts.davis import DavisVideos
from vos_zoo.data.modules.validation import GeneratedVideos, WholeVideos, single_video


def test_generated_videos():
    videos = GeneratedVideos(count=3, frames=4, height=24, width=32)
    assert len(videos) == 3
    items = list(videos)
    assert [item["name"] for item in items] == ["moving-shapes-0", "moving-shapes-1", "moving-shapes-2"]
    assert items[1]["frames"].shape == (4, 24, 32, 3)
    assert items[1]["masks"].max() == 2
    np.testing.assert_array_equal(items[0]["frames"], videos[0]["frames"])


@pytest.mark.parametrize(("frames", "expected"), [(None, 8), (3, 3), (100, 8)])
def test_first_frames_of_annotated_videos(data_root, frames, expected):
    item = WholeVideos(DavisVideos(data_root / "train"), frames)[1]
    assert np.stack(list(item["frames"])).shape == (expected, 72, 96, 3)
    assert np.stack(list(item["masks"])).shape == (expected, 72, 96)
    assert len(item["frames"]) == len(item["masks"]) == expected
    np.testing.assert_array_equal(item["frames"][1], list(item["frames"])[1])
    assert item["name"] == "bee"


def test_frames_without_a_mask_are_read_but_not_annotated(data_root, tmp_path):
    shutil.copytree(data_root / "train", tmp_path / "train")
    for index in (2, 4, 12, 14):
        (tmp_path / f"train/Annotations/480p/bee/{index:05d}.png").unlink()
    item = WholeVideos(DavisVideos(tmp_path / "train", names=["bee"]))[0]
    assert item["annotated"] == [0, 3, 4, 5]
    assert len(item["frames"]) == len(item["masks"]) == 6  # up to the last annotated one
    assert not item["masks"][1].any()
    assert item["masks"][3].any()


def test_pictures_are_read_when_they_are_asked_for(data_root, monkeypatch):
    videos = DavisVideos(data_root / "train", names=["bee"])
    read = []
    decode = videos.read_frame
    monkeypatch.setattr(videos, "read_frame", lambda video, frame: read.append(frame) or decode(video, frame))
    # As Lightning does before every step: it must not walk through the video.
    item = move_data_to_device(WholeVideos(videos)[0], torch.device("cpu"))
    assert read == []
    next(iter(item["frames"]))
    assert read == [0]


def test_batch_is_one_video():
    video = GeneratedVideos(frames=2)[0]
    assert single_video([video]) is video
