from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from testing.bombs import huge_png
from vos_zoo.errors import MaskError
from vos_zoo.interchange.polygons import fill_polygon
from vos_zoo.interchange.shapes import ellipse, paint_at, picture_levels


def test_an_ellipse_has_the_area_of_its_formula():
    area = fill_polygon(ellipse(np.array([50.0, 40.0]), (40.0, 20.0)), (80, 100))
    assert area.sum() == pytest.approx(math.pi * 40 * 20, rel=0.005)


def test_a_turned_ellipse_is_turned_clockwise():
    rows, columns = np.nonzero(fill_polygon(ellipse(np.array([50.0, 40.0]), (30.0, 2.0), 45.0), (80, 100)))
    assert np.corrcoef(rows, columns)[0, 1] > 0.9  # down on the right


def test_a_piece_lies_at_its_place():
    assert paint_at(np.ones((1, 2), np.bool_), 1, 0)((2, 3)).astype(int).tolist() == [[0, 0, 0], [1, 1, 0]]


@pytest.mark.parametrize(("top", "left"), [(-1, 0), (0, -1), (2, 0), (0, 2)])
def test_a_piece_outside_of_the_frame_is_refused(top, left):
    with pytest.raises(ValueError, match="beyond the frame of 3x2"):
        paint_at(np.ones((1, 2), np.bool_), top, left)((2, 3))


def in_base64(image: Image.Image) -> str:
    content = io.BytesIO()
    image.save(content, format="PNG")
    return base64.b64encode(content.getvalue()).decode()


def test_levels_are_opacity_where_there_is_some():
    rgba = np.zeros((1, 2, 4), np.uint8)
    rgba[0, 1] = (0, 0, 0, 200)
    assert picture_levels(in_base64(Image.fromarray(rgba)), "it").tolist() == [[0, 200]]
    assert picture_levels(in_base64(Image.fromarray(np.array([[0, 7]], np.uint8))), "it").tolist() == [[0, 7]]


@pytest.mark.parametrize("text", ["", "no base 64", base64.b64encode(b"no picture").decode()])
def test_what_is_no_picture_is_named(text):
    with pytest.raises(MaskError, match="shape 3: its mask is not an image"):
        picture_levels(text, "shape 3")


def test_a_picture_that_declares_too_much_is_not_read():
    with pytest.raises(MaskError, match="VOS_ZOO_MAX_PIXELS"):
        picture_levels(base64.b64encode(huge_png()).decode(), "shape 3")
