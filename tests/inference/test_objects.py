"""The user's ids and the network's planes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.errors import MaskError
from vos_zoo.inference.objects import ObjectIds

IDS = st.integers(-(2**31), 2**31 - 1).filter(bool)


def tracked(ids):
    objects = ObjectIds()
    objects.add(ids)
    return objects


def test_planes_follow_the_order_of_arrival():
    objects = tracked([300, 7])
    objects.add([65535, 7, -4])
    assert objects.ids == (300, 7, 65535, -4)
    assert len(objects) == 4
    assert objects.planes([-4, 300]) == [3, 0]
    assert 7 in objects
    assert 8 not in objects


def test_background_gets_no_plane():
    objects = tracked([0, 3, 0])
    assert objects.ids == (3,)


@given(st.lists(IDS, min_size=1, max_size=10, unique=True), st.data())
def test_removal_closes_the_gap(ids, data):
    objects = tracked(ids)
    gone = data.draw(st.sampled_from(ids))
    assert objects.remove(gone) == ids.index(gone)
    left = [object_id for object_id in ids if object_id != gone]
    assert objects.ids == tuple(left)
    assert objects.planes(left) == list(range(len(left)))


def test_an_unknown_object_cannot_be_removed():
    with pytest.raises(MaskError, match=r"Object 5 is not tracked. Tracked objects: \[7, 300\]"):
        tracked([7, 300]).remove(5)
