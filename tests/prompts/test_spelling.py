from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.errors import PromptError
from vos_zoo.prompts import Box, Points, Polygon, Scribbles
from vos_zoo.prompts.spelling import parse_box, parse_point, parse_polygon, parse_scribble, prompts_by_frame

PARSERS = (parse_box, parse_polygon, parse_point, parse_scribble)


@pytest.mark.parametrize(
    ("parse", "text", "prompt", "frame"),
    [
        (parse_box, "1:120,40,310,420", Box(1, 120, 40, 310, 420), None),
        (parse_box, "120,40,310,420", Box(1, 120, 40, 310, 420), None),
        (parse_box, "7@30: 1.5, 2, 3, 4", Box(7, 1.5, 2, 3, 4), 30),
        (parse_box, "@5:1,2,3,4", Box(1, 1, 2, 3, 4), 5),
        (parse_polygon, "2:0,0,9,0,9,5", Polygon(2, [(0, 0), (9, 0), (9, 5)]), None),
        (parse_point, "1:+200,180", Points(1, positive=[(200, 180)]), None),
        (parse_point, "1:200,180", Points(1, positive=[(200, 180)]), None),
        (parse_point, "3@0:-40,40", Points(3, negative=[(40, 40)]), 0),
        (parse_point, "+40,40", Points(1, positive=[(40, 40)]), None),
        (parse_scribble, "1:-1,2,3,4", Scribbles(1, negative=[[(1, 2), (3, 4)]]), None),
    ],
)
def test_what_is_spelled_is_meant(parse, text, prompt, frame):
    assert parse(text) == (prompt, frame)


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_box, "1:120,40,310", "3 numbers are not pairs"),
        (parse_box, "1:120,40,310,420,5,6", "6 numbers, not four"),
        (parse_box, "dog:120,40,310,420", "begins with 'dog'"),
        (parse_box, "1@x:120,40,310,420", "begins with '1@x'"),
        (parse_box, "1:120,40,310,", "'' is not a number"),
        (parse_box, "1:120,40,nan,3", "'nan' is not a number"),
        (parse_box, "1:310,40,120,420", "no area"),
        (parse_box, "0:1,2,3,4", "object id 0"),
        (parse_polygon, "1:0,0,1,1", "2 different corners"),
        (parse_point, "1:+1,2,3,4", "4 numbers, not two"),
        (parse_point, "1:*1,2", r"'\*1' is not a number"),
        (parse_scribble, "1:", "'' is not a number"),
    ],
)
def test_what_is_misspelled_is_explained(parse, text, message):
    with pytest.raises(PromptError, match=message) as raised:
        parse(text)
    assert "Expected ID" in str(raised.value)
    assert repr(text) in str(raised.value)


@given(st.text("0123456789@:,.+- x", max_size=20))
def test_any_text_is_a_prompt_or_refused(text):
    for parse in PARSERS:
        try:
            prompt, frame = parse(text)
        except PromptError:
            continue
        assert prompt.points
        assert frame is None or frame >= 0


def test_prompts_go_to_the_frames_that_they_name():
    spelled = [parse_box("1@30:1,2,3,4"), parse_point("1:5,5"), parse_point("1@30:-9,9")]
    assert prompts_by_frame(spelled, 7) == {
        7: [Points(1, positive=[(5, 5)])],
        30: [Box(1, 1, 2, 3, 4), Points(1, negative=[(9, 9)])],
    }
