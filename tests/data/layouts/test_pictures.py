from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vos_zoo.data.clips.compositing import cut_random_sprite
from vos_zoo.data.layouts.pictures import CocoInstances, ImageMaskPairs, decode_segmentation, held_back_keys
from vos_zoo.errors import DataError, MissingFileError


def test_folder_and_zips_give_the_same_pairs(data_root, zipped_root):
    plain, packed = ImageMaskPairs(data_root / "pairs"), ImageMaskPairs(zipped_root / "pairs")
    assert plain.keys == packed.keys
    assert len(plain) == 5
    for index in range(5):
        for first, second in zip(plain.read(index), packed.read(index), strict=True):
            np.testing.assert_array_equal(first, second)


def test_sources_by_folder(data_root):
    assert ImageMaskPairs(data_root / "pairs", sources=["cats"]).keys == ["cats/01", "cats/03"]


def test_index_limits_and_names_sources(data_root, tmp_path):
    shutil.copytree(data_root / "pairs", tmp_path / "pairs")
    (tmp_path / "pairs/index.csv").write_text("key,source\ncats/01,home\ndogs/02,street\ncats/99,home\n")
    assert ImageMaskPairs(tmp_path / "pairs").keys == ["cats/01", "dogs/02"]
    assert ImageMaskPairs(tmp_path / "pairs", sources=["home"]).keys == ["cats/01"]


def test_pictures_without_mask_are_left_out(data_root, tmp_path):
    shutil.copytree(data_root / "pairs", tmp_path / "pairs")
    (tmp_path / "pairs/cats/01.png").unlink()
    assert len(ImageMaskPairs(tmp_path / "pairs")) == 4


def test_pictures_are_held_back_by_their_names_alone(data_root):
    names = ImageMaskPairs(data_root / "pairs").keys
    kept_back = held_back_keys(names, 2)
    assert len(kept_back) == 2
    assert kept_back == held_back_keys(reversed(names), 2) < held_back_keys(names, 3)
    assert set(ImageMaskPairs(data_root / "pairs", held_back=2).keys) == set(names) - kept_back
    # Whatever sources are chosen, the same pictures are left out.
    first = held_back_keys(names, 1)
    cats = ImageMaskPairs(data_root / "pairs", held_back=1, sources=["cats"]).keys
    assert set(cats) == {"cats/01", "cats/03"} - first
    with pytest.raises(DataError, match="no image"):
        ImageMaskPairs(data_root / "pairs", held_back=5)


def test_names_are_chosen_by_sha256():
    # echo -n NAME | sha256sum
    assert held_back_keys(["a", "b", "c"], 1) == {"c"}


def test_missing_root(tmp_path):
    with pytest.raises(MissingFileError):
        ImageMaskPairs(tmp_path / "nowhere")


def test_no_pairs(tmp_path):
    with pytest.raises(DataError, match="no image with a mask"):
        ImageMaskPairs(tmp_path)


def test_unknown_source(data_root):
    with pytest.raises(DataError, match=r"from the sources \['birds'\]"):
        ImageMaskPairs(data_root / "pairs", sources=["birds"])


def test_sizes_differ(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg")
    Image.new("L", (20, 11)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="20×10 and a mask of 20×11"):
        ImageMaskPairs(tmp_path).read(0)


def test_masks_in_a_folder_of_their_own(data_root, tmp_path):
    for path in (data_root / "pairs").rglob("*.png"):
        target = tmp_path / "masks" / path.relative_to(data_root / "pairs")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    apart = ImageMaskPairs(data_root / "pairs", masks=tmp_path / "masks")
    together = ImageMaskPairs(data_root / "pairs")
    assert apart.keys == together.keys
    np.testing.assert_array_equal(apart.read(2)[1], together.read(2)[1])


def encode(mask: np.ndarray) -> list[int]:
    """Run lengths of a mask, column by column, beginning with the background."""
    runs, value = [0], 0
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def compress(runs: list[int]) -> str:
    """Write run lengths as COCO's tools do: from the third on as differences to the one before last, base 32."""
    text = ""
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        while True:
            digit, value = value & 31, value >> 5
            is_last = value == (-1 if digit & 16 else 0)
            text += chr(48 + (digit if is_last else digit | 32))
            if is_last:
                break
    return text


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10_000), st.floats(0, 1))
def test_run_lengths(height, width, seed, share):
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    for counts in (encode(mask), compress(encode(mask))):
        code = {"counts": counts, "size": [height, width]}
        np.testing.assert_array_equal(decode_segmentation(code, height, width, name="x"), mask)


def test_polygons_cover_what_they_enclose():
    # From corner to corner: pixels 2 to 5 across and 1 to 3 down lie inside.
    painted = decode_segmentation([[2, 1, 6, 1, 6, 4, 2, 4]], 8, 10, name="x")
    expected = np.zeros((8, 10), np.uint8)
    expected[1:4, 2:6] = 1
    inner = np.s_[1:4, 2:6]
    assert painted[inner].all()
    # OpenCV paints the outline as well, at most one pixel more.
    assert painted.sum() <= 20


def test_parts_of_an_instance_are_one():
    painted = decode_segmentation([[0, 0, 3, 0, 3, 3, 0, 3], [6, 6, 9, 6, 9, 9, 6, 9], [1, 1]], 10, 10, name="x")
    assert painted[1, 1]
    assert painted[7, 7]
    assert not painted[4:5].any()


@pytest.fixture
def coco(tmp_path):
    """A folder with two pictures and the writer of an annotation file for them."""
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", (20, 16)).save(tmp_path / "images" / name)

    def write(**changes):
        images = [
            {"id": number, "file_name": f"{name}.jpg", "height": 16, "width": 20}
            for number, name in enumerate(("one", "two", "three"))
        ]
        large, small = [[1, 1, 15, 1, 15, 12, 1, 12]], [[3, 3, 6, 3, 6, 6, 3, 6]]
        crowd = {"counts": [0, 320], "size": [16, 20]}
        annotations = [
            {"image_id": 0, "segmentation": small, "iscrowd": 0},
            {"image_id": 0, "segmentation": large, "iscrowd": 0},
            {"image_id": 0, "segmentation": crowd, "iscrowd": 1},
            {"image_id": 2, "segmentation": large, "iscrowd": 0},
        ]
        path = tmp_path / "instances.json"
        path.write_text(json.dumps({"images": images, "annotations": annotations} | changes))
        return tmp_path / "images", path

    return write


def test_coco_instances(coco):
    pictures = CocoInstances(*coco())
    assert pictures.keys == ["one.jpg"]  # "two" has no instance, "three" no file
    image, mask = pictures.read(0)
    assert image.shape == (16, 20, 3)
    assert mask[4, 4] == 2  # the small one lies on top
    assert mask[10, 10] == 1
    assert mask[14, 18] == 0  # crowds are background
    sprite = cut_random_sprite(pictures, np.random.default_rng(1))
    assert sprite is None or sprite.mattes[0].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, "no list 'images'"),
        ({"annotations": {}}, "no list 'annotations'"),
        ({"images": [{"id": 0, "file_name": "one.jpg"}]}, "without height, width in `images`"),
        ({"annotations": [{"image_id": 0}]}, "without segmentation in `annotations`"),
        ({"annotations": [{"image_id": 9, "segmentation": [[0] * 6]}]}, "annotates the image 9"),
        ({"annotations": []}, "None of the 0 annotated images"),
    ],
)
def test_coco_files_that_lack_something(coco, changes, message):
    with pytest.raises(DataError, match=message):
        CocoInstances(*coco(**changes))


@pytest.mark.parametrize(
    "segmentation", [{"counts": [300], "size": [16, 20]}, {"counts": [320], "size": [20, 16]}, "1 2 3"], ids=str
)
def test_segmentation_that_does_not_fit(coco, segmentation):
    pictures = CocoInstances(*coco(annotations=[{"image_id": 0, "segmentation": segmentation}]))
    with pytest.raises(DataError, match=r"instances\.json: one\.jpg"):
        pictures.read(0)


def test_coco_file_that_is_none(coco, tmp_path):
    images, path = coco()
    path.write_text("<html>")
    with pytest.raises(DataError, match="not JSON"):
        CocoInstances(images, path)
    with pytest.raises(MissingFileError):
        CocoInstances(images, tmp_path / "nowhere.json")
