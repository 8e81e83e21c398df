"""Reading videos: files through PyAV (or OpenCV where PyAV is not installed), and folders of frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import MissingFileError, VideoError
from vos_zoo.files import FileKind, file_kind, missing_bytes
from vos_zoo.limits import pixel_excess
from vos_zoo.media.frames import FrameFolder, VideoFrame, VideoReader, read_image

try:
    import av
except ImportError:  # an optional extra; OpenCV reads most files too
    av = None

__all__ = ["FrameFolder", "OpenCVVideo", "PyAVVideo", "VideoFrame", "VideoReader", "open_video", "read_image"]

_THREADS = 4  # decoding threads; each holds a frame, and an error at the very end can cost as many frames
_NO_VIDEO = ("image", "audio", "document", "text", "archive", "empty")


def open_video(path: str | Path, *, start: int | None = None, end: int | None = None, every: int = 1) -> VideoReader:
    """Open a video file or a folder of frames.

    Frames are decoded while they are asked for, one at a time, in the order they are shown; rotation that a phone noted
    in the file is applied, variable frame rates and more than 8 bits per colour are fine (HDR is not tone-mapped).
    Frames before ``start`` are decoded and dropped, since seeking is exact in few formats only.

    Args:
        path: A file that PyAV (or OpenCV, without PyAV) reads, or a folder of images.
        start: First frame to read, counted from 0.
        end: Frame to stop before.
        every: Read every n-th frame.

    Returns:
        The reader. A video that is damaged on its way raises ``VideoError`` only after all frames before the damage.

    Raises:
        MissingFileError: If there is nothing at ``path``.
        VideoError: If it is no video, cannot be decoded, or has no frames (in the selection).
        ConfigError: If ``start``, ``end`` or ``every`` are out of range.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for number in range(4):
        ...         Image.new("RGB", (32, 16)).save(f"{folder}/{number:05d}.png")
        ...     [(frame.name, frame.image.shape) for frame in open_video(folder, every=2)]
        [('00000', (16, 32, 3)), ('00002', (16, 32, 3))]
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"There is no video `{path}`. Give a video file or a folder of frames.")
    if path.is_dir():
        return FrameFolder(path, start=start, end=end, every=every)
    try:
        kind = file_kind(path)
    except PermissionError as error:
        raise VideoError(f"Video `{path}` may not be read ({error.strerror}). Change its permissions.") from error
    if kind.family in _NO_VIDEO:
        raise VideoError(f"`{path}` is {kind.name}, not a video. Give a video file or a folder of frames.")
    if av is None:
        return OpenCVVideo(path, start=start, end=end, every=every)
    return PyAVVideo(path, start=start, end=end, every=every)


class PyAVVideo(VideoReader):
    """A video file decoded by PyAV.

    Args:
        path: The file.
        start: First frame to read, counted from 0.
        end: Frame to stop before.
        every: Read every n-th frame.

    Raises:
        VideoError: If the file cannot be decoded, or has no frames (in the selection).
        ConfigError: If ``start``, ``end`` or ``every`` are out of range.
    """

    def __init__(self, path: Path, *, start: int | None = None, end: int | None = None, every: int = 1) -> None:
        kind = file_kind(path)
        try:
            with _open(path) as container:
                stream = _video_stream(container)
                if stream is not None:
                    _check_declared_size(path, stream.codec_context.height, stream.codec_context.width)
                first = None if stream is None else next(container.decode(stream), None)
                if first is None:
                    raise VideoError(_unreadable(path, kind, "no picture in it can be decoded"))
                size = _upright(first).shape[:2]
                rate = stream.average_rate or stream.guessed_rate
                count = stream.frames
            # Every frame takes some bytes of the file; a number that it only declares could fill the memory with names.
            if not 0 < count <= path.stat().st_size:
                count = _count_packets(path)
        except av.error.FFmpegError as error:
            raise VideoError(_unreadable(path, kind, error.strerror or str(error))) from error
        super().__init__(
            path,
            size=size,
            rate=float(rate) if rate else None,
            all_names=_numbers(count),
            start=start,
            end=end,
            every=every,
        )

    def __iter__(self) -> Iterator[VideoFrame]:
        """Decode the selected frames, holding one at a time."""
        width = len(self.all_names[0])
        missing = missing_bytes(self.path)
        decoded = 0
        with _open(self.path) as container:
            for frame in self._frames(container, is_cut=missing > 0):
                index, decoded = decoded, decoded + 1
                if self._selects(index):
                    image = _upright(frame)
                    self._check_size(image, f"Frame {index}")
                    yield VideoFrame(index, f"{index:0{width}d}", image)
                # Asking for no frame too many lets `end` stop before a damaged place.
                if decoded == self._end:
                    return
        if missing:
            raise VideoError(_cut_short(self.path, decoded, missing))

    def _frames(self, container: Any, *, is_cut: bool) -> Iterator[Any]:
        stream = _video_stream(container)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = _THREADS
        decoded = 0
        try:
            for packet in container.demux(stream):
                # Half a packet at the cut would make the decoder drop the good frames that wait for reordering.
                if is_cut and packet.is_corrupt:
                    continue
                for frame in packet.decode():
                    yield frame
                    decoded += 1
        except av.error.FFmpegError as error:
            # Frames that still wait in the decoder may lie behind the gap, where their numbers would be wrong.
            raise VideoError(_cut_short(self.path, decoded, missing_bytes(self.path), error.strerror)) from error


class OpenCVVideo(VideoReader):
    """A video file decoded by OpenCV, for installations without PyAV.

    Args:
        path: The file.
        start: First frame to read, counted from 0.
        end: Frame to stop before.
        every: Read every n-th frame.

    Raises:
        VideoError: If the file cannot be decoded, or has no frames (in the selection).
        ConfigError: If ``start``, ``end`` or ``every`` are out of range.
    """

    def __init__(self, path: Path, *, start: int | None = None, end: int | None = None, every: int = 1) -> None:
        capture = cv2.VideoCapture(str(path))
        try:
            size = (int(capture.get(part)) for part in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
            _check_declared_size(path, *size)
            is_read, first = capture.read()
            if not is_read:
                reason = "OpenCV cannot decode it; `pip install av` adds a reader of more formats"
                raise VideoError(_unreadable(path, file_kind(path), reason))
            rate = capture.get(cv2.CAP_PROP_FPS)
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            if not 0 < count <= path.stat().st_size:  # no index in the file, or a wrong one: decode without converting
                count = 1
                while capture.grab():
                    count += 1
        finally:
            capture.release()
        super().__init__(
            path,
            size=first.shape[:2],
            rate=rate if rate > 0 else None,
            all_names=_numbers(count),
            start=start,
            end=end,
            every=every,
        )

    def __iter__(self) -> Iterator[VideoFrame]:
        """Decode the selected frames, holding one at a time."""
        width = len(self.all_names[0])
        index = 0
        capture = cv2.VideoCapture(str(self.path))
        try:
            while capture.grab():
                if self._selects(index):
                    is_read, picture = capture.retrieve()
                    if not is_read:
                        break
                    image = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
                    self._check_size(image, f"Frame {index}")
                    yield VideoFrame(index, f"{index:0{width}d}", image)
                index += 1
                if index == self._end:
                    return
        finally:
            capture.release()
        missing = missing_bytes(self.path)
        if missing:
            raise VideoError(_cut_short(self.path, index, missing))


def _check_declared_size(path: Path, height: int, width: int) -> None:
    excess = pixel_excess(height, width)
    if excess is not None:
        raise VideoError(f"Video `{path}` is too large: {excess}.")


def _numbers(count: int) -> Sequence[str]:
    width = max(5, len(str(count - 1)))
    return [f"{index:0{width}d}" for index in range(count)]


def _open(path: Path) -> Any:
    # Badly encoded titles and the like are no reason to refuse a video.
    return av.open(str(path), metadata_errors="ignore")


def _video_stream(container: Any) -> Any:
    """Choose the stream that a player would show; None if there is only sound, or no decoder for it."""
    stream = container.streams.best("video")
    # Without a decoder, PyAV before version 18 crashes the process instead of raising an error.
    return None if stream is None or stream.codec_context is None else stream


def _count_packets(path: Path) -> int:
    """Count frames without decoding them, for files that do not say how many they have."""
    with _open(path) as container:
        return max(1, sum(1 for packet in container.demux(_video_stream(container)) if packet.size))


def _upright(frame: Any) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    # PyAV counts degrees counter-clockwise, as np.rot90 counts quarter turns.
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))


def _cut_short(path: Path, decoded: int, missing: int, reason: str | None = None) -> str:
    reason = f"{missing:,} bytes are missing at its end" if missing else f"{reason}"
    return (
        f"Video `{path}` is damaged or cut short: {decoded} frames were decoded, then it broke off ({reason}). "
        f"The frames before that were given. Copy the file again, or stop before frame {decoded} (`--end {decoded}`)."
    )


def _unreadable(path: Path, kind: FileKind, reason: str) -> str:
    missing = missing_bytes(path)
    if missing:
        reason = f"{missing:,} bytes are missing at its end ({reason})"
    elif kind.family == "video":
        reason += "; a recording that was interrupted has no index"
    return (
        f"Video `{path}` cannot be read. It is {kind.name}: {reason}. "
        "Copy or export it again (MP4 with H.264 works everywhere), or give a folder of frames."
    )
