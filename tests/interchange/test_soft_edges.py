from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import distance_transform_edt

from vos_zoo.interchange.soft_edges import soft_edges

sides = st.tuples(st.integers(1, 12), st.integers(1, 12))


@settings(max_examples=60, deadline=None)
@given(sides.flatmap(lambda size: st.tuples(hnp.arrays(np.uint8, size), hnp.arrays(np.bool_, size))))
def test_opacity_is_the_probability_along_the_outline_and_certain_away_from_it(case):
    probability, inside = case
    opacity = soft_edges(probability, inside)
    if inside.all() or not inside.any():
        np.testing.assert_array_equal(opacity, 255 * inside)
        return
    depth, height = distance_transform_edt(inside), distance_transform_edt(~inside)
    np.testing.assert_array_equal(opacity[depth >= 3], 255)
    np.testing.assert_array_equal(opacity[height >= 3], 0)
    outline = (depth == 1) | (height == 1)
    np.testing.assert_array_equal(opacity[outline], probability[outline])
    assert (opacity >= probability)[inside].all()
    assert (opacity <= probability)[~inside].all()


def test_a_sure_model_gives_the_mask():
    inside = np.zeros((40, 40), bool)
    inside[10:30, 12:33] = True
    np.testing.assert_array_equal(soft_edges(255 * inside.astype(np.uint8), inside), 255 * inside)


@pytest.mark.parametrize(("side", "band"), [(100, 2), (480, 5), (1080, 11)])
def test_the_band_grows_with_the_frame(side, band):
    inside = np.zeros((side, side), bool)
    inside[:, side // 2 :] = True
    row = soft_edges(np.full((side, side), 128, np.uint8), inside)[side // 2]
    soft = np.flatnonzero((row > 0) & (row < 255))
    assert soft[0] == side // 2 - band
    assert soft[-1] == side // 2 + band - 1
