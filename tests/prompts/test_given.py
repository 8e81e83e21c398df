from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vos_zoo import segment_frames
from vos_zoo.errors import MaskError, PromptError, UsageError
from vos_zoo.media.in_memory import open_frames
from vos_zoo.models.rde import RDEModule
from vos_zoo.prompts import Box, Points, Polygon, Prompts, prompt_mask
from vos_zoo.prompts.given import open_given

SQUARE = Polygon(3, [(10, 10), (20, 10), (20, 20), (10, 20)])
VIDEO = np.random.default_rng(0).integers(0, 90, (5, 40, 60, 3), dtype=np.uint8)
for _index in range(5):
    VIDEO[_index, 10:25, 5 + _index : 25 + _index] += 150


def opened(masks, video=VIDEO, **selection):
    return open_given(masks, open_frames(video, **selection))


@pytest.mark.parametrize(
    ("masks", "frame"),
    [
        (SQUARE, "00000"),
        ([SQUARE], "00000"),
        ((SQUARE,), "00000"),
        ({2: [SQUARE]}, "00002"),
        ({2: SQUARE}, "00002"),
        ({"00002": [SQUARE]}, "00002"),
        (Prompts({2: [SQUARE]}), "00002"),
    ],
    ids=["one", "list", "tuple", "by number", "one by number", "by name", "prompts"],
)
def test_prompts_stand_where_masks_do(masks, frame):
    given = opened(masks)
    assert given.frames == (frame,)
    assert given.paths == ()
    assert given.absences == {}
    assert (given.get(frame) == 3).sum() == 100
    assert given.get("00004") is None
    assert given.source(frame) == f"The mask from the prompts of frame {frame}"


def test_masks_stay_masks():
    mask = np.eye(40, 60, dtype=np.uint8)
    np.testing.assert_array_equal(opened({1: mask}).get("00001"), mask)
    assert opened([mask.astype(bool), mask.astype(bool)]).frames == ("00000",)


def test_prompts_of_several_frames_are_made_of_their_own_frames():
    seen = []
    prompts = {4: [Box(1, 5, 5, 30, 30)], 1: [Box(1, 5, 5, 30, 30)]}
    given = opened(Prompts(prompts, method="grabcut", shown=lambda *shown: seen.append(shown)))
    assert given.frames == ("00001", "00004")
    for index in (1, 4):
        np.testing.assert_array_equal(
            given.get(f"{index:05d}"), prompt_mask(VIDEO[index], prompts[index], method="grabcut")
        )
    assert [(frame.index, of_frame) for frame, _, of_frame in seen] == [(1, prompts[1]), (4, prompts[4])]


def test_prompts_correct_the_mask_of_their_frame(tmp_path):
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 30:40], mask[30:40] = 5, 255  # 255 lies on no rim, so it is an object
    Image.fromarray(mask).save(tmp_path / "00001.png")
    Image.fromarray(mask).save(tmp_path / "00003.png")
    given = opened(Prompts({1: [SQUARE]}, masks=tmp_path))
    assert given.frames == ("00001", "00003")
    assert set(np.unique(given.get("00001"))) == {0, 3, 5, 255}
    np.testing.assert_array_equal(given.get("00003"), mask)
    assert given.paths == (tmp_path,)
    assert "00003.png" in given.source("00003")


@pytest.mark.parametrize(
    ("masks", "selection", "error", "message"),
    [
        ({7: [SQUARE]}, {}, MaskError, "A prompt is given for frame 7, which the video does not have"),
        ({1: [SQUARE]}, {"start": 2}, PromptError, "not segmented: 00001"),
        ({1: [SQUARE]}, {"every": 2}, PromptError, "not segmented: 00001"),
        ({0: [SQUARE], 1: np.ones((40, 60), bool)}, {}, UsageError, "Some frames have masks and others prompts"),
        ([SQUARE, np.ones((40, 60), bool)], {}, PromptError, "of type ndarray"),
        (Prompts({}), {}, PromptError, "No prompt was given"),
        ({1: [Box(1, 0, 0, 61, 9)]}, {}, PromptError, "Frame 00001: The corner of the box 61,9"),
        ({1: [Points(1, negative=[(3, 3)])]}, {}, PromptError, "Frame 00001: Object 1 has negative prompts alone"),
    ],
)
def test_what_is_wrong_is_said_before_the_video_runs(masks, selection, error, message):
    with pytest.raises(error, match=message):
        opened(masks, **selection)


def test_a_generator_is_refused():
    with pytest.raises(UsageError, match="gives each of its frames once"):
        opened([SQUARE], iter(VIDEO))


def test_a_video_is_segmented_from_a_prompt():
    results = list(segment_frames(VIDEO, {1: [SQUARE]}, model=RDEModule("tiny")))
    assert [result.mask.any() for result in results][:1] == [False]
    assert (results[1].mask == 3).sum() == 100
