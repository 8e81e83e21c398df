from __future__ import annotations

import pickle
import shutil
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vos_zoo.data.davis import DavisClips, DavisVideos, sample_frame_indices
from vos_zoo.data.layers import PasteSettings
from vos_zoo.data.motion import PAPER_VIDEO, height_and_width
from vos_zoo.data.static_images import ImageMaskPairs
from vos_zoo.errors import DataError, MissingFileError

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
        source = DavisClips(DavisVideos(root / "train"), paste=ALWAYS_PASTE, pairs=ImageMaskPairs(root / "pairs"))
        clips.append(source.sample(np.random.default_rng(4), num_frames=3, crop_size=48, max_gap=5))
    np.testing.assert_array_equal(clips[0].images, clips[1].images)
    np.testing.assert_array_equal(clips[0].labels, clips[1].labels)
    assert clips[0].name == clips[1].name


@pytest.mark.parametrize("paste", [None, ALWAYS_PASTE], ids=["plain", "pasted"])
@pytest.mark.parametrize(("num_frames", "crop_size"), [(1, 48), (3, (32, 56)), (12, 48)])
def test_clips(data_root, num_frames, crop_size, paste):
    source = DavisClips(DavisVideos(data_root / "train"), motion=PAPER_VIDEO, paste=paste)
    for seed in range(3):
        clip = source.sample(np.random.default_rng(seed), num_frames=num_frames, crop_size=crop_size, max_gap=3)
        height, width = height_and_width(crop_size)
        assert clip.images.shape == (num_frames, height, width, 3)
        assert clip.labels.shape == (num_frames, height, width)
        assert clip.labels.any()


def test_frame_step_divides_the_gap(data_root, monkeypatch):
    asked = []

    def record(rng, total, num_frames, max_gap):
        asked.append(max_gap)
        return [0] * num_frames

    monkeypatch.setattr("vos_zoo.data.davis.sample_frame_indices", record)
    source = DavisClips(DavisVideos(data_root / "train"), frame_step=5)
    for max_gap in (25, 12, 3):
        source.sample(np.random.default_rng(0), num_frames=2, crop_size=16, max_gap=max_gap)
    # Gaps of YouTube-VOS, which lists every fifth frame: floor(J / 5), here never below one.
    assert asked == [5, 2, 1]


def test_all_videos_sorted_with_their_frames(data_root):
    videos = DavisVideos(data_root / "train")
    assert [video.name for video in videos.videos] == ["ant", "bee", "cow"]
    assert videos.videos[0].frames[1] == "JPEGImages/480p/ant/00002.jpg"
    assert videos.videos[0].masks[1] == "Annotations/480p/ant/00002.png"


def test_image_set_and_names(data_root):
    assert [v.name for v in DavisVideos(data_root / "train", image_set="2017/train").videos] == ["bee", "ant"]
    assert [v.name for v in DavisVideos(data_root / "train", names=["cow"]).videos] == ["cow"]


def test_unpadded_frame_numbers_are_in_natural_order(tmp_path):
    for number in (1, 2, 10):
        for folder, mode, ending in (("JPEGImages", "RGB", "jpg"), ("Annotations", "L", "png")):
            path = tmp_path / f"{folder}/480p/cat/{number}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (8, 8)).save(path)
    assert [name[-6:] for name in DavisVideos(tmp_path).videos[0].frames] == ["/1.jpg", "/2.jpg", "10.jpg"]


def test_masks_without_a_frame_are_left_out(data_root, tmp_path):
    shutil.copytree(data_root / "train", tmp_path / "train")
    (tmp_path / "train/JPEGImages/480p/bee/00004.jpg").unlink()
    assert len(DavisVideos(tmp_path / "train", names=["bee"]).videos[0].frames) == 7


def test_short_videos_are_left_out(data_root, tmp_path):
    shutil.copytree(data_root / "train", tmp_path / "train")
    for path in sorted((tmp_path / "train/Annotations/480p/bee").iterdir())[2:]:
        path.unlink()
    assert [video.name for video in DavisVideos(tmp_path / "train").videos] == ["ant", "cow"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["ant", "elk"]}, r"Videos \['elk'\]"),
        ({"resolution": "1080p"}, "no video of at least 3"),
        ({"min_frames": 9}, "no video of at least 9"),
        ({"image_set": "2016/train"}, r"ImageSets/2016/train\.txt' is missing"),
    ],
)
def test_nothing_usable(data_root, options, message):
    with pytest.raises(DataError, match=message):
        DavisVideos(data_root / "train", **options)


def test_missing_root(tmp_path):
    with pytest.raises(MissingFileError):
        DavisVideos(tmp_path / "nowhere")


def test_sizes_differ(data_root, tmp_path):
    shutil.copytree(data_root / "train", tmp_path / "train")
    Image.new("L", (10, 10)).save(tmp_path / "train/Annotations/480p/ant/00000.png")
    with pytest.raises(DataError, match="96×72 pixels and its mask 10×10"):
        DavisVideos(tmp_path / "train").read(0, 0)


def test_cache_returns_equal_frames_and_keeps_its_limit(data_root):
    one_frame = 72 * 96 * 4
    cached, bare = (DavisVideos(data_root / "train", cache_bytes=limit) for limit in (3 * one_frame, 0))
    for index in (0, 1, 2, 3, 0, 4, 4, 1):
        for first, second in zip(cached.read(1, index), bare.read(1, index), strict=True):
            np.testing.assert_array_equal(first, second)
    assert cached.read(1, 4)[0] is cached.read(1, 4)[0]
    assert cached.cached_bytes == 3 * one_frame
    assert bare.cached_bytes <= one_frame


def test_decoded_frames_stay_behind_when_pickled(data_root):
    videos = DavisVideos(data_root / "train")
    image, _ = videos.read(0, 0)
    copy = pickle.loads(pickle.dumps(videos))
    assert copy.cached_bytes == 0
    np.testing.assert_array_equal(copy.read(0, 0)[0], image)
