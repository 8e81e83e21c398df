import itertools

import numpy as np
import pytest

from vos_zoo.errors import ConfigError, DataError
from vos_zoo.media.masks import read_mask
from vos_zoo.metrics import boundary_accuracy, region_similarity
from vos_zoo.metrics.protocols import get_protocol
from vos_zoo.models.load import load_model
from vos_zoo.reproduction.long_video import bounce, run_long_video
from vos_zoo.reproduction.videos import RootVideo

DAVIS = get_protocol("davis2017")


@pytest.fixture
def video(small_clip):
    return RootVideo("squares", small_clip.frames, small_clip.masks)


def test_the_index_bounces_without_showing_an_end_twice():
    assert list(bounce(4, 11)) == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2]
    assert list(bounce(1, 3)) == [0, 0, 0]
    assert list(bounce(104, 104)) == list(range(104))
    assert all(abs(a - b) == 1 for a, b in itertools.pairwise(bounce(5, 100)))


class Recorder:
    """A session that answers with the true masks, from a certain frame on shifted."""

    def __init__(self, clip, wrong_from=10**9):
        self.truth = [read_mask(path) for path in sorted(clip.masks.iterdir())]
        self.wrong_from = wrong_from
        self.given = {}
        self.time = 0

    memory_bytes = property(lambda self: 1000 * self.time)

    def step(self, frame, given):
        if given is not None:
            self.given[self.time] = sorted(np.unique(given))
        index = list(bounce(8, self.time + 1))[-1]
        mask = self.truth[index] if self.time < self.wrong_from else np.roll(self.truth[index], 4, axis=1)
        self.time += 1
        return type("Result", (), {"mask": mask})


def test_objects_are_given_once_and_true_masks_score_one(small_clip, video):
    session = Recorder(small_clip)
    points = run_long_video(session, video, DAVIS, [3, 1])
    assert session.given == {0: [0, 1], 3: [0, 7]}
    assert [(p.length, p.frames, p.region, p.boundary, p.memory_bytes) for p in points] == [
        (1, 8, 1.0, 1.0, 8000),
        (3, 24, 1.0, 1.0, 24000),
    ]
    assert all(p.frames_per_second > 0 and p.last_frames_per_second > 0 for p in points)


def test_a_point_is_the_score_of_a_video_of_its_length(small_clip, video):
    session = Recorder(small_clip, wrong_from=6)
    points = {point.length: point for point in run_long_video(session, video, DAVIS, [1, 2])}
    for length, point in points.items():
        per_object = []
        for object_id, given in ((1, 0), (7, 3)):
            scores = []
            for time, index in enumerate(bounce(8, 8 * length)):
                if given < time < 8 * length - 1:  # neither the given frame nor the last
                    truth = session.truth[index] == object_id
                    mask = truth if time < 6 else np.roll(truth, 4, axis=1)
                    scores.append((region_similarity(mask, truth), boundary_accuracy(mask, truth)))
            per_object.append(np.mean(scores, axis=0))
        region, boundary = np.mean(per_object, axis=0)
        assert point.region == pytest.approx(region, abs=1e-12)
        assert point.boundary == pytest.approx(boundary, abs=1e-12)
        assert point.j_and_f == pytest.approx((region + boundary) / 2, abs=1e-12)


def test_a_real_session_runs_with_constant_memory(video, tiny_model):
    session = load_model(tiny_model, device="cpu").session(size=32)
    frames = []
    points = run_long_video(session, video, DAVIS, [1, 4], progress=frames.append)
    assert sum(frames) == session.num_frames == 32
    assert points[0].memory_bytes == points[1].memory_bytes > 0


@pytest.mark.parametrize("lengths", [[], [0, 3]])
def test_lengths_below_one_are_refused(small_clip, video, lengths):
    with pytest.raises(ConfigError, match="whole numbers of at least 1"):
        run_long_video(Recorder(small_clip), video, DAVIS, lengths)


def test_frames_without_masks_are_refused(small_clip):
    video = RootVideo("squares", small_clip.frames, small_clip.given)
    with pytest.raises(DataError, match=r"Frame 00001 of 'squares' has no mask"):
        run_long_video(Recorder(small_clip), video, DAVIS, [1])
