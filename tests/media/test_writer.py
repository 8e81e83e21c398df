from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from testing.results import read_transparent
from testing.videos import clip
from vos_zoo.errors import ConfigError, MaskError, MissingExtraError, OutputExistsError, ShapeError, VideoError
from vos_zoo.media import writer as writer_module
from vos_zoo.media.encodings import H264, PRORES_4444, VP9_ALPHA
from vos_zoo.media.mask_values import davis_palette
from vos_zoo.media.masks import read_mask
from vos_zoo.media.reader import open_video
from vos_zoo.media.writer import MaskWriter, VideoWriter

MASK = np.array([[0, 1], [2, 2]], np.uint8)


# Masks


def test_masks_are_named_like_their_frames(tmp_path):
    writer = MaskWriter(tmp_path / "new" / "masks")
    assert writer.write("frame 7", MASK) == writer.path("frame 7") == tmp_path / "new" / "masks" / "frame 7.png"
    writer.write("00008", MASK.astype(np.int64) * 1000)
    np.testing.assert_array_equal(read_mask(writer.path("frame 7")), MASK)
    np.testing.assert_array_equal(read_mask(writer.path("00008")), MASK.astype(int) * 1000)
    assert writer.done == {"frame 7", "00008"}


def test_palette_is_used(tmp_path):
    palette = davis_palette()[::-1].copy()
    path = MaskWriter(tmp_path, palette=palette).write("a", MASK)
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), palette[MASK])


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "../a", "a/b", "a\\b", "/a"])
def test_names_stay_in_the_folder(tmp_path, name):
    with pytest.raises(MaskError, match="cannot name a mask file"):
        MaskWriter(tmp_path).write(name, MASK)


def test_folder_with_files_is_refused(tmp_path):
    (tmp_path / "holiday.png").touch()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(OutputExistsError, match=r"it holds holiday\.png and 1 more.*--resume.*--overwrite"):
        MaskWriter(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "masks").touch()
    with pytest.raises(OutputExistsError, match="is a file"):
        MaskWriter(tmp_path / "masks", overwrite=True)


def test_resume_and_overwrite_exclude_each_other(tmp_path):
    with pytest.raises(ConfigError, match="not both"):
        MaskWriter(tmp_path, resume=True, overwrite=True)


def test_hidden_files_do_not_count(tmp_path):
    (tmp_path / ".DS_Store").touch()
    assert MaskWriter(tmp_path).done == set()
    assert (tmp_path / ".DS_Store").exists()


def test_overwrite_replaces_masks_of_the_same_name_only(tmp_path):
    first = MaskWriter(tmp_path)
    first.write("a", MASK)
    first.write("b", MASK)
    second = MaskWriter(tmp_path, overwrite=True)
    assert second.done == set()
    second.write("a", MASK[::-1])
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), MASK[::-1])
    np.testing.assert_array_equal(read_mask(tmp_path / "b.png"), MASK)


def test_resume_trusts_complete_masks_only(tmp_path):
    first = MaskWriter(tmp_path)
    for name in ("00000", "00001", "00002", "00003"):
        first.write(name, MASK)
    cut = tmp_path / "00001.png"
    cut.write_bytes(cut.read_bytes()[:-1])
    (tmp_path / "00002.png").write_bytes(b"")
    (tmp_path / "00003.png").write_text("<html>")
    (tmp_path / "overlay.mp4").touch()
    (tmp_path / ".00004.png.99-99.part").touch()  # left behind by a run that was killed
    again = MaskWriter(tmp_path, resume=True)
    assert again.done == {"00000"}
    assert not list(tmp_path.glob(".*"))
    again.write("00001", MASK)
    assert MaskWriter(tmp_path, resume=True).done == {"00000", "00001"}


# Videos


def boxes(path):
    """Names of the top-level boxes of an MP4 file."""
    content, names, position = path.read_bytes(), [], 0
    while position < len(content):
        names.append(content[position + 4 : position + 8])
        position += int.from_bytes(content[position : position + 4], "big")
    return names


def write(path, pictures, fps=25.0, **options):
    with VideoWriter(path, pictures[0].shape[:2], fps=fps, **options) as writer:
        for picture in pictures:
            writer.write(picture)
    return path


@pytest.mark.parametrize("fps", [1, 12.5, 24, 29.97, 60])
def test_videos_play_in_browsers(tmp_path, fps):
    path = write(tmp_path / "new" / "overlay.mp4", clip(5), fps)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == pytest.approx(fps, rel=1e-4)
        assert [float(frame.time) for frame in container.decode(stream)] == pytest.approx(
            [number / fps for number in range(5)], abs=1e-3
        )
    # Browsers start playing at once only if the index comes before the pictures.
    assert boxes(path).index(b"moov") < boxes(path).index(b"mdat")


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 2), (17, 33), (48, 64)])
def test_odd_sizes_grow_by_a_copied_row_or_column(tmp_path, size):
    colour = (200, 60, 30)
    path = write(tmp_path / "a.mp4", [np.full((*size, 3), colour, np.uint8)] * 2, quality=0)
    reader = open_video(path)
    assert reader.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    for frame in reader:
        # Eight bits of limited-range YUV hold a colour to within two levels.
        assert np.abs(frame.image.astype(int) - colour).max() <= 3


def test_frames_keep_their_times(tmp_path):
    times = [Fraction(t, 1000) for t in (500, 533, 566, 2500, 2533, 6500)]
    with VideoWriter(tmp_path / "a.mp4", (48, 64), fps=1000) as writer:
        for picture, time in zip(clip(6), times, strict=True):
            writer.write(picture, time)
    shown = [float(frame.time) for frame in open_video(tmp_path / "a.mp4")]
    assert shown == pytest.approx([0, 0.033, 0.066, 2, 2.033, 6], abs=1e-4)
    with av.open(str(tmp_path / "a.mp4")) as container:
        # The last frame is shown as long as the two closest ones are apart.
        assert container.duration / 1e6 == pytest.approx(6.033, abs=2e-3)


def test_frames_of_one_time_follow_each_other(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", (48, 64), fps=25) as writer:
        for picture, time in zip(clip(4), (0, 1, 1, Fraction(1, 2)), strict=True):
            writer.write(picture, Fraction(time))
    shown = [frame.time for frame in open_video(tmp_path / "a.mp4")]
    assert shown == sorted(set(shown))
    assert len(shown) == 4


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(8, 9), Fraction(1)])
def test_the_shape_of_pixels_is_noted(tmp_path, aspect):
    assert open_video(write(tmp_path / "a.mp4", clip(3), pixel_aspect=aspect)).pixel_aspect == aspect


def test_names_with_a_colon(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(list(open_video(write(Path("run:1") / "2025-03-07T09:15.mp4", clip(3))))) == 3


def test_pictures_survive(tmp_path):
    pictures = clip(6)
    for frame in open_video(write(tmp_path / "a.mp4", pictures, quality=1)):
        inside = slice(14, 22), slice(frame.index + 2, frame.index + 14)
        assert np.abs(frame.image[inside].astype(int) - pictures[frame.index][inside]).max() < 12


def test_nothing_appears_before_the_end(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"older")
    writer = VideoWriter(path, (48, 64), fps=25)
    for picture in clip(3):
        writer.write(picture)
    assert writer.frames == 3
    assert path.read_bytes() == b"older"
    writer.close()
    writer.close()
    assert len(list(open_video(path))) == 3
    assert list(tmp_path.iterdir()) == [path]


def test_without_frames_there_is_no_file(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", (48, 64), fps=25):
        pass
    assert not list(tmp_path.iterdir())


def test_frames_before_an_error_can_be_watched(tmp_path):
    pictures = [*clip(4), np.zeros((10, 10, 3), np.uint8)]
    with pytest.raises(ShapeError, match=r"shape \(10, 10, 3\)"):
        write(tmp_path / "a.mp4", pictures)
    assert len(list(open_video(tmp_path / "a.mp4"))) == 4
    assert len(list(tmp_path.iterdir())) == 1


def test_frames_must_be_rgb_bytes(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", (4, 4), fps=25) as writer:
        for wrong in (np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)):
            with pytest.raises(ShapeError, match=r"takes uint8 \(4, 4, 3\)"):
                writer.write(wrong)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.avi", {}, "must end in"),
        ("a.mp4", {"fps": 0}, "fps=0"),
        ("a.mp4", {"fps": float("nan")}, "fps=nan"),
        ("a.mp4", {"size": (0, 4)}, r"size=\(0, 4\)"),
        ("a.mp4", {"quality": 52}, "quality=52"),
    ],
)
def test_impossible_videos(tmp_path, name, options, message):
    with pytest.raises(ConfigError, match=message):
        VideoWriter(tmp_path / name, **{"size": (4, 4), "fps": 25, **options})


def test_without_pyav(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "av", None)
    with pytest.raises(MissingExtraError, match="pip install av"):
        VideoWriter(tmp_path / "a.mp4", (4, 4), fps=25)


def test_without_an_encoder_what_there_is_is_named(tmp_path):
    encoding = replace(VP9_ALPHA, encoders=("no_such_encoder",))
    with pytest.raises(VideoError, match=r"no VP9 with alpha encoder.*no_such_encoder.*H\.264 \(.*ProRes 4444 \("):
        VideoWriter(tmp_path / "a.webm", (4, 4), fps=25, encoding=encoding)


def test_encoders_without_a_quality_mode_get_a_bit_rate(tmp_path):
    # "h264" names x264 too here, but not by the name for which the quality is set.
    encoding = replace(H264, encoders=("no_such_encoder", "h264"))
    assert len(list(open_video(write(tmp_path / "a.mp4", clip(3), encoding=encoding)))) == 3


# Videos with transparency

TRANSPARENT = {"webm": (VP9_ALPHA, "a.webm"), "prores": (PRORES_4444, "a.mov")}


def transparent_clip(frames, size, colour=(200, 60, 30)):
    """One colour, of which a half with a soft edge is seen; the edge moves."""
    pictures = np.full((frames, *size, 4), (*colour, 0), np.uint8)
    columns = np.arange(size[1])
    for number, picture in enumerate(pictures):
        picture[..., 3] = np.clip(128 + 64 * (number + size[1] // 3 - columns), 0, 255)
    return pictures


@pytest.mark.parametrize("kind", TRANSPARENT)
@pytest.mark.parametrize("size", [(48, 64), (49, 63), (1, 1), (17, 2)])
def test_opacity_and_colours_survive(tmp_path, kind, size):
    encoding, name = TRANSPARENT[kind]
    pictures = transparent_clip(3, size)
    found, _ = read_transparent(write(tmp_path / name, pictures, encoding=encoding))
    assert len(found) == 3
    for picture, got in zip(pictures, found, strict=True):
        assert got.shape == picture.shape
        difference = np.abs(got.astype(int) - picture)
        # ProRes stores opacity without loss, here in 10 bits; colours of both go through limited-range YUV.
        assert difference[..., 3].max() <= (1 if kind == "prores" else 8)
        assert difference[..., :3].max() <= 3


def test_opacity_of_large_frames_is_right_everywhere(tmp_path):
    """Conversion by several threads leaves wrong pixels where a thread's share begins, in one of some five frames."""
    pictures = np.zeros((20, 480, 854, 4), np.uint8)
    for number, picture in enumerate(pictures):
        picture[100:300, 200 + number : 500] = (90, 60, 200, 255)
    found, _ = read_transparent(write(tmp_path / "a.mov", list(pictures), encoding=PRORES_4444))
    np.testing.assert_array_equal([picture[..., 3] for picture in found], pictures[..., 3])


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_transparent_videos_keep_times_and_the_shape_of_pixels(tmp_path, kind):
    encoding, name = TRANSPARENT[kind]
    times = [Fraction(t, 1000) for t in (500, 533, 566, 2500, 2533, 6500)]
    aspect = Fraction(4, 3)
    with VideoWriter(tmp_path / name, (48, 66), fps=1000, encoding=encoding, pixel_aspect=aspect) as writer:
        for picture, time in zip(transparent_clip(6, (48, 66)), times, strict=True):
            writer.write(picture, time)
    found, shown = read_transparent(tmp_path / name)
    assert len(found) == 6
    assert shown == pytest.approx([0, 0.033, 0.066, 2, 2.033, 6], abs=1e-3)
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == aspect
        colours = stream.codec_context
        assert (colours.colorspace, colours.color_primaries, colours.color_trc) == (1, 1, 1)
        # ProRes has no field for the range, which is always the narrow one; FFmpeg 8.0 calls it unknown.
        assert colours.color_range == 1 or (kind == "prores" and colours.color_range == 0)
        if kind == "webm":
            assert {key.lower(): value for key, value in stream.metadata.items()}["alpha_mode"] == "1"


def test_transparent_videos_take_opacity(tmp_path):
    writer = VideoWriter(tmp_path / "a.webm", (4, 4), fps=25, encoding=VP9_ALPHA)
    with pytest.raises(ShapeError, match=r"takes uint8 \(4, 4, 4\)"):
        writer.write(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ConfigError, match=r"must end in one of \.webm"):
        VideoWriter(tmp_path / "a.mp4", (4, 4), fps=25, encoding=VP9_ALPHA)
    with pytest.raises(ConfigError, match="quality from 0 to 63"):
        VideoWriter(tmp_path / "a.webm", (4, 4), fps=25, encoding=VP9_ALPHA, quality=64)
