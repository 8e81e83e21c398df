"""A whole video, predicted while its masks are taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vos_zoo import VideoSession
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.data.modules.prediction import PredictionFrame
from vos_zoo.models.stcn import STCNConfig, STCNNetwork
from vos_zoo.training.prediction import VideoPrediction


class Video:
    """A video of six frames whose second object is given on the third; every second frame belongs to the result."""

    name, layout = "shapes", "davis"

    def __init__(self):
        self.clip = moving_shapes(6, 32, 48, num_objects=2, rng=3)
        self.read = 0

    def given(self, index):
        mask = self.clip.masks[index]
        return {0: np.where(mask == 1, 1, 0), 2: np.where(mask == 2, 2, 0)}.get(index)

    def __iter__(self):
        for index, image in enumerate(self.clip.frames):
            self.read += 1
            yield PredictionFrame(f"{index:05d}", image, self.given(index), is_written=index % 2 == 0)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return STCNNetwork(STCNConfig.tiny()).eval()


def test_masks_are_those_of_a_session(network):
    video = Video()
    session = VideoSession(network, size=None)
    expected = [session.step(image, video.given(index)).mask for index, image in enumerate(video.clip.frames)]
    found = dict(VideoPrediction(video, lambda: VideoSession(network, size=None)))
    assert list(found) == ["00000", "00002", "00004"]
    for name, mask in found.items():
        np.testing.assert_array_equal(mask, expected[int(name)])
    assert set(np.unique(found["00002"])) >= {0, 2}


def test_nothing_is_computed_before_a_mask_is_taken(network):
    video, sessions = Video(), []

    def start():
        sessions.append(VideoSession(network, size=None))
        return sessions[-1]

    prediction = VideoPrediction(video, start)
    masks = iter(prediction)
    assert (video.read, sessions) == (0, [])
    next(masks)
    assert 1 <= video.read <= 4  # decoding is ahead by two frames and the one that waits for a place
    assert len(sessions) == 1
    next(masks)
    assert 3 <= video.read <= 6


def test_every_iteration_begins_anew(network):
    sessions = []

    def start():
        sessions.append(VideoSession(network, size=None))
        return sessions[-1]

    prediction = VideoPrediction(Video(), start)
    first, second = list(prediction), list(prediction)
    assert len(sessions) == 2
    for (name, mask), (other_name, other) in zip(first, second, strict=True):
        assert name == other_name
        np.testing.assert_array_equal(mask, other)
