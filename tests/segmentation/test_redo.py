"""Windows of frames around changes: to the next annotated frame in the directions of the run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.segmentation.redo import redo_windows, retracked_frames


@pytest.mark.parametrize(
    ("direction", "changed", "windows"),
    [
        ("forward", [4], [(4, 8)]),
        ("backward", [4], [(1, 5)]),
        ("both", [4], [(1, 8)]),
        ("forward", [8], [(8, 12)]),
        ("backward", [0], [(0, 1)]),
        ("both", [0], [(0, 4)]),
        ("forward", [2], [(2, 4)]),  # a mask that was removed
        ("both", [2], [(1, 4)]),
        ("forward", [0, 8], [(0, 4), (8, 12)]),
        ("forward", [4, 8], [(4, 12)]),
        ("both", [], []),
    ],
)
def test_windows_end_at_the_next_annotated_frame(direction, changed, windows):
    found = redo_windows(changed, [0, 4, 8], 12, direction)
    assert [(window.start, window.stop) for window in found] == windows


@given(
    st.sets(st.integers(0, 20), min_size=1),
    st.sets(st.integers(0, 20)),
    st.sampled_from(["forward", "backward", "both"]),
)
def test_windows_hold_every_change_and_no_annotated_frame_that_stayed(annotated, changed, direction):
    windows = redo_windows(changed, sorted(annotated), 21, direction)
    inside = {position for window in windows for position in window}
    assert changed <= inside
    assert not inside & (annotated - changed)
    assert sum(map(len, windows)) == len(inside)


def test_what_an_unfinished_redo_left_is_joined():
    assert redo_windows([4], [0, 4, 8], 12, "forward", [range(6, 9)]) == [range(4, 9)]


def followed(shown, frame, direction):
    """Say it as the guide does."""
    return bool(shown) and (
        direction == "both" or (direction == "forward" and frame >= shown[0]) or
        (direction == "backward" and frame <= shown[-1])
    )  # fmt: skip


positions = st.sets(st.integers(0, 8), max_size=3).map(sorted)


@given(positions, positions, st.sampled_from(["forward", "backward", "both"]))
def test_frames_are_redone_in_which_an_object_is_followed_that_was_not(before, now, direction):
    windows = retracked_frames({3: before}, {3: now}, 9, direction)
    found = [frame for window in windows for frame in window]
    assert found == [
        frame for frame in range(9) if followed(before, frame, direction) != followed(now, frame, direction)
    ]
