"""Label Studio's PNG export: an image per task and stroke. Names are as label-studio-converter 0.0.59 writes them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from testing.annotations import SIZE, TRUTH, masks_in, opened
from vos_zoo.errors import MaskError
from vos_zoo.interchange.label_studio_images import is_label_studio_image

CAT, DOG = 1, 2


def save(folder, name, area, **options):
    folder.mkdir(exist_ok=True)
    Image.fromarray((area * 255).astype(np.uint8)).save(folder / f"{name}.png", **options)


def name(task, label, number=0, *, annotation=1, who="1", control="tag"):
    return f"task-{task}-annotation-{annotation}-by-{who}-{control}-{label}-{number}"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "project-1-at-2026-01-02"


@pytest.mark.parametrize(("who", "control"), [("1", "tag"), ("me@example.org", "brush"), ("", "tag")])
def test_two_tags_of_one_task_are_two_objects_of_the_first_frame(folder, caplog, who, control):
    for label, object_id in (("cat", CAT), ("dog", DOG)):
        save(folder, name(3, label, who=who, control=control), TRUTH[0] == object_id)
    caplog.set_level("INFO")
    found = masks_in(folder)
    assert list(found) == ["00000"]
    np.testing.assert_array_equal(found["00000"], TRUTH[0])
    assert "1 is cat, 2 is dog" in caplog.text


def test_tasks_are_frames_by_their_numbers(folder):
    for task, truth in enumerate(TRUTH, start=41):
        for label, object_id in (("cat", CAT), ("dog", DOG)):
            save(folder, name(task, label, annotation=task), truth == object_id)
    with pytest.raises(MaskError, match=r"match no frame: task-41.*--first-frame-number 41"):
        opened(folder)
    for found, truth in zip(masks_in(folder, first_frame_number=41).values(), TRUTH, strict=True):
        np.testing.assert_array_equal(found, truth)


def test_a_single_task_may_be_of_a_later_frame(folder):
    save(folder, name(43, "cat"), TRUTH[2] == CAT)
    assert list(masks_in(folder, first_frame_number=41)) == ["00002"]


def test_strokes_of_one_label_are_objects_by_tag_and_number(folder, caplog):
    """A frame that lacks one of them does not change what the others are."""
    save(folder, name(1, "cat", 0), TRUTH[0] == CAT)
    save(folder, name(1, "cat", 1), TRUTH[0] == DOG)
    save(folder, name(2, "cat", 1), TRUTH[1] == DOG)
    caplog.set_level("INFO")
    first, second = masks_in(folder, first_frame_number=1).values()
    np.testing.assert_array_equal(first, TRUTH[0])
    np.testing.assert_array_equal(second, np.where(TRUTH[1] == DOG, DOG, 0))
    assert "1 is cat (track tag-cat-0), 2 is cat (track tag-cat-1)" in caplog.text
    united = masks_in(folder, first_frame_number=1, objects_by="label")["00000"]
    np.testing.assert_array_equal(united, TRUTH[0] > 0)


def test_labels_that_state_ids_keep_them(folder):
    save(folder, name(5, "object 7"), TRUTH[0] == CAT)
    save(folder, name(5, "object-9"), TRUTH[0] == DOG)
    assert set(np.unique(masks_in(folder)["00000"])) == {0, 7, 9}


def test_soft_rims_belong_to_a_stroke_from_half_on(folder):
    ramp = np.tile(np.linspace(0, 1, SIZE[1]), (SIZE[0], 1))
    save(folder, name(1, "cat"), ramp)
    np.testing.assert_array_equal(masks_in(folder)["00000"], (ramp * 255).astype(np.uint8) >= 128)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([name(3, "cat"), name(3, "cat", annotation=2)], r"2 annotations of task 3 \(1, 2\).*keep the images of one"),
        ([name(3, "cat"), "00000"], r"00000\.png` is not named like the images of Label Studio beside it"),
    ],
)
def test_what_cannot_be_meant_is_named(folder, files, message):
    for file in files:
        save(folder, file, TRUTH[0] == CAT)
    with pytest.raises(MaskError, match=message):
        opened(folder)


def test_damaged_and_misshapen_images_are_named(folder):
    save(folder, name(3, "cat"), TRUTH[0] == CAT)
    save(folder, name(3, "dog"), TRUTH[0][1:] == DOG)
    with pytest.raises(
        MaskError, match=r"tag-dog-0.png` cannot be read: it is 40x23 .* another image of its task 40x24"
    ):
        masks_in(folder)
    with pytest.raises(MaskError, match="made for an image of 40x24"):
        opened(folder, size=(40, 24))
    file = folder / f"{name(3, 'dog')}.png"
    file.write_bytes((folder / f"{name(3, 'cat')}.png").read_bytes()[:60])
    with pytest.raises(MaskError, match=r"tag-dog-0\.png` cannot be read"):
        masks_in(folder)


@pytest.mark.parametrize("stem", ["task-3", "task-3-annotation-1", "00000", "task-3-annotation-1-by-1-0"])
def test_other_names_are_other_files(stem):
    assert not is_label_studio_image(stem)
