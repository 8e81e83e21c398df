from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testing.annotations import (
    SAMPLES,
    SIZE,
    TRUTH,
    assert_survives,
    export,
    masks_in,
    named_errors,
    names,
    opened,
    random_clips,
)
from vos_zoo.errors import MaskError
from vos_zoo.interchange.cvat import CvatExporter
from vos_zoo.interchange.opening import open_masks
from vos_zoo.segmentation.frames import segment_frames

SHAPE = "<polygon frame='0' points='1,1;5,1;5,5'/>"
IMAGE = '<image id="0" name="frame_000000" width="40" height="24">{}</image>'
POLYGON = '<polygon label="dog" points="2.00,1.00;6.00,1.00;6.00,4.00;2.00,4.00" z_order="{z}"></polygon>'


@pytest.fixture
def written(tmp_path):
    def write(body: str, *, head: str = ""):
        path = tmp_path / "annotations.xml"
        path.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n{head}<annotations>{body}</annotations>')
        return path

    return write


def test_the_sample_of_datumaro_is_exact():
    """Its pictures are called frame_000000 and have these numbers, so that there is nothing to decide."""
    found = masks_in(SAMPLES / "cvat_images_datumaro.xml", objects_by="label")
    for mask, truth in zip(found.values(), TRUTH, strict=True):
        np.testing.assert_array_equal(mask, truth)


def test_tracks_of_a_video_are_read_at_their_key_frames(caplog):
    caplog.set_level("INFO")
    given = opened(SAMPLES / "cvat_video.xml", objects_by="label")
    assert given.frames == ("00000", "00002")
    first, last = given.get("00000"), given.get("00002")
    assert np.count_nonzero(first == 1) == 12 * 10
    assert np.count_nonzero(first == 2) == 8 * 18
    assert np.argwhere(last == 1).tolist() == [[1, 4], [1, 5], [3, 4], [3, 5]]
    assert "1 shapes between key frames" in caplog.text
    assert "1 `points` elements" in caplog.text


def test_a_track_that_left_is_said_to_be_outside(written):
    body = (
        "<track id='4' label='dog'>"
        "<polygon frame='0' keyframe='1' outside='0' points='1,1;5,1;5,5'/>"
        "<polygon frame='1' keyframe='1' outside='0' points='1,1;5,1;5,5'/>"
        "<polygon frame='2' keyframe='1' outside='1' points='1,1;5,1;5,5'/></track>"
    )
    given = opened(written(body))
    assert given.frames == ("00000", "00001")
    assert given.absences == {"00002": {5}}


def test_a_track_whose_areas_are_left_out_is_not_absent(written):
    """With `--start 1`, only the second object is there, and the first cannot be missing."""
    shape = "<polygon frame='{}' keyframe='1' outside='{}' points='{}'/>"
    first = "".join(shape.format(frame, frame // 2, "1,1;5,1;5,5") for frame in (0, 1, 2))
    second = "".join(shape.format(frame, 0, "9,1;15,1;15,5") for frame in (0, 1, 2))
    path = written(f"<track id='0' label='dog'>{first}</track><track id='1' label='cat'>{second}</track>")
    assert open_masks(path, names(3), SIZE).absences == {"00002": {1}}
    assert open_masks(path, names(3)[2:], SIZE, all_names=names(3)).absences == {}


def test_tracks_are_followed_and_said_to_be_gone(written, tiny_model):
    """A video from such a file: the object that left is nowhere, and its track does not end."""
    shape = "<polygon frame='{0}' keyframe='1' outside='{1}' points='{2},2;{3},2;{3},20;{2},20'/>"
    gone = "".join(shape.format(frame, outside, 2, 14) for frame, outside in ((0, 0), (1, 1), (3, 0)))
    late = "".join(shape.format(frame, outside, 20, 32) for frame, outside in ((0, 1), (2, 0), (3, 0)))
    path = written(f"<track id='0' label='a'>{gone}</track><track id='1' label='b'>{late}</track>")
    video = np.random.default_rng(0).integers(0, 255, (4, *SIZE, 3), dtype=np.uint8)
    masks = [result.mask for result in segment_frames(video, path, model=tiny_model)]
    assert set(masks[0].ravel()) == {0, 1}
    assert 1 not in masks[1]
    assert {1, 2} <= set(masks[3].ravel())


def test_what_was_drawn_on_one_frame_alone_has_not_left(written):
    """CVAT writes a shape that is no track as one that ends on the next frame."""
    body = (
        "<track id='0' label='dog'>"
        "<polygon frame='0' keyframe='1' outside='0' points='1,1;5,1;5,5'/>"
        "<polygon frame='1' keyframe='1' outside='1' points='1,1;5,1;5,5'/></track>"
    )
    assert opened(written(body)).absences == {}


def test_tracks_are_counted_from_0_and_objects_from_1(written):
    body = "".join(
        f"<track id='{track}' label='dog'><polygon frame='1' points='{left},0;{left + 4},0;{left},3'/></track>"
        for track, left in ((0, 0), (3, 15))
    )
    assert sorted(set(masks_in(written(body))["00001"].ravel())) == [0, 1, 4]


@pytest.mark.parametrize(("z", "expected"), [((0, 0), 2), ((3, 1), 1)])
def test_what_lies_above_is_said_by_z_order_or_comes_later(written, z, expected):
    mask = masks_in(written(IMAGE.format("".join(POLYGON.format(z=one) for one in z))), objects_by="order")["00000"]
    assert set(mask.ravel()) == {0, expected}


def test_a_mask_goes_along_the_rows_of_its_box(written):
    rle = '<mask label="dog" rle="1, 2, 3" left="4" top="2" width="3" height="2" z_order="0"></mask>'
    assert np.argwhere(masks_in(written(IMAGE.format(rle)))["00000"]).tolist() == [[2, 5], [2, 6]]


def test_an_ellipse_has_its_area(written):
    mask = masks_in(written(IMAGE.format('<ellipse label="a" cx="20" cy="12" rx="10" ry="8" rotation="30"/>')))["00000"]
    assert mask.sum() == pytest.approx(np.pi * 80, rel=0.05)


def test_boxes_are_left_out(written, caplog):
    caplog.set_level("INFO")
    box = '<box label="dog" xtl="1" ytl="1" xbr="9" ybr="9"/>'
    assert masks_in(written(IMAGE.format(box + POLYGON.format(z=0))))["00000"].sum() == 12
    assert "1 boxes, which do not say which pixels" in caplog.text
    with pytest.raises(MaskError, match=r"no regions of objects.*--box"):
        opened(written(IMAGE.format(box)))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(masks=random_clips())
def test_any_masks_survive(tmp_path, masks):
    (tmp_path / "a.xml").unlink(missing_ok=True)
    assert_survives(CvatExporter, tmp_path / "a.xml", masks)


def test_what_is_written_says_when_an_object_is_gone(tmp_path):
    masks = [TRUTH[0], np.where(TRUTH[1] == 2, 0, TRUTH[1]).astype(np.uint8), TRUTH[2]]
    export(CvatExporter, tmp_path / "a.xml", masks, labels={1: 'a "dog" & more'})
    assert opened(tmp_path / "a.xml").absences == {"00001": {2}}
    root = ET.parse(tmp_path / "a.xml").getroot()
    assert [track.get("label") for track in root.findall("track")] == ['a "dog" & more', "object 2"]
    assert [name.text for name in root.iter("name")][1:] == ['a "dog" & more', "object 2"]
    assert {shape.get("keyframe") for shape in root.iter("polygon")} == {"1"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.xml"]


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE annotations [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE annotations SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE annotations [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    ],
)
def test_document_types_are_refused(written, head):
    with pytest.raises(MaskError, match="declares a document type"):
        opened(written(IMAGE.format(POLYGON.format(z=0)), head=head))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (IMAGE.format('<polygon label="dog" points="1,1;2,2"/>'), "2 corners"),
        (IMAGE.format('<polygon label="dog" points="1,1;2,2;a,b"/>'), "pairs of x and y"),
        (IMAGE.format('<polygon label="dog"/>'), "`points` is missing"),
        (IMAGE.format('<polygon points="1,1;2,2;3,1"/>'), "line 2, <polygon>: `label` is missing"),
        (IMAGE.format('<mask label="d" rle="1,2" left="0" top="0" width="2" height="2"/>'), "3 pixels instead of 4"),
        (IMAGE.format('<mask label="d" rle="1,x" left="0" top="0" width="2" height="2"/>'), "whole numbers and commas"),
        (IMAGE.format('<mask label="d" rle="4" left="39" top="0" width="2" height="2"/>'), "beyond the frame of 40x24"),
        (IMAGE.format('<mask label="d" rle="4" left="0" top="0" width="99999" height="99999"/>'), "VOS_ZOO_MAX_PIXELS"),
        (IMAGE.format('<points label="d" points="1,1"/>'), "no regions of objects"),
        ("", "no regions of objects"),
        ("<track id='a' label='d'><polygon frame='0' points='1,1;5,1;5,5'/></track>", "`id` is 'a'"),
        ("<track id='0' label='d'><polygon frame='9' points='1,1;5,1;5,5'/></track>", "has 3 frames"),
        (
            "<track id='0' label='d'>" + "<polygon frame='0' points='1,1;5,1;5,5'/>" * 2 + "</track>",
            "two shapes on frame 0",
        ),
        (
            "".join(
                f"<track id='{n}' task_id='{n}' label='d'><polygon frame='0' points='1,1;5,1;5,5'/></track>"
                for n in (1, 2)
            ),
            "tracks of 2 tasks",
        ),
        (
            IMAGE.format(POLYGON.format(z=0)) + f"<track id='0' label='d'>{SHAPE}</track>",
            "both images and tracks",
        ),
        ("<image", "not a complete XML file"),
    ],
)  # fmt: skip
def test_damage_is_named(written, body, message):
    with pytest.raises(MaskError, match=message) as caught:
        masks_in(written(body))
    assert "annotations.xml`" in str(caught.value)


def test_pictures_of_another_task_are_matched_by_name_and_not_by_place(written):
    """The number of an image counts the pictures of a task; these are the frames 2 and 1 of the video."""
    body = "".join(
        f'<image id="{place}" name="clip/0000{number}.jpg" width="40" height="24">{POLYGON.format(z=0)}</image>'
        for place, number in enumerate((1, 2))
    )
    assert opened(written(body)).frames == ("00001", "00002")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["box", "ellipse", "polygon", "mask", "cuboid", "skeleton"]),
    attributes=st.dictionaries(
        st.sampled_from(
            ["label", "points", "rle", "left", "top", "width", "height", "frame", "keyframe", "outside", "z_order",
             "xtl", "ytl", "xbr", "ybr", "cx", "cy", "rx", "ry", "rotation", "group_id"]
        ),
        st.sampled_from(["0", "1", "2", "-1", "1,1;3,1;3,3", "0,4", "nan", "1e400", "9" * 30, "x", ""]),
    ),
    is_track=st.booleans(),
)  # fmt: skip
def test_any_attributes_give_masks_or_a_named_error(written, kind, attributes, is_track):
    shape = f"<{kind} " + " ".join(f'{name}="{value}"' for name, value in attributes.items()) + "/>"
    body = f"<track id='0' label='dog'>{shape}</track>" if is_track else IMAGE.format(shape)
    with named_errors("annotations.xml"):
        found = masks_in(written(body))
        assert all(mask.shape == SIZE for mask in found.values())
