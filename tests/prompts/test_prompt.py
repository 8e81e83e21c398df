from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.errors import PromptError
from vos_zoo.prompts import Box, Points, Polygon, Scribbles

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("object_id", [0, -1, 2**16, 1.0, True, "1", None, np.int64(3)])
def test_only_whole_numbers_from_1_are_ids(object_id):
    with pytest.raises(PromptError, match="object id"):
        Box(object_id, 0, 0, 1, 1)


@pytest.mark.parametrize("corners", [(3, 0, 3, 9), (5, 0, 3, 9), (0, 9, 3, 9), (0, 9, 3, 2)])
def test_a_box_without_area_is_refused(corners):
    with pytest.raises(PromptError, match="no area"):
        Box(1, *corners)


@pytest.mark.parametrize(
    ("outline", "message"),
    [
        ([], "0 different corners"),
        ([(0, 0), (1, 0)], "2 different corners"),
        ([(0, 0), (1, 0), (0, 0), (1, 0)], "2 different corners"),
        ([(0, 0), (1, 1), (3, 3), (2, 2)], "one line"),
        ([(5, 2), (5, 7), (5, 1)], "one line"),
    ],
)
def test_a_polygon_without_area_is_refused(outline, message):
    with pytest.raises(PromptError, match=message):
        Polygon(1, outline)


@pytest.mark.parametrize("kind", [Points, Scribbles])
def test_nothing_pointed_at_is_refused(kind):
    with pytest.raises(PromptError, match="no"):
        kind(1)


def test_a_line_without_points_is_refused():
    with pytest.raises(PromptError, match="without points"):
        Scribbles(1, positive=[[(1, 1)], []])


@pytest.mark.parametrize("point", [(1,), (1, 2, 3), (1, "2"), (float("nan"), 0), (0, float("inf")), (True, 0), 5, None])
def test_points_are_pairs_of_finite_numbers(point):
    with pytest.raises(PromptError, match="Expected"):
        Points(1, positive=[point])


def test_arrays_and_lists_are_taken_as_points():
    assert Points(1, positive=np.array([[1, 2]])) == Points(1, positive=[[1.0, 2.0]])
    assert hash(Polygon(1, [[0, 0], [4, 0], [4, 4]])) == hash(Polygon(1, ((0, 0), (4, 0), (4, 4))))


@given(anything)
def test_whatever_is_handed_over_is_taken_or_refused_by_name(value):
    for make in (
        lambda: Box(1, value, 0, 5, 5),
        lambda: Polygon(1, value),
        lambda: Points(1, positive=value),
        lambda: Scribbles(1, negative=value),
    ):
        try:
            prompt = make()
        except PromptError:
            continue
        assert all(np.isfinite(number) for point in prompt.points for number in point)
