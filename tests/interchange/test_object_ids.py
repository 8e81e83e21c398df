from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.errors import MaskError
from vos_zoo.interchange.annotation import AnnotatedFrame, Annotation, AnnotationFile
from vos_zoo.interchange.object_ids import id_in_name, number_objects


def area(column: int, width: int = 1):
    def paint(size):
        mask = np.zeros(size, np.bool_)
        mask[:, column : column + width] = True
        return mask

    return paint


def file(*frames) -> AnnotationFile:
    """A file whose areas are given as (label, track) or (label, track, more)."""
    made = []
    for number, areas in enumerate(frames):
        annotations = [
            Annotation(label, area(place), f"area {place} of frame {number}", track=track, **(more[0] if more else {}))
            for place, (label, track, *more) in enumerate(areas)
        ]
        made.append(AnnotatedFrame(name=f"{number:05d}", origin=f"frame {number}", annotations=tuple(annotations)))
    return AnnotationFile(Path("a.json"), made, "COCO")


def ids(annotation_file, objects_by=None) -> list[list[int]]:
    frames, _ = number_objects(annotation_file, objects_by)
    return [frame.ids((1, 4))[0].tolist() for frame in frames]


def test_tracks_that_are_numbers_are_the_ids():
    assert ids(file([("dog", 3), ("dog", 7)], [("dog", 7)])) == [[3, 7, 0, 0], [7, 0, 0, 0]]


def test_tracks_that_count_from_0_are_raised():
    assert ids(file([("dog", 0), ("dog", 2)])) == [[1, 3, 0, 0]]


@pytest.mark.parametrize("tracks", [("a", "b"), (70_000, 5), (-4, 5)])
def test_other_tracks_are_numbered_in_their_order(tracks):
    first, second = tracks
    assert ids(file([("", first), ("", second)], [("", second)])) == [[1, 2, 0, 0], [2, 0, 0, 0]]


def test_labels_decide_if_no_frame_has_one_twice():
    frames = file([("dog", None), ("cat", None)], [("cat", None)], [("dog", None)])
    assert ids(frames) == [[1, 2, 0, 0], [2, 0, 0, 0], [1, 0, 0, 0]]
    assert number_objects(frames)[1] == {1: "dog", 2: "cat"}


def test_labels_that_are_ids_are_kept():
    assert ids(file([("object 5", None), ("2", None)])) == [[5, 2, 0, 0]]


def test_one_frame_is_numbered_in_its_order():
    assert ids(file([("dog", None), ("dog", None)])) == [[1, 2, 0, 0]]


def test_areas_of_one_group_in_a_frame_are_one_object():
    assert ids(file([("dog", "g"), ("dog", "g"), ("dog", None)])) == [[1, 1, 2, 0]]


def test_two_areas_of_one_label_in_several_frames_could_be_parts_or_objects():
    frames = file([("dog", None), ("dog", None)], [("dog", None)])
    with pytest.raises(MaskError, match=r"two ways: frame 0 has 2 areas `dog`.*objects_by='label'.*--objects-by order"):
        ids(frames)
    assert ids(frames, "label") == [[1, 1, 0, 0], [1, 0, 0, 0]]
    assert ids(frames, "order") == [[1, 2, 0, 0], [1, 0, 0, 0]]


def test_areas_without_a_track_are_named_if_tracks_are_asked_for():
    with pytest.raises(MaskError, match="area 1 of frame 0 has no track or group"):
        ids(file([("dog", 3), ("dog", None)]), "track")


def test_more_objects_than_masks_hold_are_refused():
    with pytest.raises(MaskError, match="70000 objects"):
        number_objects(file([(f"object of name {n}", None) for n in range(70_000)]))


def test_later_areas_lie_over_earlier_ones_and_it_is_said(caplog):
    both = AnnotatedFrame(
        name="00000",
        origin="frame 0",
        annotations=(Annotation("a", area(0, 3), "first"), Annotation("b", area(1, 2), "second")),
    )
    frames, _ = number_objects(AnnotationFile(Path("a.json"), [both], "COCO"))
    with caplog.at_level(logging.INFO):
        assert frames[0].ids((2, 4)).tolist() == [[1, 2, 2, 0]] * 2
        frames[0].ids((2, 4))
    assert caplog.text.count("object 2 lies over object 1; 4 pixels") == 1


def test_a_higher_z_lies_over_what_comes_later():
    above = AnnotatedFrame(
        name="00000",
        origin="frame 0",
        annotations=(Annotation("a", area(0, 3), "first", z=1), Annotation("b", area(1, 3), "second")),
    )
    frames, _ = number_objects(AnnotationFile(Path("a.json"), [above], "COCO"))
    assert frames[0].ids((1, 4)).tolist() == [[1, 1, 1, 2]]


def test_an_area_without_a_pixel_is_said(caplog):
    thin = AnnotatedFrame(
        name="00000",
        origin="frame 0",
        annotations=(Annotation("a", lambda size: np.zeros(size, np.bool_), "polygon 7"),),
    )
    frames, _ = number_objects(AnnotationFile(Path("a.json"), [thin], "COCO"))
    assert not frames[0].ids((1, 4)).any()
    assert "polygon 7 covers the centre of no pixel" in caplog.text


def test_an_area_that_does_not_fit_is_named():
    def broken(size):
        raise ValueError("its run lengths add up to 5 pixels instead of 6")

    frame = AnnotatedFrame(name="0", origin="frame 0", annotations=(Annotation("a", broken, "area 3"),))
    frames, _ = number_objects(AnnotationFile(Path("a.json"), [frame], "COCO"))
    with pytest.raises(MaskError, match="area 3 cannot be read: its run lengths add up"):
        frames[0].ids((2, 3))


@given(st.integers(1, 65535))
def test_ids_are_found_in_names(number):
    assert {id_in_name(text.format(number)) for text in ("{}", "object {}", "obj_{}", "ID-{}", "{:08d}")} == {number}


@pytest.mark.parametrize("name", ["0", "65536", "dog", "dog 3", "-1", "", "1.5", "object"])
def test_other_names_state_no_id(name):
    assert id_in_name(name) is None
