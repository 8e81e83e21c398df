from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vos_zoo.errors import MissingFileError, PromptError
from vos_zoo.prompts import Box, Points, Polygon, Scribbles, prompts_from_json, prompts_to_json, read_prompts

numbers = st.floats(0, 5000, allow_nan=False)
points = st.lists(st.tuples(numbers, numbers), max_size=4)
ids = st.integers(1, 2**16 - 1)


def made(kind, *arguments):
    try:
        return kind(*arguments)
    except PromptError:
        assume(False)


prompts = st.one_of(
    st.builds(lambda *a: made(Box, *a), ids, numbers, numbers, numbers, numbers),
    st.builds(lambda *a: made(Polygon, *a), ids, points),
    st.builds(lambda *a: made(Points, *a), ids, points, points),
    st.builds(lambda *a: made(Scribbles, *a), ids, st.lists(points, max_size=2), st.lists(points, max_size=2)),
)
by_frame = st.dictionaries(st.integers(0, 10**6), st.lists(prompts, max_size=3), max_size=3)


@given(by_frame)
def test_what_is_written_is_read(given_prompts):
    data = prompts_to_json(given_prompts)
    assert prompts_from_json(json.dumps(data)) == given_prompts == prompts_from_json(data)


BOX = {"kind": "box", "object_id": 1, "left": 1, "top": 2, "right": 3, "bottom": 4}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "not JSON"),
        ("[" * 10**5, "nested too deeply"),
        ([], "no object 'frames'"),
        ({"version": 1}, "no object 'frames'"),
        ({"version": 1, "frames": []}, "no object 'frames'"),
        ({"version": 1, "frames": {}, "more": 1}, "unknown key 'more'"),
        ({"frames": {}}, "version None"),
        ({"version": 2, "frames": {}}, "version 2. Expected 1. Update"),
        ({"version": True, "frames": {}}, "version True"),
        ({"version": 1, "frames": {"-1": []}}, "frame '-1' is not a frame"),
        ({"version": 1, "frames": {"07": []}}, "frame '07' is not a frame"),
        ({"version": 1, "frames": {"9" * 5000: []}}, "is not a frame"),
        ({"version": 1, "frames": {"0": {}}}, "not a list of prompts"),
        ({"version": 1, "frames": {"0": [3]}}, "frame '0', prompt 1 has the kind None"),
        ({"version": 1, "frames": {"0": [{"kind": ["box"]}]}}, r"the kind \['box'\]"),
        ({"version": 1, "frames": {"0": [BOX, {**BOX, "width": 3}]}}, "prompt 2 has the unknown key 'width'"),
        ({"version": 1, "frames": {"0": [{"kind": "box", "object_id": 1}]}}, "lacks 'left'"),
        ({"version": 1, "frames": {"0": [{**BOX, "right": 0}]}}, "prompt 1: The box of object 1"),
        ({"version": 1, "frames": {"0": [{**BOX, "right": "9"}]}}, "prompt 1: Box has the point"),
    ],
)
def test_a_json_that_holds_no_prompts_is_refused(data, message):
    with pytest.raises(PromptError, match=message):
        prompts_from_json(data)


def test_a_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="file of prompts"):
        read_prompts(tmp_path / "none.json")
    path = tmp_path / "prompts.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PromptError, match="is not JSON"):
        read_prompts(path)
    path.write_text(json.dumps(prompts_to_json({4: [Box(1, 0, 0, 2, 2)]})))
    assert read_prompts(path) == {4: [Box(1, 0, 0, 2, 2)]}
