from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from testing.annotations import TRUTH, export, masks_in, opened
from vos_zoo.errors import MaskError, MissingFileError
from vos_zoo.interchange.object_files import object_in_name
from vos_zoo.interchange.picture_exporters import BinaryMaskExporter


def save(path, area) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(np.asarray(area, np.uint8) * 255).save(path)


@pytest.fixture(
    params=["{frame}_obj{id}.png", "object_{id:02d}_{frame}.png", "{id}/{frame}.png", "obj {id}/{frame}.png"]
)
def objects(tmp_path, request):
    for number, truth in enumerate(TRUTH):
        for object_id in (1, 2):
            save(tmp_path / request.param.format(frame=f"{number:05d}", id=object_id), truth == object_id)
    return tmp_path


def test_files_of_objects_make_masks(objects):
    for mask, truth in zip(masks_in(objects).values(), TRUTH, strict=True):
        np.testing.assert_array_equal(mask, truth)


def test_what_is_exported_for_each_object_is_read(tmp_path):
    masks = [np.where(truth == 2, 300, truth.astype(np.int32)) for truth in TRUTH]
    export(BinaryMaskExporter, tmp_path / "out", masks)
    for mask, truth in zip(masks_in(tmp_path / "out").values(), masks, strict=True):
        np.testing.assert_array_equal(mask, truth)


def test_where_objects_overlap_the_higher_id_wins_and_it_is_said(tmp_path, caplog):
    save(tmp_path / "1" / "00000.png", [[1, 1, 0]])
    save(tmp_path / "2" / "00000.png", [[0, 1, 1]])
    caplog.set_level("INFO")
    assert masks_in(tmp_path, size=(1, 3))["00000"].tolist() == [[1, 2, 2]]
    assert "1 pixels are in several masks; they are taken as object 2" in caplog.text


def test_folders_with_other_names_could_be_videos(tmp_path, caplog):
    for name in ("cat", "dog"):
        save(tmp_path / name / "00000.png", np.eye(3)[:: 1 if name == "cat" else -1])
    with pytest.raises(MaskError, match=r"folders with masks \(cat, dog\).*--mask-format object-folders"):
        opened(tmp_path, size=(3, 3))
    caplog.set_level("INFO")
    assert masks_in(tmp_path, size=(3, 3), format="object-folders")["00000"].max() == 2
    assert "1 is folder `cat`, 2 is folder `dog`" in caplog.text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"1/00000.png": np.eye(3), "2/00000.png": np.eye(4)}, "4x4 .*another object of the same frame 3x3"),
        ({"00000_obj1.png": np.eye(3), "00000_object_1.png": np.eye(3)}, "Object 1 has two masks of one frame"),
        ({"00000_obj0.png": np.eye(3)}, "ids from 1 on"),
        ({"1/00009.png": np.eye(3), "2/00009.png": np.eye(3)}, "match no frame"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, files, message):
    for name, area in files.items():
        save(tmp_path / name, area)
    with pytest.raises(MaskError, match=message):
        masks_in(tmp_path, size=(3, 3))


def test_a_file_of_several_ids_is_named(tmp_path):
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        Image.fromarray(np.array([[0, 1, 2]], np.uint8)).save(tmp_path / str(number) / "00000.png")
    with pytest.raises(MaskError, match=r"holds the values 1, 2\. One object per file"):
        masks_in(tmp_path, size=(1, 3))


def test_an_empty_folder_is_named(tmp_path):
    save(tmp_path / "1" / "00000.png", np.eye(3))
    (tmp_path / "2").mkdir()
    with pytest.raises(MaskError, match="2` holds no masks"):
        opened(tmp_path, size=(3, 3))


def test_links_to_missing_files_are_named(tmp_path):
    save(tmp_path / "1" / "00000.png", np.eye(3))
    (tmp_path / "1" / "00001.png").symlink_to("gone.png")
    with pytest.raises(MissingFileError, match="links to files that are not there"):
        opened(tmp_path, size=(3, 3))


@pytest.mark.parametrize("stem", ["00000", "00000_1", "obj1", "dog_cat", "00000_objx"])
def test_other_names_state_no_object(stem):
    assert object_in_name(stem) is None
