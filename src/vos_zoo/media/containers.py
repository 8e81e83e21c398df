"""Video containers through PyAV: opening, choosing the stream, and counting the frames that players show."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from vos_zoo.files import missing_bytes

try:
    import av
except ImportError:  # an optional extra; OpenCV reads most files too
    av = None

__all__ = ["count_frames", "open_container", "video_stream"]

_PATIENCE = 20.0  # seconds that a server may take to answer
# A packet of VP8 may hold a frame that is only a reference for others and never shown.
_HIDDEN_FRAME_CODECS = ("vp8",)


def open_container(location: Path | str, *, input_format: str | None = None) -> Any:
    """Open a video for reading.

    Args:
        location: A path, which is always a local file, whatever is in its name; or an address as a string.
        input_format: Name of the FFmpeg device to open; None lets FFmpeg find the format.
    """
    # An absolute path, because FFmpeg takes what comes before the first colon of a relative one for a protocol.
    name = str(location.absolute()) if isinstance(location, Path) else location
    timeout = None if isinstance(location, Path) else _PATIENCE
    # Badly encoded titles and the like are no reason to refuse a video.
    return av.open(name, format=input_format, metadata_errors="ignore", timeout=timeout)


def video_stream(container: Any) -> Any:
    """Choose the stream that a player would show; None if there is only sound, or no decoder for it."""
    stream = container.streams.best("video")
    # Without a decoder, PyAV before version 18 crashes the process instead of raising an error.
    return None if stream is None or stream.codec_context is None else stream


def count_frames(path: Path) -> int:
    """Count the frames of a video file that are shown, decoding them only where packets do not tell.

    Headers also count frames that an edit list cuts off, and those of a recording that was joined half-way, before the
    first one that can be decoded.

    Args:
        path: The file. The answer is remembered for as long as the file does not change.

    Returns:
        The count, at least 1. Of a file that is cut short or damaged, what its headers or packets announce.

    Raises:
        av.error.FFmpegError: If the file cannot be opened.
    """
    status = path.stat()
    return _count_frames(path.absolute(), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _count_frames(path: Path, size: int, modified: int) -> int:
    with open_container(path) as container:
        stream = video_stream(container)
        # Every frame takes some bytes of the file; a number that it only declares could fill the memory with names.
        announced: int = stream.frames if stream.frames <= size else 0
        is_certain = stream.codec_context.name not in _HIDDEN_FRAME_CODECS
        is_cut = missing_bytes(path) > 0
        if is_cut and announced:
            return announced
        packets, first_shown = 0, None
        try:
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                if first_shown is None:
                    first_shown = packet.pts
                    is_certain &= packet.is_keyframe
                # Frames that are shown before the first one in the file refer to one that is not there.
                is_early = None not in (packet.pts, first_shown) and packet.pts < first_shown
                is_certain &= not (packet.is_discard or packet.is_corrupt or is_early)
                packets += 1
        except av.error.FFmpegError:  # damage, which reading the frames will meet and name
            return max(1, announced or packets)
    if is_certain or is_cut:
        return max(1, packets)
    with open_container(path) as container:
        stream = video_stream(container)
        stream.thread_type = "AUTO"
        try:
            return max(1, sum(1 for _ in container.decode(stream)))
        except av.error.FFmpegError:
            return max(1, announced or packets)
