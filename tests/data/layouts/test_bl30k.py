from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from vos_zoo.data.layouts import bl30k
from vos_zoo.data.layouts.bl30k import Bl30kVideos
from vos_zoo.errors import DataError


@pytest.fixture
def root(data_root, tmp_path) -> Path:
    """Two of the parts, as the archives unpack."""
    for part, names in (("a", ("ant", "bee")), ("c", ("cow",))):
        for folder in ("JPEGImages", "Annotations"):
            for name in names:
                shutil.copytree(
                    data_root / "train" / folder / "480p" / name, tmp_path / "bl30k" / part / "BL30K" / folder / name
                )
    return tmp_path / "bl30k"


def test_videos_of_all_parts(root):
    videos = Bl30kVideos(root)
    assert len(videos) == 3
    assert [video.name for video in videos.videos] == ["ant", "bee", "cow"]
    image, mask = videos.read(2, 3)
    assert image.shape == (72, 96, 3)
    assert mask.any()


def test_files_are_listed_when_a_video_is_asked_for(root, monkeypatch):
    bl30k._list_video.cache_clear()
    listed = []
    whole = bl30k._list_video
    monkeypatch.setattr(bl30k, "_list_video", lambda *folders: listed.append(folders[0].name) or whole(*folders))
    videos = Bl30kVideos(root)
    assert listed == []
    videos.read(1, 0)
    assert set(listed) == {"bee"}


def test_videos_without_masks_are_left_out(root, caplog):
    shutil.rmtree(root / "a/BL30K/Annotations/bee")
    assert len(Bl30kVideos(root)) == 2
    assert "a/BL30K/JPEGImages/bee: has no masks" in caplog.text


def test_no_video(tmp_path):
    with pytest.raises(DataError, match="there is no video"):
        Bl30kVideos(tmp_path)


def test_video_without_pairs_is_named(root):
    for path in (root / "c/BL30K/Annotations/cow").iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    with pytest.raises(DataError, match=r"cow' has 8 frames and 8 masks"):
        Bl30kVideos(root).read(2, 0)


def test_decoded_frames_are_cached(root):
    videos = Bl30kVideos(root)
    np.testing.assert_array_equal(videos.read(0, 0)[0], videos.read_frame(0, 0))
    assert videos.read(0, 0)[0] is videos.read(0, 0)[0]
