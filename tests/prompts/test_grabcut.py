from __future__ import annotations

import cv2
import numpy as np
import pytest

from vos_zoo.prompts import Box, Points
from vos_zoo.prompts.check import check_prompts
from vos_zoo.prompts.grabcut import segment_by_grabcut


@pytest.fixture(scope="module")
def scene():
    """A textured square on another texture; the frame is large, the square is not."""
    rng = np.random.default_rng(5)
    frame = rng.integers(0, 110, (900, 1600, 3), dtype=np.uint8)
    frame[400:560, 700:900] = rng.integers(140, 256, (160, 200, 3), dtype=np.uint8)
    return cv2.GaussianBlur(frame, (0, 0), 1.5)


def test_the_window_is_bounded_and_the_edge_is_found(scene):
    (prompts,) = check_prompts([Box(1, 690, 390, 910, 570)], scene.shape[:2])
    window, sureness = segment_by_grabcut(scene, prompts, None)
    assert max(window.width, window.height) < 400
    found = np.zeros(scene.shape[:2], bool)
    found[window.slices] = sureness > 127
    truth = np.zeros_like(found)
    truth[400:560, 700:900] = True
    assert (found & truth).sum() / (found | truth).sum() > 0.95


def test_the_same_prompts_give_the_same_mask(scene):
    (prompts,) = check_prompts([Points(1, [(800, 480)], [(100, 100)])], scene.shape[:2])
    first = segment_by_grabcut(scene, prompts, None)[1]
    cv2.setRNGSeed(99)
    np.testing.assert_array_equal(first, segment_by_grabcut(scene, prompts, None)[1])


def test_a_box_around_the_whole_frame_has_no_outside(scene):
    (prompts,) = check_prompts([Box(1, 0, 0, 1600, 900)], scene.shape[:2])
    assert (segment_by_grabcut(scene, prompts, None)[1] == 255).all()
