from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.errors import PromptError
from vos_zoo.prompts import Box, Points, Polygon, Scribbles
from vos_zoo.prompts.check import check_prompts, describe_prompts, line_pixels

SIZE = 40, 60  # height, width
TRIANGLE = [(0, 0), (9, 0), (9, 9)]


def test_prompts_are_sorted_by_object():
    boxed, clicked = check_prompts(
        [Box(3, 0, 0, 60, 40), Points(1, [(5, 5)], [(59.9, 39.9)]), Scribbles(3, [[(1, 1), (2, 2)]])], SIZE
    )
    assert (boxed.object_id, boxed.box, boxed.positive) == (3, Box(3, 0, 0, 60, 40), [((1, 1), (2, 2))])
    assert (clicked.object_id, clicked.positive, clicked.negative) == (1, [((5, 5),)], [((59.9, 39.9),)])
    assert describe_prompts(boxed) == "1 box, 1 positive point or line"


@pytest.mark.parametrize(
    "prompt",
    [
        Box(1, -1, 0, 5, 5),
        Box(1, 0, 0, 60.5, 5),
        Polygon(1, [(0, 0), (9, 0), (9, 41)]),
        Points(1, [(60, 5)]),
        Points(1, [(5, 5)], [(5, 40)]),
        Scribbles(1, [[(1, 1), (100, 1)]]),
    ],
)
def test_prompts_outside_of_the_frame_are_refused(prompt):
    with pytest.raises(PromptError, match="outside of the frame, which is 60×40 pixels"):
        check_prompts([prompt], SIZE)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "No prompt was given"),
        ([(1, 2)], "of type tuple"),
        ([Box(1, 0, 0, 5, 5), Box(1, 0, 0, 5, 6)], "two different boxes"),
        ([Box(1, 0, 0, 5, 5), Polygon(1, TRIANGLE)], "a box and a polygon"),
        ([Polygon(1, TRIANGLE), Box(1, 0, 0, 5, 5)], "a box and a polygon"),
        ([Points(1, [(5.2, 5)], [(5.8, 5)])], "Pixel 5,5 is positive and negative"),
        ([Points(1, [(5, 5)]), Scribbles(1, negative=[[(3, 3), (9, 9)]])], "Pixel 5,5 is positive and negative"),
        ([Points(1, [(5, 5)]), Points(2, [(5, 5)])], "positive for the objects 1 and 2"),
        ([Points(4, negative=[(5, 5)])], "negative prompts alone, and nothing says where it is"),
    ],
)
def test_contradictions_are_refused(prompts, message):
    with pytest.raises(PromptError, match=message):
        check_prompts(prompts, SIZE)


def test_the_same_prompt_twice_is_no_contradiction():
    (entry,) = check_prompts([Box(1, 0, 0, 5, 5), Box(1, 0, 0, 5, 5), Points(1, [(2, 2)]), Points(1, [(2, 2)])], SIZE)
    assert entry.box == Box(1, 0, 0, 5, 5)


def test_negative_prompts_alone_correct_known_objects_only():
    previous = np.zeros(SIZE, np.uint8)
    previous[:9, :9] = 4
    assert check_prompts([Points(4, negative=[(5, 5)])], SIZE, previous)[0].object_id == 4
    with pytest.raises(PromptError, match="has the objects 4"):
        check_prompts([Points(5, negative=[(5, 5)])], SIZE, previous)


def test_a_line_covers_the_pixels_between_its_points():
    assert line_pixels([(0.5, 0.5), (3.2, 0.9)]) == {(0, 0), (1, 0), (2, 0), (3, 0)}
    assert line_pixels([(7.9, 2.1)]) == {(7, 2)}
