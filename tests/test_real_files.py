"""Files as people have them, through `vos-zoo segment`: read as their authors meant them, or named."""

from __future__ import annotations

import io
import json
import os
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from testing.videos import (
    MATRICES,
    clip,
    cut_by_edit_list,
    set_matrix,
    write_frames,
    write_video,
    write_with_sound,
)
from vos_zoo import read_frames, read_mask
from vos_zoo.cli.main import main
from vos_zoo.inference.session import VideoSession
from vos_zoo.media.masks import mask_ids, write_mask
from vos_zoo.media.reader import open_video

pytestmark = pytest.mark.usefixtures("fresh_notes")


@pytest.fixture
def fresh_notes(monkeypatch):
    monkeypatch.setattr("vos_zoo.media.mask_notes._notes_given", set())


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with the mask of a first frame, object 1."""
    monkeypatch.chdir(tmp_path)
    write_mask("first.png", block())
    return tmp_path


@pytest.fixture
def segment(tiny_model, place):
    """Run the command with a tiny model; give its exit code."""

    def run(video, masks="first.png", out="out", *options):
        arguments = ["segment", str(video), str(masks), "--out", str(out), "--model", str(tiny_model)]
        return main([*arguments, "--device", "cpu", "--size", "32", *options])

    return run


@pytest.fixture
def seen(monkeypatch):
    """The frames that sessions are given."""
    frames = []
    submit = VideoSession.submit

    def watched(self, frame, mask=None, **options):
        frames.append(frame)
        return submit(self, frame, mask, **options)

    monkeypatch.setattr(VideoSession, "submit", watched)
    return frames


def block(object_id=1):
    mask = np.zeros((48, 64), np.uint8)
    mask[12:24, 0:16] = object_id
    return mask


def written(folder="out"):
    return sorted(path.name for path in Path(folder).glob("*.png"))


# More than 8 bits

RAMP = np.linspace(200, 3800, 48 * 64).reshape(48, 64).astype(np.uint16)  # a 12-bit camera in 16-bit files


@pytest.mark.parametrize(
    ("options", "brightest"), [([], 255), (["--levels", "type"], 15), (["--levels", "0:7600"], 128)]
)
@pytest.mark.parametrize("kind", ["png", "tif", "stack"])
def test_twelve_bits_keep_their_grey_levels(segment, place, seen, caplog, kind, options, brightest):
    suffix = "tif" if kind == "stack" else kind
    video = write_frames(place / "frames", [RAMP, RAMP // 2], [f"{number}.{suffix}" for number in range(2)])
    if kind == "stack":
        video = place / "stack.tif"
        Image.fromarray(RAMP).save(video, save_all=True, append_images=[Image.fromarray(RAMP // 2)])
    assert segment(video, "first.png", "out", *options) == 0
    assert [frame.max() for frame in seen] == [brightest, brightest // 2 if options else 124]
    if not options:
        assert len(np.unique(seen[0])) > 200
    assert sum("become 0 to 255 (reported once)" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("text", ["auto", "5", "9:3", "1:2:3", "a:b", "nan:5"])
def test_levels_that_are_none(segment, capsys, text):
    with pytest.raises(SystemExit):
        segment("frames", "first.png", "out", "--levels", text)
    assert "are not levels" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".webp", ".png", ".tif", ".gif"])
def test_files_of_several_images_are_videos(segment, place, suffix):
    first, *others = [Image.fromarray(picture) for picture in clip(3)]
    first.save(place / f"clip{suffix}", save_all=True, append_images=others)
    assert segment(f"clip{suffix}") == 0
    assert written() == ["00000.png", "00001.png", "00002.png"]


# Void


def with_rim():
    mask = block()
    mask[10:12, 0:18] = mask[24:26, 0:18] = mask[10:26, 16:18] = 255
    return mask


@pytest.mark.parametrize(("void", "objects"), [(None, [1]), ("255", [1]), ("none", [1, 255]), ("1", [255])])
def test_rims_of_255_are_no_object(segment, place, capsys, caplog, void, objects):
    write_mask(place / "rims.png", with_rim())
    write_frames(place / "frames", clip(3))
    assert segment("frames", "rims.png", "out", *([] if void is None else ["--void", void])) == 0
    assert f"with {len(objects)} object" in capsys.readouterr().out
    first = read_mask(place / "out" / "00000.png", void=None)
    assert set(mask_ids(first)) == set(objects)
    is_given = np.isin(with_rim(), objects)
    np.testing.assert_array_equal(first[is_given], with_rim()[is_given])
    assert ("along the rims" in caplog.text) == (void is None)


def test_a_mask_of_void_alone_is_empty(segment, place, capsys):
    write_frames(place / "frames", clip(2))
    assert segment("frames", "first.png", "out", "--void", "1") == 2
    assert "is empty" in capsys.readouterr().err


def test_levels_and_void_are_settings_of_a_run(segment, place, capsys):
    write_frames(place / "frames", clip(3))
    assert segment("frames") == 0
    settings = json.loads((place / "out" / "run.json").read_text())["settings"]
    assert settings["levels"] is settings["void"] is None
    assert segment("frames", "first.png", "out", "--resume") == 0
    assert segment("frames", "first.png", "out", "--resume", "--void", "255") == 2
    assert "void None, now '255'" in capsys.readouterr().err
    assert segment("frames", "first.png", "out", "--resume", "--levels", "0:5") == 2
    assert "levels None, now [0.0, 5.0]" in capsys.readouterr().err


# How videos are shown


@pytest.mark.parametrize("orientation", MATRICES)
def test_masks_have_the_orientation_that_players_show(segment, place, orientation):
    path = set_matrix(write_video(place / "clip.mp4", clip(2)), MATRICES[orientation])
    first = next(read_frames(path))
    is_block = (first[:, :, 1] > 150) & (first[:, :, 0] < 110)
    write_mask("turned.png", is_block)
    assert segment("clip.mp4", "turned.png", "out", "--overlay") == 0
    np.testing.assert_array_equal(read_mask("out/00000.png"), is_block)
    assert next(read_frames("out/overlay.mp4")).shape == first.shape


def test_overlays_keep_times_the_shape_of_pixels_and_sound(segment, place):
    write_video(place / "clip.mkv", clip(6), times=[0, 33, 66, 2000, 2033, 6000], pixel_aspect=Fraction(4, 3))
    assert segment("clip.mkv", "first.png", "out", "--overlay") == 0
    overlay = open_video("out/overlay.mp4")
    assert [float(frame.time) for frame in overlay] == pytest.approx([0, 0.033, 0.066, 2, 2.033, 6], abs=1e-3)
    assert overlay.pixel_aspect == Fraction(4, 3)
    assert read_mask("out/00000.png").shape == (48, 64)  # stored pixels

    write_with_sound(place / "loud.mkv", clip(10), "aac")
    assert segment("loud.mkv", "first.png", "loud", "--overlay", "--start", "5", "--every", "2") == 0
    with av.open("loud/overlay.mp4") as container:
        assert [stream.codec_context.name for stream in container.streams.audio] == ["aac"]
        heard = [packet.pts * packet.time_base for packet in container.demux(audio=0) if packet.size]
    assert [float(frame.time) for frame in read_video("loud/overlay.mp4")] == pytest.approx([0, 0.08, 0.16], abs=1e-3)
    assert 0 <= heard[0] < 0.05
    assert 0.1 < heard[-1] < 0.25


def read_video(path):
    return list(open_video(path))


# Frames that are there


def test_frames_that_an_edit_list_hides_are_not_counted(segment, place, capsys):
    cut_by_edit_list(write_video(place / "clip.mp4", clip(30)), 6)
    given = place / "given"
    for name in ("00000", "00023"):
        write_mask(given / f"{name}.png", block())
    assert segment("trimmed-clip.mp4", given) == 0
    assert written() == [f"{index:05d}.png" for index in range(24)]
    write_mask(given / "00024.png", block())
    assert segment("trimmed-clip.mp4", given, "second") == 2
    assert "match no frame: 00024" in capsys.readouterr().err


def test_masks_of_frames_that_do_not_come_are_named(segment, place, caplog, monkeypatch):
    write_video(place / "clip.mp4", clip(5))
    monkeypatch.setattr("vos_zoo.media.reader.count_frames", lambda path: 8)
    for name in ("00000", "00006"):
        write_mask(place / "given" / f"{name}.png", block())
    assert segment("clip.mp4", "given") == 0
    assert "1 masks were not used" in caplog.text
    assert "00006.png" in caplog.text


def test_missing_frames_are_named(segment, place, capsys, caplog):
    frames = write_frames(place / "frames", clip(4), ["0.png", "1.png", "2.png", "5.png"])
    assert segment("frames") == 0
    assert "2 is followed by 5" in caplog.text
    (frames / "3.png").symlink_to("../.git/annex/3.png")
    assert segment("frames", "first.png", "second") == 2
    assert "links to files that are not there: 3.png" in capsys.readouterr().err


# Things too small


def test_small_objects_and_long_strips_are_said(segment, place, caplog):
    write_frames(place / "frames", [np.zeros((40, 1600, 3), np.uint8)] * 2)
    mask = np.zeros((40, 1600), np.uint8)
    mask[10:30, 100:120] = 1
    write_mask("strip.png", mask)
    assert segment("frames", "strip.png") == 0
    assert "long strips" in caplog.text
    assert "Object 1 in the mask of frame 0 is 400 pixels large" in caplog.text


# Names


@pytest.mark.parametrize("name", ["2025-03-07T09:15:40.mp4", "видео.mp4", "clip%03d.mp4", "a#b?.mp4", "0"])
def test_local_paths_are_paths(segment, place, name):
    write_video(place / "a.mp4", clip(2)).rename(place / name)
    assert segment(name, "first.png", "run:1", "--overlay") == 0
    assert written("run:1") == ["00000.png", "00001.png"]
    assert len(read_video("run:1/overlay.mp4")) == 2


def test_the_home_folder(segment, place, monkeypatch):
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("USERPROFILE", str(place))
    write_video(place / "a.mp4", clip(2))
    assert segment("~/a.mp4", "~/first.png", "~/out", "--overlay", "~/overlay.mp4") == 0
    assert written() == ["00000.png", "00001.png"]
    assert (place / "overlay.mp4").is_file()


def test_standard_input(segment, place, monkeypatch):
    content = write_video(place / "a.mp4", clip(2)).read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    assert segment("-", "first.png", "out", "--overlay") == 0
    assert written() == ["00000.png", "00001.png"]
    assert json.loads((place / "out" / "run.json").read_text())["settings"]["video"] == "-"


@pytest.mark.parametrize(
    ("video", "message"),
    [
        ("http://127.0.0.1:9/clip.mp4", "The stream or camera `http://127.0.0.1:9/clip.mp4` cannot be read"),
        ("987", "If camera 987 is meant"),
        ("frames/*.jpg", "it is a pattern for several files"),
        ("~/none.mp4", f"There is no video `~/none.mp4` (`{Path.home() / 'none.mp4'}`)"),
    ],
)
def test_what_is_not_there_is_named_as_what_it_is(segment, capsys, video, message):
    assert segment(video) == 2
    assert message in capsys.readouterr().err


def test_a_name_with_a_leading_dash(segment, place, capsys):
    write_video(place / "a.mp4", clip(2)).rename(place / "-dash.mp4")
    with pytest.raises(SystemExit):
        segment("-dash.mp4")
    assert "The file `-dash.mp4` passes for an option; write `./-dash.mp4`" in capsys.readouterr().err
    assert segment("./-dash.mp4") == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_mask_in_a_pipe_is_named(segment, place, capsys):
    write_frames(place / "frames", clip(2))
    os.mkfifo("mask.png")
    assert segment("frames", "mask.png") == 2
    assert "`mask.png` is a pipe or a device" in capsys.readouterr().err
