from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from testing.results import expected_opacity, moving_masks, over_chequers, read_transparent, write_results
from testing.videos import clip, write_frames, write_video, write_with_sound
from vos_zoo.errors import VideoError
from vos_zoo.interchange.export_masks import export_masks
from vos_zoo.interchange.probabilities import ProbabilityWriter
from vos_zoo.media import encodings
from vos_zoo.media.reader import open_video

TRANSPARENT = {"webm": ".webm", "prores": ".mov"}
OPAQUE = ("green-screen", "blue-screen", "matte")
ALL = {**TRANSPARENT, **dict.fromkeys(OPAQUE, ".mp4")}
TIMES = [0, 40, 80, 300, 340, 1000]


def flat_clip(frames, size=(48, 64), colour=(180, 120, 60)):
    return [np.full((*size, 3), colour, np.uint8) for _ in range(frames)]


def results_of(tmp_path, source, frames, size=(48, 64), **options):
    return write_results(tmp_path / "masks", moving_masks(frames, size), source, **options)


@pytest.mark.parametrize("kind", TRANSPARENT)
@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_objects_lie_over_a_chequered_ground(tmp_path, kind, size):
    pictures, masks = flat_clip(4, size), moving_masks(4, size)
    folder = write_results(tmp_path / "masks", masks, write_frames(tmp_path / "frames", pictures))
    export_masks(folder, to=kind, out=tmp_path / f"a{TRANSPARENT[kind]}")
    found, _ = read_transparent(tmp_path / f"a{TRANSPARENT[kind]}")
    assert [picture.shape for picture in found] == [(*size, 4)] * 4
    for picture, mask in zip(found, masks, strict=True):
        expected = np.dstack([pictures[0], 255 * (mask > 0).astype(np.uint8)])
        difference = np.abs(over_chequers(picture) - over_chequers(expected))
        assert difference.max() <= (2 if kind == "prores" else 12)
        assert np.array_equal(picture[..., 3] > 127, mask > 0)


def test_opacity_of_prores_is_exact(results, tmp_path, masks):
    export_masks(results, to="prores", out=tmp_path / "a.mov", objects=[2])
    found, _ = read_transparent(tmp_path / "a.mov")
    np.testing.assert_array_equal([picture[..., 3] for picture in found], 255 * (np.array(masks) == 2))


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_what_is_far_from_objects_is_not_in_the_file(tmp_path, kind):
    """Colours under zero opacity could be made visible by anybody."""
    size = (96, 128)
    folder = results_of(tmp_path, write_frames(tmp_path / "frames", flat_clip(3, size)), 3, size)
    export_masks(folder, to=kind, out=tmp_path / f"a{TRANSPARENT[kind]}")
    for picture in read_transparent(tmp_path / f"a{TRANSPARENT[kind]}")[0]:
        assert picture[:, -32:, :3].max() <= 2


@pytest.mark.parametrize(
    ("kind", "ground"), [("green-screen", (0, 255, 0)), ("blue-screen", (0, 0, 255)), ("matte", (0, 0, 0))]
)
def test_a_plain_ground(tmp_path, kind, ground):
    pictures, masks = flat_clip(3), moving_masks(3)
    folder = write_results(tmp_path / "masks", masks, write_frames(tmp_path / "frames", pictures))
    export_masks(folder, to=kind, out=tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1)
    for frame, mask in zip(open_video(tmp_path / "a.mp4"), masks, strict=True):
        inside = (255, 255, 255) if kind == "matte" else pictures[0][0, 0]
        # Three pixels from edges: colours are stored for blocks of 2x2.
        deep = {"in": np.zeros_like(mask, bool), "out": np.zeros_like(mask, bool)}
        rows, columns = np.nonzero(mask == 1)
        deep["in"][rows.min() + 3 : rows.max() - 2, columns.min() + 3 : columns.max() - 2] = True
        deep["out"][:, columns.max() + 4 :] = True
        for name, colour in (("in", inside), ("out", ground)):
            difference = np.abs(frame.image[deep[name]].astype(int) - colour)
            assert difference.mean() <= 2
            assert difference.max() <= 16  # compression of blocks with an edge
        if kind == "matte":
            np.testing.assert_array_equal(frame.image[..., 0] > 127, mask > 0)


@pytest.mark.parametrize("kind", ALL)
def test_times_and_the_shape_of_pixels_are_kept(tmp_path, kind):
    source = write_video(tmp_path / "clip.mkv", clip(6), times=TIMES, pixel_aspect=Fraction(4, 3))
    assert open_video(source).pixel_aspect == Fraction(4, 3)
    out = tmp_path / f"a{ALL[kind]}"
    export_masks(results_of(tmp_path, source, 6), to=kind, out=out)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert float(stream.sample_aspect_ratio) == pytest.approx(4 / 3, abs=1 / 64)
        shown = sorted(float(packet.pts * packet.time_base) for packet in container.demux(stream) if packet.size)
    assert shown == pytest.approx([time / 1000 for time in TIMES], abs=1.1e-3)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("codec", ["aac", "libopus"])
def test_sound_is_kept(tmp_path, kind, codec):
    source = write_with_sound(tmp_path / "clip.mkv", clip(30), codec)
    out = tmp_path / f"a{ALL[kind]}"
    names = [f"{number:05d}" for number in range(5, 25)]
    export_masks(results_of(tmp_path, source, 20, names=names, start=5, end=25), to=kind, out=out)
    with av.open(str(out)) as container:
        times = [float(frame.time) for frame in container.decode(audio=0)]
    assert 0 <= times[0] < 0.06
    assert times[-1] == pytest.approx(0.8, abs=0.06)


def test_frames_without_times_follow_their_positions(tmp_path):
    names = ["00000", "00005", "00010"]
    folder = tmp_path / "masks"
    write_results(folder, moving_masks(3), write_frames(tmp_path / "f", clip(11)), names=names, every=5)
    export_masks(folder, to="matte", out=tmp_path / "a.mp4")
    assert [frame.time for frame in open_video(tmp_path / "a.mp4")] == [0, Fraction(5, 24), Fraction(10, 24)]
    export_masks(folder, to="matte", out=tmp_path / "b.mp4", fps=30)
    assert [frame.time for frame in open_video(tmp_path / "b.mp4")] == [0, Fraction(5, 30), Fraction(10, 30)]


@pytest.mark.parametrize("kind", ALL)
def test_soft_edges(tmp_path, kind):
    folder = results_of(tmp_path, write_frames(tmp_path / "frames", flat_clip(3)), 3)
    ramp = np.tile(np.linspace(0, 1, 64), (48, 1))
    for number in range(3):
        ProbabilityWriter(folder).write(f"{number:05d}", [(1, ramp), (2, np.zeros((48, 64)))])
    out = tmp_path / f"a{ALL[kind]}"
    export_masks(folder, to=kind, out=out, soft=True)
    levels = [expected_opacity(np.rint(255 * ramp), mask > 0) for mask in moving_masks(3)]
    assert any(set(np.unique(level)) - {0, 255} for level in levels)
    if kind in TRANSPARENT:
        for level, picture in zip(levels, read_transparent(out)[0], strict=True):
            difference = np.abs(picture[..., 3].astype(int) - level)
            assert difference.max() <= (1 if kind == "prores" else 12)
            assert difference.mean() < 1
    else:
        ground = {"green-screen": (0, 255, 0), "blue-screen": (0, 0, 255), "matte": (0, 0, 0)}[kind]
        front = np.full(3, 255) if kind == "matte" else np.array((180, 120, 60))
        for level, frame in zip(levels, open_video(out), strict=True):
            share = level[..., None] / 255
            expected = share * front + (1 - share) * np.array(ground)
            # Luma is stored for every pixel.
            luma = np.array((0.2126, 0.7152, 0.0722))
            assert np.abs((frame.image - expected) @ luma).mean() <= 3


def test_an_encoder_that_is_not_there(results, tmp_path, monkeypatch):
    monkeypatch.setattr(encodings, "_available", lambda encoding: None if encoding.name.startswith("VP9") else "x264")
    with pytest.raises(VideoError, match=r"no VP9 with alpha encoder.*H\.264 \(x264\), ProRes 4444 \(x264\)"):
        export_masks(results, to="webm", out=tmp_path / "new" / "a.webm")
    assert not list((tmp_path / "new").iterdir())
