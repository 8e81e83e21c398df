from __future__ import annotations

import json

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
    opened,
    random_clips,
)
from testing.annotations import names as frame_names
from vos_zoo.errors import MaskError
from vos_zoo.interchange.label_studio import LabelStudioExporter
from vos_zoo.interchange.rle import pack_brush


def region(kind: str = "polygonlabels", label: str = "dog", **value) -> dict:
    value = value or {"points": [[5, 0], [15, 0], [15, 12.5], [5, 12.5]]}
    return {
        "id": "r1",
        "type": kind,
        "original_width": SIZE[1],
        "original_height": SIZE[0],
        "image_rotation": 0,
        "value": {**value, kind: [label]},
    }


def task(*regions, image: str = "/data/upload/3/1a2b3c4d-00000.jpg", **more) -> dict:
    return {"id": 1, "data": {"image": image}, "annotations": [{"id": 1, "result": list(regions)}], **more}


@pytest.fixture
def written(tmp_path):
    def write(*tasks):
        path = tmp_path / "a.json"
        path.write_text(json.dumps(list(tasks)))
        return path

    return write


@pytest.mark.parametrize("name", ["label_studio.json", "label_studio_min.json"])
def test_the_samples_of_label_studio_are_exact(name):
    found = masks_in(SAMPLES / name)
    assert list(found) == frame_names(3)
    for mask, truth in zip(found.values(), TRUTH, strict=True):
        np.testing.assert_array_equal(mask, truth)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(masks=random_clips())
def test_any_masks_survive(tmp_path, masks):
    (tmp_path / "a.json").unlink(missing_ok=True)
    assert_survives(LabelStudioExporter, tmp_path / "a.json", masks)


def test_tasks_name_the_files_of_frames_and_the_labels(tmp_path):
    export(LabelStudioExporter, tmp_path / "a.json", TRUTH, labels={2: "ball"})
    tasks = json.loads((tmp_path / "a.json").read_text())
    assert [one["data"]["image"] for one in tasks] == ["00000.jpg", "00001.jpg", "00002.jpg"]
    assert [one["value"]["brushlabels"] for one in tasks[0]["annotations"][0]["result"]] == [["object 1"], ["ball"]]


def test_polygons_are_in_per_cent(written):
    mask = masks_in(written(task(region())))["00000"]
    assert np.argwhere(mask).max(axis=0).tolist() == [2, 5]
    assert mask.sum() == 12


def test_an_ellipse_has_its_area(written):
    round_one = region("ellipselabels", x=50, y=50, radiusX=25, radiusY=25)
    assert masks_in(written(task(round_one)))["00000"].sum() == pytest.approx(np.pi * 60, rel=0.05)


def test_boxes_are_left_out(written, caplog):
    caplog.set_level("INFO")
    box = region("rectanglelabels", x=50, y=0, width=20, height=25, rotation=0)
    assert masks_in(written(task(region(), box)))["00000"].sum() == 12
    assert "1 boxes, which do not say which pixels" in caplog.text


def test_a_label_may_be_chosen_in_a_control_of_its_own(written, caplog):
    caplog.set_level("INFO")
    drawn = region("brush", rle=list(pack_brush(TRUTH[0] == 1)), format="rle")
    del drawn["value"]["brush"]
    chosen = {"id": "r1", "type": "labels", "value": {"labels": ["cat"]}}
    np.testing.assert_array_equal(masks_in(written(task(drawn, chosen)))["00000"], TRUTH[0] == 1)
    assert "1 is cat" in caplog.text


def test_a_cancelled_annotation_does_not_count(written):
    two = task(region())
    two["annotations"].append({"id": 2, "result": [], "was_cancelled": True})
    assert masks_in(written(two))["00000"].sum() == 12


def test_two_annotations_of_one_task_are_ambiguous(written):
    two = task(region())
    two["annotations"].append({"id": 2, "result": [region()]})
    with pytest.raises(MaskError, match="task 0 has 2 annotations"):
        opened(written(two))


@pytest.mark.parametrize(
    ("image", "frame"),
    [
        ("/data/upload/12/0123abcd-00001.png", "00001"),
        ("/data/local-files/?d=clips/dog/00002.jpg", "00002"),
        ("s3://bucket/clips/00001.jpg", "00001"),
        ("https://example.org/a%20b/00002.webp?token=1&x=3", "00002"),
        ("00001.jpg", "00001"),
    ],
)
def test_the_name_of_a_picture_is_found(written, image, frame):
    assert list(masks_in(written(task(region(), image=image)))) == [frame]


def test_only_uploaded_pictures_have_eight_characters_in_front(written):
    path = written(task(region(), image="s3://bucket/20240101-00001.jpg"))
    assert opened(path, all_names=["20240101-00000", "20240101-00001"]).frames == ("20240101-00001",)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (task({**region(), "image_rotation": 90}), "turned image"),
        (task(region(), {**region(), "original_width": 50}), "another size"),
        (task({**region(), "original_width": None}), "`original_width` is missing"),
        (task(region("brushlabels", format="rle", rle=[1, 2, 300])), "bytes, from 0 to 255"),
        (task(region("brushlabels", format="rle", rle=[0, 0, 0, 4])), "4 values instead of 4 for each of 960"),
        (task(region("bitmasklabels", imageDataURL="data:image/png;base64,AAAA")), "not an image in Base64"),
        (task(region("keypointlabels", x=1, y=1)), "no regions of objects"),
        (task(region("polygonlabels", points=[[0, 0], [1, 1]])), "2 corners"),
        ({"id": 1, "data": {"text": "hello"}, "annotations": [{"result": [region()]}]}, "names no image"),
        ({"id": 1, "data": {"a": "1.jpg", "b": "2.jpg"}, "annotations": [{"result": [region()]}]}, "names 2 images"),
        ({"id": 1, "data": {"image": "1.jpg"}, "annotations": [{}]}, "`result` is missing"),
    ],
)
def test_damage_is_named(written, made, message):
    with pytest.raises(MaskError, match=message) as caught:
        masks_in(written(made))
    assert "a.json`" in str(caught.value)


VALUES = st.none() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(0, 300), max_size=9)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(["points", "rle", "imageDataURL", "x", "width", "radiusX", "polygonlabels"]), value=VALUES)
def test_any_wrong_value_gives_masks_or_a_named_error(written, key, value):
    wrong = region()
    wrong["value"] = {"x": 1, "y": 2, "width": 3, "height": 4, "polygonlabels": ["dog"], key: value}
    with named_errors("a.json"):
        found = masks_in(written(task(wrong)))
        assert all(mask.shape == SIZE for mask in found.values())
