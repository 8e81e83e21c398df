"""Absences are named by frame, in files and in memory, and held against the masks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.errors import MaskError, UsageError
from vos_zoo.media.absences import ABSENT_FILE, name_absences, read_absences
from vos_zoo.media.annotations import Annotations
from vos_zoo.media.frame_names import FrameNames
from vos_zoo.media.given_masks import open_given_masks
from vos_zoo.media.masks import write_mask

NAMES = [f"{number:05d}" for number in range(6)]
MASK = np.zeros((12, 16), np.uint8)
MASK[3:9, 2:6], MASK[3:9, 8:14] = 1, 2


@given(st.dictionaries(st.integers(0, 5), st.sets(st.integers(1, 300), min_size=1)))
def test_files_and_mappings_say_the_same(tmp_path_factory, absent):
    path = tmp_path_factory.mktemp("absent") / ABSENT_FILE
    path.write_text(json.dumps({f"{number:05d}": sorted(ids) for number, ids in absent.items()}))
    names = FrameNames(NAMES)
    expected = {NAMES[number]: frozenset(ids) for number, ids in absent.items()}
    assert read_absences(path, names) == name_absences(absent, names) == expected


def test_names_may_leave_zeros_out_and_single_ids_need_no_list():
    names = FrameNames(NAMES)
    assert name_absences({"3": 7, 3: [np.int64(8)], "00004": []}, names) == {"00003": frozenset({7, 8})}


@pytest.mark.parametrize(
    ("absent", "error", "message"),
    [
        ([3], UsageError, "absent is a list"),
        ({9: 3}, MaskError, "An absence is given for frame 9, which the video does not have"),
        ({"nine": 3}, MaskError, "frame 'nine'"),
        ({1.5: 3}, UsageError, "frame 1.5, a float"),
        ({1: "3"}, UsageError, "is '3'. Expected an object id"),
        ({1: ["3"]}, UsageError, "holds '3'"),
        ({1: [True]}, UsageError, "holds True"),
        ({1: 0}, MaskError, "holds 0, which is background"),
        ({1: None}, UsageError, "is None"),
    ],
)
def test_what_is_no_absence_is_named(absent, error, message):
    with pytest.raises(error, match=message):
        name_absences(absent, FrameNames(NAMES))


@pytest.mark.parametrize(
    "content",
    ["", "null", "3", "[1]", "[" * 100_000, '{"00001": "3"}', '{"99": [1]}', '{"00001": [0]}', '{"00001": {"3": 1}}'],
    ids=range(9),
)
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / ABSENT_FILE
    path.write_text(content)
    with pytest.raises(MaskError, match=ABSENT_FILE):
        read_absences(path, FrameNames(NAMES))


def annotations(masks, absent=None):
    given = open_given_masks(masks, NAMES)
    return Annotations(given, (12, 16), resize=False, absent=absent)


def test_a_folder_says_what_is_absent_and_arguments_add_to_it(tmp_path):
    write_mask(tmp_path / "00000.png", MASK)
    (tmp_path / ABSENT_FILE).write_text('{"2": [1]}')
    both = annotations(tmp_path, {"00002": frozenset({2}), "00004": frozenset({1})})
    both.check_first()
    assert both.frames == ("00000",)
    assert both.absences == {"00002": {1, 2}, "00004": {1}}


def test_absences_are_held_against_the_masks():
    annotations({0: MASK}, {"00002": frozenset({1})}).check_first()
    with pytest.raises(MaskError, match="Object 3 is declared absent from frame 00002, but no mask shows it"):
        annotations({0: MASK}, {"00002": frozenset({3})}).check_first()
    with pytest.raises(MaskError, match="absent from frame 00000, but The mask of frame 00000 shows it"):
        annotations({0: MASK}, {"00000": frozenset({1})}).check_first()
