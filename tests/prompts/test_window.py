from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.prompts.window import Window, extent_of_mask, extent_of_points, join_extents

sizes = st.integers(1, 3000)


@given(sizes, sizes, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(1, 4))
def test_a_window_lies_in_the_frame_and_holds_the_extent(height, width, x0, x1, y0, y1, margin):
    left, right = sorted((x0 * width, x1 * width))
    top, bottom = sorted((y0 * height, y1 * height))
    window = Window.around((left, top, right, bottom), (height, width), margin=margin, long_side=192)
    assert 0 <= window.left <= window.left + window.width <= width
    assert 0 <= window.top <= window.top + window.height <= height
    assert max(window.crop_size) == 192
    slack = 1  # windows begin and end at whole pixels
    assert window.left <= left + slack
    assert window.left + window.width >= right - slack
    assert window.top <= top + slack
    assert window.top + window.height >= bottom - slack


def test_points_keep_their_place():
    frame = np.zeros((200, 300, 3), np.uint8)
    frame[120:130, 70:80] = 255
    window = Window.around((60, 110, 90, 140), (200, 300), margin=1.5, long_side=192)
    crop = window.cut(frame)[..., 0]
    assert crop.shape == window.crop_size
    (inside, outside) = window.place([(75, 125), (95, 125)])
    assert crop[round(inside[1]), round(inside[0])] == 255
    assert crop[round(outside[1]), round(outside[0])] == 0
    x0, y0, x1, y1 = (round(value) for value in window.place_extent((70, 120, 80, 130)))
    assert (crop[y0 : y1 + 1, x0 : x1 + 1] > 127).mean() > 0.95
    assert (crop > 127).sum() == pytest.approx((x1 - x0 + 1) * (y1 - y0 + 1), rel=0.2)


def test_a_mask_survives_the_way_there_and_back():
    rows, columns = np.mgrid[:480, :640]
    mask = (rows - 200) ** 2 + (columns - 300) ** 2 < 100**2
    window = Window.around(extent_of_mask(mask), mask.shape, margin=1.4, long_side=192)
    back = np.zeros_like(mask)
    back[window.slices] = window.enlarge(window.cut_mask(mask) * np.uint8(255)) > 127
    assert (mask & back).sum() / (mask | back).sum() > 0.98


def test_extents():
    mask = np.zeros((9, 9), bool)
    mask[2:4, 5] = True
    assert extent_of_mask(mask) == (5, 2, 6, 4)
    assert extent_of_points([(5.5, 2.0), (5.9, 3.9)]) == (5, 2, 6, 4)
    assert join_extents((5, 2, 6, 4), (0, 3, 1, 8)) == (0, 2, 6, 8)
