"""Which frames a bounded memory keeps."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.kept_frames import StoredFrame, least_missed, place_frame


def fill(frames, *, bound, references=(0,), temporary=()):
    slots = []
    for frame in frames:
        placement = place_frame(
            slots, frame, reference=frame in references, temporary=frame in temporary, max_frames=bound
        )
        for index in placement.released:
            slots[index] = None
        if placement.slot is not None:
            slots += [None] * (placement.slot + 1 - len(slots))
            slots[placement.slot] = placement.stored
    return slots


@given(st.integers(2, 9), st.sets(st.integers(0, 40), max_size=6))
def test_a_bound_holds_and_the_newest_and_annotated_frames_stay(bound, references):
    held = [stored.frame for stored in fill(range(41), bound=bound, references={0, *references}) if stored]
    assert len(held) <= bound
    if len({0, *references}) < bound:
        assert {0, 40, *references} <= set(held)


def test_gaps_stay_even():
    held = sorted(stored.frame for stored in fill(range(0, 85, 5), bound=5))
    assert held[0] == 0
    assert held[-1] == 80
    gaps = [after - before for before, after in itertools.pairwise(held)]
    assert max(gaps) <= 2 * min(gaps[:-1])


def test_a_temporary_frame_gives_way_and_its_slot_is_used_again():
    slots = fill(range(4), bound=3, temporary=(1, 2, 3))
    assert [stored and stored.frame for stored in slots] == [0, 3]


def test_the_same_frame_is_replaced_in_its_place_and_stays_annotated():
    slots = [StoredFrame(0, is_reference=True), StoredFrame(4)]
    placement = place_frame(slots, 0, temporary=True, max_frames=2)
    assert placement.slot == 0
    assert placement.stored == StoredFrame(0, is_reference=True, is_temporary=False)


def test_a_frame_that_nobody_annotated_goes_before_annotated_ones():
    annotated = [StoredFrame(0, is_reference=True), StoredFrame(3, is_reference=True)]
    newest = StoredFrame(9)
    assert least_missed(annotated, newest) is newest
    assert least_missed(annotated, StoredFrame(9, is_reference=True)) is annotated[1]
