from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from testing.videos import MATRICES
from vos_zoo.media.orientation import matrix_orientation, swaps_sides, turn_upright

PIXELS = np.arange(6, dtype=np.uint8).reshape(2, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_those_of_pillow(orientation):
    image = Image.fromarray(PIXELS)
    image.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image))
    upright = turn_upright(PIXELS, orientation)
    np.testing.assert_array_equal(upright, expected)
    assert upright.flags.c_contiguous
    assert swaps_sides(orientation) == (upright.shape == (3, 2))
    np.testing.assert_array_equal(turn_upright(np.dstack([PIXELS] * 3), orientation)[:, :, 1], expected)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_unknown_orientations_change_nothing(orientation):
    np.testing.assert_array_equal(turn_upright(PIXELS, orientation), PIXELS)


@pytest.mark.parametrize("orientation", MATRICES)
def test_matrices_of_the_eight_orientations(orientation):
    a, b, c, d = (value << 16 for value in MATRICES[orientation])
    assert matrix_orientation(np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30])) == orientation


def test_a_skewed_turn_counts_as_the_nearest_quarter():
    cosine, sine = np.cos(np.deg2rad(80)), np.sin(np.deg2rad(80))
    matrix = (np.array([cosine, sine, 0, -sine, cosine, 0, 0, 0, 1]) * 65536).astype(np.int32)
    assert matrix_orientation(matrix) == 6
