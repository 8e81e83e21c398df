"""Plots: dots of a table, lines over a length, and what happens over a video."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from vos_zoo.errors import ShapeError
from vos_zoo.media.plots import DotPanel, LinePanel, TimelinePanel, draw_dots, draw_lines, draw_timeline

BLUE, ORANGE, GREEN = (0, 114, 178), (213, 94, 0), (0, 158, 115)
BELOW_THE_LEGEND = 85


def draw(lines, **options):
    return draw_lines("Title", [LinePanel("mean", lines, **options)], axis_title="frame")


def pixels(picture, colour):
    """Rows and columns of a colour below the legend."""
    rows, columns = np.nonzero((abs(picture[BELOW_THE_LEGEND:].astype(int) - colour) < 8).all(axis=2))
    return rows, columns


@pytest.mark.parametrize("values", [(0, 1), (0.1199, 0.1204), (-7e6, -6e6)])
def test_a_rising_curve_rises_across_the_plot(values):
    picture = draw({"one": list(zip((0, 100), values, strict=True))}, starts_at_zero=False)
    assert picture.dtype == np.uint8
    rows, columns = pixels(picture, BLUE)
    assert np.corrcoef(columns, -rows)[0, 1] > 0.99
    assert np.ptp(rows) > 150


def test_equal_steps_are_equally_high():
    picture = draw({"low": [(0, 1), (10, 1)], "high": [(0, 2), (10, 2)], "top": [(0, 4), (10, 4)]})
    low, high, top = (np.median(pixels(picture, colour)[0]) for colour in (BLUE, ORANGE, GREEN))
    assert low > high > top
    assert low - high == pytest.approx((high - top) / 2, abs=2)


def test_lines_of_different_lengths_end_where_their_points_do():
    picture = draw({"short": [(0, 1), (10, 1)], "long": [(0, 2), (20, 2)]})
    short, long = (np.ptp(pixels(picture, colour)[1]) for colour in (BLUE, ORANGE))
    assert long == pytest.approx(2 * short, rel=0.05)


def test_points_that_are_not_finite_are_left_out():
    nan = float("nan")
    broken = {"one": [(0, 1), (1, nan), (2, 3)], "none": [(0, nan)]}
    assert np.array_equal(draw(broken), draw({"one": [(0, 1), (2, 3)], "none": []}))


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
    assert len(pixels(draw({"one": curve}, starts_at_zero=False), BLUE)[0]) > 20


@pytest.mark.parametrize("lines", [{}, {"one": []}, {"one": [(0, float("nan"))]}, {"one": [(0, float("inf"))]}])
def test_nothing_to_draw_is_refused(lines):
    with pytest.raises(ShapeError, match="no finite point"):
        draw(lines)


@pytest.mark.parametrize(
    ("ours", "papers"), [((50.0,), (50.0,)), ((0.0,), (None,)), ((None,), (3.0,)), ((-2.5,), (99.9,))]
)
def test_dots_of_odd_values(ours, papers):
    picture = draw_dots("Title", ["row"], [DotPanel("J", ours, papers)])
    for colour in (BLUE, ORANGE):  # at least in the legend
        assert (abs(picture.astype(int) - colour) < 8).all(axis=2).any()


def test_a_timeline_is_an_element_that_stands_for_itself():
    frames = list(range(50))
    panels = [TimelinePanel("area", frames, [100 + frame for frame in frames]), TimelinePanel("sure", [], [], top=1)]
    svg = draw_timeline(panels, span=(0, 49), shaded=[(10, 20)], marked=[0, 30])
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert "http://www.w3.org/1999/xlink" in svg
    assert 'href="http' not in svg
    assert svg == draw_timeline(panels, span=(0, 49), shaded=[(10, 20)], marked=[0, 30])
    assert svg != draw_timeline(panels, span=(0, 49), marked=[0, 30])
    with pytest.raises(ShapeError, match="no panel"):
        draw_timeline([], span=(0, 1))
