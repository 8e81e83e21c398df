from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testing.annotations import SAMPLES, SIZE, TRUTH, masks_in, named_errors, opened
from vos_zoo.errors import MaskError


def shape(kind: str = "polygon", points=((2, 1), (6, 1), (6, 4), (2, 4)), **more) -> dict:
    return {"label": "dog", "points": [list(point) for point in points], "group_id": None, "shape_type": kind, **more}


@pytest.fixture
def written(tmp_path):
    def write(*shapes, name="00000.json", **more):
        content = {
            "version": "5.4.1",
            "flags": {},
            "shapes": list(shapes),
            "imagePath": "00000.jpg",
            "imageData": None,
            "imageHeight": SIZE[0],
            "imageWidth": SIZE[1],
            **more,
        }
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return path

    return write


def test_the_sample_of_labelme_is_exact(caplog):
    caplog.set_level("INFO")
    for mask, truth in zip(masks_in(SAMPLES / "labelme").values(), TRUTH, strict=True):
        np.testing.assert_array_equal(mask, truth)
    assert "3 `point` shapes, which have no area" in caplog.text


def test_one_file_gives_the_mask_of_its_frame():
    assert list(masks_in(SAMPLES / "labelme" / "00001.json")) == ["00001"]


def test_a_file_without_the_name_of_its_picture_is_named_like_it(written):
    path = written(shape(), name="00001.json")
    content = json.loads(path.read_text())
    del content["imagePath"]
    path.write_text(json.dumps(content))
    assert list(masks_in(path)) == ["00001"]


def test_files_beside_their_pictures_are_found(tmp_path):
    shutil.copytree(SAMPLES / "labelme", tmp_path / "both")
    shutil.copy(SAMPLES / "truth_00000.png", tmp_path / "both" / "00000.png")
    np.testing.assert_array_equal(masks_in(tmp_path / "both")["00000"], TRUTH[0])


def test_a_circle_is_given_by_its_centre_and_a_point_on_it(written):
    mask = masks_in(written(shape("circle", [(20, 12), (20, 4)])))["00000"]
    assert mask.sum() == pytest.approx(np.pi * 64, rel=0.05)


def test_boxes_are_left_out(written, caplog):
    caplog.set_level("INFO")
    assert masks_in(written(shape(), shape("rectangle", [(2, 1), (30, 20)])))["00000"].sum() == 12
    assert "1 boxes, which do not say which pixels" in caplog.text


def test_shapes_of_one_group_and_label_are_one_object(written):
    parts = [shape(group_id=1), shape(points=[(10, 1), (12, 1), (12, 4), (10, 4)], group_id=1)]
    other = shape(points=[(20, 1), (22, 1), (22, 4), (20, 4)], label="dog")
    assert sorted(set(masks_in(written(*parts, other))["00000"].ravel())) == [0, 1, 2]


def test_the_same_label_twice_in_several_frames_is_ambiguous(written, tmp_path):
    twice = shape(points=[(10, 1), (12, 1), (12, 4), (10, 4)])
    written(shape(), twice)
    written(shape(), name="00001.json", imagePath="00001.jpg")
    with pytest.raises(MaskError, match=r"2 areas `dog`.*--objects-by label"):
        opened(tmp_path)
    assert masks_in(tmp_path, objects_by="label")["00000"].max() == 1
    assert masks_in(tmp_path, objects_by="order")["00000"].max() == 2


def test_another_size_is_another_video(written):
    with pytest.raises(MaskError, match=r"image of 24x40 .*turned by 90 degrees"):
        opened(written(shape(), imageHeight=40, imageWidth=24))


def test_no_shapes_are_no_masks(written):
    with pytest.raises(MaskError, match="labelme, but holds no regions"):
        opened(written())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (shape("circle", [(1, 2)]), "two points"),
        (shape("mask", [(1, 2), (3, 4)], mask="?"), "not an image in Base64"),
        (shape("mask", [(1, 2), (3, 4)]), "`mask` is missing"),
        (shape(points=[(1, 2)]), "1 corners"),
        ({"points": [[0, 0], [1, 0], [1, 1]]}, "`label` is missing"),
        (None, "Expected an object"),
    ],
)
def test_damaged_shapes_are_named(written, wrong, message):
    with pytest.raises(MaskError, match=message):
        opened(written(wrong))


def test_a_file_of_another_kind_among_them_is_named(written, tmp_path):
    written(shape())
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(MaskError, match=r"notes.json` is not a file of labelme"):
        opened(tmp_path)


VALUES = st.none() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=3)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(["label", "points", "group_id", "shape_type"]),
    kind=st.sampled_from(["polygon", "rectangle", "circle", "mask"]),
    value=VALUES,
)
def test_any_wrong_value_gives_masks_or_a_named_error(written, key, kind, value):
    with named_errors("00000.json"):
        found = masks_in(written({**shape(kind), key: value}))
        assert all(mask.shape == SIZE for mask in found.values())
