"""Passes see every frame once in their order, and sessions are told what was given and what is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.errors import ConfigError, OutOfMemoryError
from vos_zoo.inference.result import FrameResult
from vos_zoo.media.in_memory import open_frames
from vos_zoo.segmentation.inputs import open_inputs
from vos_zoo.segmentation.passes import Pass, check_direction, nearest, plan_passes, run_pass

SIZE = (12, 16)
FRAMES = [np.full((*SIZE, 3), number, np.uint8) for number in range(8)]


@st.composite
def runs(draw):
    total = draw(st.integers(1, 12))
    annotated = sorted(draw(st.sets(st.integers(0, total - 1), min_size=1)))
    first = draw(st.integers(0, total - 1))
    window = draw(st.sampled_from([None, range(first, draw(st.integers(first + 1, total)))]))
    return total, annotated, window


@given(runs(), st.sampled_from(["forward", "backward", "both"]))
def test_every_frame_becomes_final_once(run, direction):
    total, annotated, window = run
    passes = plan_passes(direction, annotated, total, window=window)
    final = [position for one in passes for position in one.segmented if position not in one.kept]
    assert sorted(final) == list(range(total) if window is None else window)
    kept = {position for one in passes for position in one.segmented if position in one.kept}
    blended = {position for one in passes for position in one.segmented if position in one.blended}
    assert kept == blended
    between = set(range(annotated[0], annotated[-1] + 1)) & set(final)
    assert kept == (between if direction == "both" else set())
    for one in passes:
        steps = np.diff(list(one.positions))
        assert (steps > 0).all() or (steps < 0).all()
        assert all(position in annotated for position in one.positions[: one.known][:-1])


@given(runs())
def test_without_a_window_nothing_is_known_before(run):
    total, annotated, _ = run
    for direction in ("forward", "backward", "both"):
        assert all(one.known == 0 for one in plan_passes(direction, annotated, total))
    assert [list(one.positions) for one in plan_passes("forward", annotated, total)] == [list(range(total))]
    assert [list(one.positions) for one in plan_passes("backward", annotated, total)] == [list(range(total))[::-1]]


def test_the_neighbour_of_a_window_is_known():
    (one,) = plan_passes("forward", [0, 3, 9], 12, window=range(5, 9))
    assert (list(one.positions), one.known) == ([0, 3, 4, 5, 6, 7, 8], 3)
    backward, forward = plan_passes("both", [0, 3, 9], 12, window=range(4, 9))
    assert (list(backward.positions), backward.known) == ([9, 8, 7, 6, 5, 4], 1)
    assert (list(forward.positions), forward.known) == ([0, 3, 4, 5, 6, 7, 8], 2)


@given(st.sets(st.integers(0, 20)), st.integers(-1, 21))
def test_nearest_positions(annotated, position):
    before, after = nearest(sorted(annotated), position)
    assert before == max((one for one in annotated if one <= position), default=None)
    assert after == min((one for one in annotated if one >= position), default=None)


class Recorder:
    """Stands for a session and writes down what it is told, and when its results are fetched."""

    def __init__(self, works_ahead=False, fails_at=None):
        self.told = []
        self.events = []
        self.object_ids = ()
        self.works_ahead = works_ahead
        self.fails_at = fails_at

    def submit(self, frame, mask, *, absent=()):
        number = int(frame[0, 0, 0])
        if number == self.fails_at:
            raise OutOfMemoryError("full")
        ids = () if mask is None else tuple(int(i) for i in np.unique(mask) if i > 0)
        self.object_ids = tuple(dict.fromkeys((*self.object_ids, *ids)))
        self.told.append((number, ids, tuple(absent)))
        self.events.append(("given", number))
        return Pending(self, number, self.object_ids)


class Pending:
    def __init__(self, session, number, ids):
        self.session, self.number, self.ids = session, number, ids

    def result(self):
        self.session.events.append(("fetched", self.number))
        return FrameResult(0, np.full(SIZE, self.number, np.uint8), self.ids, torch.ones(1, 1, 1))


def mask(*ids):
    made = np.zeros(SIZE, np.uint8)
    for number, object_id in enumerate(ids):
        made[:, 2 * number] = object_id
    return made


def told(passes, masks, absent=None, known=None):
    inputs = open_inputs(
        FRAMES, masks, start=None, end=None, every=1, levels=None, resize_mask=False, void="auto", absent=absent
    )
    session, watched = Recorder(), []
    frames = list(
        run_pass(
            passes,
            inputs.reader,
            inputs.annotations,
            session,
            known_mask=lambda name: None if known is None else known.get(int(name)),
            watch=watched.append,
        )
    )
    return session.told, [(int(frame.name), result is None) for frame, result in frames], watched


def test_a_backward_pass_tells_masks_and_absences_of_tracked_objects():
    (one,) = plan_passes("backward", [2, 5], 8)
    steps, seen, watched = told(one, {2: mask(1), 5: mask(2)}, absent={3: [1, 2], 7: 2})
    assert [step[0] for step in steps] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert steps[2] == (5, (2,), ())
    assert steps[4] == (3, (), (2,))  # object 1 comes later on this way
    assert steps[5] == (2, (1,), ())
    assert seen == [(number, False) for number in range(7, -1, -1)]
    assert watched == [f"{number:05d}" for number in range(5, -1, -1)]


def test_a_resumed_pass_learns_from_given_masks_and_the_last_finished_one():
    (one,) = plan_passes("forward", [0, 2], 8)
    steps, seen, _ = told(one.resumed(5), {0: mask(1), 2: mask(2)}, absent={3: [1]}, known={4: mask(1, 2)})
    assert steps[:4] == [(0, (1,), ()), (2, (2,), ()), (3, (), (1,)), (4, (1, 2), ())]
    assert [step[0] for step in steps[4:]] == [5, 6, 7]
    assert seen == [(number, number < 5) for number in range(8)]


def test_a_window_is_not_told_what_its_first_frame_corrects():
    (one,) = plan_passes("forward", [0, 4], 8, window=range(4, 8))
    steps, _, _ = told(one, {0: mask(1, 2), 4: mask(2)}, known={3: mask(1, 2)})
    assert steps[:3] == [(0, (1, 2), ()), (3, (1,), ()), (4, (2,), ())]
    steps, _, _ = told(one, {0: mask(1, 2), 4: mask(2)}, absent={4: 1}, known={3: mask(1, 2)})
    assert steps[:2] == [(0, (1, 2), ()), (4, (2,), (1,))]


def open_given(frames, masks):
    return open_inputs(frames, masks, start=None, end=None, every=1, levels=None, resize_mask=False, void="auto")


def run_events(session, frames=FRAMES, *, known=0, **options):
    """Give what came out, and add to the session's events when it did."""
    inputs = open_given(frames, {0: mask(1)})
    one = Pass(range(8)).resumed(known)
    for frame, result in run_pass(one, inputs.reader, inputs.annotations, session, **options):
        session.events.append(("yielded", frame.index))
        if result is not None:
            assert (result.index, result.name, int(result.mask[0, 0])) == (
                frame.index,
                f"{frame.index:05d}",
                frame.index,
            )


def test_a_session_that_works_ahead_is_given_a_frame_before_the_last_result_is_fetched():
    session = Recorder(works_ahead=True)
    run_events(session)
    given = [("given", 0)]
    for number in range(8):
        given += [("given", number + 1)] * (number < 7) + [("fetched", number), ("yielded", number)]
    assert session.events == given


@pytest.mark.parametrize("why", ["the session does not", "views are asked for", "frames come once only"])
def test_otherwise_every_result_is_fetched_before_the_next_frame_is_given(why):
    session = Recorder(works_ahead=why != "the session does not")
    frames = iter(FRAMES) if why == "frames come once only" else FRAMES
    run_events(session, frames, may_lag=why != "views are asked for")
    assert session.events == [(kind, number) for number in range(8) for kind in ("given", "fetched", "yielded")]


def test_known_frames_keep_their_place_in_the_order_when_the_session_is_ahead():
    session = Recorder(works_ahead=True)
    run_events(session, known=3)
    assert [number for kind, number in session.events if kind == "yielded"] == list(range(8))
    assert [number for kind, number in session.events if kind == "fetched"] == list(range(3, 8))


@pytest.mark.parametrize("works_ahead", [False, True])
def test_the_frames_before_an_error_come_out_before_it(works_ahead):
    session = Recorder(works_ahead, fails_at=4)
    with pytest.raises(OutOfMemoryError, match="full"):
        run_events(session)
    assert [number for kind, number in session.events if kind == "yielded"] == [0, 1, 2, 3]


def test_directions_are_named():
    reader = open_frames(FRAMES)
    with pytest.raises(ConfigError, match=r"direction is 'up'\. Expected 'forward', 'backward' or 'both'"):
        check_direction("up", reader)
    for direction in ("backward", "both"):
        check_direction(direction, reader)
        with pytest.raises(ConfigError, match=r"frames in memory come once only.*a list of frames"):
            check_direction(direction, open_frames(iter(FRAMES)))
    check_direction("forward", open_frames(iter(FRAMES)))
