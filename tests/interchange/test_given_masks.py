from __future__ import annotations

import shutil

import numpy as np
import pytest

from testing.annotations import SAMPLES, SIZE, TRUTH, names, opened
from vos_zoo.errors import MaskError
from vos_zoo.interchange.annotation import GivenFrame
from vos_zoo.interchange.given_masks import AnnotatedMasks
from vos_zoo.interchange.opening import open_masks


class Plain(GivenFrame):
    def ids(self, size):
        return np.ones(size, np.uint8)


def given(*frames, count: int = 3, frame_names=None, **options) -> AnnotatedMasks:
    made = [Plain(origin=f"mask {place}", **frame) for place, frame in enumerate(frames)]
    return AnnotatedMasks(
        made, SAMPLES / "a.json", frame_names or names(count), SIZE, all_names=names(count), **options
    )


def test_names_count_before_places():
    assert given({"name": "00002", "number": 0}, {"name": "00001", "number": 1}).frames == ("00001", "00002")


def test_places_count_where_names_say_nothing():
    assert given({"name": "clip_000000", "number": 0}, {"name": "clip_000001", "number": 1}).frames == (
        "00000",
        "00001",
    )
    assert given({"number": 1}).frames == ("00001",)
    assert given({"number": 1}, first_number=1).frames == ("00000",)


def test_the_only_mask_with_a_name_without_a_number_is_of_the_first_frame(caplog):
    masks = given({"name": "screenshot"})
    assert masks.frames == ("00000",)
    assert "named like no frame" in caplog.text
    assert masks.get("00000").shape == SIZE
    assert masks.get("00001") is None
    assert masks.source("00000") == "The mask of frame 00000 (mask 0)"
    assert masks.paths == (SAMPLES / "a.json",)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([{"name": "dog"}, {"name": "cat"}], "match no frame: dog, cat"),
        ([{"name": "00001"}, {"name": "1"}], "Frame 00001 has two masks: mask 0, and mask 1"),
        ([{"number": 7}], "has masks of frames 7, counted from 0. The video has 3 frames"),
        ([{"name": "00000", "size": (40, 24)}], "24x40 .*turned by 90 degrees.*--resize-mask"),
        ([{"name": "00000", "size": (10, 10)}], "10x10 .*have 40x24. Is it of another video"),
    ],
)
def test_masks_of_another_video_are_named(frames, message):
    with pytest.raises(MaskError, match=message):
        given(*frames)


def test_another_size_is_taken_if_it_is_to_be_resampled():
    assert given({"name": "00000", "size": (48, 80)}, resize=True).frames == ("00000",)


def test_masks_of_frames_that_are_left_out_are_said(caplog):
    masks = given({"name": "00000"}, {"name": "00002"}, frame_names=["00001", "00002"])
    assert masks.frames == ("00002",)
    assert "1 of the masks" in caplog.text
    with pytest.raises(MaskError, match=r"None of the masks .*such as 00000"):
        given({"name": "00000"}, {"name": "00002"}, frame_names=["00001"])


def test_absences_may_be_noted_beside_files_of_any_format(tmp_path):
    shutil.copytree(SAMPLES / "labelme", tmp_path / "given")
    (tmp_path / "given" / "absent.json").write_text('{"00001": [2]}')
    assert opened(tmp_path / "given").absences == {"00001": {2}}


def test_a_larger_copy_is_painted_in_its_own_size():
    """The caller resamples it; the sample of labelme fits a video of half its size."""
    masks = open_masks(SAMPLES / "labelme", names(3), (12, 20), resize=True)
    np.testing.assert_array_equal(masks.get("00001"), TRUTH[1])
    with pytest.raises(MaskError, match="40x24"):
        opened(SAMPLES / "labelme", size=(12, 20))
