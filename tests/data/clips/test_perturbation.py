from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo.data.clips.perturbation import perturb_mask


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union in float64 with the smoothing of the released training settings."""
    both, either = np.logical_and(first, second).sum(), np.logical_or(first, second).sum()
    return float((both + 1e-6) / (either + 1e-6))


def rectangle(height: int, width: int, box: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[box[0] : box[1], box[2] : box[3]] = 1
    return mask


def test_overlap_falls_below_the_target():
    mask = rectangle(96, 96, (20, 70, 30, 80))
    for seed in range(20):
        target = 0.85 + 0.007 * seed
        assert overlap(perturb_mask(mask, target, np.random.default_rng(seed)), mask) < target


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(3, 64),
    width=st.integers(3, 64),
    corners=st.tuples(*[st.floats(0, 1)] * 4),
    target=st.floats(0.85, 0.999),
    seed=st.integers(0, 2**32 - 1),
)
def test_result_is_a_binary_mask_that_stops_soon_after_the_target(height, width, corners, target, seed):
    top, bottom = sorted(int(value * height) for value in corners[:2])
    left, right = sorted(int(value * width) for value in corners[2:])
    mask = rectangle(height, width, (top, bottom, left, right))
    before = mask.copy()
    result = perturb_mask(mask, target, np.random.default_rng(seed))
    assert result.shape == mask.shape
    assert result.dtype == np.uint8
    assert set(np.unique(result)) <= {0, 1}
    np.testing.assert_array_equal(mask, before)
    again = perturb_mask(mask, target, np.random.default_rng(seed))
    np.testing.assert_array_equal(result, again)


@given(seed=st.integers(0, 1000), target=st.floats(1, 2))
def test_target_one_is_the_identity(seed, target):
    mask = rectangle(20, 30, (2, 9, 3, 17)) * 255
    np.testing.assert_array_equal(perturb_mask(mask, target, np.random.default_rng(seed)), mask > 0)


@pytest.mark.parametrize("shape", [(2, 40), (40, 2), (1, 1), (2, 2)])
def test_tiny_masks_are_left_alone(shape):
    mask = np.ones(shape, np.uint8)
    np.testing.assert_array_equal(perturb_mask(mask, 0.5, np.random.default_rng(0)), mask)


def test_empty_masks_can_receive_spurious_blobs():
    empty = np.zeros((48, 48), np.uint8)
    results = [perturb_mask(empty, 0.9, np.random.default_rng(seed)) for seed in range(5)]
    assert all(result.any() for result in results)


def test_bool_masks_are_accepted():
    mask = rectangle(40, 40, (10, 30, 10, 30)).astype(bool)
    assert perturb_mask(mask, 0.9, np.random.default_rng(1)).dtype == np.uint8


def test_damage_keeps_most_of_the_object():
    mask = rectangle(128, 128, (20, 100, 20, 100))
    overlaps = [overlap(perturb_mask(mask, 0.9, np.random.default_rng(seed)), mask) for seed in range(20)]
    # One round of four operations with kernels of at most 9 pixels changes a bounded rim of an 80-pixel square.
    assert min(overlaps) > 0.5
