from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.prompts.simulation import damaged_mask, jittered_box, next_click, tight_box


def rectangle(left, top, right, bottom, size=(40, 50)):
    mask = np.zeros(size, bool)
    mask[top : bottom + 1, left : right + 1] = True
    return mask


def test_the_first_click_goes_into_the_middle():
    assert next_click(np.zeros((40, 50), bool), rectangle(10, 10, 30, 30)) == (20, 20, True)


def test_the_deepest_error_is_clicked():
    truth = rectangle(10, 10, 19, 30)
    prediction = truth | rectangle(30, 5, 45, 20)
    x, y, is_positive = next_click(prediction, truth)
    assert not is_positive
    assert 36 <= x <= 39
    assert 11 <= y <= 14


def test_nothing_wrong_needs_no_click():
    truth = rectangle(10, 10, 19, 30)
    assert next_click(truth, truth) is None


@given(st.integers(0, 2**32 - 1))
def test_hands_click_into_errors_too(seed):
    rng = np.random.default_rng(seed)
    truth, prediction = rng.random((2, 12, 12)) < 0.5
    click = next_click(prediction, truth, rng)
    if click is not None:
        assert truth[click.y, click.x] == click.is_positive != prediction[click.y, click.x]


@given(st.integers(0, 49), st.integers(0, 39), st.integers(0, 49), st.integers(0, 39), st.integers(0, 2**32 - 1))
def test_boxes_stay_near_and_within_the_image(x0, y0, x1, y1, seed):
    truth = rectangle(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    exact = tight_box(truth)
    assert exact == (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    left, top, right, bottom = jittered_box(truth, np.random.default_rng(seed), 0.1)
    assert 0 <= left <= right < 50
    assert 0 <= top <= bottom < 40
    assert abs(left - exact[0]) <= 0.2 * (exact[2] - exact[0] + 1) + 1


@pytest.mark.parametrize("seed", range(8))
def test_damage_is_damage_and_leaves_the_truth_alone(seed):
    truth = rectangle(10, 10, 30, 30)
    damaged = damaged_mask(truth, np.random.default_rng(seed))
    assert truth.sum() == 21 * 21
    assert damaged.dtype == bool
    assert damaged.shape == truth.shape
    assert (damaged != truth).any()
