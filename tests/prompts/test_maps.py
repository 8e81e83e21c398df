from __future__ import annotations

import numpy as np

from vos_zoo.prompts.maps import CHANNELS, DISC_RADIUS, draw_maps


def test_each_kind_has_its_own_map():
    previous = np.eye(32, dtype=bool)
    maps = draw_maps(
        (32, 32), box=(4, 6, 20, 25), positive=[[(10, 11)]], negative=[[(2, 2), (29, 2)]], previous=previous
    )
    assert maps.shape == (len(CHANNELS), 32, 32)
    assert set(np.unique(maps)) == {0, 1}
    assert maps[0].sum() == 17 * 20
    assert maps[0, 6, 4] == maps[0, 25, 20] == 1
    rows, columns = np.nonzero(maps[1])
    assert np.hypot(rows - 11, columns - 10).max() <= DISC_RADIUS + 0.5
    assert maps[1, 11, 10] == maps[2, 2, 16] == 1
    np.testing.assert_array_equal(maps[3], previous)


def test_no_prompts_leave_the_maps_empty():
    assert not draw_maps((8, 9)).any()
