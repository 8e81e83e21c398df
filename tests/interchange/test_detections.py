from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import vos_zoo
from vos_zoo.errors import MaskError, MissingExtraError

ids = st.sampled_from([0, 1, 2, 255, 300])


@settings(max_examples=30, deadline=None)
@given(
    mask=hnp.arrays(
        st.sampled_from([np.uint16, np.int32, np.int64]), st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=ids
    )
)
def test_detections_hold_every_object(mask):
    pytest.importorskip("supervision")
    found = vos_zoo.to_detections(mask)
    expected = sorted(set(np.unique(mask).tolist()) - {0})
    assert found.tracker_id.tolist() == expected
    again = np.zeros(mask.shape, int)
    for object_mask, box, object_id in zip(found.mask, found.xyxy, found.tracker_id, strict=True):
        again[object_mask] = object_id
        rows, columns = np.nonzero(mask == object_id)
        assert box.tolist() == [columns.min(), rows.min(), columns.max(), rows.max()]
    np.testing.assert_array_equal(again, mask)


def test_an_annotator_takes_them():
    supervision = pytest.importorskip("supervision")
    mask = np.zeros((20, 30), np.uint8)
    mask[4:10, 5:15] = 3
    found = vos_zoo.to_detections(mask, confidence={3: 0.75})
    assert found.confidence.tolist() == [0.75]
    picture = supervision.MaskAnnotator(opacity=1).annotate(np.zeros((20, 30, 3), np.uint8), found)
    np.testing.assert_array_equal(picture.any(axis=2), mask > 0)
    assert len(vos_zoo.to_detections(np.zeros((4, 4), np.uint8))) == 0
    assert len(vos_zoo.to_detections(mask, void=3)) == 0


def test_what_is_no_mask():
    pytest.importorskip("supervision")
    for wrong in (np.zeros((3, 4, 3), np.uint8), np.zeros((3, 4))):
        with pytest.raises(MaskError, match=r"ids of shape \(H, W\)"):
            vos_zoo.to_detections(wrong)
    with pytest.raises(MaskError, match="Object 2 of the mask has no confidence"):
        vos_zoo.to_detections(np.full((2, 2), 2), confidence={1: 0.5})


def test_without_supervision(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match=r"pip install vos-zoo\[supervision\]"):
        vos_zoo.to_detections(np.zeros((2, 2), np.uint8))
