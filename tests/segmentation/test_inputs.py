"""What a run reads is opened once and noted under a name that says what it is."""

from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.errors import MaskError
from vos_zoo.media.reader import open_video, read_frames
from vos_zoo.segmentation.inputs import open_inputs

CHOICES = {"start": None, "end": None, "every": 1, "levels": None, "resize_mask": False, "void": "auto"}


def test_paths_are_inputs_that_must_not_be_replaced(small_clip):
    inputs = open_inputs(small_clip.frames, small_clip.first, **CHOICES)
    assert inputs.video_id == str(small_clip.frames.resolve())
    assert inputs.masks_id == str(small_clip.first.resolve())
    assert set(map(str, inputs.paths)) == {inputs.video_id, inputs.masks_id}


def test_a_reader_is_known_by_its_path(small_clip):
    inputs = open_inputs(open_video(small_clip.frames, every=2), small_clip.first, **CHOICES)
    assert inputs.video_id == str(small_clip.frames.resolve())
    assert len(inputs.reader) == 4


def test_what_is_in_memory_has_no_path(small_clip):
    frames = list(read_frames(small_clip.frames))
    inputs = open_inputs(frames, np.ones((48, 64), bool), **CHOICES)
    assert (inputs.video_id, inputs.masks_id) == ("frames in memory", "masks in memory")
    assert inputs.annotations.frames == ("00000",)
    assert inputs.annotations.objects == {1}


def test_the_first_mask_is_held_against_the_frames(small_clip):
    with pytest.raises(MaskError, match="64x48"):
        open_inputs(small_clip.frames, np.ones((12, 16), bool), **CHOICES)
    resized = open_inputs(small_clip.frames, np.ones((12, 16), bool), **{**CHOICES, "resize_mask": True})
    assert resized.annotations.get("00000").shape == (48, 64)
