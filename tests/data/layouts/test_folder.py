from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from testing.videos import clip, write_video
from vos_zoo.data.clips.from_videos import VideoClips
from vos_zoo.data.clips.motion import PAPER_VIDEO
from vos_zoo.data.layouts import folder
from vos_zoo.data.layouts.folder import FolderVideos, folder_videos
from vos_zoo.data.modules.folder import FolderDataModule
from vos_zoo.data.modules.validation import WholeVideos
from vos_zoo.errors import ConfigError, DataError, MaskError, MissingFileError
from vos_zoo.media.masks import write_mask


@pytest.fixture(scope="session")
def made_root(tmp_path_factory) -> Path:
    """Own data: a video file with three annotated frames, a frame folder with two, and a video with a first mask."""
    root = tmp_path_factory.mktemp("own")
    pictures = clip(12)
    mask = np.zeros((48, 64), np.uint8)
    mask[12:24, 4:20] = 3
    (root / "videos/cat").mkdir(parents=True)
    write_video(root / "videos/dog.mp4", pictures)
    write_video(root / "videos/eel.mp4", pictures[:4])
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(root / f"videos/cat/{index + 1}.jpg")
    for index in (0, 6, 11):
        write_mask(root / f"masks/dog/{index}.png", np.roll(mask, index, axis=1))
    for name in ("2", "10"):
        write_mask(root / f"masks/cat/{name}.png", mask)
    write_mask(root / "masks/eel.png", mask)
    return root


@pytest.fixture
def own_root(made_root, tmp_path) -> Path:
    """A copy to write into."""
    return Path(shutil.copytree(made_root, tmp_path / "own"))


def test_masks_find_their_frames(own_root):
    videos = FolderVideos(own_root)
    assert [video.name for video in videos.videos] == ["cat", "dog", "eel"]
    assert [video.annotated for video in videos.videos] == [[1, 9], [0, 6, 11], [0]]
    assert [len(video.frames) for video in videos.videos] == [12, 12, 4]
    assert [video.frame_step for video in videos.videos] == [8, 5, 1]
    assert videos.videos[0].frames[9] == "videos/cat/10.jpg"
    assert videos.videos[1].masks[11] == "masks/dog/11.png"


def test_annotated_frames_of_a_file_are_kept_once(own_root, monkeypatch):
    videos = FolderVideos(own_root, names=["dog"])
    expected = list(videos.iterate(0))
    videos.keep_frames()
    kept = sorted(path.name for path in (own_root / ".frames").rglob("*.png"))
    assert kept == ["00000.png", "00006.png", "00011.png"]

    def refuse(*_, **__):
        raise AssertionError("decoded again")

    monkeypatch.setattr(folder.FolderVideos, "iterate", refuse)
    videos.keep_frames()
    for index in (0, 6, 11):
        image, mask = videos.read(0, index)
        np.testing.assert_array_equal(image, expected[index])
        assert set(np.unique(mask)) == {0, 3}


def test_frames_are_kept_when_they_are_first_read(own_root):
    videos = pickle.loads(pickle.dumps(FolderVideos(own_root, names=["dog"])))
    assert videos.read_frame(0, 6).shape == (48, 64, 3)


def test_another_video_of_the_same_name_gives_its_own_frames(own_root):
    before = FolderVideos(own_root, names=["dog"]).read_frame(0, 0)
    write_video(own_root / "videos/dog.mp4", [255 - picture for picture in clip(12)])
    os.utime(own_root / "videos/dog.mp4", ns=(1, 1))
    after = FolderVideos(own_root, names=["dog"]).read_frame(0, 0)
    assert np.abs(before.astype(int) - after).mean() > 50


def test_a_folder_that_cannot_be_written_to(own_root, tmp_path):
    (tmp_path / "file").write_text("")
    videos = FolderVideos(own_root, names=["dog"], frames_folder=tmp_path / "file")
    with pytest.raises(DataError, match=r"--data\.frames_folder"):
        videos.keep_frames()


@pytest.mark.parametrize("num_frames", [1, 3, 5])
def test_clips_of_sparsely_annotated_videos(own_root, num_frames):
    source = VideoClips(FolderVideos(own_root), motion=PAPER_VIDEO)
    for seed in range(6):
        made = source.sample(np.random.default_rng(seed), num_frames=num_frames, crop_size=32, max_gap=25)
        assert made.images.shape == (num_frames, 32, 32, 3)
        assert made.labels[0].any()


@pytest.mark.parametrize(("name", "frames", "annotated"), [("dog", 12, [0, 6, 11]), ("eel", 1, [0])])
def test_whole_videos(own_root, name, frames, annotated):
    item = WholeVideos(FolderVideos(own_root, names=[name]))[0]
    assert np.stack(list(item["frames"])).shape == (frames, 48, 64, 3)
    np.testing.assert_array_equal(item["frames"][frames // 2], list(item["frames"])[frames // 2])
    assert item["annotated"] == annotated
    assert [index for index in range(frames) if item["masks"][index].any()] == annotated


def test_videos_can_be_left_out(own_root):
    assert [video.name for video in FolderVideos(own_root, without=["dog"]).videos] == ["cat", "eel"]


def test_missing_root(tmp_path):
    with pytest.raises(MissingFileError):
        FolderVideos(tmp_path / "nowhere")


def test_empty_root(tmp_path):
    with pytest.raises(DataError, match=r"- videos/: is missing.*\n- masks/: is missing"):
        FolderVideos(tmp_path)


def test_everything_wrong_is_named_at_once(own_root):
    (own_root / "videos/bad.mp4").write_text("no video")
    write_mask(own_root / "masks/bad/00000.png", np.ones((4, 4), np.uint8))
    (own_root / "videos/fox").mkdir()
    Image.new("RGB", (8, 8)).save(own_root / "videos/fox/0.jpg")
    write_mask(own_root / "masks/gnu/00000.png", np.ones((4, 4), np.uint8))
    write_mask(own_root / "masks/cat/99.png", np.ones((4, 4), np.uint8))
    shutil.copy(own_root / "videos/dog.mp4", own_root / "videos/dog.mkv")
    _, problems = folder_videos(own_root)
    found = " | ".join(str(problem) for problem in problems)
    for part in (
        "bad.mp4",
        "videos/fox: has no masks",
        "masks/gnu: belongs to no video",
        "match no frame: 99",
        "one video by name",
    ):
        assert part in found, part
    with pytest.raises(DataError, match="cannot be used"):
        FolderVideos(own_root)


def test_mask_of_another_size(own_root):
    write_mask(own_root / "masks/cat/2.png", np.ones((8, 8), np.uint8))
    with pytest.raises(DataError, match=r"64×48 pixels and its mask 'masks/cat/2\.png' 8×8"):
        FolderVideos(own_root, names=["cat"]).read(0, 1)


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (np.full((48, 64), 300, np.uint16), DataError, "holds the id 300"),
        (np.zeros((48, 64, 3), np.uint8) + np.arange(3, dtype=np.uint8), MaskError, "three colour channels"),
    ],
)
def test_masks_that_training_cannot_use(own_root, mask, error, message):
    Image.fromarray(mask).save(own_root / "masks/cat/2.png")
    with pytest.raises(error, match=message):
        FolderVideos(own_root, names=["cat"]).read_mask(0, 1)


def test_black_and_white_masks_hold_one_object(own_root):
    for name in ("2", "10"):
        Image.fromarray(np.eye(48, 64, dtype=np.uint8) * 255).save(own_root / f"masks/cat/{name}.png")
    assert set(np.unique(FolderVideos(own_root, names=["cat"]).read_mask(0, 1))) == {0, 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"still": 1.2}, "still is 1.2"), ({"crop_area": (0.5, 0.2)}, r"crop_area is \(0.5, 0.2\)")],
)
def test_shares_out_of_range(own_root, options, message):
    with pytest.raises(ConfigError, match=message):
        FolderDataModule(str(own_root), **options)


def test_settings_reach_the_clips(own_root):
    ((clips, _),) = FolderDataModule(str(own_root), still=0.25, crop_area=(0.1, 0.3)).clip_sources()
    assert isinstance(clips, VideoClips)
    assert (clips.still, clips.area) == (0.25, (0.1, 0.3))
