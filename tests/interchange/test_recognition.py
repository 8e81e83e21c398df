from __future__ import annotations

import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testing.annotations import SAMPLES, masks_in, named_errors
from testing.bombs import NESTED
from vos_zoo.errors import MaskError
from vos_zoo.interchange.recognition import recognise


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("coco_datumaro.json", "coco"),
        ("coco_supervision.json", "coco"),
        ("cvat_images_datumaro.xml", "cvat"),
        ("cvat_video.xml", "cvat"),
        ("label_studio.json", "label-studio"),
        ("label_studio_min.json", "label-studio"),
        ("labelme", "labelme"),
        ("labelme/00001.json", "labelme"),
        ("yolo", "yolo"),
        ("yolo/labels", "yolo"),
        ("yolo/labels/00000.txt", "yolo"),
        ("truth_00000.png", "ids"),
    ],
)
@pytest.mark.parametrize("ending", [None, ".dat"])
def test_formats_are_known_by_their_content(tmp_path, name, expected, ending):
    path = SAMPLES / name
    if ending is not None and path.is_file() and path.suffix != ".txt":
        path = tmp_path / f"renamed{ending}"
        shutil.copy(SAMPLES / name, path)
    assert recognise(path).format == expected


@pytest.mark.parametrize("inner", ["", "annotations"])
@pytest.mark.parametrize("name", ["coco_datumaro.json", "cvat_video.xml"])
def test_the_only_annotation_file_of_a_folder_is_found(tmp_path, inner, name):
    (tmp_path / inner).mkdir(exist_ok=True)
    shutil.copy(SAMPLES / name, tmp_path / inner / name)
    assert recognise(tmp_path).path == tmp_path / inner / name


def test_several_annotation_files_are_named(tmp_path):
    for name in ("coco_datumaro.json", "cvat_video.xml"):
        shutil.copy(SAMPLES / name, tmp_path)
    with pytest.raises(MaskError, match=r"2 files that may be annotations: coco_datumaro.json, cvat_video.xml"):
        recognise(tmp_path)


def test_images_with_a_note_beside_them_are_masks(tmp_path):
    """As what segment writes: masks and run.json."""
    shutil.copy(SAMPLES / "truth_00000.png", tmp_path / "00000.png")
    (tmp_path / "run.json").write_text("{}")
    assert recognise(tmp_path).format == "ids"


def test_a_byte_order_mark_does_not_matter(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + (SAMPLES / "labelme" / "00000.json").read_bytes())
    assert recognise(tmp_path / "a.json").format == "labelme"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a complete JSON file"),
        (NESTED, "nested too deeply"),
        ("{}", "holds an empty object"),
        ('{"version": 1, "frames": {"0": []}}', "it looks like prompts. Give it with `--prompts`"),
        ('{"shapes": [], "a": 1}', "an object with `shapes`, `a`"),
        ("[1, 2]", "holds a list"),
        ('[{"image_id": 1, "segmentation": []}]', "list of results, which names no images"),
        ('{"videos": [], "annotations": []}', "has no `images`"),
        ("<html><body>404</body></html>", "HTML page and no XML file of CVAT"),
        ("<?xml version='1.0'?><annotation><object/></annotation>", "no XML file of CVAT"),
    ],
)
def test_what_is_no_annotation_is_named(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(MaskError, match=message) as caught:
        recognise(tmp_path / "a.json")
    assert "a.json" in str(caught.value)


def test_a_file_beyond_the_limit_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("VOS_ZOO_MAX_FILE_BYTES", "100")
    with pytest.raises(MaskError, match="VOS_ZOO_MAX_FILE_BYTES"):
        recognise(SAMPLES / "coco_datumaro.json")


@pytest.mark.parametrize("wanted", ["yolo", "ids", "array-frames", "object-folders"])
def test_a_format_that_it_is_not_is_named(wanted):
    with pytest.raises(MaskError, match=f"does not hold masks of the format {wanted}.*looks like coco"):
        recognise(SAMPLES / "coco_datumaro.json", wanted)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=60) | st.text(alphabet='[]{}":,<>/?! 0123abcxml', max_size=60).map(str.encode),
    start=st.sampled_from(
        [b"", b"{", b"[", b"<?xml ", b"<annotations>", b"\x93NUMPY", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n"]
    ),
    name=st.sampled_from(["a.json", "a.xml", "a.txt", "a.npy", "a.npz", "a.png", "a"]),
)  # fmt: skip
def test_any_bytes_give_masks_or_a_named_error(tmp_path, data, start, name):
    (tmp_path / name).write_bytes(start + data)
    with named_errors(str(tmp_path / name)):
        masks_in(tmp_path / name)


FILES = [path for path in sorted(SAMPLES.rglob("*")) if path.is_file() and path.suffix not in (".md", ".yaml")]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=st.sampled_from(FILES),
    start=st.floats(0, 1),
    length=st.integers(0, 12),
    filling=st.binary(max_size=4) | st.sampled_from([b"-", b"9", b'"', b"null", b"[]", b"{}", b"1e9", b"&a;"]),
)
def test_a_damaged_sample_gives_masks_or_a_named_error(tmp_path, file, start, length, filling):
    content = file.read_bytes()
    place = int(start * len(content))
    path = tmp_path / f"damaged{file.suffix}"
    path.write_bytes(content[:place] + filling + content[place + length :])
    with named_errors(str(path)):
        masks_in(path, objects_by="order")
