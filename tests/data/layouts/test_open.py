from __future__ import annotations

import pytest

from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.data.layouts.davis import DavisVideos
from vos_zoo.data.layouts.folder import FolderVideos
from vos_zoo.data.layouts.open import find_format, open_videos
from vos_zoo.data.layouts.youtube_vos import YouTubeVosVideos
from vos_zoo.errors import ConfigError, MissingFileError
from vos_zoo.media.masks import write_mask


def test_formats_are_recognised(data_root, youtube_vos_root, tmp_path, monkeypatch):
    assert find_format(data_root / "train") == "davis"
    assert isinstance(open_videos(data_root / "train", image_set="2017/train"), DavisVideos)
    assert isinstance(open_videos(youtube_vos_root / "train"), YouTubeVosVideos)
    monkeypatch.chdir(youtube_vos_root / "train")
    assert len(open_videos(".")) == 2
    video = moving_shapes(2, 24, 32)
    for index in range(2):
        for folder in ("videos", "masks"):
            write_mask(tmp_path / folder / "a" / f"{index}.png", video.masks[index])
    assert isinstance(open_videos(tmp_path), FolderVideos)


def test_lists_belong_to_davis(youtube_vos_root):
    with pytest.raises(ConfigError, match="layout youtube-vos"):
        open_videos(youtube_vos_root / "train", image_set="2017/val")


def test_missing_root(tmp_path):
    with pytest.raises(MissingFileError):
        open_videos(tmp_path / "nowhere")
