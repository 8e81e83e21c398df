"""Masks of a video come from files and from memory, and mean the same."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from PIL import Image

from vos_zoo.errors import ConfigError, MaskError, MissingFileError, UsageError
from vos_zoo.media.given_masks import MasksInMemory, open_given_masks
from vos_zoo.media.mask_values import VOID
from vos_zoo.media.masks import MaskFolder, write_mask

NAMES = [f"{number:05d}" for number in range(6)]
MASK = np.zeros((12, 16), np.uint8)
MASK[3:9, 4:12] = 2


def test_one_mask_belongs_to_the_first_frame():
    for mask in (MASK, Image.fromarray(MASK), MASK.astype(np.int64)):
        given = open_given_masks(mask, NAMES[2:], all_names=NAMES)
        assert given.frames == ("00002",)
        assert given.paths == ()
        assert (given.get("00002") == MASK).all()
        assert given.get("00003") is None
        assert given.source("00002") == "The mask of frame 00002"


def test_masks_by_frame_are_found_by_number_and_by_name():
    given = open_given_masks({"5": MASK, 1: [MASK == 2], np.int64(0): MASK, "00003": MASK == 2}, NAMES)
    assert given.frames == ("00000", "00001", "00003", "00005")
    assert given.get("00001").max() == 1
    assert (given.get("00005") == MASK).all()


def test_files_may_stand_among_masks_in_memory(tmp_path):
    write_mask(tmp_path / "late.png", MASK)
    given = open_given_masks({0: MASK, 4: tmp_path / "late.png"}, NAMES)
    assert (given.get("00004") == MASK).all()
    assert given.paths == (tmp_path / "late.png",)
    assert given.source("00004") == f"Mask `{tmp_path / 'late.png'}`"


@pytest.mark.parametrize("void", ["auto", 255, None, 2])
def test_void_means_the_same_in_files_and_in_memory(tmp_path, void):
    mask = MASK.copy()
    mask[2:10, 3] = mask[2:10, 12] = mask[2, 3:13] = mask[9, 3:13] = 255
    write_mask(tmp_path / "00000.png", mask)
    stored = open_given_masks(tmp_path, NAMES, void=void).get("00000")
    handed = open_given_masks(mask, NAMES, void=void).get("00000")
    assert isinstance(open_given_masks(tmp_path, NAMES), MaskFolder)
    assert (stored == handed).all()
    assert (VOID in handed) == (void is not None)


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        (None, UsageError, "masks is None"),
        (3, UsageError, "masks is a int"),
        ({}, MaskError, "No mask was given"),
        ({6: MASK}, MaskError, "frame 6, which the video does not have. It has 6 frames"),
        ({-1: MASK}, MaskError, "frame -1"),
        ({"x": MASK}, MaskError, "frame 'x', which the video does not have"),
        ({0.0: MASK}, UsageError, "frame 0.0, a float"),
        ({True: MASK}, UsageError, "frame True, a bool"),
        ({1: MASK, "00001": MASK}, MaskError, "Frame 00001 has two masks"),
    ],
)
def test_what_belongs_to_no_frame_is_named(masks, error, message):
    with pytest.raises(error, match=message):
        open_given_masks(masks, NAMES)


def test_a_name_that_could_be_two_frames_is_named():
    with pytest.raises(MaskError, match=r"frame '1' could belong to frames 01, 001"):
        MasksInMemory({"1": MASK}, ["01", "001"])


def test_masks_of_frames_that_are_left_out_are_said(caplog):
    with caplog.at_level(logging.WARNING):
        given = open_given_masks({0: MASK, 2: MASK}, NAMES[::2][1:], all_names=NAMES)
    assert given.frames == ("00002",)
    assert "1 masks belong to frames that are left out: 00000" in caplog.text
    with pytest.raises(MaskError, match="not segmented: 00001"):
        open_given_masks({1: MASK}, NAMES[::2], all_names=NAMES)


def test_what_is_no_mask_is_named_with_its_frame():
    given = open_given_masks({3: MASK / 2}, NAMES)
    with pytest.raises(MaskError, match=r"The mask of frame 00003 has shape \(12, 16\) and type float64"):
        given.get("00003")


def test_a_path_that_leads_nowhere_is_named(tmp_path):
    with pytest.raises(MissingFileError):
        open_given_masks(tmp_path / "missing", NAMES)
    with pytest.raises(ConfigError, match="void"):
        open_given_masks(MASK, NAMES, void="rims")


def test_values_below_0_are_no_objects_but_may_be_void():
    mask = np.where(MASK == 0, -3, MASK.astype(np.int16))
    mask[0, 0] = 0
    for choice in ("auto", None, 255, -1):
        with pytest.raises(MaskError, match=r"The mask of frame 00002 holds the value -3\. .*from 1 on.*--void -3"):
            open_given_masks({2: mask}, NAMES, void=choice).get("00002")
    found = open_given_masks({2: mask}, NAMES, void=-3).get("00002")
    np.testing.assert_array_equal(found == VOID, mask == -3)
    np.testing.assert_array_equal(found == 2, MASK == 2)
