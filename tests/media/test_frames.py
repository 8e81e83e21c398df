from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from testing.videos import clip, quadrants, write_frames
from vos_zoo.errors import ConfigError, MissingFileError, VideoError
from vos_zoo.media.frames import FrameFolder, read_image


def test_frames_come_in_natural_order(tmp_path):
    pictures = clip(4)
    folder = write_frames(tmp_path, pictures, ["f10.png", "f2.PNG", "f1.bmp", "f3.webp"])
    (folder / "notes.txt").write_text("no frame")
    (folder / "._f1.bmp").write_bytes(b"a shadow file")
    reader = FrameFolder(folder)
    assert list(reader.names) == list(reader.all_names) == ["f1", "f2", "f3", "f10"]
    assert (len(reader), reader.size, reader.fps) == (4, (48, 64), None)
    frames = list(reader)
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    np.testing.assert_array_equal(frames[3].image, pictures[0])
    np.testing.assert_array_equal(frames[0].image, pictures[2])
    assert frames[0].image.dtype == np.uint8


@pytest.mark.parametrize(
    ("selection", "indices"),
    [
        ({}, range(8)),
        ({"start": 2}, range(2, 8)),
        ({"end": 3}, range(3)),
        ({"start": 7, "end": 99}, [7]),
        ({"every": 3}, [0, 3, 6]),
        ({"start": 1, "end": 6, "every": 2}, [1, 3, 5]),
        ({"every": 100}, [0]),
    ],
)
def test_selected_frames(tmp_path, selection, indices):
    reader = FrameFolder(write_frames(tmp_path, clip()), **selection)
    for _ in range(2):  # every loop starts from the beginning
        assert [frame.index for frame in reader] == list(indices)
    assert list(reader.names) == [frame.name for frame in reader] == [f"{index:05d}" for index in indices]
    assert len(reader) == len(list(indices))
    assert len(reader.all_names) == 8


@pytest.mark.parametrize(
    "selection", [{"start": -1}, {"start": 3, "end": 3}, {"start": 3, "end": 1}, {"end": 0}, {"every": 0}]
)
def test_impossible_selections(tmp_path, selection):
    with pytest.raises(ConfigError, match="were asked for"):
        FrameFolder(write_frames(tmp_path, clip(2)), **selection)


def test_start_behind_the_end(tmp_path):
    with pytest.raises(VideoError, match="has 2 frames, so it cannot start at frame 2"):
        FrameFolder(write_frames(tmp_path, clip(2)), start=2)


def empty(folder):
    folder.mkdir()


def of_folders(folder):
    write_frames(folder / "dog", clip(1))


def of_other_files(folder):
    folder.mkdir()
    (folder / "clip.mp4").touch()


def of_two_kinds(folder):
    write_frames(folder, clip(2), ["00000.jpg", "00000.png"])


def damaged(folder):
    folder.mkdir()
    (folder / "00000.jpg").write_text("<html>")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (empty, "has no frames. It is empty"),
        (of_folders, r"has no frames. It holds folders \(dog"),
        (of_other_files, r"has no frames. It holds clip\.mp4"),
        (of_two_kinds, r"holds both 00000\.jpg and 00000\.png"),
        (damaged, r"00000\.jpg` cannot be read: it is an HTML page"),
    ],
)
def test_what_is_no_folder_of_frames(tmp_path, make, message):
    make(tmp_path / "frames")
    with pytest.raises(VideoError, match=message):
        FrameFolder(tmp_path / "frames")


def test_missing_folder(tmp_path):
    with pytest.raises(MissingFileError, match="no folder"):
        FrameFolder(tmp_path / "frames")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: Image.new("RGB", (48, 64)).save(path), r"00002\.png` is 48x64 .*is 64x48"),
        (lambda path: path.write_bytes(path.read_bytes()[:-300]), r"00002\.png` cannot be read: it is a PNG image"),
        (lambda path: path.unlink(), r"no image `.*00002\.png"),
    ],
)
def test_good_frames_come_before_the_error(tmp_path, spoil, message):
    reader = FrameFolder(write_frames(tmp_path, clip(4)))
    spoil(tmp_path / "00002.png")
    frames = iter(reader)
    assert [next(frames).index, next(frames).index] == [0, 1]
    with pytest.raises((VideoError, MissingFileError), match=message):
        next(frames)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("L", (76, 76, 76)), ("RGBA", (255, 0, 0)), ("P", (255, 0, 0)), ("CMYK", (255, 0, 0)), ("1", (0, 0, 0))],
)
def test_read_image_gives_rgb(tmp_path, mode, expected):
    image = Image.new("RGB", (3, 2), (255, 0, 0)).convert(mode, dither=Image.Dither.NONE)
    image.save(tmp_path / "image.tiff")
    read = read_image(tmp_path / "image.tiff")
    assert read.shape == (2, 3, 3)
    assert tuple(read[0, 0]) == expected
    assert read.flags.writeable


def test_frames_of_sixteen_bits_are_scaled_alike(tmp_path, caplog):
    ramp = np.linspace(200, 3800, 48 * 64).reshape(48, 64).astype(np.uint16)
    folder = write_frames(tmp_path, [ramp, ramp // 2, clip(1)[0]], ["0.png", "1.tif", "2.png"])
    for _ in range(2):
        frames = [frame.image for frame in FrameFolder(folder)]
        assert [frame.max() for frame in frames[:2]] == [255, 124]
        np.testing.assert_array_equal(frames[2], clip(1)[0])  # 8 bits stay as they are
    assert len(np.unique(frames[0])) > 230
    assert "100 to 3800" in caplog.text
    assert [frame.image.max() for frame in FrameFolder(folder, levels="type")][:2] == [15, 7]
    assert next(iter(FrameFolder(folder, levels=(0, 7600)))).image.max() == 128
    with pytest.raises(ConfigError, match="Levels are 'auto'"):
        FrameFolder(folder, levels="auto")


@pytest.mark.parametrize(("levels", "brightest"), [(None, 255), ("type", 15)])
def test_one_wide_frame_among_many_is_scaled(tmp_path, levels, brightest):
    ramp = np.linspace(200, 3800, 48 * 64).reshape(48, 64).astype(np.uint16)
    names = [f"{number:03d}.png" for number in range(150)]
    folder = write_frames(tmp_path, [ramp if number == 1 else clip(1)[0] for number in range(150)], names)
    assert FrameFolder(folder, levels=levels).read(1).image.max() == brightest


@pytest.mark.parametrize("suffix", [".tif", ".avif", ".webp", ".gif", ".JPG"])
def test_kinds_of_frames(tmp_path, suffix):
    folder = write_frames(tmp_path, [quadrants()] * 3, [f"{number}{suffix}" for number in range(3)])
    frames = list(FrameFolder(folder))
    assert len(frames) == 3
    assert np.abs(frames[2].image[5::10, 5::10].astype(int) - quadrants()[5::10, 5::10]).max() < 60


def test_links_that_lead_nowhere_are_named(tmp_path):
    folder = write_frames(tmp_path / "frames", clip(3))
    (folder / "00003.png").symlink_to("../.git/annex/objects/xy.png")
    (folder / "00004.png").symlink_to("00002.png")
    with pytest.raises(MissingFileError, match=r"1 of the 5 frames .*00003\.png .*annex/objects/xy\.png.*annex get"):
        FrameFolder(folder)


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        ([0, 1, 2, 5, 6], "00002 is followed by 00005"),
        ([0, 5, 10, 20, 25, 40, 45, 50], "00010 is followed by 00020, 00025 is followed by 00040"),
        ([3, 4, 5], None),
        ([0, 5, 10, 15], None),  # every fifth frame, as in YouTube-VOS
        ([0, 7, 19, 22, 60], None),  # no rule to break
        ([0, 9], None),
    ],
)
def test_gaps_in_the_numbers_are_named(tmp_path, caplog, numbers, named):
    FrameFolder(write_frames(tmp_path, clip(len(numbers)), [f"{number:05d}.png" for number in numbers]))
    assert (f"have gaps: {named}" in caplog.text) if named else not caplog.records


@pytest.mark.parametrize("names", [["a.png", "b.png", "d.png"], ["a1.png", "b2.png", "c9.png"]])
def test_names_without_numbers_have_no_gaps(tmp_path, caplog, names):
    FrameFolder(write_frames(tmp_path, clip(3), names))
    assert not caplog.records


def test_read_image_scales_16_bits(tmp_path):
    Image.fromarray(np.array([[0, 256, 65535]], np.uint16)).save(tmp_path / "image.png")
    assert read_image(tmp_path / "image.png")[0, :, 1].tolist() == [0, 1, 255]


def test_read_image_holds_photos_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show, CIPA DC-008 section 4.6.4
    Image.fromarray(quadrants()).save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "photo.png"), np.rot90(quadrants(), -1))


def test_read_image_of_a_folder(tmp_path):
    with pytest.raises(VideoError, match="it is a folder"):
        read_image(tmp_path)
