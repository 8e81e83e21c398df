from __future__ import annotations

import contextlib
import functools
import gc
import http.server
import io
import sys
import threading
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from testing.videos import MATRICES, QUADRANTS, clip, quadrants, set_matrix, turn, write_frames, write_video
from vos_zoo.errors import ConfigError, MissingFileError, VideoError
from vos_zoo.media import reader as reader_module
from vos_zoo.media.frames import VideoReader
from vos_zoo.media.in_memory import open_frames
from vos_zoo.media.orientation import turn_upright
from vos_zoo.media.reader import FrameFolder, OpenCVVideo, PictureStack, PyAVVideo, open_video, read_frames
from vos_zoo.media.source import Source

TOLERANCE = 12  # levels; near-lossless H.264 with colours at half resolution


@pytest.fixture(params=["PyAV", "OpenCV"])
def backend(request, monkeypatch):
    if request.param == "OpenCV":
        monkeypatch.setattr(reader_module, "av", None)
    return request.param


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", clip())


def test_opens_what_fits(video, tmp_path, backend):
    assert isinstance(open_video(video), {"PyAV": PyAVVideo, "OpenCV": OpenCVVideo}[backend])
    assert isinstance(open_video(write_frames(tmp_path, clip(1))), FrameFolder)


def test_frames_of_a_video(video, backend):
    reader = open_video(video)
    assert (len(reader), reader.size, reader.fps) == (8, (48, 64), 25.0)
    assert list(reader.names) == [f"{index:05d}" for index in range(8)]
    frames = list(reader)
    assert [(frame.index, frame.name) for frame in frames] == list(enumerate(reader.names))
    for frame, picture in zip(frames, clip(), strict=True):
        assert frame.image.dtype == np.uint8
        assert frame.image.flags.c_contiguous
        # Inside the moving block, where halved colour resolution plays no part.
        inside = slice(14, 22), slice(frame.index + 2, frame.index + 14)
        assert np.abs(frame.image[inside].astype(int) - picture[inside]).max() < TOLERANCE


@pytest.mark.parametrize(
    ("selection", "indices"),
    [
        ({"start": 3}, range(3, 8)),
        ({"end": 2}, range(2)),
        ({"every": 3, "end": 50}, [0, 3, 6]),
        ({"start": 1, "end": 6, "every": 2}, [1, 3, 5]),
    ],
)
def test_selected_frames(video, backend, selection, indices):
    whole = list(open_video(video))
    reader = open_video(video, **selection)
    for _ in range(2):  # every loop starts from the beginning
        frames = list(reader)
        assert [frame.index for frame in frames] == list(indices)
    for frame in frames:
        np.testing.assert_array_equal(frame.image, whole[frame.index].image)
    assert list(reader.names) == [frame.name for frame in frames]
    assert len(reader.all_names) == 8
    assert reader.fps == pytest.approx(25 / selection.get("every", 1))


def test_selection_is_checked(video, backend):
    with pytest.raises(ConfigError, match="every 0"):
        open_video(video, every=0)
    with pytest.raises(VideoError, match="has 8 frames, so it cannot start at frame 8"):
        open_video(video, start=8)


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels", "size"),
    [
        (".mkv", "libx264", "yuv420p", (48, 64)),
        (".webm", "libvpx-vp9", "yuv420p", (48, 64)),
        (".avi", "mpeg4", "yuv420p", (48, 64)),
        (".ts", "libx264", "yuv420p", (48, 64)),
        (".mp4", "libx264", "yuv420p10le", (48, 64)),
        (".mp4", "libx264", "yuv444p", (47, 63)),
        (".gif", "gif", "rgb8", (48, 64)),
    ],
)
def test_formats(tmp_path, backend, suffix, codec, pixels, size):
    write_video(tmp_path / f"clip{suffix}", clip(size=size), codec=codec, pixels=pixels)
    reader = open_video(tmp_path / f"clip{suffix}")
    frames = list(reader)
    assert len(reader) == len(frames) == 8
    assert reader.size == size
    assert reader.fps == pytest.approx(25)
    rough = 40 if suffix in (".gif", ".webm", ".avi") else TOLERANCE
    assert np.abs(frames[7].image[16:20, 9:20].astype(int) - clip(size=size)[7][16:20, 9:20]).mean() < rough


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_phone_videos_are_upright(tmp_path, backend, degrees):
    path = turn(write_video(tmp_path / "clip.mp4", [quadrants()] * 3), degrees)
    upright = np.rot90(quadrants(), -degrees // 90)
    reader = open_video(path)
    assert reader.size == upright.shape[:2]
    height, width = reader.size
    image = next(iter(reader)).image
    for row, column in ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
        place = int(row * height), int(column * width)
        assert np.abs(image[place].astype(int) - upright[place]).max() < TOLERANCE
    assert len(QUADRANTS) == 4


@pytest.mark.parametrize("orientation", MATRICES)
def test_all_eight_orientations(tmp_path, orientation):
    path = set_matrix(write_video(tmp_path / "clip.mp4", [quadrants()] * 3), MATRICES[orientation])
    upright = turn_upright(quadrants(), orientation)
    image = next(read_frames(path))
    assert image.shape == upright.shape
    middles = (
        slice(image.shape[0] // 4, None, image.shape[0] // 2),
        slice(image.shape[1] // 4, None, image.shape[1] // 2),
    )
    assert np.abs(image[middles].astype(int) - upright[middles]).max() < TOLERANCE


@pytest.mark.parametrize("degrees", [0, 90])
def test_the_shape_of_pixels(tmp_path, backend, degrees):
    path = turn(write_video(tmp_path / "clip.mp4", clip(3), pixel_aspect=Fraction(4, 3)), degrees)
    expected = Fraction(3, 4) if degrees and backend == "PyAV" else Fraction(4, 3)
    assert open_video(path).pixel_aspect == expected


def test_frames_tell_when_they_are_shown(tmp_path, backend):
    times = [0, 10, 50, 51, 400, 405, 1000, 1001]
    path = write_video(tmp_path / "clip.mkv", clip(), times=times)
    assert [frame.time for frame in open_video(path, start=1, every=2)] == [Fraction(t, 1000) for t in times[1::2]]


def write_wide(path, pixels, pictures):
    """Encode grey or RGB pictures of 16 bits (scaled up from ``pixels``'s own) without loss."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=10)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="gray16le" if picture.ndim == 2 else "rgb48le")
            output.mux(stream.encode(frame.reformat(format=pixels)))
        output.mux(stream.encode())
    return path


RAMP = np.linspace(200, 3800, 32 * 48).reshape(32, 48).astype(np.uint16)


@pytest.mark.parametrize("pixels", ["gray16le", "gbrp16le"])
def test_sixteen_bits_are_scaled_by_the_range_of_the_clip(tmp_path, caplog, pixels):
    pictures = [RAMP, RAMP // 2] if pixels.startswith("gray") else [np.dstack([RAMP] * 3), np.dstack([RAMP // 2] * 3)]
    path = write_wide(tmp_path / "scan.mkv", pixels, pictures)
    for _ in range(2):
        first, second = read_frames(path)
        assert (first.min(), first.max(), second.min(), second.max()) == (7, 255, 0, 124)
        assert len(np.unique(first)) > 230
    list(open_video(path, levels=(0, 3800)))
    assert caplog.text.count("100 to 3800, the range of the clip's values") == 2  # once per reader
    assert [frame.max() for frame in read_frames(path, levels="type")] == [15, 7]
    assert [frame.max() for frame in read_frames(path, levels=(0, 7600))] == [128, 64]


def test_ten_bits_are_scaled_by_their_type(tmp_path, caplog):
    path = write_wide(tmp_path / "scan.mkv", "gray10le", [RAMP * 16, RAMP])
    assert [frame.max() for frame in read_frames(path)] == [237, 15]
    assert caplog.text.count("10 bits per colour; the range of this type") == 1
    assert [frame.max() for frame in read_frames(path, levels="clip")] == [255, 15]
    assert [frame.max() for frame in read_frames(path, levels=(0, 475))] == [255, 32]


@pytest.mark.parametrize("suffix", [".tif", ".png", ".webp", ".avif", ".gif"])
def test_files_of_several_pictures(tmp_path, suffix):
    first, *others = [Image.fromarray(picture) for picture in clip(6)]
    times = {} if suffix == ".tif" else {"duration": 40}
    first.save(tmp_path / f"stack{suffix}", save_all=True, append_images=others, **times)
    reader = open_video(tmp_path / f"stack{suffix}", start=1, every=2)
    assert isinstance(reader, PictureStack)
    assert list(reader.names) == ["00001", "00003", "00005"]
    frames = list(reader)
    assert [frame.index for frame in frames] == [1, 3, 5]
    tolerance = 0 if suffix in (".tif", ".png") else 60
    assert np.abs(frames[1].image[13:23, 4:18].astype(int) - clip(6)[3][13:23, 4:18]).max() <= tolerance
    if suffix != ".tif":
        assert reader.fps == pytest.approx(12.5)
        assert [frame.time for frame in frames] == [Fraction(1, 25), Fraction(3, 25), Fraction(1, 5)]


def test_wide_pages_are_scaled_alike(tmp_path):
    first, *others = [Image.fromarray(picture) for picture in (RAMP, RAMP // 2, RAMP + 200)]
    first.save(tmp_path / "stack.tif", save_all=True, append_images=others)
    frames = list(read_frames(tmp_path / "stack.tif"))
    assert [frame.max() for frame in frames] == [242, 118, 255]
    np.testing.assert_array_equal(list(read_frames(tmp_path / "stack.tif", start=1))[1], frames[2])


def test_yuv4mpeg(tmp_path):
    with av.open(str(tmp_path / "clip.y4m"), "w", format="yuv4mpegpipe") as output:
        stream = output.add_stream("wrapped_avframe", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for picture in clip(3):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")))
    reader = open_video(tmp_path / "clip.y4m")
    assert (len(reader), len(list(reader)), reader.fps) == (3, 3, 25)


@pytest.mark.parametrize("name", ["2025-03-07T09:15:40.mp4", "видео 1.mp4", "clip%03d.mp4", "-dash.mp4", "a#b?.mp4"])
def test_names_of_files(tmp_path, monkeypatch, backend, name):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "a.mp4", clip(3)).rename(name)
    assert len(list(open_video(name))) == 3


def test_decoded_frames_do_not_wait_for_the_garbage_collector(tmp_path):
    path = write_video(tmp_path / "a.mp4", clip(30))
    gc.collect()
    gc.disable()
    try:
        assert sum(1 for _ in open_video(path)) == 30
        # Decoders of PyAV 17.0 keep frames without pixels for what comes next.
        left = sum(type(thing) is av.VideoFrame and thing.format is not None for thing in gc.get_objects())
    finally:
        gc.enable()
    assert left == 0


def test_standard_input(tmp_path, monkeypatch, backend):
    content = write_video(tmp_path / "clip.mp4", clip(3)).read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    reader = open_video("-")
    copy = reader.path
    for _ in range(2):
        assert len(list(reader)) == 3
    del reader
    assert not copy.exists()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"<html>")))
    with pytest.raises(VideoError, match="`-` is an HTML page, not a video"):
        open_video("-")


@pytest.fixture
def server(tmp_path):
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_on_a_server(tmp_path, server, suffix):
    path = write_video(tmp_path / f"clip{suffix}", clip(5))
    for address in (f"{server}/{path.name}", Path(f"{server}/{path.name}")):
        assert [frame.name for frame in open_video(address)] == [f"{index:05d}" for index in range(5)]
    with pytest.raises(VideoError, match=r"stream or camera `http://.*cannot be read"):
        open_video(f"{server}/other.mp4")


def test_what_never_ends_needs_an_end(monkeypatch):
    # FFmpeg's generator of test pictures stands for a camera.
    camera = Source("camera", "testsrc=size=64x48:rate=10", "lavfi")
    monkeypatch.setattr(reader_module, "find_source", lambda video: camera)
    with pytest.raises(ConfigError, match=r"has no end\. .*--end N"):
        open_video("0")
    reader = open_video("0", end=4, every=2)
    assert (len(reader), reader.size) == (2, (48, 64))
    assert [frame.index for frame in reader] == [0, 2]


def test_streams_need_pyav(monkeypatch):
    monkeypatch.setattr(reader_module, "av", None)
    with pytest.raises(VideoError, match="is a stream, which needs PyAV"):
        open_video("https://example.org/clip.mp4")


def test_frames_that_do_not_come_are_said(tmp_path, monkeypatch, caplog):
    path = write_video(tmp_path / "clip.mp4", clip(5))
    monkeypatch.setattr(reader_module, "count_frames", lambda path: 8)
    assert len(list(open_video(path))) == 5
    assert "gave 5 frames; its headers announced 8" in caplog.text


def test_variable_frame_rate_keeps_every_frame(tmp_path, backend):
    times = [0, 10, 50, 51, 400, 405, 1000, 1001]
    reader = open_video(write_video(tmp_path / "clip.mp4", clip(), times=times))
    blocks = [int((frame.image[16, :, 1] > 150).argmax()) for frame in reader]
    assert blocks == list(range(8))  # the block's left edge moves one pixel per frame


def collect(reader, frames):
    for frame in reader:
        frames.append(frame)


@pytest.mark.parametrize("kept", [0.35, 0.5, 0.65, 0.8, 0.95, 0.995])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_truncated_video_gives_its_frames_first(tmp_path, backend, suffix, kept):
    path = write_video(tmp_path / f"clip{suffix}", clip(30))
    whole = [frame.image for frame in open_video(path)]
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    reader = open_video(path)
    frames = []
    with pytest.raises(VideoError) as caught:
        collect(reader, frames)
    assert 5 < len(frames) < 30
    assert [frame.index for frame in frames] == list(range(len(frames)))
    for frame in frames[:-1]:  # the last may be half there
        np.testing.assert_array_equal(frame.image, whole[frame.index])
    message = str(caught.value)
    assert f"{len(frames)} frames were decoded" in message
    assert f"{len(content) - int(len(content) * kept):,} bytes are missing" in message
    # What the message advises works.
    assert len(list(open_video(path, end=len(frames)))) == len(frames)


def test_video_without_its_index(tmp_path, backend):
    path = write_video(tmp_path / "clip.mp4", clip())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(VideoError, match=r"an MP4 or MOV video: .* bytes are missing at its end"):
        open_video(path)


NO_VIDEOS = {
    "empty file": (b"", "an empty file, not a video"),
    "HTML": (b"<html><title>Sign in</title>", "an HTML page, not a video"),
    "text": (b"#EXTM3U\nhttps://example.org/a.ts", "a text file, not a video"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
    "zip": (b"PK\x03\x04" + bytes(40), "a zip archive, not a video"),
    "sound": (b"ID3" + bytes(40), "an MP3 sound file, not a video"),
    "zeros": (bytes(4000), "a file of zero bytes"),
    "noise": (np.random.default_rng(0).bytes(4000), "cannot be read. It is a binary file of unknown format"),
    "header only": (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2", "an MP4 or MOV video: .*has no index"),
}


@pytest.mark.parametrize("case", NO_VIDEOS)
def test_what_is_no_video_is_named(tmp_path, backend, case):
    content, message = NO_VIDEOS[case]
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(VideoError, match=rf"clip\.mp4.*{message}"):
        open_video(tmp_path / "clip.mp4")


def test_one_image_is_no_video(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "frame.jpg")
    with pytest.raises(VideoError, match="a JPEG image, not a video"):
        open_video(tmp_path / "frame.jpg")


def test_missing_video(tmp_path):
    with pytest.raises(MissingFileError, match="no video"):
        open_video(tmp_path / "clip.mp4")


def test_only_sound(tmp_path):
    with av.open(str(tmp_path / "clip.mkv"), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        output.mux(stream.encode(frame))
    with pytest.raises(VideoError, match="no image"):
        open_video(tmp_path / "clip.mkv")


@pytest.mark.parametrize("seed", range(8))
def test_flipped_bytes_raise_video_errors_only(tmp_path, seed):
    path = write_video(tmp_path / "clip.mp4", clip(20))
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    for position in random.integers(40, len(content), 20):
        content[position] ^= random.integers(1, 256)
    path.write_bytes(content)
    frames = []
    with contextlib.suppress(VideoError):
        collect(open_video(path), frames)
    assert [frame.index for frame in frames] == list(range(len(frames)))


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "mpeg4"), (".webm", "libvpx-vp9"), (".mp4", "libx264")])
def test_damage_in_the_middle_gives_the_frames_before_it(tmp_path, suffix, codec):
    path = write_video(tmp_path / f"clip{suffix}", clip(20), codec=codec)
    whole = [frame.image for frame in open_video(path)]
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    path.write_bytes(path.read_bytes().replace(packets[10], b"\xff" * len(packets[10])))
    frames = []
    with pytest.raises(VideoError, match=r"frames were decoded, then it broke off \(Invalid data"):
        collect(open_video(path), frames)
    assert 5 < len(frames) <= 10
    for frame, image in zip(frames, whole, strict=False):
        np.testing.assert_array_equal(frame.image, image)


def test_a_video_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "clip.mp4").touch()
    monkeypatch.setattr(reader_module, "file_kind", refuse)
    with pytest.raises(VideoError, match="may not be read"):
        open_video(tmp_path / "clip.mp4")


def test_live_recordings_are_counted(tmp_path, backend):
    class Pipe:
        """A stream that cannot go back to write lengths into the header."""

        def __init__(self):
            self.content = b""

        def write(self, data):
            self.content += bytes(data)
            return len(data)

    pipe = Pipe()
    with av.open(pipe, "w", format="matroska") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.height, stream.width = 48, 64
        for picture in clip():
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    (tmp_path / "live.mkv").write_bytes(pipe.content)
    reader = open_video(tmp_path / "live.mkv")
    assert len(reader) == len(list(reader)) == 8


# Backwards


def kinds_of_video(tmp_path):
    """The same 70 frames as files of key frames far apart and near, and as a folder."""
    pictures = clip(70)
    return {
        "mp4": write_video(tmp_path / "clip.mp4", pictures),
        "mkv": write_video(tmp_path / "clip.mkv", pictures),
        "every frame a key frame": write_video(tmp_path / "clip.avi", pictures, codec="mjpeg", pixels="yuvj420p"),
        "uneven times": write_video(tmp_path / "uneven.mp4", pictures, times=[n * n for n in range(70)]),
    }


def as_tuples(frames):
    return [(frame.index, frame.name, frame.time, frame.image.tobytes()) for frame in frames]


SELECTIONS = [{}, {"start": 3, "end": 68, "every": 3}, {"end": 5}]


@pytest.mark.parametrize("kind", ["mp4", "mkv", "every frame a key frame", "uneven times"])
@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_frames_come_backwards_and_from_anywhere(tmp_path, kind, selection):
    video = open_video(kinds_of_video(tmp_path)[kind], **selection)
    forwards = as_tuples(video)
    assert as_tuples(video.at(range(len(video)))) == forwards
    assert as_tuples(video.at(range(len(video) - 1, -1, -1))) == forwards[::-1]
    some = sorted({0, len(video) // 2, len(video) - 1})
    for positions in (some, some[::-1], some[1:], [], [some[1]]):
        assert as_tuples(video.at(positions)) == [forwards[position] for position in positions]


def test_seeking_finds_the_groups_and_holds_few_frames(tmp_path, monkeypatch):
    video = open_video(kinds_of_video(tmp_path)["mp4"])
    assert video.frames_held == 32
    forwards = as_tuples(video)
    list(video.at([1, 0]))  # the one pass that notes where frames are
    monkeypatch.setattr(type(video), "__iter__", lambda self: pytest.fail("decoded from the beginning"))
    assert as_tuples(video.at(range(69, 5, -1))) == forwards[:5:-1]


def test_frames_that_seeking_does_not_find_are_decoded_from_the_beginning(tmp_path, monkeypatch):
    video = open_video(kinds_of_video(tmp_path)["mp4"])
    forwards = as_tuples(video)
    list(video.at([1, 0]))
    for index in (40, 41, 66):  # as if other pixels came behind a key frame
        video._places[index] = (video._places[index][0], 0)
    assert as_tuples(video.at(range(69, -1, -1))) == forwards[::-1]


def test_few_large_frames_are_held():
    assert open_frames(np.zeros((2, 48, 64, 3), np.uint8)).frames_held == 1
    held = {(48, 64): 32, (1080, 1920): 32, (2160, 3840): 10, (8000, 8000): 4}
    for size, frames in held.items():
        video = SimpleNamespace(size=size)
        assert VideoReader.frames_held.fget(video) == frames


def test_a_video_that_is_cut_short_says_so_backwards(tmp_path):
    path = write_video(tmp_path / "cut.mp4", clip(70))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VideoError, match="damaged or cut short"):
        list(open_video(path).at([20, 3]))


def test_opencv_reads_backwards_too(tmp_path, monkeypatch):
    monkeypatch.setattr(reader_module, "av", None)
    video = open_video(kinds_of_video(tmp_path)["mp4"])
    forwards = as_tuples(video)
    assert as_tuples(video.at(range(69, -1, -1))) == forwards[::-1]
