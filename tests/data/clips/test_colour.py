from __future__ import annotations

import os

import numpy as np
import pytest

from vos_zoo.data.clips import colour
from vos_zoo.data.clips.colour import ColourRange

STRONG = ColourRange(0.4, 0.4, 0.4, 0.1)


def frames(count: int = 3) -> np.ndarray:
    return np.repeat(np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8), count, axis=0)


def test_a_clip_changes_alike():
    result = colour.jitter_clip(frames(), STRONG, np.random.default_rng(0))
    assert not np.array_equal(result, frames())
    np.testing.assert_array_equal(result[0], result[1])
    np.testing.assert_array_equal(result[0], result[2])


def test_frames_change_on_their_own():
    result = colour.jitter_frames(frames(), STRONG, np.random.default_rng(0))
    assert not np.array_equal(result[0], result[1])


@pytest.mark.parametrize("jitter", [colour.jitter_clip, colour.jitter_frames])
def test_same_generator_same_colours(jitter):
    first = jitter(frames(), STRONG, np.random.default_rng(7))
    jitter(frames(), STRONG, np.random.default_rng(8))
    np.testing.assert_array_equal(first, jitter(frames(), STRONG, np.random.default_rng(7)))


@pytest.mark.parametrize("jitter", [colour.jitter_clip, colour.jitter_frames])
def test_no_range_no_change(jitter):
    np.testing.assert_array_equal(jitter(frames(), ColourRange(), np.random.default_rng(0)), frames())


def test_grayscale():
    result = colour.jitter_clip(frames(), ColourRange(grayscale=1), np.random.default_rng(0))
    assert np.ptp(result.astype(int), axis=-1).max() == 0


def test_blur_smears_edges_and_keeps_the_mean():
    edge = np.zeros((1, 32, 32, 3), np.uint8)
    edge[:, :, 16:] = 200
    smeared = [colour.jitter_frames(edge, ColourRange(blur=1), np.random.default_rng(seed)) for seed in range(20)]
    between = [((frame > 20) & (frame < 180)).any() for frame in smeared]
    assert sum(between) > 10  # the weakest blurs stay within rounding
    assert all(abs(frame.mean() - 100) < 0.5 for frame in smeared)  # nothing moves against the masks


def test_no_server_is_asked_on_import():
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"
