from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.annotations import named_errors
from vos_zoo.errors import MaskError
from vos_zoo.interchange.fields import Fields, frame_size, polygon_points

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_any_value_is_taken_or_named(value):
    for read in (
        lambda fields: fields.integer("a"),
        lambda fields: fields.integer("a", low=1, high=5),
        lambda fields: fields.number("a"),
        lambda fields: fields.text("a"),
        lambda fields: fields.records("a"),
        lambda fields: fields.record("a"),
        lambda fields: polygon_points(fields["a"], "a polygon"),
    ):
        with named_errors("a"):
            read(Fields({"a": value}, "`a.json`"))


def test_numbers_may_be_written_as_text():
    fields = Fields({"a": "12", "b": " 1.5", "c": 3.0}, "here")
    assert (fields.integer("a"), fields.number("b"), fields.integer("c")) == (12, 1.5, 3)


def test_a_missing_field_is_named_with_its_place():
    with pytest.raises(MaskError, match=r"`a.json`, images\[1\]: `width` is missing. Expected a whole number from 1"):
        Fields({"images": [{"width": 3}, {}]}, "`a.json`").records("images")[1].integer("width", low=1)


def test_a_size_beyond_the_limit_is_refused(monkeypatch):
    monkeypatch.setenv("VOS_ZOO_MAX_PIXELS", "100")
    assert frame_size(Fields({"height": 10, "width": 10}, "here")) == (10, 10)
    with pytest.raises(MaskError, match="VOS_ZOO_MAX_PIXELS=110"):
        frame_size(Fields({"height": 10, "width": 11}, "here"))


def test_points_come_flat_or_in_pairs():
    expected = [[0, 1], [2, 3], [4, 5]]
    assert polygon_points([0, 1, 2, 3, 4, 5], "it").tolist() == expected
    assert polygon_points(expected, "it", scale=(2.0, 1.0))[:, 0].tolist() == [0, 4, 8]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0, 0, 1, 1], "2 corners"),
        ([0, 0, 1], "3 numbers"),
        ([[0, 0], [1, float("nan")], [1, 1]], "not a point of an image"),
        ([[0, 0], [1, 1e300], [1, 1]], "not a point of an image"),
        (["a", "b"], "pairs of x and y"),
        (None, "corners"),
        ([[1, 2], [3]], "pairs of x and y"),
    ],
)
def test_what_is_no_polygon_is_named(value, message):
    with pytest.raises(MaskError, match=message):
        polygon_points(value, "polygon 1")


def test_long_values_are_cut_in_messages():
    with pytest.raises(MaskError) as caught:
        Fields({"a": list(range(10_000))}, "here").integer("a")
    assert len(str(caught.value)) < 300
