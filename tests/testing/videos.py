"""Tiny generated videos with known content."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

QUADRANTS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0))  # top left, top right, bottom left, bottom right
ROTATIONS = {
    0: (1, 0, 0, 1),
    90: (0, 1, -1, 0),
    180: (-1, 0, 0, -1),
    270: (0, -1, 1, 0),
}
"""Display matrices (a, b, c, d) by degrees clockwise, ISO/IEC 14496-12 section 8.3.2."""
MATRICES = {
    1: ROTATIONS[0],
    2: (-1, 0, 0, 1),
    3: ROTATIONS[180],
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: ROTATIONS[90],
    7: (0, -1, -1, 0),
    8: ROTATIONS[270],
}
"""Display matrices (a, b, c, d) by EXIF orientation."""


def clip(frames: int = 8, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """Make RGB frames in which a bright block moves one pixel to the right per frame over fixed texture."""
    height, width = size
    texture = np.random.default_rng(0).integers(0, 90, (height, width, 3), dtype=np.uint8)
    pictures = [texture.copy() for _ in range(frames)]
    for number, picture in enumerate(pictures):
        picture[height // 4 : height // 2, number : number + width // 4] = (40, 220, 160)
    return pictures


def write_video(
    path: Path,
    pictures: list[np.ndarray],
    *,
    codec="libx264",
    pixels="yuv420p",
    times=None,
    pixel_aspect: Fraction | None = None,
) -> Path:
    """Encode frames, index first; ``times`` are milliseconds for a variable frame rate, else there are 25 a second."""
    with av.open(
        str(path), "w", options={"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}
    ) as output:
        stream = output.add_stream(codec, rate=1000 if times else 25)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.gop_size = 4
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if codec == "libx264":
            stream.options = {"crf": "4"}
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = times[number] if times else number
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def write_with_sound(path: Path, pictures: list[np.ndarray], sound: str | None) -> Path:
    """Encode 25 frames a second, with a rising tone in the codec ``sound`` that lasts as long."""
    rate = 48000
    seconds = len(pictures) / 25
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25)
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        audio = None if sound is None else output.add_stream(sound, rate=rate, layout="mono")
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            output.mux(video.encode(frame))
        output.mux(video.encode())
        if audio is not None:
            time = np.arange(round(seconds * rate)) / rate
            tone = (8000 * np.sin(2 * np.pi * (300 * time + 200 * time**2))).astype(np.int16)[None]
            for begin in range(0, tone.shape[1], 960):
                frame = av.AudioFrame.from_ndarray(tone[:, begin : begin + 960], format="s16", layout="mono")
                frame.sample_rate, frame.pts = rate, begin
                output.mux(audio.encode(frame))
            output.mux(audio.encode())
    return path


def write_frames(folder: Path, pictures: list[np.ndarray], names: list[str] | None = None) -> Path:
    """Write frames as PNG (or as the endings of ``names`` say)."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / (names[number] if names else f"{number:05d}.png"))
    return folder


def quadrants(size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Make a frame of four coloured quarters."""
    picture = np.zeros((*size, 3), np.uint8)
    rows, columns = size[0] // 2, size[1] // 2
    for number, colour in enumerate(QUADRANTS):
        top, left = rows * (number // 2), columns * (number % 2)
        picture[top : top + rows, left : left + columns] = colour
    return picture


def turn(path: Path, degrees: int) -> Path:
    """Note in an MP4 file that players shall turn the picture clockwise, as phones do."""
    return set_matrix(path, ROTATIONS[degrees])


def set_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Note in an MP4 file how players shall turn and mirror the picture: one of the ``MATRICES``."""
    data = bytearray(path.read_bytes())
    # Version 0 track header: type, version and flags, 5 words, 2 words, 4 half words, then the matrix.
    place = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def cut_by_edit_list(path: Path, frames: int) -> Path:
    """Copy an MP4 file of 25 frames a second with an edit list that hides its first frames, as phones trim."""
    trimmed = path.with_name(f"trimmed-{path.name}")
    with av.open(str(path)) as source, av.open(str(trimmed), "w", options={"avoid_negative_ts": "disabled"}) as output:
        stream = source.streams.video[0]
        copied = output.add_stream_from_template(stream)
        shift = int(frames / 25 / stream.time_base)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copied
                output.mux(packet)
    return trimmed
