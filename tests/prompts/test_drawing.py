from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.errors import ShapeError
from vos_zoo.prompts import Box, Points, Polygon, Scribbles
from vos_zoo.prompts.drawing import draw_prompts

FRAME = np.full((240, 320, 3), 90, np.uint8)
NOTHING = np.zeros((240, 320), np.uint8)


@pytest.mark.parametrize(
    ("prompt", "place", "colour"),
    [
        (Box(1, 50, 60, 200, 180), (60, 120), [200, 200, 200]),
        (Polygon(1, [(50, 60), (200, 60), (200, 180)]), (60, 120), [200, 200, 200]),
        (Points(1, [(100, 100)]), (102, 102), [40, 200, 80]),
        (Points(2, negative=[(100, 100)]), (102, 102), [225, 50, 50]),
        (Scribbles(1, [[(20, 30), (200, 30)]]), (30, 110), [40, 200, 80]),
        (Scribbles(1, negative=[[(20, 30), (200, 30)]]), (30, 110), [225, 50, 50]),
    ],
)
def test_every_prompt_is_drawn_where_it_is(prompt, place, colour):
    frame = FRAME.copy()
    picture = draw_prompts(frame, NOTHING, [prompt])
    assert np.abs(picture[place].astype(int) - colour).max() < 60
    assert (picture[230:, 310:] == 90).all()
    np.testing.assert_array_equal(frame, FRAME)


def test_the_mask_lies_below():
    mask = NOTHING.copy()
    mask[100:200, 100:200] = 1
    picture = draw_prompts(FRAME, mask, [Points(1, [(150, 150)])])
    assert (picture[110, 110] != 90).any()
    with pytest.raises(ShapeError):
        draw_prompts(FRAME, mask[:-1], [Points(1, [(150, 150)])])


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (2160, 3840)])
def test_any_size_of_frame_can_be_drawn_on(size):
    picture = draw_prompts(np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8), [Points(1, [(0, 0)])])
    assert picture.shape == (*size, 3)
