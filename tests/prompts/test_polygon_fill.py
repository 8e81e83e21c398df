from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo.prompts.polygon_fill import fill_polygon

# Quarters of pixels are exact in binary, so that centres of pixels lie on outlines, and the oracle counts in fractions.
coordinates = st.integers(-8, 60).map(lambda quarters: quarters / 4)
outlines = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=7)


def is_inside(outline, x, y):
    """Cast a ray to the left and count crossings, in exact fractions."""
    count = 0
    for (x0, y0), (x1, y1) in zip(outline, outline[1:] + outline[:1], strict=True):
        x0, y0, x1, y1 = map(Fraction, (x0, y0, x1, y1))
        if (y0 <= y) != (y1 <= y):
            count += x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x
    return count % 2 == 1


@settings(max_examples=60, deadline=None)
@given(outlines)
def test_pixels_are_inside_whose_centres_are(outline):
    half = Fraction(1, 2)
    expected = [[is_inside(outline, column + half, row + half) for column in range(12)] for row in range(10)]
    np.testing.assert_array_equal(fill_polygon(outline, (10, 12)), expected)


def test_outlines_that_share_an_edge_share_no_pixel():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.uniform(0, 40, 2), rng.uniform(0, 40, 2)
        corners = [(0, 0), (40, 0), (40, 40), (0, 40)]
        both = sum(
            fill_polygon([corners[side], corners[(side + 1) % 4], tuple((a + b) / 2)], (40, 40)).astype(int)
            for side in range(4)
        )
        assert (both == 1).all()
