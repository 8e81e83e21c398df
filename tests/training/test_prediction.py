"""A whole video, predicted while its masks are taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vos_zoo import VideoSession
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.data.modules.prediction import PredictionFrame
from vos_zoo.errors import OutOfMemoryError
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


class AheadSession(VideoSession):
    """Says that it works ahead, as on a CUDA device; counts the frames that it is given, and can fail at one."""

    works_ahead = True

    def __init__(self, *args, fails_at=None, **options):
        super().__init__(*args, **options)
        self.given, self.fails_at = 0, fails_at

    def submit(self, *args, **options):
        if self.given == self.fails_at:
            raise OutOfMemoryError("full")
        self.given += 1
        return super().submit(*args, **options)


def test_masks_that_come_one_frame_late_are_the_same(network):
    sessions = []

    def start():
        sessions.append(AheadSession(network, size=None))
        return sessions[-1]

    expected = list(VideoPrediction(Video(), lambda: VideoSession(network, size=None)))
    found, given = [], []
    for named in VideoPrediction(Video(), start):
        found.append(named)
        given.append(sessions[0].given)
    assert given == [2, 4, 6]  # frames 0, 2 and 4 come once the one behind them was given
    for (name, mask), (other_name, other) in zip(found, expected, strict=True):
        assert name == other_name
        np.testing.assert_array_equal(mask, other)


@pytest.mark.parametrize("fails_at", [1, 2, 5])
def test_masks_before_an_error_come_before_it(network, fails_at):
    names = []

    def take():
        for name, _ in VideoPrediction(Video(), lambda: AheadSession(network, size=None, fails_at=fails_at)):
            names.append(name)

    with pytest.raises(OutOfMemoryError, match="full"):
        take()
    assert names == [f"{number:05d}" for number in range(0, fails_at, 2)]


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
