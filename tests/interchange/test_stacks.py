"""TIFF files of several pictures are masks of frames, if there is one for every frame."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from testing.annotations import SIZE, TRUTH, masks_in, names, opened
from vos_zoo.errors import MaskError
from vos_zoo.interchange.opening import open_masks
from vos_zoo.media.mask_values import VOID


def save(path, masks):
    first, *others = [Image.fromarray(np.asarray(mask)) for mask in masks]
    first.save(path, save_all=True, append_images=others)
    return path


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_picture_for_every_frame(tmp_path, kind):
    found = masks_in(save(tmp_path / "a.tif", [truth.astype(kind) for truth in TRUTH]))
    assert list(found) == names(3)
    for mask, truth in zip(found.values(), TRUTH, strict=True):
        np.testing.assert_array_equal(mask, truth)


def test_a_picture_for_every_frame_that_is_segmented(tmp_path):
    given = open_masks(save(tmp_path / "a.tiff", TRUTH), names(7)[1::2], SIZE, all_names=names(7))
    assert given.frames == ("00001", "00003", "00005")
    np.testing.assert_array_equal(given.get("00003"), TRUTH[1])


def test_black_and_white_is_one_object_and_void_is_void(tmp_path):
    path = save(tmp_path / "a.tif", [(truth == 2).astype(np.uint8) * 255 for truth in TRUTH])
    np.testing.assert_array_equal(masks_in(path)["00001"], TRUTH[1] == 2)
    given = open_masks(path, names(3), SIZE, void=255)
    np.testing.assert_array_equal(given.get("00001") == VOID, TRUTH[1] == 2)


@pytest.mark.parametrize("count", [2, 4])
def test_another_number_is_refused_with_what_to_do(tmp_path, count):
    path = save(tmp_path / "a.tif", [TRUTH[0]] * count)
    with pytest.raises(MaskError, match=rf"{count} images, but the video has 3 frames\. .*\(00000\.png\), and give"):
        opened(path)
    with pytest.raises(MaskError, match=r"5 frames, of which 3 are segmented"):
        open_masks(path, names(5)[:3], SIZE, all_names=names(5))


def test_pages_that_are_no_masks_are_named(tmp_path):
    pages = [TRUTH[0], np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8), TRUTH[2]]
    path = save(tmp_path / "a.tif", pages)
    with pytest.raises(MaskError, match=r"Image 1 of `.*a\.tif` has three colour channels"):
        masks_in(path)
    whole = save(tmp_path / "b.tif", TRUTH).read_bytes()
    for length in (len(whole) // 2, len(whole) - 40):
        (tmp_path / "b.tif").write_bytes(whole[:length])
        with pytest.raises(MaskError, match=r"b\.tif"):
            masks_in(tmp_path / "b.tif")


def test_an_animation_is_no_stack(tmp_path):
    path = save(tmp_path / "a.gif", TRUTH)
    with pytest.raises(MaskError, match=r"holds 3 images\. The mask of a frame is one"):
        masks_in(path)
