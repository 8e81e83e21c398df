"""Curves over time."""

from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.errors import ShapeError
from vos_zoo.inference.chart import line_chart

BLUE, ORANGE = (0, 114, 178), (213, 94, 0)
LABELS = {"title": "Mean", "x_label": "frame", "y_label": "mean"}


def pixels(picture, colour):
    """Rows and columns of a colour right of the legend's strokes."""
    rows, columns = np.nonzero((picture == colour).all(axis=2))
    return rows[columns > 200], columns[columns > 200]


@pytest.mark.parametrize("values", [(0, 1), (0.1199, 0.1204), (-7e6, -6e6)])
def test_a_rising_curve_rises_across_the_chart(values):
    picture = line_chart({"one": list(zip((0, 100), values, strict=True))}, **LABELS)
    assert (picture.shape, picture.dtype) == ((420, 720, 3), np.uint8)
    rows, columns = pixels(picture, BLUE)
    assert np.corrcoef(columns, -rows)[0, 1] > 0.99
    assert np.ptp(rows) > 150


def test_equal_steps_are_equally_high():
    picture = line_chart({"low": [(0, 1), (10, 1)], "high": [(0, 2), (10, 2)], "top": [(0, 4), (10, 4)]}, **LABELS)
    low, high = (np.median(pixels(picture, colour)[0]) for colour in (BLUE, ORANGE))
    top = np.median(pixels(picture, (0, 158, 115))[0])
    assert low - high == pytest.approx((high - top) / 2, abs=1.5)


@pytest.mark.parametrize(
    "curve",
    [
        [(5, 0.3)],
        [(0, 0), (1, 0)],
        [(0, 1e-9), (3, 2e-9)],
        [(0, 0.3), (9999, 0.1)],
        [(0, 0.3), (9, 0.3)],
        [(0, -3), (9, -1)],
        [(0, 0.12), (9, 0.1200001)],
    ],
)
def test_short_flat_and_tiny_curves_are_drawn(curve):
    picture = line_chart({"one": curve}, **LABELS)
    assert ((picture == BLUE).all(axis=2)).sum() > 50


@pytest.mark.parametrize("curves", [{}, {"one": []}, {"one": [(0, float("nan"))]}, {"one": [(0, float("inf"))]}])
def test_nothing_to_draw_is_refused(curves):
    with pytest.raises(ShapeError, match="A chart of"):
        line_chart(curves, **LABELS)
