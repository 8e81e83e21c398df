"""Strokes of a brush: exact, in their order, on the object that they name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.errors import PromptError
from vos_zoo.prompts import Box, Brush, prompt_mask, prompts_from_json, prompts_to_json
from vos_zoo.prompts.brush import paint

FRAME = np.zeros((40, 60, 3), np.uint8)


def distance_to_line(line, height, width):
    """Distance of every pixel's centre from a line, by definition."""
    ys, xs = np.mgrid[:height, :width] + 0.5
    best = np.full((height, width), np.inf)
    for (x0, y0), (x1, y1) in zip(line, line[1:] or line, strict=False):
        length = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-9)
        place = np.clip(((xs - x0) * (x1 - x0) + (ys - y0) * (y1 - y0)) / length, 0, 1)
        best = np.minimum(best, np.hypot(xs - x0 - place * (x1 - x0), ys - y0 - place * (y1 - y0)))
    return best


@given(
    line=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 39)), min_size=1, max_size=4),
    radius=st.integers(2, 12),
)
def test_a_stroke_covers_what_its_radius_reaches(line, radius):
    line = [(x + 0.5, y + 0.5) for x, y in line]
    painted = paint(np.zeros((40, 60), np.int32), [Brush(3, line, radius)]) == 3
    distance = distance_to_line(line, 40, 60)
    assert painted[distance <= radius - 1.5].all()  # a pixel of rounding at the rim
    assert not painted[distance > radius + 1.5].any()


def test_strokes_are_painted_in_their_order_over_what_is_grown():
    mask = prompt_mask(
        FRAME,
        [Brush(1, [(20.5, 20.5)], 8), Brush(2, [(20.5, 20.5)], 3), Brush(1, [(20.5, 20.5)], 20, erase=True)],
    )
    assert set(np.unique(mask)) == {0, 2}  # the eraser of 1 leaves 2 alone


def test_an_eraser_may_take_everything():
    previous = np.zeros((40, 60), np.uint8)
    previous[5:8, 5:8] = 4
    before = previous.copy()
    assert not prompt_mask(FRAME, [Brush(4, [(6, 6)], 10, erase=True)], previous=previous).any()
    np.testing.assert_array_equal(previous, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"line": [], "radius": 3}, "no points"),
        ({"line": [(1, 1)], "radius": 0}, "radius 0"),
        ({"line": [(1, 1)], "radius": True}, "radius True"),
        ({"line": [(1, 1)], "radius": 3, "erase": 1}, "erase 1"),
    ],
)
def test_wrong_strokes_are_refused(arguments, message):
    with pytest.raises(PromptError, match=message):
        Brush(1, **arguments)


def test_a_stroke_outside_of_the_frame_is_refused():
    with pytest.raises(PromptError, match="outside of the frame"):
        prompt_mask(FRAME, [Brush(1, [(60.5, 3)], 3)])


def test_strokes_survive_json():
    prompts = {3: [Box(1, 2, 3, 20, 30), Brush(1, [(4, 5), (6, 7)], 2.5, erase=True)]}
    assert prompts_from_json(prompts_to_json(prompts)) == prompts
