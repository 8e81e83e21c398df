"""Video containers through PyAV: opening, choosing the stream, and counting the frames that players show."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vos_zoo.files import missing_bytes

try:
    import av
except ImportError:  # an optional extra; OpenCV reads most files too
    av = None

__all__ = ["count_frames", "decode_frames", "open_container", "video_stream"]

_THREADS = 4  # decoding threads; each holds a frame, and an error at the very end can cost as many frames
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
    # Badly encoded titles and the like are no reason to refuse a video. PyAV 19 reads them unasked, without the choice.
    lenient = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}
    return av.open(name, format=input_format, timeout=timeout, **lenient)


def video_stream(container: Any) -> Any:
    """Choose the stream that a player would show; None if there is only sound, or no decoder for it."""
    stream = container.streams.best("video")
    # Without a decoder, PyAV before version 18 crashes the process instead of raising an error.
    return None if stream is None or stream.codec_context is None else stream


def decode_frames(container: Any, *, is_cut: bool = False) -> Iterator[Any]:
    """Decode the frames of a container's video, in the order they are shown.

    Args:
        container: An open container.
        is_cut: Whether the file is known to be cut short.

    Raises:
        av.error.FFmpegError: If a place is damaged; all frames before it have been given.
    """
    stream = video_stream(container)
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = _THREADS
    has_begun = False
    try:
        for packet in container.demux(stream):
            # Half a packet at the cut would make the decoder drop the good frames that wait for reordering.
            if is_cut and packet.is_corrupt:
                continue
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                if has_begun:
                    raise
                continue  # what comes before the first whole group of frames of a recording that starts in its middle
            for frame in frames:
                has_begun = True
                yield frame
    finally:
        # PyAV holds the GIL while it frees a decoder and waits for its threads. A thread that logs needs the GIL, and
        # then both wait for ever: torchvision 0.25 turns logging on. Flushing waits for the threads without the GIL.
        stream.codec_context.flush_buffers()


def count_frames(path: Path) -> int:
    """Count the frames of a video file that are shown, decoding them only where packets do not tell.

    Headers also count frames that an edit list cuts off, and those of a recording that starts in the middle of a
    stream, before the first one that can be decoded.

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
        # The index of an MP4 file knows all frames and what edit lists hide, so that hours of video need not be read.
        index = getattr(stream, "index_entries", None) or ()
        is_indexed = 0 < announced == len(index) and not any(entry.is_discard for entry in index)
        packets, first_shown, decoded_at = 0, None, None
        try:
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                if is_indexed and packets and packet.is_keyframe:
                    packets = announced  # only the first group of frames can refer to frames that are not there
                    break
                if first_shown is None:
                    first_shown = packet.pts
                    is_certain &= packet.is_keyframe
                # Frames that are shown before the first one in the file refer to one that is not there.
                is_early = None not in (packet.pts, first_shown) and packet.pts < first_shown
                # Times of decoding that fall come from guesses about frames without times.
                falls = None not in (packet.dts, decoded_at) and packet.dts <= decoded_at
                is_certain &= not (packet.is_discard or packet.is_corrupt or is_early or falls)
                decoded_at = packet.dts
                packets += 1
        except av.error.FFmpegError:  # damage, which reading the frames will meet and name
            return max(1, announced or packets)
    if is_certain or is_cut:
        return max(1, packets)
    with open_container(path) as container:
        try:
            return max(1, sum(1 for _ in decode_frames(container)))
        except av.error.FFmpegError:
            return max(1, announced or packets)
