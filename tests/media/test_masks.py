from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageDraw

from vos_zoo.errors import ConfigError, MaskError, MissingFileError, ShapeError
from vos_zoo.media.masks import (
    MaskFolder,
    check_mask_size,
    davis_palette,
    mask_ids,
    read_mask,
    resize_mask,
    write_mask,
)


@pytest.fixture(autouse=True)
def fresh_notes(monkeypatch):
    monkeypatch.setattr("vos_zoo.media.mask_notes._notes_given", set())


def disc(size=(60, 80), value=255, smooth=False):
    rows, columns = np.mgrid[: size[0], : size[1]]
    distance = np.hypot(rows - size[0] / 2, columns - size[1] / 2) - min(size) / 3
    edge = np.clip(0.5 - distance, 0, 1) if smooth else distance < 0
    return np.rint(edge * value).astype(np.uint8)


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


# Colours


def test_palette_is_the_published_one():
    # First rows of the colour map printed in the PASCAL VOC development kit.
    assert davis_palette()[:8].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128], [0, 128, 128], [128, 128, 128],
    ]  # fmt: skip
    assert davis_palette()[255].tolist() == [224, 224, 192]
    assert len(np.unique(davis_palette(), axis=0)) == 256


# Reading what was written


@st.composite
def any_masks(draw):
    dtype, largest = draw(st.sampled_from([(np.bool_, 1), (np.uint8, 255), (np.uint16, 65535), (np.int64, 65535)]))
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))
    ids = st.sampled_from([0, 1, largest // 2, largest]) | st.integers(0, largest)
    return draw(hnp.arrays(np.int64, shape, elements=ids)).astype(dtype)


@given(any_masks())
def test_masks_survive_writing_and_reading(tmp_path_factory, mask):
    path = tmp_path_factory.getbasetemp() / "round_trip.png"
    write_mask(path, mask)
    read = read_mask(path, void=None)  # 255 may happen to rim other ids
    np.testing.assert_array_equal(read, mask)
    assert read.dtype == (np.uint8 if mask.max() <= 255 else np.int32)
    assert read.flags.writeable


def test_small_ids_are_written_with_their_colours(tmp_path):
    write_mask(tmp_path / "a.png", np.array([[0, 3]]))
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
        assert np.asarray(image.convert("RGB")).tolist() == [davis_palette()[[0, 3]].tolist()]
    write_mask(tmp_path / "b.png", np.array([[0, 1, 2]]), np.array([[9, 9, 9], [1, 2, 3]], np.uint8))
    with Image.open(tmp_path / "b.png") as image:
        assert np.asarray(image.convert("RGB")).tolist() == [[[9, 9, 9], [1, 2, 3], [0, 0, 0]]]


def test_a_failed_write_leaves_the_older_mask(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_mask(path, np.ones((2, 2), np.uint8))

    write_bytes = Path.write_bytes

    def break_off(file, content):
        write_bytes(file, content[:10])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", break_off)
    with pytest.raises(OSError, match="disk full"):
        write_mask(path, np.zeros((2, 2), np.uint8))
    assert read_mask(path).all()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("mask", "name", "message"),
    [
        (np.zeros((2, 2, 3), np.uint8), "a.png", r"shape \(2, 2, 3\)"),
        (np.zeros((0, 4), np.uint8), "a.png", r"shape \(0, 4\)"),
        (np.zeros((2, 2), np.float32), "a.png", "type float32"),
        (np.full((2, 2), -1), "a.png", "from -1 to -1"),
        (np.full((2, 2), 65536), "a.png", "to 65536"),
        (np.zeros((2, 2), np.uint8), "a.jpg", r"ends in `\.jpg`"),
    ],
)
def test_writing_refuses_what_is_no_mask(tmp_path, mask, name, message):
    with pytest.raises(MaskError, match=message):
        write_mask(tmp_path / name, mask)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(0, 3), (257, 3), (4, 4), (4,)])
def test_writing_refuses_other_palettes(tmp_path, shape):
    with pytest.raises(ShapeError, match="palette"):
        write_mask(tmp_path / "a.png", np.zeros((2, 2), np.uint8), np.zeros(shape, np.uint8))


# Reading what others wrote

IDS = np.array([[0, 1, 1], [5, 5, 0]], np.uint8)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(lambda p: save(p, IDS), IDS, id="grey"),
        pytest.param(lambda p: save(p, IDS * 50), IDS * 50, id="grey, spread values"),
        pytest.param(lambda p: save(p, IDS.astype(np.uint16) * 1000), IDS.astype(int) * 1000, id="16 bit"),
        pytest.param(lambda p: save(p, IDS.astype(np.uint16)), IDS, id="16 bit, small ids"),
        pytest.param(lambda p: save(p, (IDS > 0) * np.uint16(65535)), (IDS > 0) * 65535, id="16 bit, one id"),
        pytest.param(lambda p: save(p, IDS > 0), IDS > 0, id="1 bit"),
        pytest.param(lambda p: save(p, np.zeros((4, 4), np.uint8)), np.zeros((4, 4)), id="empty"),
        pytest.param(lambda p: save(p, np.full((1, 1), 7, np.uint8)), [[7]], id="one pixel"),
        pytest.param(lambda p: save(p, disc(), mode="P"), disc() > 0, id="black and white, grey palette"),
        pytest.param(lambda p: save(p, disc()), disc() > 0, id="black and white"),
        pytest.param(lambda p: save(p, np.full((4, 4), 255, np.uint8)), np.ones((4, 4)), id="all white"),
        pytest.param(lambda p: save(p, disc(value=200)), disc(value=200), id="one id of 200"),
    ],
)
def test_kinds_of_masks(tmp_path, make, expected):
    np.testing.assert_array_equal(read_mask(make(tmp_path / "mask.png")), expected)


def test_black_and_white_is_said_once(tmp_path, caplog):
    for name in ("a.png", "b.png"):
        read_mask(save(tmp_path / name, disc()))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "a.png" in caplog.text
    assert "one object with id 1" in caplog.text


def rimmed(width=2):
    """Objects 1 and 2 with unclear pixels along their outlines, as in PASCAL VOC."""
    mask = np.zeros((60, 80), np.uint8)
    for object_id, left in ((1, 5), (2, 40)):
        mask[10:40, left : left + 30] = 255
        mask[10 + width : 40 - width, left + width : left + 30 - width] = object_id
    return mask


@pytest.mark.parametrize("mode", ["L", "P"])
def test_rims_of_255_are_no_object(tmp_path, caplog, mode):
    path = save(tmp_path / "a.png", rimmed(), mode=mode)
    for _ in range(2):
        np.testing.assert_array_equal(read_mask(path), np.where(rimmed() == 255, 0, rimmed()))
    (record,) = caplog.records
    assert "a.png` has 255 along the rims of objects" in record.getMessage()
    np.testing.assert_array_equal(read_mask(path, void=None), rimmed())
    np.testing.assert_array_equal(read_mask(path, void=2), np.where(rimmed() == 2, 0, rimmed()))


def test_areas_of_255_are_an_object_unless_told(tmp_path, caplog):
    mask = np.zeros((60, 80), np.uint8)
    mask[10:40, 5:30], mask[10:40, 30:60] = 1, 255
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", mask)), mask)
    assert "--void 255" in caplog.text
    assert mask_ids(read_mask(tmp_path / "a.png", void=255)) == [1]


def test_void_decides_over_black_and_white(tmp_path, caplog):
    path = save(tmp_path / "a.png", disc())
    assert not read_mask(path, void=255).any()
    np.testing.assert_array_equal(read_mask(path, void=7), disc())
    assert not caplog.records


@pytest.mark.parametrize("void", ["none", 1.5, True, (255,)])
def test_what_is_no_void_value(tmp_path, void):
    path = save(tmp_path / "a.png", IDS)
    with pytest.raises(ConfigError, match="The void value is"):
        read_mask(path, void=void)
    with pytest.raises(ConfigError, match="The void value is"):
        MaskFolder(path, FRAMES, void=void)


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save(tmp_path / "a.png", IDS)
    np.testing.assert_array_equal(read_mask("~/a.png"), IDS)
    assert list(MaskFolder("~/a.png", FRAMES).files) == FRAMES[:1]


@pytest.mark.parametrize("flag", [cv2.IMREAD_GRAYSCALE, cv2.IMREAD_COLOR])
def test_grey_levels_of_the_palette_are_named(tmp_path, caplog, flag):
    write_mask(tmp_path / "palette.png", np.arange(7, dtype=np.uint8).repeat(5)[None].repeat(5, 0))
    grey = cv2.imread(str(tmp_path / "palette.png"), flag)
    grey = cv2.cvtColor(grey, cv2.COLOR_BGR2GRAY) if grey.ndim == 3 else grey
    for _ in range(2):
        np.testing.assert_array_equal(read_mask(save(tmp_path / "grey.png", grey)), grey)
    (record,) = caplog.records
    for part in ("grey.png", "38 is that of id 1", "cv2.imread", "read_mask"):
        assert part in record.getMessage()


@pytest.mark.parametrize("values", [[1, 2, 3], [75], [128, 255], [38, 70], [50, 100]])
def test_other_ids_are_no_grey_levels(tmp_path, caplog, values):
    read_mask(save(tmp_path / "a.png", np.array([0, *values], np.uint8).repeat(9)[None].repeat(9, 0)))
    assert "grey levels" not in caplog.text


def test_size_resamples(tmp_path):
    path = save(tmp_path / "a.png", IDS)
    np.testing.assert_array_equal(read_mask(path, size=(4, 6)), IDS.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_many_small_objects_are_no_smooth_edges(tmp_path, factor):
    # Touching cells of every id from 1 to 100, each filling a small square.
    cells = np.arange(1, 101, dtype=np.uint8).reshape(10, 10).repeat(factor + 1, 0).repeat(factor + 1, 1)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", cells)), cells)
    dots = np.zeros((40, 40), np.uint8)
    dots[::factor, ::factor] = np.random.default_rng(0).integers(1, 200, dots[::factor, ::factor].shape)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "b.png", dots)), dots)


def draw_line(path):
    image = Image.new("L", (90, 90))
    ImageDraw.Draw(image).line((5, 10, 80, 60), fill=255, width=9)
    return image.resize((60, 60), Image.Resampling.BILINEAR).save(path) or path


def animate(path):
    frames = [Image.fromarray(disc(value=v)) for v in (1, 2)]
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:])
    return path


RGB = disc()[:, :, None].repeat(3, 2)
ALPHA = np.concatenate([RGB, disc()[:, :, None]], 2)
PHOTO = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        pytest.param(lambda p: save(p, RGB), ("three colour channels", "all equal", "greyscale PNG"), id="RGB, grey"),
        pytest.param(lambda p: save(p, davis_palette()[disc(value=2)]), ("2 flat colours", "indexed"), id="RGB, flat"),
        pytest.param(lambda p: save(p, PHOTO), ("three colour channels", "looks like an image"), id="RGB, photo"),
        pytest.param(lambda p: save(p, ALPHA), ("three colour channels and alpha",), id="RGBA"),
        pytest.param(lambda p: save(p, RGB, "LA"), ("an alpha channel", "without transparency"), id="grey with alpha"),
        pytest.param(lambda p: save(p, RGB, "CMYK", format="TIFF"), ("4 channels (CMYK)",), id="CMYK"),
        pytest.param(lambda p: save(p, RGB[..., 0], "F", format="TIFF"), ("fractions",), id="fractions"),
        pytest.param(lambda p: save(p, np.full((2, 2), -3, np.int32), format="TIFF"), ("from -3",), id="negative"),
        pytest.param(lambda p: save(p, disc(smooth=True)), ("anti-aliased", "threshold"), id="anti-aliased"),
        pytest.param(lambda p: save(p, disc(smooth=True), "P"), ("anti-aliased",), id="anti-aliased, grey palette"),
        pytest.param(draw_line, ("anti-aliased",), id="resized smoothly"),
        pytest.param(lambda p: save(p, np.tile(np.arange(256, dtype=np.uint8), (9, 1))), ("256 grey",), id="ramp"),
        pytest.param(lambda p: save(p, disc(), format="JPEG"), ("JPEG image", "save the mask as PNG"), id="JPEG"),
        pytest.param(animate, ("holds 2 images",), id="animation"),
        pytest.param(lambda p: p.touch() or p, ("an empty file",), id="empty file"),
        pytest.param(lambda p: p.write_text("<html>404</html>") and p, ("an HTML page", "not an image"), id="HTML"),
        pytest.param(lambda p: p.mkdir() or p, ("is a folder",), id="folder"),
    ],
)  # fmt: skip
def test_what_is_no_mask_is_named(tmp_path, make, parts):
    path = make(tmp_path / "mask.png")
    with pytest.raises(MaskError) as caught:
        read_mask(path)
    for part in ("mask.png", *parts):
        assert part in str(caught.value)


def test_missing_mask(tmp_path):
    with pytest.raises(MissingFileError, match=r"no mask `.*a\.png`"):
        read_mask(tmp_path / "a.png")


@given(st.data())
def test_damaged_masks_raise_mask_errors_only(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    write_mask(path, disc(value=3))
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        # Behind the header, whose size fields could ask for gigapixels.
        position = data.draw(st.integers(33, len(content) - 1))
        content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with contextlib.suppress(MaskError):
        assert read_mask(path).shape == (60, 80)


# Ids and sizes


@given(hnp.arrays(st.sampled_from([np.uint8, np.int32, np.uint16, np.bool_]), (3, 4)))
def test_mask_ids_are_those_of_a_set(mask):
    assert mask_ids(mask) == sorted({int(value) for value in mask.ravel()} - {0})
    assert mask_ids(mask, void=1) == sorted({int(value) for value in mask.ravel()} - {0, 1})


@given(
    hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 70000)),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_resizing_takes_the_nearest_pixel(mask, size):
    resized = resize_mask(mask, size)
    rows = [int((row + 0.5) * mask.shape[0] / size[0]) for row in range(size[0])]
    columns = [int((column + 0.5) * mask.shape[1] / size[1]) for column in range(size[1])]
    np.testing.assert_array_equal(resized, mask[np.ix_(rows, columns)])
    assert resized.dtype == mask.dtype


@pytest.mark.parametrize(("shape", "size"), [((2, 2, 3), (4, 4)), ((0, 2), (4, 4)), ((2, 2), (0, 4))])
def test_resizing_refuses_other_shapes(shape, size):
    with pytest.raises(ShapeError, match="resample"):
        resize_mask(np.zeros(shape, np.uint8), size)


def test_masks_must_fit_their_frame(caplog):
    mask = disc((60, 80), value=1)
    assert check_mask_size(mask, (60, 80)) is mask
    with pytest.raises(MaskError, match=r"Mask `a` is 80x60 .*its frame 160x120\..*--resize-mask"):
        check_mask_size(mask, (120, 160), name="Mask `a`")
    with pytest.raises(MaskError, match="turned by 90 degrees"):
        check_mask_size(mask, (80, 60))
    assert check_mask_size(mask, (120, 160), resize=True).shape == (120, 160)
    assert not caplog.records
    assert check_mask_size(mask, (80, 60), resize=True).shape == (80, 60)
    assert "stretched" in caplog.text


# Masks of a video

FRAMES = [f"{number:05d}" for number in range(12)]


def write_masks(folder, *names, value=1):
    folder.mkdir(exist_ok=True)
    for name in names:
        write_mask(folder / name, np.full((2, 3), value, np.uint8))
    return folder


def test_one_file_belongs_to_the_first_frame(tmp_path, caplog):
    write_masks(tmp_path, "first.png", value=4)
    found = MaskFolder(tmp_path / "first.png", FRAMES)
    assert list(found.files) == ["00000"]
    assert found.get("00000").max() == 4
    assert found.get("00001") is None
    assert not caplog.records


def test_one_file_named_like_another_frame_is_said(tmp_path, caplog):
    write_masks(tmp_path, "00007.png")
    assert "00000" in MaskFolder(tmp_path / "00007.png", FRAMES)
    assert "named like frame 00007" in caplog.text


@pytest.mark.parametrize(
    ("names", "frames"),
    [
        (["00003.png", "00000.png"], ["00000", "00003"]),
        (["5.png", "0011.tif"], ["00005", "00011"]),
        (["00002.png", "notes.txt", ".DS_Store.png", "00002.jpg"], ["00002"]),
    ],
)
def test_masks_are_matched_by_name(tmp_path, names, frames):
    write_masks(tmp_path, *(name for name in names if name.endswith(".png")))
    for name in names:
        if name.endswith(".tif"):
            save(tmp_path / name, IDS)
        elif not (tmp_path / name).exists():
            (tmp_path / name).write_text("x")
    found = MaskFolder(tmp_path, FRAMES)
    assert list(found.files) == frames
    assert len(found) == len(frames)
    assert all(found.get(name) is not None for name in frames)


def test_exact_names_win_over_numbers(tmp_path):
    found = MaskFolder(write_masks(tmp_path, "f1.png", "f01.png"), ["f1", "f01", "f2"])
    assert {name: path.name for name, path in found.files.items()} == {"f1": "f1.png", "f01": "f01.png"}


@pytest.mark.parametrize(
    ("names", "frames", "message"),
    [
        (
            ["00000.png", "00099.png"],
            FRAMES,
            r"1 of the masks .* match no frame: 00099\..* 00000, 00001, 00002 … 00011",
        ),
        (["frame_a.png"], FRAMES, "match no frame: frame_a"),
        (["frame_00003.png"], FRAMES, "two ways.*--first-frame-number"),
        (["1.png"], ["01", "001"], "could belong to frames 01, 001"),
        (["1.png", "00001.png"], FRAMES, "Frame 00001 has two masks"),
        (["2.png", "02.png"], FRAMES, "Frame 00002 has two masks"),
        ([], FRAMES, "holds no masks.*Give a folder"),
        (["00000.jpg"], FRAMES, "holds no masks.*JPEG"),
        (["00000.png"], [], "No frames"),
    ],
)
def test_masks_that_do_not_match_are_named(tmp_path, names, frames, message):
    write_masks(tmp_path, *(name for name in names if name.endswith(".png")))
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(MaskError, match=message):
        MaskFolder(tmp_path, frames)


def test_a_folder_of_folders_says_so(tmp_path):
    write_masks(tmp_path / "dog", "00000.png")
    with pytest.raises(MaskError, match=r"holds folders \(dog\)"):
        MaskFolder(tmp_path, FRAMES)


def test_missing_folder(tmp_path):
    with pytest.raises(MissingFileError, match="no mask file or folder"):
        MaskFolder(tmp_path / "masks", FRAMES)


def test_frames_that_are_left_out(tmp_path, caplog):
    write_masks(tmp_path, "00000.png", "00003.png", "00004.png")
    found = MaskFolder(tmp_path, FRAMES[::4], all_names=FRAMES)
    assert list(found.files) == ["00000", "00004"]
    assert "1 of the masks" in caplog.text
    assert "left out: 00003.png" in caplog.text
    with pytest.raises(MaskError, match=r"None of the masks .*such as 00000"):
        MaskFolder(tmp_path, FRAMES[6:], all_names=FRAMES)


@pytest.mark.parametrize("order", [("00000", "00001"), ("00001", "00000")])
def test_white_must_have_one_meaning(tmp_path, order):
    save(tmp_path / "00000.png", disc())
    several = disc()
    several[:10] = 3
    save(tmp_path / "00001.png", several)
    found = MaskFolder(tmp_path, FRAMES)
    assert found.get(order[0]) is not None
    with pytest.raises(MaskError, match=r"00000\.png` is black and white .*00001\.png` 255"):
        found.get(order[1])
    with_void = MaskFolder(tmp_path, FRAMES, void=255, void_as=-1)
    assert [mask_ids(with_void.get(name)) for name in ("00000", "00001")] == [[-1], [-1, 3]]


def test_rims_do_not_change_what_white_means(tmp_path):
    save(tmp_path / "00000.png", disc())
    save(tmp_path / "00001.png", rimmed())
    found = MaskFolder(tmp_path, FRAMES, void_as=-1)
    assert [mask_ids(found.get(name)) for name in found.files] == [[1], [-1, 1, 2]]
    assert [mask_ids(MaskFolder(tmp_path, FRAMES).get(name)) for name in found.files] == [[1], [1, 2]]


def test_masks_that_are_links_to_nothing(tmp_path):
    write_masks(tmp_path / "masks", "00000.png")
    (tmp_path / "masks" / "00003.png").symlink_to(".git/annex/objects/m.png")
    with pytest.raises(MissingFileError, match=r"1 of the 2 masks .*00003\.png .*annex/objects/m\.png"):
        MaskFolder(tmp_path / "masks", FRAMES)
    with pytest.raises(MissingFileError, match=r"is a link to `\.git/annex"):
        MaskFolder(tmp_path / "masks" / "00003.png", FRAMES)
    with pytest.raises(MissingFileError, match=r"is a link to `\.git/annex"):
        read_mask(tmp_path / "masks" / "00003.png")


def test_black_and_white_masks_of_a_video_are_object_one(tmp_path):
    save(tmp_path / "00000.png", disc())
    save(tmp_path / "00001.png", np.zeros((60, 80), np.uint8))
    found = MaskFolder(tmp_path, FRAMES)
    assert [mask_ids(found.get(name)) for name in found.files] == [[1], []]
