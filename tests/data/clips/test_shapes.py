from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo.data.clips.shapes import MovingShapes, moving_shapes


@settings(max_examples=30, deadline=None)
@given(
    frames=st.integers(1, 5),
    height=st.integers(8, 60),
    width=st.integers(8, 60),
    objects=st.integers(0, 4),
    seed=st.integers(0, 1000),
)
def test_any_size(frames, height, width, objects, seed):
    video = moving_shapes(frames, height, width, num_objects=objects, rng=seed)
    assert video.frames.shape == (frames, height, width, 3)
    assert video.masks.shape == (frames, height, width)
    assert video.masks.max() <= objects
    again = moving_shapes(frames, height, width, num_objects=objects, rng=seed)
    np.testing.assert_array_equal(video.frames, again.frames)
    np.testing.assert_array_equal(video.masks, again.masks)


def test_seeds_differ():
    assert not np.array_equal(moving_shapes(rng=0).frames, moving_shapes(rng=1).frames)


def test_things_move():
    video = moving_shapes(5, rng=3)
    assert not np.array_equal(video.masks[0], video.masks[4])
    assert not np.array_equal(video.frames[0][video.masks[0] == 0][:50], video.frames[4][video.masks[4] == 0][:50])


def test_masks_are_where_the_picture_differs_from_the_background():
    """Painting shapes draws nothing outside of their masks, and changes nearly everything inside."""
    with_shape = moving_shapes(4, 64, 64, num_objects=1, rng=5)
    alone = moving_shapes(4, 64, 64, num_objects=0, rng=5)
    differs = (with_shape.frames != alone.frames).any(-1)
    assert not (differs & (with_shape.masks == 0)).any()
    assert differs[with_shape.masks == 1].mean() > 0.95


def test_late_object():
    video = moving_shapes(6, num_objects=2, late_frame=3, rng=0)
    present = [(mask == 2).any() for mask in video.masks]
    assert present == [False, False, False, True, True, True]


def test_long_videos_stay_in_view():
    video = moving_shapes(200, 48, 64, num_objects=1, speed=0.1, rng=2)
    assert all((mask == 1).any() for mask in video.masks)


@pytest.mark.parametrize("max_gap", [1, 5, 25])
def test_source(max_gap):
    clip = MovingShapes().sample(np.random.default_rng(0), num_frames=3, crop_size=40, max_gap=max_gap)
    assert clip.images.shape == (3, 40, 40, 3)
    assert clip.labels.shape == (3, 40, 40)
    assert clip.labels.dtype == np.uint8


def test_source_always_shows_an_object_at_first():
    source = MovingShapes(num_objects=2, late_probability=1)
    for seed in range(10):
        clip = source.sample(np.random.default_rng(seed), num_frames=3, crop_size=40, max_gap=5)
        assert set(np.unique(clip.labels[0])) == {0, 1}
