from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image

from vos_zoo.data.layouts.archives import FileTree
from vos_zoo.errors import DataError, MissingFileError


def test_folder_and_zips_hold_the_same_files(data_root, zipped_root):
    plain, packed = FileTree(data_root / "train"), FileTree(zipped_root / "train")
    assert plain.names() == packed.names()
    assert all(plain.read(name) == packed.read(name) for name in plain.names())


def test_one_zip_file_is_accepted(zipped_root):
    tree = FileTree(zipped_root / "pairs/shard-0.zip")
    assert tree.names()
    assert tree.read(tree.names()[0])


def test_plain_file_wins_over_the_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("notes.txt", "old")
    (tmp_path / "notes.txt").write_text("new")
    assert FileTree(tmp_path).read("notes.txt") == b"new"


def test_link_back_up_is_walked_once(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file.txt").write_text("x")
    (tmp_path / "a/up").symlink_to(tmp_path)
    assert FileTree(tmp_path).names() == ["a/file.txt"]


def test_open_handles_stay_behind_when_pickled(zipped_root):
    tree = FileTree(zipped_root / "pairs")
    name = tree.names()[0]
    content = tree.read(name)
    assert pickle.loads(pickle.dumps(tree)).read(name) == content


def test_missing_root(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere"):
        FileTree(tmp_path / "nowhere")


def test_zip_with_a_member_whose_name_is_no_text(tmp_path):
    path = tmp_path / "broken.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"")
    damaged = bytearray(path.read_bytes())
    directory = damaged.index(b"PK\x01\x02")
    damaged[directory + 46] = 0x80  # the first byte of the name
    damaged[directory + 9] |= 0x08  # which is in UTF-8
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"broken\.zip.*0x80"):
        FileTree(tmp_path)


def test_file_that_is_no_zip(tmp_path):
    (tmp_path / "broken.zip").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"broken\.zip"):
        FileTree(tmp_path)


def test_damaged_member(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "content")
    path.write_bytes(path.read_bytes().replace(b"content", b"c0ntent", 1))
    with pytest.raises(DataError, match=r"damaged at 'notes\.txt'"):
        FileTree(tmp_path).read("notes.txt")


def test_missing_member(data_root):
    with pytest.raises(DataError, match=r"'no\.png' is missing"):
        FileTree(data_root).read("no.png")


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ([[0, 1], [2, 3]], [[0, 1], [2, 3]]),
        ([[0, 255], [255, 0]], [[0, 1], [1, 0]]),
        ([[0, 255], [2, 1]], [[0, 0], [2, 1]]),
        ([[0, 0], [0, 0]], [[0, 0], [0, 0]]),
        ([[255, 255], [255, 255]], [[1, 1], [1, 1]]),
    ],
    ids=["ids", "black-and-white", "void", "empty", "full"],
)
@pytest.mark.parametrize("mode", ["L", "P"])
def test_masks_hold_ids(tmp_path, stored, expected, mode):
    image = Image.fromarray(np.array(stored, np.uint8))
    if mode == "P":
        image = Image.fromarray(np.array(stored, np.uint8)).convert("L")
        palette = Image.new("P", image.size)
        palette.putdata(list(image.tobytes()))
        palette.putpalette([value for i in range(256) for value in (i * 7 % 256, i * 13 % 256, i)])
        image = palette
    image.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(FileTree(tmp_path).read_mask("mask.png"), expected)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "I;16"])
def test_masks_in_other_formats_are_refused(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match="pixel format"):
        FileTree(tmp_path).read_mask("mask.png")


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"], ids=["empty", "text", "cut"])
def test_files_that_are_no_pictures(tmp_path, content):
    (tmp_path / "file.png").write_bytes(content)
    tree = FileTree(tmp_path)
    with pytest.raises(DataError, match="cannot be decoded"):
        tree.read_mask("file.png")
    with pytest.raises(DataError, match="cannot be decoded"):
        tree.read_picture("file.png")


def test_truncated_mask(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (64, 64), dtype=np.uint8)).save(tmp_path / "mask.png")
    whole = (tmp_path / "mask.png").read_bytes()
    (tmp_path / "mask.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be decoded"):
        FileTree(tmp_path).read_mask("mask.png")


def test_pictures_are_rgb(tmp_path):
    Image.new("RGB", (6, 4), (200, 100, 10)).save(tmp_path / "a.png")
    assert FileTree(tmp_path).read_picture("a.png")[0, 0].tolist() == [200, 100, 10]
