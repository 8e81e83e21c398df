from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vos_zoo.interchange import polygons
from vos_zoo.interchange.polygons import fill_polygon, join_outlines, mask_outlines

MASKS = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(lambda shape: arrays(np.bool_, shape))


def inside(points, row, column) -> bool:
    """Whether a pixel's centre is inside, by walking a ray to the right in plain floats."""
    x, y = column + 0.5, row + 0.5
    crossings = 0
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        if (y0 <= y) != (y1 <= y):
            crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
            assume(abs(crossing - x) > 1e-9)  # a line that meets a centre is neither inside nor outside
            crossings += crossing > x
    return crossings % 2 == 1


@given(st.lists(st.tuples(st.integers(-30, 130), st.integers(-30, 130)), min_size=3, max_size=8))
@example([(0, 0), (70, 70), (5, 5)])
def test_pixels_are_set_whose_centres_are_inside(corners):
    points = np.array(corners) / 9.7 + (0.0123, 0.0371)
    area = fill_polygon(points, (10, 9))
    expected = [[inside(points.tolist(), row, column) for column in range(9)] for row in range(10)]
    np.testing.assert_array_equal(area, expected)


def test_many_crossings_are_painted_in_groups(monkeypatch):
    points = np.random.default_rng(0).uniform(0, 20, (40, 2))
    whole = fill_polygon(points, (20, 20))
    monkeypatch.setattr(polygons, "_MOST_CROSSINGS", 7)
    np.testing.assert_array_equal(fill_polygon(points, (20, 20)), whole)


@given(MASKS)
def test_outlines_give_exactly_the_mask(mask):
    outlines = mask_outlines(mask)
    painted = np.zeros(mask.shape, np.bool_)
    for outline in outlines:
        painted ^= fill_polygon(outline, mask.shape)
    np.testing.assert_array_equal(painted, mask)
    if outlines:
        np.testing.assert_array_equal(fill_polygon(join_outlines(outlines), mask.shape), mask)


def test_parts_that_touch_at_a_corner_are_outlines_of_their_own():
    assert len(mask_outlines(np.eye(2, dtype=np.bool_))) == 2
    assert len(mask_outlines(np.eye(2, dtype=np.bool_)[::-1])) == 2
    assert len(mask_outlines(~np.eye(2, dtype=np.bool_))) == 2


def test_a_straight_edge_needs_few_corners():
    """A disc of 200 pixels has 800 pixel edges around it; its outline needs a fraction of the corners."""
    y, x = np.mgrid[:220, :220]
    disc = (x - 110) ** 2 + (y - 110) ** 2 < 100**2
    (outline,) = mask_outlines(disc)
    assert len(outline) < 300


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools, with NumPy 2
def test_joined_outlines_are_nearly_the_mask_for_pycocotools():
    """A disc with a hole beside a bar: its painting of polygons follows a rule of its own along slanted lines."""
    coco = pytest.importorskip("pycocotools.mask")
    y, x = np.mgrid[:100, :120]
    mask = ((x - 50) ** 2 + (y - 50) ** 2 < 40**2) & ((x - 45) ** 2 + (y - 40) ** 2 > 15**2) | (x > 100) & (y > 20)
    polygon = join_outlines(mask_outlines(mask)).ravel().tolist()
    painted = coco.decode(coco.merge(coco.frPyObjects([polygon], *mask.shape))).astype(bool)
    assert (painted & mask).sum() / (painted | mask).sum() > 0.99
