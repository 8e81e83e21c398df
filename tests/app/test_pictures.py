"""The frames of a video as the page shows them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from testing.videos import clip, write_video
from vos_zoo.app.limits import AppLimits
from vos_zoo.app.pictures import FramePictures
from vos_zoo.errors import LimitError, VideoError


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.mp4", clip(6))


def test_every_frame_has_a_picture(video, tmp_path):
    pictures = FramePictures(video, tmp_path / "pictures", AppLimits())
    assert list(pictures.write()) == [1, 2, 3, 4, 5, 6]
    shown = Image.open(io.BytesIO(pictures.read(5)))
    assert shown.size == pictures.shown_size == (64, 48)
    with pytest.raises(LimitError, match="no frame 6"):
        pictures.read(6)


def test_large_frames_are_shown_smaller(tmp_path):
    large = [np.zeros((360, 2560, 3), np.uint8)]
    pictures = FramePictures(write_video(tmp_path / "clip.mp4", large), tmp_path / "pictures", AppLimits())
    list(pictures.write())
    assert Image.open(io.BytesIO(pictures.read(0))).size == (1280, 180)


@pytest.mark.parametrize(
    ("limits", "message"), [(AppLimits(frames=3), "6 frames"), (AppLimits(pixels=100), "64x48 pixels")]
)
def test_a_video_beyond_the_limits_is_refused(video, tmp_path, limits, message):
    with pytest.raises(LimitError, match=message):
        FramePictures(video, tmp_path / "pictures", limits)


def test_a_broken_video_has_the_librarys_message(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"\0" * 100)
    with pytest.raises(VideoError, match="zero bytes"):
        FramePictures(path, tmp_path / "pictures", AppLimits())
