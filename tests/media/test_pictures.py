from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
from PIL import Image

from testing.videos import quadrants
from vos_zoo.errors import MissingFileError, VideoError
from vos_zoo.media.pictures import count_pictures, load_picture, load_pictures, picture_times

GREY = (np.arange(12, dtype=np.uint16) * 321).reshape(3, 4)
COLOURS = np.stack([GREY, GREY + 1, GREY + 2], axis=2)


def save_stack(path, pictures, **options):
    first, *others = [Image.fromarray(picture) for picture in pictures]
    first.save(path, save_all=True, append_images=others, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_kept(tmp_path, suffix):
    Image.fromarray(GREY).save(tmp_path / f"grey{suffix}")
    read = load_picture(tmp_path / f"grey{suffix}")
    np.testing.assert_array_equal(read, GREY)
    cv2.imwrite(str(tmp_path / f"colour{suffix}"), COLOURS[:, :, ::-1])
    read = load_picture(tmp_path / f"colour{suffix}")
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, COLOURS)


def test_sixteen_bits_with_alpha_are_kept(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([COLOURS[:, :, ::-1], GREY]))
    np.testing.assert_array_equal(load_picture(tmp_path / "a.png"), COLOURS)


def test_fractions_and_big_endian(tmp_path):
    Image.fromarray(GREY.astype(np.float32) / 7).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(load_picture(tmp_path / "a.tif"), GREY.astype(np.float32) / 7)
    # TIFF 6.0: width, height, bits, no compression, black is zero, one strip behind the header, its rows and bytes.
    entries = [(256, 4), (257, 3), (258, 16), (259, 1), (262, 1), (273, 8), (278, 3), (279, 24)]
    fields = b"".join(np.array([tag, 3, 0, 1, value, 0], ">u2").tobytes() for tag, value in entries)
    content = b"MM\0*" + (32).to_bytes(4, "big") + GREY.astype(">u2").tobytes()
    (tmp_path / "b.tif").write_bytes(content + len(entries).to_bytes(2, "big") + fields + bytes(4))
    read = load_picture(tmp_path / "b.tif")
    np.testing.assert_array_equal(read, GREY)
    assert read.dtype == np.dtype("=u2")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fractions_that_pillow_does_not_know(tmp_path, dtype):
    colours = (COLOURS / 7).astype(dtype)
    # Older releases of OpenCV compress 32-bit fractions with losses.
    cv2.imwrite(str(tmp_path / "a.tif"), colours[:, :, ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    np.testing.assert_array_equal(load_picture(tmp_path / "a.tif"), colours)
    (tmp_path / "b.tif").write_bytes(b"II*\0" + bytes(40))
    with pytest.raises(VideoError, match="it is a TIFF image, damaged"):
        load_picture(tmp_path / "b.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 16])
def test_pictures_are_upright(tmp_path, orientation, bits):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = quadrants() if bits == 8 else GREY
    Image.fromarray(picture).save(tmp_path / "photo.png", exif=exif)
    # CIPA DC-008 section 4.6.4: which side of the picture the first stored row and column are.
    turned = {1: 0, 2: 0, 3: 2, 4: 2, 5: -1, 6: -1, 7: 1, 8: 1}[orientation]
    mirrored = picture[:, ::-1] if orientation in (2, 4) else picture[::-1] if orientation in (5, 7) else picture
    np.testing.assert_array_equal(load_picture(tmp_path / "photo.png"), np.rot90(mirrored, turned))


@pytest.mark.parametrize("suffix", [".avif", ".webp", ".gif", ".tiff"])
def test_other_kinds_of_pictures(tmp_path, suffix):
    Image.fromarray(quadrants()).save(tmp_path / f"a{suffix}")
    read = load_picture(tmp_path / f"a{suffix}")
    assert read.shape == (48, 64, 3)
    assert np.abs(read[10, 10].astype(int) - (255, 0, 0)).max() < 20


@pytest.mark.parametrize(
    ("suffix", "options", "times"),
    [
        (".png", {"duration": [40, 60, 100]}, ["0", "1/25", "1/10", "1/5"]),
        (".webp", {"duration": [40, 60, 100], "lossless": True}, ["0", "1/25", "1/10", "1/5"]),
        (".tif", {}, None),
    ],
)
def test_several_pictures_in_one_file(tmp_path, suffix, options, times):
    pictures = [np.roll(quadrants(), 5 * shift, 1) for shift in range(3)]
    path = save_stack(tmp_path / f"a{suffix}", pictures, **options)
    assert count_pictures(path) == 3
    assert picture_times(path, 3) == (None if times is None else [Fraction(time) for time in times])
    for read, picture in zip(load_pictures(path, range(0, 3, 2)), pictures[::2], strict=True):
        np.testing.assert_array_equal(read, picture)


def test_wide_pages_of_one_file(tmp_path):
    cv2.imwritemulti(str(tmp_path / "a.tif"), [COLOURS[:, :, ::-1], COLOURS[:, :, ::-1] + 5])
    first, second = load_pictures(tmp_path / "a.tif", range(2))
    np.testing.assert_array_equal(first, COLOURS)
    np.testing.assert_array_equal(second, COLOURS + 5)


def test_what_is_no_picture(tmp_path):
    (tmp_path / "a.png").write_text("<html>")
    assert count_pictures(tmp_path / "a.png") == 0
    with pytest.raises(VideoError, match="it is an HTML page"):
        load_picture(tmp_path / "a.png")
    with pytest.raises(MissingFileError, match="no image"):
        load_picture(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to(".git/annex/objects/c.png")
    with pytest.raises(MissingFileError, match=r"is a link to `\.git/annex/objects/c\.png`, which is not there"):
        load_picture(tmp_path / "c.png")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_page_is_named(tmp_path):
    path = save_stack(tmp_path / "a.tif", [GREY, GREY, GREY])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(VideoError, match="cannot be read: it is a TIFF image"):
        list(load_pictures(path, range(3)))
