"""Clips of one object of YouTube-VOS, as HS2S is trained on."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from vos_zoo.data.clips.dataset import ClipDataset, ClipSettings, collate_clips
from vos_zoo.data.clips.from_objects import ObjectClips
from vos_zoo.data.layouts.youtube_vos import YouTubeVosVideos


@pytest.fixture
def clips(objects_root):
    return ObjectClips(YouTubeVosVideos(objects_root / "youtube-vos", min_frames=2))


def sample(clips, seed, num_frames=4, crop_size=(32, 64)):
    return clips.sample(
        np.random.default_rng(seed), num_frames=num_frames, crop_size=crop_size, max_gap=5, max_objects=1
    )


def test_every_object_is_equally_likely_however_many_its_video_has(clips):
    assert [(entry.video, entry.label, len(entry.frames)) for entry in clips.objects] == [
        (0, 1, 8),
        (0, 4, 3),
        (1, 2, 5),
    ]
    names = Counter(sample(clips, seed).name for seed in range(120))
    assert names["long"] == pytest.approx(80, abs=16)


def test_frames_are_consecutive_and_listed_for_the_object(clips):
    lengths = set()
    for seed in range(30):
        clip = sample(clips, seed, crop_size=(60, 80))
        # The third channel counts frames; turned frames have black corners.
        numbers = [round(np.median(image[..., 2][clip.labels[0] == 1]) / 10) for image in clip.images]
        assert np.diff(numbers).tolist() == [1] * (len(numbers) - 1)
        lengths.add(len(numbers))
        if len(numbers) == 3:  # object 4 is listed in no more
            assert numbers == [2, 3, 4]
    assert lengths == {3, 4}


def test_whole_frames_of_any_shape_are_resized(objects_root):
    still = ObjectClips(YouTubeVosVideos(objects_root / "youtube-vos", min_frames=2), rotation=0, scale=0.0)
    for seed in range(20):
        clip = sample(still, seed)
        assert clip.images.shape[1:] == (32, 64, 3)
        assert clip.labels.shape[1:] == (32, 64)
        assert set(np.unique(clip.labels)) == {0, 1}
        # Both sides are scaled on their own: the bar keeps its share of the height and of the width.
        height, width = (48, 48) if clip.name == "short" else (60, 80)
        rows, columns = np.nonzero(clip.labels[0])
        assert np.ptp(rows) + 1 == pytest.approx(15 * 32 / height, abs=2)
        assert np.ptp(columns) + 1 == pytest.approx(30 * 64 / width, abs=3)


def test_colours_stay(clips):
    found = [clip for clip in (sample(clips, seed) for seed in range(20)) if clip.name == "short"]
    assert found
    for clip in found:
        assert np.median(clip.images[..., 0][clip.labels == 1]) == pytest.approx(40, abs=2)
        assert np.median(clip.images[..., 1][clip.labels == 1]) == pytest.approx(60, abs=2)


def test_a_batch_is_as_long_as_its_shortest_clip(clips):
    dataset = ClipDataset([clips], ClipSettings(6, (32, 64), 1, min_object_area=0.0), length=30)
    items = [dataset[index] for index in range(30)]
    assert {len(item["images"]) for item in items} == {3, 5, 6}
    batch = collate_clips(items)
    assert batch["images"].shape == (30, 3, 3, 32, 64)
    assert batch["masks"].shape == (30, 3, 32, 64)
