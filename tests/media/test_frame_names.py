"""Frames are found by their names, with or without leading zeros, and by their numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.errors import MaskError, UsageError
from vos_zoo.media.frame_names import FrameNames, some_names


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20, unique=True), st.integers(0, 3))
def test_leading_zeros_do_not_matter_while_one_frame_is_meant(numbers, zeros):
    names = [f"frame_{number:07d}" for number in numbers]
    found = FrameNames(names)
    for number, name in zip(numbers, names, strict=True):
        assert found.find(f"frame_{'0' * zeros}{number}", "A mask") == name
    assert [found.find_key(position, "A mask") for position in range(len(names))] == names
    assert found.find_key(np.int64(0), "A mask") == names[0]


def test_an_exact_name_wins():
    assert FrameNames(["1", "01"]).find("01", "A mask") == "01"
    with pytest.raises(MaskError, match=r"A mask could belong to frames 1, 01\. Name it exactly"):
        FrameNames(["1", "01"]).find("001", "A mask")


def test_what_is_no_frame_is_named():
    names = FrameNames(["00000", "00001"])
    assert names.find("x", "A mask") is None
    for key in ("x", 2, -1):
        with pytest.raises(MaskError, match=f"A mask is given for frame {key!r}, which the video does not have"):
            names.find_key(key, "A mask")
    with pytest.raises(UsageError, match="None, a NoneType"):
        names.find_key(None, "A mask")


def test_many_names_are_cut():
    assert some_names(["a"]) == "a"
    assert some_names(list("abcde")) == "a, b, c … e"
