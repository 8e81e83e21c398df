from __future__ import annotations

import numpy as np
import pytest
import yaml
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
from vos_zoo.errors import MaskError
from vos_zoo.interchange.yolo import YoloExporter

SQUARE = "0.05 0.0 0.15 0.0 0.15 0.125 0.05 0.125"  # columns 2 to 5, rows 0 to 2


@pytest.fixture
def written(tmp_path):
    def write(**files: str):
        for name, text in files.items():
            (tmp_path / f"{name.lstrip('_')}.txt").write_text(text)
        return tmp_path

    return write


def test_the_sample_of_supervision_has_the_same_objects(caplog):
    """Its outlines run through the centres of outer pixels and leave holes out."""
    caplog.set_level("INFO")
    found = masks_in(SAMPLES / "yolo", objects_by="label")
    for mask, truth in zip(found.values(), TRUTH, strict=True):
        for object_id in (1, 2):
            assert (mask[truth == object_id] == object_id).mean() > 0.5
    assert "1 is dog, 2 is ball" in caplog.text


def test_corners_are_fractions_of_width_and_height(written):
    mask = masks_in(written(_00001=f"3 {SQUARE}"))["00001"]
    assert set(mask.ravel()) == {0, 4}
    assert np.argwhere(mask).max(axis=0).tolist() == [2, 5]


def test_one_file_is_taken_too(written):
    folder = written(_00001=f"0 {SQUARE}", _00002=f"0 {SQUARE}")
    assert list(masks_in(folder / "00002.txt")) == ["00002"]


def test_tracks_of_predictions_are_the_ids(written):
    """Predictions end in the id of the track, or in a confidence and the id."""
    folder = written(_00000=f"0 {SQUARE} 7", _00001=f"0 {SQUARE} 0.87 7\n0 {SQUARE} 0.5 9")
    assert masks_in(folder)["00000"].max() == 7
    assert masks_in(folder)["00001"].max() == 9


def test_a_confidence_alone_is_left_out(written):
    assert masks_in(written(_00000=f"0 {SQUARE} 0.87"))["00000"].max() == 1


def test_boxes_are_left_out(written, caplog):
    caplog.set_level("INFO")
    assert masks_in(written(_00000=f"0 {SQUARE}\n1 0.5 0.5 0.1 0.1"))["00000"].max() == 1
    assert "1 boxes, which do not say which pixels" in caplog.text
    with pytest.raises(MaskError, match="no regions of objects"):
        opened(written(_00000="1 0.5 0.5 0.1 0.1"))


def test_two_lines_of_one_class_could_be_parts_or_objects(written):
    folder = written(_00000=f"0 {SQUARE}\n0 0.5 0.5 0.6 0.5 0.6 0.6", _00001=f"0 {SQUARE}")
    with pytest.raises(MaskError, match="2 areas `class 0`"):
        opened(folder)
    assert masks_in(folder, objects_by="label")["00000"].max() == 1
    assert masks_in(folder, objects_by="order")["00000"].max() == 2


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(masks=random_clips())
def test_any_masks_survive(tmp_path_factory, masks):
    assert_survives(YoloExporter, tmp_path_factory.mktemp("yolo") / "out", masks)


def test_names_of_classes_are_written_for_every_tool(tmp_path):
    masks = [np.where(TRUTH[0] == 2, 3, TRUTH[0]).astype(np.uint8)]
    export(YoloExporter, tmp_path / "out", masks, labels={1: 'a "dog"'})
    names = ['a "dog"', "object 2", "object 3"]
    assert yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())["names"] == dict(enumerate(names))
    assert (tmp_path / "out" / "classes.txt").read_text().splitlines() == names
    lines = (tmp_path / "out" / "labels" / "00000.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "2"]


def test_images_beside_the_texts_are_ambiguous(written):
    folder = written(_00000=f"0 {SQUARE}")
    (folder / "00000.png").write_bytes((SAMPLES / "truth_00000.png").read_bytes())
    with pytest.raises(MaskError, match="--mask-format yolo"):
        opened(folder)
    assert masks_in(folder, format="yolo")["00000"].sum() == 12
    np.testing.assert_array_equal(masks_in(folder, format="ids")["00000"], TRUTH[0])


def test_names_of_classes_that_cannot_be_read_are_left_out(written, caplog):
    folder = written(_00000=f"0 {SQUARE}")
    (folder / "data.yaml").write_text("names: [&a [x], *a]\n- broken")
    caplog.set_level("INFO")
    assert masks_in(folder)["00000"].max() == 1
    assert "classes are called by numbers" in caplog.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5", "2 numbers after the class"),
        (f"-1 {SQUARE}", "Classes count from 0"),
        ("0 20 10 40 10 40 20", "coordinate 20"),
        ("0 0.1 nan 0.2 0.1 0.2 0.2", "coordinate nan"),
        ("dog 0.1 0.1 0.2 0.1 0.2 0.2", "begins with `dog 0.1 0.1`"),
    ],
)
def test_damaged_lines_are_named(written, line, message):
    with pytest.raises(MaskError, match=message) as caught:
        opened(written(_00000=f"0 {SQUARE}\n{line}"))
    assert "00000.txt`, line 2" in str(caught.value)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.sampled_from(["0", "1", "0.5", "0.25", "1e3", "nan", "-0.1", "x", "7"]), max_size=12))
def test_any_line_gives_masks_or_a_named_error(written, words):
    with named_errors("00000"):
        found = masks_in(written(_00000=f"0 {SQUARE}\n" + " ".join(words)))
        assert all(mask.shape == SIZE for mask in found.values())
