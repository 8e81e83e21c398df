from __future__ import annotations

import copy
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
    names,
    opened,
    random_clips,
)
from vos_zoo.errors import MaskError
from vos_zoo.interchange.coco import CocoExporter


def square(**changes) -> dict:
    """A file with one image, one category and one annotation."""
    entry = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "segmentation": [[2, 1, 6, 1, 6, 4, 2, 4]],
        "iscrowd": 0,
        **changes,
    }
    image = {"id": 1, "file_name": "00000.jpg", "width": 40, "height": 24}
    return {"images": [image], "categories": [{"id": 1, "name": "dog"}], "annotations": [entry]}


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "a.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def test_the_sample_of_datumaro_is_exact():
    found = masks_in(SAMPLES / "coco_datumaro.json", objects_by="label", first_frame_number=0)
    for mask, truth in zip(found.values(), TRUTH, strict=True):
        np.testing.assert_array_equal(mask, truth)


def test_the_sample_of_supervision_has_the_same_objects():
    """Its polygons run through the centres of outer pixels, so that they are smaller by half a pixel."""
    found = masks_in(SAMPLES / "coco_supervision.json", objects_by="label")
    for mask, truth in zip(found.values(), TRUTH, strict=True):
        for object_id in (1, 2):
            assert (mask[truth == object_id] == object_id).mean() > 0.5
        assert not mask[truth == 0].any() or (mask[truth == 0] != 0).mean() < 0.02


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(masks=random_clips())
def test_any_masks_survive(tmp_path, masks):
    (tmp_path / "a.json").unlink(missing_ok=True)
    assert_survives(CocoExporter, tmp_path / "a.json", masks)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools, with NumPy 2
def test_pycocotools_reads_what_is_written(tmp_path, capsys):
    coco = pytest.importorskip("pycocotools.coco")
    export(CocoExporter, tmp_path / "a.json", TRUTH, labels={1: "dog"})
    data = coco.COCO(str(tmp_path / "a.json"))
    capsys.readouterr()
    assert [image["file_name"] for image in data.loadImgs(data.getImgIds())] == [f"{name}.jpg" for name in names(3)]
    for image_id, truth in zip(data.getImgIds(), TRUTH, strict=True):
        for entry in data.loadAnns(data.getAnnIds(image_id)):
            area = truth == entry["track_id"]
            np.testing.assert_array_equal(data.annToMask(entry).astype(bool), area)
            rows, columns = np.nonzero(area)
            assert entry["area"] == area.sum()
            assert entry["bbox"] == [
                columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1,
            ]  # fmt: skip
    assert [category["name"] for category in data.loadCats(data.getCatIds())] == ["dog", "object 2"]


def test_nothing_but_the_file_remains(tmp_path):
    export(CocoExporter, tmp_path / "a.json", TRUTH)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_ids_above_255_survive(tmp_path):
    masks = [np.array([[0, 300], [65535, 1]], np.int32)]
    assert_survives(CocoExporter, tmp_path / "a.json", masks)


def test_a_polygon_covers_its_pixels(written):
    mask = masks_in(written(square()))["00000"]
    assert np.argwhere(mask).min(axis=0).tolist() == [1, 2]
    assert np.argwhere(mask).max(axis=0).tolist() == [3, 5]


def test_plain_run_lengths_go_down_the_columns(written):
    content = square(segmentation={"size": [24, 40], "counts": [25, 2, 24 * 40 - 27]})
    mask = masks_in(written(content))["00000"]
    assert np.argwhere(mask).tolist() == [[1, 1], [2, 1]]


def test_the_track_of_cvats_export_is_found(written):
    content = square(attributes={"track_id": 5, "occluded": False})
    assert masks_in(written(content))["00000"].max() == 5


def test_a_size_may_be_stated_by_run_lengths_alone(written):
    content = square(segmentation={"size": [5, 6], "counts": [10, 20]})
    del content["images"][0]["width"], content["images"][0]["height"]
    with pytest.raises(MaskError, match=r"6x5 .*, but the frames of the video have 40x24"):
        opened(written(content))


def test_boxes_alone_are_no_masks(written):
    with pytest.raises(MaskError, match="holds no regions of objects"):
        opened(written(square(segmentation=[])))


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [24, 40], "counts": [5, 5]}, "add up to 10 pixels instead of 960"),
        ({"size": [24, 40], "counts": "~"}, "'~', a character"),
        ({"size": [24, 40], "counts": [5.5]}, "whole numbers from 0 on"),
        ({"size": [24, 40], "counts": [-1, 961]}, "whole numbers from 0 on"),
        ({"size": [24], "counts": [960]}, "height and width"),
        ({"size": [24, 41], "counts": [960]}, "41x24 .*but its image 40x24"),
        ({"counts": [960]}, "`size` is missing"),
        ({"size": [24, 40], "counts": None}, "list of run lengths, or a text"),
        ({"size": [10**6, 10**6], "counts": []}, "VOS_ZOO_MAX_PIXELS"),
        ([[1, 2, 3, 4]], "2 corners"),
        ([[1, 2, 3, 4, 5, "x"]], "pairs of x and y"),
        ("abc", "an object"),
    ],
)
def test_damaged_segmentations_are_named(written, segmentation, message):
    with pytest.raises(MaskError, match=message) as caught:
        masks_in(written(square(segmentation=segmentation)))
    assert "a.json`" in str(caught.value)


def test_an_annotation_of_a_missing_image_is_named(written):
    with pytest.raises(MaskError, match="is of image 9, which the file does not list"):
        opened(written(square(image_id=9)))


def test_annotations_of_several_videos_are_refused(written):
    content = square()
    content["images"][0]["video_id"] = 1
    content["images"].append({**content["images"][0], "id": 2, "video_id": 2, "file_name": "00001.jpg"})
    content["annotations"].append({**content["annotations"][0], "id": 2, "image_id": 2})
    with pytest.raises(MaskError, match="annotations of 2 videos"):
        opened(written(content))


SEED = square(track_id=1)


def replaced(content, path, value):
    """Give a copy of JSON in which one place holds another value."""
    changed = copy.deepcopy(content)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


PATHS = [
    ("images",), ("annotations",), ("categories",), ("images", 0), ("annotations", 0), ("categories", 0),
    *[("images", 0, key) for key in SEED["images"][0]], *[("annotations", 0, key) for key in SEED["annotations"][0]],
    ("annotations", 0, "segmentation", 0), ("annotations", 0, "segmentation", 0, 3), ("categories", 0, "name"),
]  # fmt: skip
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.lists(st.integers(), max_size=4),
    st.dictionaries(st.sampled_from(["size", "counts", "id"]), st.integers() | st.text(max_size=3), max_size=3),
)  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(PATHS), value=VALUES)
def test_any_wrong_value_gives_masks_or_a_named_error(written, path, value):
    with named_errors("a.json"):
        found = masks_in(written(replaced(SEED, path, value)))
        assert all(mask.shape == SIZE for mask in found.values())
