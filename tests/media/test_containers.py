from __future__ import annotations

import subprocess
import sys

import av
import pytest

from testing.videos import clip, cut_by_edit_list, write_video
from vos_zoo.media import containers
from vos_zoo.media.containers import count_frames
from vos_zoo.media.reader import open_video


def shown(path):
    return len(list(open_video(path)))


def joined_half_way(folder, suffix, codec, size):
    """A stream of packets that begins inside a group of frames."""
    path = write_video(folder / f"whole{suffix}", clip(60), codec=codec)
    content = path.read_bytes()
    (folder / f"joined{suffix}").write_bytes(content[size * (len(content) // size // 2) :])
    return folder / f"joined{suffix}"


@pytest.mark.parametrize(
    ("make", "count"),
    [
        pytest.param(lambda folder: write_video(folder / "a.mp4", clip(9)), 9, id="mp4"),
        pytest.param(lambda folder: write_video(folder / "a.mkv", clip(9)), 9, id="mkv, which has no count"),
        pytest.param(lambda folder: write_video(folder / "a.webm", clip(9), codec="libvpx"), 9, id="hidden frames"),
        pytest.param(lambda folder: write_video(folder / "a.ts", clip(9)), 9, id="ts"),
        pytest.param(lambda folder: cut_by_edit_list(write_video(folder / "a.mp4", clip(30)), 6), 24, id="edit list"),
        pytest.param(lambda folder: joined_half_way(folder, ".ts", "libx264", 188), None, id="ts, joined half-way"),
        pytest.param(
            lambda folder: joined_half_way(folder, ".mpg", "mpeg2video", 2048), None, id="mpg, joined half-way"
        ),
    ],
)
def test_frames_that_players_show_are_counted(tmp_path, make, count):
    path = make(tmp_path)
    assert count_frames(path) == shown(path)
    if count is None:
        assert 5 < shown(path) < 60
    else:
        assert shown(path) == count


def test_headers_of_a_cut_file_are_believed(tmp_path):
    path = write_video(tmp_path / "a.mp4", clip(30))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert count_frames(path) == 30  # reading it names the damage


def test_the_index_of_a_long_file_saves_reading_it(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", clip(30))
    opened = []
    monkeypatch.setattr(containers, "open_container", lambda path: opened.append(Watched(path)) or opened[-1])
    assert count_frames(path) == 30
    assert opened[0].read < 10


class Watched:
    """A container that counts the packets that are read of it."""

    def __init__(self, path):
        self.container, self.read = av.open(str(path)), 0

    def __getattr__(self, name):
        return getattr(self.container, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.container.close()

    def demux(self, stream):
        for packet in self.container.demux(stream):
            self.read += 1
            yield packet


def test_a_changed_file_is_counted_again(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", clip(5))
    assert count_frames(path) == 5
    monkeypatch.setattr(containers, "missing_bytes", lambda path: pytest.fail("counted twice"))
    assert count_frames(path) == 5
    monkeypatch.undo()
    assert count_frames(write_video(path, clip(7))) == 7


@pytest.mark.parametrize("name", ["2025-03-07T09:15:40.mp4", "pipe:1.mp4", "data:x.mp4", "clip%03d.mp4"])
def test_a_path_is_never_a_protocol(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = write_video(tmp_path / "a.mp4", clip(3)).rename(name)
    assert count_frames(path) == 3


ABANDONED = """
import logging

import av
from vos_zoo.demo import demo_clip
from vos_zoo.media.containers import decode_frames, open_container

av.logging.set_level(av.logging.DEBUG)
logging.getLogger("libav").setLevel(logging.CRITICAL)
for _ in range(20):
    with open_container(demo_clip().video) as container:
        next(decode_frames(container))
print("done")
"""


def test_a_decoder_that_is_abandoned_while_it_logs_blocks_nothing():
    """In a process of its own, which hangs if the decoder's threads wait for the lock of whoever frees them."""
    run = subprocess.run([sys.executable, "-c", ABANDONED], capture_output=True, text=True, timeout=120)
    assert run.stdout == "done\n", run.stderr


def test_a_title_in_no_known_encoding_is_no_reason_to_refuse_a_video(tmp_path):
    path = write_video(tmp_path / "clip.mp4", clip(3))
    titled = tmp_path / "titled.mp4"
    with av.open(str(path)) as source, av.open(str(titled), "w") as target:
        target.metadata["title"] = "a title of its own"
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    content = titled.read_bytes()
    assert content.count(b"a title") == 1
    titled.write_bytes(content.replace(b"a title", b"\xff\xfetitle"))
    assert shown(titled) == 3
