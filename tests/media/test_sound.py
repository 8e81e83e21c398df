from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from testing.videos import clip, write_with_sound
from vos_zoo.media.encodings import PRORES_4444, VP9_ALPHA
from vos_zoo.media.reader import open_video
from vos_zoo.media.sound import SoundCopy
from vos_zoo.media.writer import VideoWriter


def packets(path):
    """The encoded sound of a file: pairs of time in seconds and content."""
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux(audio=0) if packet.size]
        return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in found]


def content(timed):
    """All of it in one; containers group uncompressed sound in different ways."""
    return b"".join(part for _, part in timed)


def copy(source, path, begin, steps):
    """Copy sound up to some times into a video of one frame for each."""
    with av.open(str(path), "w", format="mp4") as output:
        video = output.add_stream("libx264", rate=10)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        sound = SoundCopy(source, output, begin)
        for number, time in enumerate(steps):
            frame = av.VideoFrame.from_ndarray(clip(1)[0], format="rgb24")
            frame.pts = number
            output.mux(video.encode(frame))
            sound.write_until(time)
        output.mux(video.encode())
        sound.close()
    return sound


@pytest.mark.parametrize("codec", ["aac", "libmp3lame", "flac", "pcm_s16le", "libopus"])
def test_sound_is_copied_bit_for_bit(tmp_path, codec):
    source = write_with_sound(tmp_path / "source.mkv", clip(10), codec)
    assert copy(source, tmp_path / "copy.mp4", Fraction(0), [Fraction(n, 2) for n in range(5)]).is_copied
    expected, got = packets(source), packets(tmp_path / "copy.mp4")
    # What lossy codecs put before time 0, to warm up, is not copied.
    expected = [(time, part) for time, part in expected if time >= 0]
    assert len(got) >= 5
    assert content(got) == content(expected)
    if codec != "pcm_s16le":
        assert [time for time, _ in got] == pytest.approx([time for time, _ in expected], abs=2e-3)


def test_sound_before_the_first_and_after_the_last_frame_is_left_out(tmp_path):
    source = write_with_sound(tmp_path / "source.mkv", clip(50), "pcm_s16le")
    copy(source, tmp_path / "copy.mp4", Fraction(1, 2), [Fraction(1, 4), Fraction(1, 2)])
    kept = [(time, part) for time, part in packets(source) if 0.5 <= time < 1]
    assert content(packets(tmp_path / "copy.mp4")) == content(kept)
    assert len(kept) > 20


def test_a_video_without_sound(tmp_path, caplog):
    source = write_with_sound(tmp_path / "source.mkv", clip(3), None)
    assert not copy(source, tmp_path / "copy.mp4", Fraction(0), [Fraction(1)]).is_copied
    assert not caplog.records


def test_sound_that_does_not_fit_is_named(tmp_path, caplog):
    source = write_with_sound(tmp_path / "source.mkv", clip(3), "wavpack")
    assert not copy(source, tmp_path / "copy.mp4", Fraction(0), [Fraction(1)]).is_copied
    assert "(wavpack) does not fit into an MP4 video" in caplog.text


def test_damaged_sound_is_said_and_the_video_goes_on(tmp_path, monkeypatch, caplog):
    source = write_with_sound(tmp_path / "source.mkv", clip(30), "aac")

    def break_off(*arguments):
        yield from ()
        raise av.error.InvalidDataError(1, "Invalid data")

    with av.open(str(tmp_path / "copy.mp4"), "w", format="mp4") as output:
        sound = SoundCopy(source, output, Fraction(0))
        sound._packets = break_off()
        sound.write_until(Fraction(2))
    assert "The sound broke off (Invalid data)" in caplog.text


def test_an_overlay_has_the_times_and_the_sound_of_its_video(tmp_path):
    source = write_with_sound(tmp_path / "source.mkv", clip(50), "aac")
    with VideoWriter(tmp_path / "a.mp4", (48, 64), fps=25, sound=source) as writer:
        for number, picture in enumerate(clip(20)):
            writer.write(picture, Fraction(10 + number, 25))
    expected = [(time - 0.4, part) for time, part in packets(source) if 0.4 <= time < 1.24]
    got = packets(tmp_path / "a.mp4")
    assert content(got) == content(expected)
    assert [time for time, _ in got] == pytest.approx([time for time, _ in expected], abs=2e-3)


def test_times_that_fall_are_left_out(tmp_path):
    source = write_with_sound(tmp_path / "source.mkv", clip(10), "aac")
    with av.open(str(tmp_path / "copy.mp4"), "w", format="mp4") as output:
        sound = SoundCopy(source, output, Fraction(0))
        found = list(sound._packets)
        found[5].pts = found[5].dts = found[3].pts
        sound._packets = iter(found)
        sound.write_until(Fraction(2))
    kept = [part for time, part in packets(source) if time >= 0]
    assert len(packets(tmp_path / "copy.mp4")) == len(kept) - 1


def test_sound_that_breaks_the_header_costs_the_sound_alone(tmp_path, monkeypatch, caplog):
    source = write_with_sound(tmp_path / "source.mkv", clip(10), "aac")

    def refuse(self, path, output, begin, **options):
        raise av.error.ArgumentError(22, "Invalid argument")

    monkeypatch.setattr(SoundCopy, "__init__", refuse)
    with VideoWriter(tmp_path / "a.mp4", (48, 64), fps=25, sound=source) as writer:
        for number, picture in enumerate(clip(3)):
            writer.write(picture, Fraction(number, 25))
    assert "cannot be copied" in caplog.text
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3
        assert not container.streams.audio


def test_sound_of_a_transport_stream(tmp_path):
    source = write_with_sound(tmp_path / "source.ts", clip(30), "aac")
    with VideoWriter(tmp_path / "a.mp4", (48, 64), fps=25, sound=source) as writer:
        for frame in open_video(source):
            writer.write(frame.image, frame.time)
    with av.open(str(tmp_path / "a.mp4")) as container:
        heard = [float(frame.time) for frame in container.decode(audio=0)]
    assert 0 <= heard[0] < 0.05
    assert heard[-1] == pytest.approx(1.2, abs=0.05)


def heard(path):
    """Decode sound to mono samples at 48 kHz, and the time of the first one."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("s16", "mono", 48000)
        frames = [part for frame in container.decode(stream) for part in resampler.resample(frame)]
        return float(frames[0].pts * frames[0].time_base), np.concatenate([f.to_ndarray()[0] for f in frames])


@pytest.mark.parametrize(
    ("codec", "kind"), [("aac", "webm"), ("libmp3lame", "webm"), ("pcm_s16le", "webm"), ("libopus", "mov")]
)
def test_sound_that_does_not_fit_is_encoded_where_that_is_known(tmp_path, codec, kind):
    source = write_with_sound(tmp_path / "source.mkv", clip(50), codec)
    encoding = VP9_ALPHA if kind == "webm" else PRORES_4444
    with VideoWriter(tmp_path / f"a.{kind}", (48, 64), fps=25, sound=source, encoding=encoding) as writer:
        for frame in open_video(source, start=10):
            writer.write(np.dstack([frame.image, np.full((48, 64), 255, np.uint8)]), frame.time)
    with av.open(str(tmp_path / f"a.{kind}")) as container:
        assert container.streams.audio[0].codec_context.name == ("opus" if kind == "webm" else "pcm_s16le")
    (begin, samples), (begin_before, before) = heard(tmp_path / f"a.{kind}"), heard(source)
    assert begin + len(samples) / 48000 == pytest.approx(1.6, abs=0.05)
    # The rising tone tells how the two lie in time: a tenth of a second, looked for within 20 ms.
    at = round((0.8 - begin_before) * 48000)
    tone = before[at : at + 4800].astype(float)
    place = round((0.4 - begin) * 48000)
    scores = [tone @ samples[place + shift : place + shift + 4800].astype(float) for shift in range(-960, 961)]
    assert abs(int(np.argmax(scores)) - 960) < 0.003 * 48000
    assert max(scores) > 0.9 * (tone @ tone)
