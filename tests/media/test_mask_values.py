from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.errors import ConfigError
from vos_zoo.media.mask_values import check_void, davis_palette, has_void_rims, ids_behind_greys


def outlined(size=(375, 500), width=5, sides="tblr"):
    """An object whose outline, 255, has this width on some of its sides."""
    mask = np.zeros(size, np.uint8)
    top, bottom, left, right = size[0] // 4, size[0] // 2, size[1] // 4, size[1] // 2
    mask[top - width * ("t" in sides) : bottom + width * ("b" in sides),
         left - width * ("l" in sides) : right + width * ("r" in sides)] = 255  # fmt: skip
    mask[top:bottom, left:right] = 15
    return mask


def with_area(mask):
    """Add an area of 255 that touches nothing, as VOC's difficult objects."""
    mask = mask.copy()
    mask[-60:-10, -60:-10] = 255
    return mask


def face_in_body():
    """An object 1 inside of an object 255."""
    mask = np.zeros((375, 500), np.uint8)
    mask[50:350, 100:400], mask[100:150, 200:250] = 255, 1
    return mask


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        pytest.param(outlined(), True, id="VOC"),
        pytest.param(outlined((1080, 1920), 20), True, id="wide rims of a large frame"),
        pytest.param(outlined((48, 64), 2), True, id="small frame"),
        pytest.param(outlined(sides="t"), True, id="one side"),
        pytest.param(with_area(outlined()), True, id="VOC with a difficult object"),
        pytest.param(with_area(outlined(sides="t")), False, id="one side, and an area"),
        pytest.param(outlined(width=40), False, id="a frame around an object"),
        pytest.param(np.where(outlined() == 15, 254, outlined()), False, id="ids up to 255"),
        pytest.param(np.where(outlined() == 15, 300, outlined().astype(np.int32)), False, id="ids beyond 255"),
        pytest.param(face_in_body(), False, id="object within object"),
        pytest.param(np.full((40, 40), 255, np.uint8), False, id="white"),
        pytest.param(np.zeros((40, 40), np.uint8), False, id="empty"),
        pytest.param(np.eye(40, dtype=np.uint8) * 255, False, id="a line, nothing else"),
        pytest.param(
            np.where(np.arange(40) == 3, 255, np.arange(40) // 20)[None].repeat(40, 0), False, id="line apart"
        ),
    ],
)
def test_rims(mask, expected):
    assert has_void_rims(mask) is expected
    assert has_void_rims(mask.astype(np.int64)) is expected


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([38], {38: 1}),
        ([38, 75, 113], {38: 1, 75: 2, 113: 3}),
        ([14, 38], {14: 4, 38: 1}),
        ([15, 38], {15: 4, 38: 1}),
        ([75], None),
        ([1, 38], None),
        ([38, 40], None),
    ],
)
def test_grey_levels(levels, expected):
    assert ids_behind_greys(levels, davis_palette()) == expected


@pytest.mark.parametrize("void", [None, "auto", 255, np.uint8(3), -1, 0])
def test_choices(void):
    check_void(void)


@pytest.mark.parametrize("void", ["none", "255", 1.0, False])
def test_what_is_no_choice(void):
    with pytest.raises(ConfigError, match="The void value is"):
        check_void(void)
