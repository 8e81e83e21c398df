from __future__ import annotations

import shutil
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vos_zoo.data.clips.compositing import PasteSettings
from vos_zoo.data.clips.from_videos import VideoClips, drop_growing_objects, sample_frame_indices
from vos_zoo.data.clips.motion import PAPER_VIDEO, MotionRange, height_and_width
from vos_zoo.data.layouts.davis import DavisVideos
from vos_zoo.data.layouts.pictures import ImageMaskPairs
from vos_zoo.errors import DataError

ALWAYS_PASTE = PasteSettings(counts=(0, 1))


@given(total=st.integers(1, 60), num_frames=st.integers(1, 8), max_gap=st.integers(1, 30), seed=st.integers(0, 100_000))
def test_indices_are_ordered_within_the_video_and_the_gap(total, num_frames, max_gap, seed):
    indices = np.array(sample_frame_indices(np.random.default_rng(seed), total, num_frames, max_gap))
    assert len(indices) == num_frames
    assert indices.min() >= 0
    assert indices.max() < total
    steps = np.diff(indices)
    assert (steps >= 0).all() or (steps <= 0).all()
    if total >= num_frames:
        assert (np.abs(steps) >= 1).all()
        assert (np.abs(steps) <= max_gap).all()
    else:
        assert set(indices) == set(range(total))


@given(total=st.integers(1, 40), num_frames=st.integers(1, 8), max_gap=st.integers(1, 9), seed=st.integers(0, 9999))
def test_one_gap_for_all_neighbours_and_one_direction(total, num_frames, max_gap, seed):
    rng = np.random.default_rng(seed)
    indices = np.array(sample_frame_indices(rng, total, num_frames, max_gap, has_one_gap=True, reverses=False))
    assert len(indices) == num_frames
    assert 0 <= indices[0] <= indices[-1] < total
    steps = set(np.diff(indices).tolist())
    if total >= num_frames > 1:
        (step,) = steps
        assert 1 <= step <= max_gap


def test_gaps_starts_and_both_directions_occur():
    rng = np.random.default_rng(0)
    drawn = [sample_frame_indices(rng, 50, 3, 4) for _ in range(600)]
    steps = {abs(b - a) for clip in drawn for a, b in pairwise(clip)}
    assert steps == {1, 2, 3, 4}
    forward = sum(clip[0] < clip[-1] for clip in drawn)
    # Binomial(600, 0.5): standard deviation 12.2, five of them.
    assert abs(forward - 300) < 62
    assert min(map(min, drawn)) == 0
    assert max(map(max, drawn)) == 49


def test_folder_and_zips_give_the_same_clips(data_root, zipped_root):
    clips = []
    for root in (data_root, zipped_root):
        source = VideoClips(DavisVideos(root / "train"), paste=ALWAYS_PASTE, pairs=ImageMaskPairs(root / "pairs"))
        clips.append(source.sample(np.random.default_rng(4), num_frames=3, crop_size=48, max_gap=5))
    np.testing.assert_array_equal(clips[0].images, clips[1].images)
    np.testing.assert_array_equal(clips[0].labels, clips[1].labels)
    assert clips[0].name == clips[1].name


@pytest.mark.parametrize("paste", [None, ALWAYS_PASTE], ids=["plain", "pasted"])
@pytest.mark.parametrize(("num_frames", "crop_size"), [(1, 48), (3, (32, 56)), (12, 48)])
def test_clips(data_root, num_frames, crop_size, paste):
    source = VideoClips(DavisVideos(data_root / "train"), motion=PAPER_VIDEO, paste=paste)
    for seed in range(3):
        clip = source.sample(np.random.default_rng(seed), num_frames=num_frames, crop_size=crop_size, max_gap=3)
        height, width = height_and_width(crop_size)
        assert clip.images.shape == (num_frames, height, width, 3)
        assert clip.labels.shape == (num_frames, height, width)
        assert clip.labels.any()


def test_frame_step_divides_the_gap(data_root, monkeypatch):
    asked = []

    def record(rng, total, num_frames, max_gap, **_):
        asked.append(max_gap)
        return [0] * num_frames

    monkeypatch.setattr("vos_zoo.data.clips.from_videos.sample_frame_indices", record)
    source = VideoClips(DavisVideos(data_root / "train"), frame_step=5)
    for max_gap in (25, 12, 3):
        source.sample(np.random.default_rng(0), num_frames=2, crop_size=16, max_gap=max_gap)
    # Gaps of YouTube-VOS, which lists every fifth frame: floor(J / 5), here never below one.
    assert asked == [5, 2, 1]


def test_still_clips_repeat_one_annotated_frame(data_root, monkeypatch):
    seen = []
    videos = DavisVideos(data_root / "train")
    read = videos.read_clip
    monkeypatch.setattr(videos, "read_clip", lambda video, indices: seen.append(indices) or read(video, indices))
    rng = np.random.default_rng(0)
    for _ in range(60):
        VideoClips(videos, still=0.5).sample(rng, num_frames=2, crop_size=16, max_gap=3)
    still = [first for first, second in seen if first == second]
    # Binomial(60, 0.5): standard deviation 3.9, five of them.
    assert abs(len(still) - 30) < 20
    assert len(set(still)) > 1


def test_frames_of_two_sizes_are_refused_by_name(data_root, tmp_path):
    copy = tmp_path / "train"
    shutil.copytree(data_root / "train", copy)
    for folder, ending in (("JPEGImages", "jpg"), ("Annotations", "png")):
        path = copy / f"{folder}/480p/ant/00004.{ending}"
        Image.open(path).resize((48, 40), Image.Resampling.NEAREST).save(path)
    videos = DavisVideos(copy, names=["ant"])
    with pytest.raises(DataError, match=r"ant/00004\.jpg' has 48×40 pixels, frame .*ant/00000\.jpg' .* 96×72"):
        videos.read_clip(0, [0, 1, 2])


@pytest.mark.parametrize(("max_objects", "followed"), [(1, 3), (5, 5), (9, 6)])
def test_as_many_objects_are_followed_as_a_clip_holds(tmp_path, max_objects, followed):
    labels = np.repeat(np.arange(7, dtype=np.uint8), 10)[None].repeat(60, 0)
    for index in range(3):
        for folder, ending, picture in (
            ("JPEGImages", "jpg", np.zeros((60, 70, 3), np.uint8)),
            ("Annotations", "png", labels),
        ):
            path = tmp_path / f"{folder}/480p/stripes/{index:05d}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    source = VideoClips(DavisVideos(tmp_path), motion=MotionRange(), area=(0.9, 1.0))
    clip = source.sample(np.random.default_rng(0), num_frames=2, crop_size=64, max_gap=1, max_objects=max_objects)
    assert set(np.unique(clip.labels)) == set(range(followed + 1))


def test_small_objects_that_grow_are_no_targets():
    labels = np.zeros((3, 40, 40), np.uint8)
    labels[:, :5] = 1  # 200 pixels throughout: small, and stays so
    labels[0, 10:14] = 2  # 160 pixels, then 480
    labels[1:, 10:22] = 2
    labels[0, 30:32] = 3  # 80 pixels: tiny
    labels[:, 35:40, :10] = 4  # 50 pixels
    drop_growing_objects(labels)
    assert set(np.unique(labels)) == {0, 1}
