from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.errors import ConfigError
from vos_zoo.media.levels import Levels, check_levels, find_levels, to_8_bits, type_range

RAMP = np.linspace(200, 3800, 64 * 96).reshape(64, 96).astype(np.uint16)  # a 12-bit camera's values in 16 bits


def test_the_range_of_the_clip_is_that_of_all_its_samples():
    levels = find_levels([RAMP, RAMP + 1000, RAMP + 200], None, name="clip")
    assert (levels.low, levels.high) == (200, 4800)


def test_hot_pixels_do_not_make_the_rest_black():
    big = np.tile(RAMP, (4, 4))
    big[5, 5], big[7, 7] = 65535, 0
    levels = find_levels([big], "clip", name="clip")
    assert 200 <= levels.low < 205
    assert 3795 < levels.high <= 3800
    big[0, :20] = 65535  # 20 of 98,304 pixels are no accident
    assert find_levels([big], "clip", name="clip").high == 65535


@pytest.mark.parametrize(
    ("pixels", "bits", "expected"),
    [
        (RAMP, None, Levels(0, 65535)),
        (RAMP.astype(np.int32), None, Levels(0, 65535)),
        (RAMP, 12, Levels(0, 4095)),
        (RAMP.astype(np.float32), None, Levels(0, 1)),
        (RAMP.astype(np.int16) - 3000, None, Levels(-32768, 32767)),
    ],
)
def test_the_range_of_a_type(pixels, bits, expected):
    assert type_range(pixels, bits) == expected
    assert find_levels([pixels], "type", name="clip", bits=bits) == expected


def test_given_levels_are_taken_and_what_is_outside_is_clipped():
    levels = find_levels(iter(()), (1000, 2000), name="clip")
    pixels = np.array([[0, 1000, 1500, 2000, 9000]], np.uint16)
    assert levels.apply(pixels)[0, :, 2].tolist() == [0, 0, 128, 255, 255]


def test_the_range_is_logged(caplog):
    find_levels([RAMP], None, name="`scan.tif`")
    (record,) = caplog.records
    for part in ("`scan.tif`", "200 to 3800", "the clip's values", "--levels"):
        assert part in record.getMessage()


def test_fractions_and_what_is_no_number():
    pixels = np.array([[np.nan, -np.inf, 0.25, 0.5, np.inf]], np.float32)
    assert to_8_bits(pixels)[0, :, 0].tolist() == [0, 0, 0, 255, 255]
    assert not to_8_bits(np.full((2, 2), np.nan, np.float32)).any()


def test_one_value_everywhere_is_black():
    assert not to_8_bits(np.full((2, 2), 700, np.uint16)).any()


def test_eight_bits_stay_as_they_are():
    pixels = np.full((2, 2, 3), 7, np.uint8)
    assert to_8_bits(pixels, Levels(0, 10)) is pixels


@pytest.mark.parametrize("choice", ["auto", (3, 3), (5, 1), (1,), (0, float("nan")), 8, ("a", "b")])
def test_what_is_no_choice_is_named(choice):
    with pytest.raises(ConfigError, match="Levels are"):
        check_levels(choice)


@pytest.mark.parametrize("choice", [None, "clip", "type", (0, 4095), (-0.5, 1.5)])
def test_choices(choice):
    check_levels(choice)
