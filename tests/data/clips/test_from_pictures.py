from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vos_zoo.data.clips.compositing import PasteSettings, cut_random_sprite
from vos_zoo.data.clips.from_pictures import StaticImageClips
from vos_zoo.data.clips.motion import PAPER_STATIC, height_and_width
from vos_zoo.data.layouts.pictures import ImageMaskPairs


def test_folder_and_zips_give_the_same_clips(data_root, zipped_root):
    clips = [
        StaticImageClips(ImageMaskPairs(root / "pairs")).sample(
            np.random.default_rng(4), num_frames=3, crop_size=48, max_gap=5
        )
        for root in (data_root, zipped_root)
    ]
    np.testing.assert_array_equal(clips[0].images, clips[1].images)
    np.testing.assert_array_equal(clips[0].labels, clips[1].labels)


@pytest.mark.parametrize(("num_frames", "crop_size"), [(1, 48), (3, (32, 56)), (5, 48)])
@pytest.mark.parametrize("paste", [None, PasteSettings(counts=(0, 0, 1))], ids=["plain", "pasted"])
def test_clips(data_root, num_frames, crop_size, paste):
    source = StaticImageClips(ImageMaskPairs(data_root / "pairs"), paste=paste)
    for seed in range(5):
        clip = source.sample(np.random.default_rng(seed), num_frames=num_frames, crop_size=crop_size, max_gap=1)
        height, width = height_and_width(crop_size)
        assert clip.images.shape == (num_frames, height, width, 3)
        assert clip.labels.shape == (num_frames, height, width)
        assert clip.labels[0].any()


def test_independent_motion_moves_the_first_frame_too(data_root):
    source = StaticImageClips(ImageMaskPairs(data_root / "pairs"), PAPER_STATIC, paste=None)
    clip = source.sample(np.random.default_rng(0), num_frames=3, crop_size=48, max_gap=1)
    assert not np.array_equal(clip.labels[0], clip.labels[1])


def test_pairs_without_objects_still_give_clips(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    pairs = ImageMaskPairs(tmp_path)
    assert cut_random_sprite(pairs, np.random.default_rng(0)) is None
    clip = StaticImageClips(pairs).sample(np.random.default_rng(0), num_frames=2, crop_size=32, max_gap=1)
    assert not clip.labels.any()
