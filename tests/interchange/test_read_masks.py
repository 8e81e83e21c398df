from __future__ import annotations

import numpy as np
import pytest

from testing.annotations import SAMPLES, SIZE, TRUTH, names
from vos_zoo import read_masks

VIDEO = [np.zeros((*SIZE, 3), np.uint8)] * 3


def test_masks_are_read_by_the_names_of_frames():
    found = read_masks(SAMPLES / "labelme", VIDEO)
    assert (list(found), len(found)) == (names(3), 3)
    for mask, truth in zip(found.values(), TRUTH, strict=True):
        np.testing.assert_array_equal(mask, truth)
    with pytest.raises(KeyError):
        found["00009"]


def test_masks_of_another_size_are_resampled_on_request():
    small = [np.zeros((12, 20, 3), np.uint8)] * 3
    assert read_masks(SAMPLES / "labelme", small, resize_mask=True)["00000"].shape == (12, 20)
