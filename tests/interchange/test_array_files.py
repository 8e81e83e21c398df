from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from testing.annotations import SIZE, TRUTH, export, masks_in, named_errors, names, opened
from testing.bombs import odd_zip
from vos_zoo.errors import MaskError
from vos_zoo.interchange.array_exporter import ArrayExporter
from vos_zoo.interchange.opening import open_masks
from vos_zoo.media.mask_values import VOID
from vos_zoo.media.masks import write_mask

STACK = np.stack([TRUTH[0] == 1, TRUTH[0] == 2])


@pytest.fixture
def saved(tmp_path):
    def save(array=None, **named):
        path = tmp_path / ("a.npz" if named else "a.npy")
        np.savez_compressed(path, **named) if named else np.save(path, array, allow_pickle=True)
        return path

    return save


def test_a_mask_belongs_to_the_first_frame(saved):
    found = masks_in(saved(TRUTH[0].astype(np.int64)))
    assert list(found) == ["00000"]
    np.testing.assert_array_equal(found["00000"], TRUTH[0])


def test_a_mask_of_booleans_is_one_object(saved):
    np.testing.assert_array_equal(masks_in(saved(TRUTH[0] == 2))["00000"], TRUTH[0] == 2)


@pytest.mark.parametrize("kind", [np.bool_, np.uint8])
def test_a_stack_of_areas_has_one_per_object(saved, kind):
    found = masks_in(saved(STACK.astype(kind)))
    assert list(found) == ["00000"]
    np.testing.assert_array_equal(found["00000"], TRUTH[0])


def test_a_stack_of_ids_has_one_per_frame(saved):
    for mask, truth in zip(masks_in(saved(np.stack(TRUTH))).values(), TRUTH, strict=True):
        np.testing.assert_array_equal(mask, truth)


def test_areas_of_all_objects_in_all_frames(saved):
    array = np.stack([np.stack([truth == 1, truth == 2]) for truth in TRUTH])
    for mask, truth in zip(masks_in(saved(array)).values(), TRUTH, strict=True):
        np.testing.assert_array_equal(mask, truth)


def test_a_stack_that_could_be_frames_or_objects_is_asked_about(saved):
    path = saved(STACK)
    with pytest.raises(MaskError, match=r"two ways: 2 frames.*array-frames.*2 objects.*array-objects"):
        opened(path, 2)
    assert list(masks_in(path, 2, format="array-frames")) == ["00000", "00001"]
    np.testing.assert_array_equal(masks_in(path, 2, format="array-objects")["00000"], TRUTH[0])


def test_arrays_by_the_names_of_frames(saved):
    found = masks_in(saved(**{"00002": TRUTH[2], "00000": STACK}))
    assert list(found) == ["00000", "00002"]
    np.testing.assert_array_equal(found["00000"], TRUTH[0])


def test_what_is_exported_is_read(tmp_path):
    export(ArrayExporter, tmp_path / "a.npz", TRUTH)
    for mask, truth in zip(masks_in(tmp_path / "a.npz", 5).values(), TRUTH, strict=True):
        np.testing.assert_array_equal(mask, truth)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3)), "type float64"),
        (np.zeros(3, np.uint8), r"shape \(3,\)"),
        (np.full((5, 4, 4), 2, np.uint8), "masks of 5 frames.*the video has 3"),
        (np.zeros((0, 4), np.uint8), "holds|cannot be read|shape"),
        (np.array([{}, {}], dtype=object), "cannot be read as a NumPy file"),
        (np.ones((2, 4, 4), np.bool_), "marks"),
        (np.full((3, 2, 4, 4), 7, np.uint8), "values other than 0 and 1"),
    ],
)
def test_other_arrays_are_named(saved, array, message):
    with pytest.raises(MaskError, match=message) as caught:
        masks_in(saved(array), size=(4, 4))
    assert "a.npy" in str(caught.value)


def test_sizes_differ(saved):
    with pytest.raises(MaskError, match=r"5x4 .*frames of the video have 40x24"):
        opened(saved(np.zeros((4, 5), np.uint8)))


def header(shape: tuple) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return content.getvalue()


def test_what_declares_more_than_there_is_is_not_read(tmp_path):
    (tmp_path / "a.npy").write_bytes(header((10**6, 10**6)))
    with pytest.raises(MaskError, match="cannot be read"):
        opened(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("masks.npy", header((10**6, 10**6)) + bytes(50))
    with pytest.raises(MaskError, match="not the size that its shape"):
        opened(tmp_path / "a.npz")
    odd_zip(tmp_path / "b.npz", "masks.npy", size=2**31)
    with pytest.raises(MaskError, match="VOS_ZOO_MAX_FILE_BYTES"):
        opened(tmp_path / "b.npz")


def test_another_archive_is_to_be_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
        archive.writestr("annotations.xml", "<annotations/>")
    with pytest.raises(MaskError, match=r"zip archive.*\(annotations.xml\). Unpack it"):
        opened(tmp_path / "task.zip")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(array=arrays(st.sampled_from(["u1", "i8", "?", "f4", "U3"]), array_shapes(max_dims=5, max_side=4)))
def test_any_array_gives_masks_or_a_named_error(saved, array):
    with named_errors("a.npy"):
        masks_in(saved(array), size=(3, 3))


def test_values_below_0_are_refused_or_void(saved):
    stack = np.stack(TRUTH).astype(np.int16)
    stack[1, 0, :5] = -1
    with pytest.raises(MaskError, match=r"Mask 1 of `.*` holds the value -1\. Object ids are.*--void -1"):
        masks_in(saved(stack))
    given = open_masks(saved(stack), names(3), SIZE, void=-1)
    np.testing.assert_array_equal(given.get("00001"), stack[1])
    with pytest.raises(MaskError, match=r"Mask 0 of `.*` holds the value -1"):
        masks_in(saved(np.where(stack == 0, -1, stack > 0).astype(np.int8)))


@pytest.mark.parametrize("void", ["auto", 255, None])
def test_void_means_the_same_as_in_images(saved, tmp_path, void):
    mask = np.zeros(SIZE, np.uint8)
    mask[5:15, 5:25] = 255
    mask[6:14, 6:24] = 2
    write_mask(tmp_path / "ids" / "00000.png", mask)
    found = [open_masks(path, names(3), SIZE, void=void).get("00000") for path in (saved(mask), tmp_path / "ids")]
    np.testing.assert_array_equal(*found)
    assert (found[0] == VOID).any() == (void is not None)
