from __future__ import annotations

import numpy as np

from vos_zoo.interchange.annotation import paint_polygons


def test_parts_of_an_object_are_united():
    """Where two polygons of one object overlap, there is no hole."""
    first = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 2.0], [0.0, 2.0]])
    area = paint_polygons([first, first + np.array([1.0, 0.0])])((2, 5))
    assert area.astype(int).tolist() == [[1, 1, 1, 1, 0]] * 2
