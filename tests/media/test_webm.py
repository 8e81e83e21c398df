from __future__ import annotations

import av
import numpy as np
import pytest

from testing.videos import clip
from vos_zoo.media.webm import PLACEHOLDER, note_display_size


def write(path, title, with_sound=False):
    with av.open(str(path), "w", format="webm") as output:
        stream = output.add_stream("libvpx-vp9", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.metadata["title"] = title
        sound = output.add_stream("libopus", rate=48000, layout="mono") if with_sound else None
        for number, picture in enumerate(clip(3)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), format="s16", layout="mono")
            frame.sample_rate = 48000
            output.mux([*sound.encode(frame), *sound.encode()])
    return path


@pytest.mark.parametrize("with_sound", [False, True])
def test_ffmpeg_reads_the_display_size_and_everything_else_stays(tmp_path, with_sound):
    path = write(tmp_path / "a.webm", PLACEHOLDER, with_sound)
    length = path.stat().st_size
    with av.open(str(path)) as container:
        before = [bytes(packet) for packet in container.demux()]
    note_display_size(path, (48, 128))
    assert path.stat().st_size == length
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == 2
        assert "title" not in stream.metadata
        assert [bytes(packet) for packet in container.demux()] == before
    with av.open(str(path)) as container:
        container.seek(40_000)  # positions in the index are still right
        assert sum(1 for _ in container.decode(video=0)) > 0


def test_a_file_without_the_placeholder_stays_as_it_is(tmp_path):
    path = write(tmp_path / "a.webm", "something else")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not found"):
        note_display_size(path, (48, 128))
    assert path.read_bytes() == before
