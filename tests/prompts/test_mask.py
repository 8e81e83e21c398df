from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo.errors import PromptError, ShapeError
from vos_zoo.prompts import Box, Points, Polygon, Scribbles, prompt_mask
from vos_zoo.prompts.polygon_fill import fill_polygon


def disc(size=(120, 160), centre=(80, 60), radius=30):
    """A red disc on a blue ground with some noise, and its mask."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    mask = (columns - centre[0]) ** 2 + (rows - centre[1]) ** 2 < radius**2
    frame = np.where(mask[..., None], [200, 40, 40], [40, 60, 160]).astype(np.int16)
    frame += np.random.default_rng(0).integers(-20, 20, frame.shape, dtype=np.int16)
    return frame.clip(0, 255).astype(np.uint8), mask


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


FRAME, DISC = disc()
SQUARE = [(10, 10), (30, 10), (30, 30), (10, 30)]


@pytest.mark.parametrize(
    "prompts",
    [
        [Box(1, 48, 28, 113, 92)],
        [Points(1, [(80, 60)])],
        [Points(1, [(80, 60)], [(10, 10), (150, 110)])],
        [Scribbles(1, [[(60, 60), (100, 60)]], [[(5, 5), (150, 5)]])],
        [Box(1, 48, 28, 113, 92), Points(1, [(80, 60)])],
    ],
    ids=["box", "click", "clicks", "scribbles", "box and click"],
)
@pytest.mark.parametrize("method", ["grabcut", "network"])
def test_a_plain_object_is_found(prompts, method):
    frame = FRAME.copy()
    mask = prompt_mask(frame, prompts, method=method)
    assert mask.shape == DISC.shape
    assert set(np.unique(mask)) == {0, 1}
    assert iou(mask == 1, DISC) > 0.9
    np.testing.assert_array_equal(frame, FRAME)
    np.testing.assert_array_equal(mask, prompt_mask(frame, prompts, method=method))


def test_polygons_are_filled_exactly():
    mask = prompt_mask(FRAME, [Polygon(7, SQUARE), Polygon(7, [(100, 100), (110, 100), (110, 110)])])
    expected = np.zeros(DISC.shape, bool)
    expected[10:30, 10:30] = True
    expected |= fill_polygon([(100, 100), (110, 100), (110, 110)], DISC.shape)
    np.testing.assert_array_equal(mask == 7, expected)


def test_polygons_need_no_network():
    code = (
        "import sys, numpy as np\n"
        "from vos_zoo.prompts import Polygon, prompt_mask\n"
        "prompt_mask(np.zeros((40, 40, 3), np.uint8), [Polygon(1, [(1, 1), (30, 1), (30, 30)])])\n"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_a_smaller_object_lies_over_a_larger_one():
    mask = prompt_mask(FRAME, [Polygon(1, SQUARE), Polygon(2, [(0, 0), (160, 0), (160, 120), (0, 120)])])
    assert (mask[10:30, 10:30] == 1).all()
    assert (mask == 1).sum() == 400
    assert (mask > 0).all()


def test_points_correct_a_polygon():
    """The polygon holds the disc and too much of the ground beside it."""
    outline = [(50, 30), (150, 30), (150, 90), (50, 90)]
    rough = prompt_mask(FRAME, [Polygon(1, outline)]) == 1
    better = prompt_mask(FRAME, [Polygon(1, outline), Points(1, [(80, 60)], [(140, 60)])], method="grabcut") == 1
    assert iou(better, DISC) > iou(rough, DISC) + 0.2


def test_points_correct_a_previous_mask():
    previous = np.zeros(DISC.shape, np.uint8)
    previous[40:80, 60:80] = 3  # half of the disc
    mask = prompt_mask(FRAME, [Points(3, [(95, 60)])], previous=previous, method="grabcut")
    assert iou(mask == 3, DISC) > 0.9
    assert previous.sum() == 3 * 800


def test_negative_points_alone_correct_a_previous_mask():
    previous = DISC.astype(np.int64)
    previous[40:80, 110:150] = 1
    mask = prompt_mask(FRAME, [Points(1, negative=[(140, 60)])], previous=previous, method="grabcut")
    assert iou(mask == 1, DISC) > 0.9


def test_a_box_draws_a_known_object_anew():
    previous = np.zeros(DISC.shape, np.uint8)
    previous[:10, :10] = 1
    mask = prompt_mask(FRAME, [Box(1, 48, 28, 113, 92)], previous=previous, method="grabcut")
    assert (mask[:10, :10] == 0).all()
    assert iou(mask == 1, DISC) > 0.9


def test_objects_without_prompts_keep_their_pixels():
    previous = np.zeros(DISC.shape, np.uint8)
    previous[50:60, 70:90] = 9
    mask = prompt_mask(FRAME, [Box(1, 48, 28, 113, 92)], previous=previous)
    np.testing.assert_array_equal(mask == 9, previous == 9)
    assert (mask == 1).any()


def test_a_positive_prompt_takes_what_it_lies_in():
    previous = np.zeros(DISC.shape, np.uint8)
    previous[50:60, 70:90] = 9
    previous[0:5, 0:5] = 9
    mask = prompt_mask(FRAME, [Box(1, 48, 28, 113, 92), Points(1, [(80, 55)])], previous=previous)
    assert mask[55, 80] == 1
    assert (mask[0:5, 0:5] == 9).all()


def test_an_empty_result_is_refused():
    with pytest.raises(PromptError, match=r"object 1 \(1 polygon\) lead to an empty mask"):
        prompt_mask(FRAME, [Polygon(1, [(5.6, 5.6), (5.8, 5.6), (5.8, 5.8)])])
    with pytest.raises(PromptError, match="other objects cover whole"):
        prompt_mask(FRAME, [Polygon(1, SQUARE)], previous=np.full(DISC.shape, 2, np.uint8))


@pytest.mark.parametrize(
    "frame", [FRAME[..., 0], FRAME / 255, FRAME.transpose(2, 0, 1), "frame.png", None, np.zeros((4, 4, 4), np.uint8)]
)
def test_what_is_no_frame_is_refused(frame):
    with pytest.raises(ShapeError, match="The frame is"):
        prompt_mask(frame, [Box(1, 0, 0, 4, 4)])


@pytest.mark.parametrize("previous", [DISC.astype(float), DISC[:-1], np.stack([DISC] * 2), "mask.png"])
def test_what_is_no_previous_mask_is_refused(previous):
    with pytest.raises(ShapeError, match="mask to be corrected"):
        prompt_mask(FRAME, [Box(1, 0, 0, 4, 4)], previous=previous)


def test_an_unknown_method_is_refused():
    with pytest.raises(PromptError, match="no method 'magic'"):
        prompt_mask(FRAME, [Box(1, 0, 0, 4, 4)], method="magic")


inside = st.tuples(st.integers(0, 39), st.integers(0, 29))
prompts = st.one_of(
    st.builds(
        lambda a, b: Box(1, min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]) + 1, max(a[1], b[1]) + 1), inside, inside
    ),
    st.builds(lambda a, b: Points(1, a, b), st.lists(inside, min_size=1, max_size=3), st.lists(inside, max_size=2)),
    st.builds(lambda a: Points(2, a), st.lists(inside, min_size=1, max_size=2)),
    st.builds(lambda a: Scribbles(1, [a]), st.lists(inside, min_size=1, max_size=3)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(prompts, min_size=1, max_size=3), st.integers(0, 3), st.booleans())
def test_any_prompts_on_any_frame_give_a_mask_of_their_ids_or_are_refused(given_prompts, kind, has_previous):
    frames = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8), np.zeros((30, 40, 3), np.uint8)
    frame = frames[kind % 2]
    previous = np.zeros((30, 40), np.uint8)
    previous[5:15, 5:25], previous[20:, :] = 1, 8
    try:
        mask = prompt_mask(frame, given_prompts, previous=previous if has_previous else None, method="grabcut")
    except PromptError:
        return
    named = {prompt.object_id for prompt in given_prompts}
    found = set(np.unique(mask).tolist()) - {0}
    assert named <= found <= named | ({1, 8} if has_previous else set())


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 2)])
def test_the_smallest_frames_have_masks_or_errors(size):
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    mask = prompt_mask(frame, [Box(1, 0, 0, size[1], size[0])], method="grabcut")
    assert mask.shape == size
