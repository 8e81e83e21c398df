"""Reading videos: files through PyAV (or OpenCV where PyAV is not installed), folders, pipes, cameras and streams."""

from __future__ import annotations

import contextlib
import logging
import weakref
import zlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import ConfigError, VideoError
from vos_zoo.files import FileKind, file_kind, missing_bytes
from vos_zoo.limits import pixel_excess
from vos_zoo.media.containers import count_frames, decode_frames, open_container, video_stream
from vos_zoo.media.frames import FrameFolder, PictureStack, VideoFrame, VideoReader, frame_numbers, read_image
from vos_zoo.media.levels import LevelsChoice
from vos_zoo.media.orientation import UPRIGHT, matrix_orientation, swaps_sides, turn_upright
from vos_zoo.media.pictures import count_pictures
from vos_zoo.media.source import Source, copy_pipe, find_source
from vos_zoo.waiting import announced

try:
    import av
    from av.sidedata.sidedata import SideDataContainer
except ImportError:  # an optional extra; OpenCV reads most files too
    av = None

__all__ = [
    "FrameFolder",
    "OpenCVVideo",
    "PictureStack",
    "PyAVVideo",
    "VideoFrame",
    "VideoReader",
    "open_video",
    "read_frames",
    "read_image",
]

_NO_VIDEO = ("image", "audio", "document", "text", "archive", "empty")
_PHOTO = "a JPEG image"  # phones keep a second image in it, such as the gain map, which is not a next frame
_NARROW = 8  # bits per colour of what needs no scaling
_AMBIGUOUS = 16  # bits per value of a type that cameras of 10 to 14 bits are stored in
_logger = logging.getLogger(__name__)


def open_video(
    video: str | Path,
    *,
    start: int | None = None,
    end: int | None = None,
    every: int = 1,
    levels: LevelsChoice = None,
) -> VideoReader:
    """Open a video: a file, a folder of frames, a pipe, a camera or a stream.

    Frames are decoded while they are asked for, one at a time, in the order they are shown, and turned or mirrored as
    the file notes. Frames that players do not show, such as those outside of an edit list, are not frames. HDR is not
    tone-mapped. Frames before ``start`` are decoded and dropped, since seeking is exact in few formats only.

    Args:
        video: A file that PyAV (or OpenCV, without PyAV) reads, a folder of images, a file of several images (TIFF,
            animated WebP, PNG, AVIF or GIF), ``"-"`` for standard input, an address such as ``https://…``, or the
            number of a camera. What is on the disk comes first, whatever its name; ``~`` is the home folder.
        start: First frame to read, counted from 0.
        end: Frame to stop before. Cameras and live streams, which never end, need it.
        every: Read every n-th frame.
        levels: Which values become 0 and 255 if frames have more than 8 bits per colour: ``"clip"`` for the range of
            the clip's values, ``"type"`` for all that the type holds, or a pair (low, high) of stored values. None
            means the clip's range for images, and for grey and RGB videos of 16 bits, which often hold the 10 to 14
            bits of a camera; and the type's range for all other videos. Which it was is logged. Frames of 8 bits stay
            as they are.

    Returns:
        The reader. A video that is damaged on its way raises ``VideoError`` only after all frames before the damage.

    Raises:
        MissingFileError: If there is nothing at ``video``, or frames of a folder are links that lead nowhere.
        VideoError: If it is not a video, cannot be decoded, or has no frames (in the selection).
        ConfigError: If ``start``, ``end``, ``every`` or ``levels`` are out of range, or an endless source has no end.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for number in range(4):
        ...         Image.new("RGB", (32, 16)).save(f"{folder}/{number:05d}.png")
        ...     [(frame.name, frame.image.shape) for frame in open_video(folder, every=2)]
        [('00000', (16, 32, 3)), ('00002', (16, 32, 3))]
    """
    source = find_source(video)
    selection: dict[str, Any] = {"start": start, "end": end, "every": every, "levels": levels}
    if source.kind == "pipe":
        return _open_pipe(source, selection)
    if source.kind == "file":
        return _open_file(Path(source.location), selection)
    if source.kind == "folder":
        return FrameFolder(source.location, **selection)
    if av is None:
        raise VideoError(f"`{video}` is a {source.kind}, which needs PyAV. Install it with `pip install av`.")
    return PyAVVideo(source.location, input_format=source.input_format, **selection)


def read_frames(
    video: str | Path,
    *,
    start: int | None = None,
    end: int | None = None,
    every: int = 1,
    levels: LevelsChoice = None,
) -> Iterator[NDArray[np.uint8]]:
    """Read the frames of a video as a session takes them, one at a time.

    Args:
        video: See :func:`~vos_zoo.media.reader.open_video`, also for the other arguments.
        start: First frame to read, counted from 0.
        end: Frame to stop before.
        every: Read every n-th frame.
        levels: Which values become 0 and 255 if frames have more than 8 bits per colour.

    Returns:
        An iterator of RGB frames, uint8, shape (H, W, 3), turned as they are shown.

    Raises:
        MissingFileError: If there is no such video.
        VideoError: If it cannot be read; a video that is damaged on its way raises it after the frames before that.
        ConfigError: If an argument is out of range.

    Example:
        >>> from vos_zoo.demo import demo_clip
        >>> [frame.shape for frame in read_frames(demo_clip().video, end=2)]
        [(480, 854, 3), (480, 854, 3)]
    """
    reader = open_video(video, start=start, end=end, every=every, levels=levels)
    return (frame.image for frame in reader)


def _open_file(path: Path, selection: dict[str, Any]) -> VideoReader:
    try:
        kind = file_kind(path)
    except PermissionError as error:
        raise VideoError(f"Video `{path}` may not be read ({error.strerror}). Change its permissions.") from error
    is_stack = kind.family == "image" and kind.name != _PHOTO and count_pictures(path) > 1
    if is_stack:
        return PictureStack(path, **selection)
    if kind.family in _NO_VIDEO:
        raise VideoError(f"`{path}` is {kind.name}, not a video. Give a video file or a folder of frames.")
    return (OpenCVVideo if av is None else PyAVVideo)(path, **selection)


def _open_pipe(source: Source, selection: dict[str, Any]) -> VideoReader:
    copy = copy_pipe(source.location)
    try:
        reader = _open_file(Path(copy.name), selection)
    except VideoError as error:
        copy.close()
        raise VideoError(str(error).replace(copy.name, str(source.location))) from error
    except BaseException:
        copy.close()
        raise
    weakref.finalize(reader, copy.close)
    return reader


class PyAVVideo(VideoReader):
    """A video decoded by PyAV.

    Args:
        path: The file, or the address of a stream as a string.
        start: First frame to read, counted from 0.
        end: Frame to stop before.
        every: Read every n-th frame.
        levels: Which values of frames of more than 8 bits become 0 and 255, see :func:`open_video`.
        input_format: FFmpeg's name of a device that ``path`` belongs to.

    Raises:
        VideoError: If it cannot be decoded, or has no frames (in the selection).
        ConfigError: If ``start``, ``end``, ``every`` or ``levels`` are out of range, or there is no ``end`` of what
            never ends.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        start: int | None = None,
        end: int | None = None,
        every: int = 1,
        levels: LevelsChoice = None,
        input_format: str | None = None,
    ) -> None:
        self._input_format = input_format
        self._is_scaling_said = False
        self._places: dict[int, tuple[Fraction | None, int]] = {}
        try:
            with open_container(path, input_format=input_format) as container:
                stream = video_stream(container)
                if stream is not None:
                    _check_declared_size(path, stream.codec_context.height, stream.codec_context.width)
                first = None if stream is None else next(decode_frames(container), None)
                if first is None:
                    raise VideoError(_unreadable(path, "no image in it can be decoded"))
                orientation = _orientation(first)
                size = turn_upright(np.empty((first.height, first.width), np.bool_), orientation).shape
                aspect = stream.sample_aspect_ratio or Fraction(1)
                rate = stream.average_rate or stream.guessed_rate
                is_endless = input_format is not None or (isinstance(path, str) and container.duration is None)
                # Every frame takes some bytes; a number that is only declared could fill the memory with names.
                count = stream.frames if stream.frames <= (container.size or 0) else 0
            if is_endless:
                if end is None:
                    raise ConfigError(
                        f"`{path}` is a camera or a live stream, which has no end. Say before which frame to stop: "
                        "end=N (`--end N`)."
                    )
                count = end
            elif isinstance(path, Path):
                count = count_frames(path)
            elif not count:
                with open_container(path) as container:
                    count = max(1, sum(1 for packet in container.demux(video_stream(container)) if packet.size))
        except av.error.FFmpegError as error:
            raise VideoError(_unreadable(path, error.strerror or str(error))) from error
        super().__init__(
            path,
            size=(size[0], size[1]),
            rate=float(rate) if rate else None,
            all_names=frame_numbers(count),
            pixel_aspect=1 / aspect if swaps_sides(orientation) else aspect,
            start=start,
            end=end,
            every=every,
            levels=levels,
        )

    @property
    def is_repeatable(self) -> bool:
        """Whether it is a file; a stream or camera is over when its frames have been read."""
        return isinstance(self.path, Path)

    @property
    def sound(self) -> Path | None:
        """The file itself; a stream or camera is over when its frames have been read."""
        return self.path if isinstance(self.path, Path) else None

    def __iter__(self) -> Iterator[VideoFrame]:
        """Decode the selected frames, holding one at a time."""
        width = len(self.all_names[0])
        missing = _missing(self.path)
        decoded = 0
        with open_container(self.path, input_format=self._input_format) as container:
            for frame in self._frames(container, is_cut=missing > 0):
                index, decoded = decoded, decoded + 1
                if self._selects(index):
                    image = self._to_8_bits(self._pixels(frame), _bits(frame))
                    self._check_size(image, f"Frame {index}")
                    time = None if frame.pts is None or not frame.time_base else frame.pts * frame.time_base
                    yield VideoFrame(index, f"{index:0{width}d}", image, time)
                # Asking for no frame too many lets `end` stop before a damaged place.
                if decoded == self._end:
                    return
        if missing:
            raise VideoError(_cut_short(self.path, decoded, missing))
        if decoded < len(self.all_names):
            _logger.warning(
                "Video `%s` gave %d frames; its headers announced %d.", self.path, decoded, len(self.all_names)
            )

    def at(self, positions: Sequence[int]) -> Iterator[VideoFrame]:
        """Return some of the selected frames, forwards or backwards.

        Before the first way backwards the file is read once, to note the time and a checksum of every frame: groups of
        frames are then decoded from the key frame before them.

        Args:
            positions: Positions among the selected frames, from 0, rising or falling.
        """
        if len(positions) > 1 and positions[0] > positions[-1] and not self._places:
            with announced(_logger, "Reading the video once, to find its frames backwards"):
                self._places = {frame.index: (frame.time, _checksum(frame.image)) for frame in self}
        yield from super().at(positions)

    def _decode_from(self, position: int) -> Iterator[VideoFrame]:
        """Decode from the key frame before a place that is known, and from the beginning where that leads elsewhere.

        Seeking is exact in few formats only, so every frame is compared with what was noted of it.
        """
        index = self._start + position * self._every
        if position and index in self._places:
            for frame in self._decode_behind_key(index):
                yield frame
                index = frame.index + self._every
        if not self._places or index in self._places:
            yield from super()._decode_from((index - self._start) // self._every)

    def _decode_behind_key(self, index: int) -> Iterator[VideoFrame]:
        """Seek and decode as long as the frames are those that were noted, in their order."""
        numbers = {time: number for number, (time, _) in self._places.items()}
        start = self._places[index][0]
        if start is None or len(numbers) < len(self._places):
            return
        with open_container(self.path) as container, contextlib.suppress(av.error.FFmpegError, VideoError):
            stream = video_stream(container)
            container.seek(int(start / stream.time_base), stream=stream)
            for frame in self._frames(container, is_cut=_missing(self.path) > 0):
                time = None if frame.pts is None or not frame.time_base else frame.pts * frame.time_base
                number = numbers.get(time, -1)
                if number < index:
                    continue
                image = self._to_8_bits(self._pixels(frame), _bits(frame))
                if number != index or _checksum(image) != self._places[number][1]:
                    return
                yield VideoFrame(number, self.all_names[number], image, time)
                index += self._every

    def _frames(self, container: Any, *, is_cut: bool) -> Iterator[Any]:
        decoded = 0
        try:
            for frame in decode_frames(container, is_cut=is_cut):
                yield frame
                decoded += 1
        except av.error.FFmpegError as error:
            # Frames that still wait in the decoder may lie behind the gap, where their numbers would be wrong.
            raise VideoError(_cut_short(self.path, decoded, _missing(self.path), error.strerror)) from error

    def _pixels(self, frame: Any) -> NDArray[Any]:
        """Return the pixels of a frame, upright: 8 bits where FFmpeg's own scaling by the type is what is wanted."""
        bits = _bits(frame)
        is_grey = frame.format.name.startswith(("gray", "ya"))
        choice = self._levels_choice or ("clip" if bits >= _AMBIGUOUS and (is_grey or frame.format.is_rgb) else "type")
        if bits <= _NARROW or choice == "type":
            if bits > _NARROW and not self._is_scaling_said:
                self._is_scaling_said = True
                _logger.warning(
                    "Video `%s` has %d bits per colour; the range of this type becomes 0 to 255 (reported once). "
                    "`--levels clip` and `--levels LOW:HIGH` choose another range.", self.path, bits,
                )  # fmt: skip
            pixels: NDArray[Any] = frame.to_ndarray(format="rgb24")
        else:
            pixels = frame.to_ndarray(format="gray16le" if is_grey else "rgb48le") >> max(0, 16 - bits)
        return turn_upright(pixels, _orientation(frame))

    def _samples(self) -> Iterator[NDArray[Any]]:
        if self._input_format is not None or isinstance(self.path, str):
            raise ConfigError(
                f"`{self.path}` has more than 8 bits per value and is read only once, so that the range of its values "
                "is not known. Give the range: levels=(low, high) (`--levels LOW:HIGH`), or levels='type'."
            )
        chosen = set(self._spread())
        with open_container(self.path) as container, contextlib.suppress(VideoError):
            for index, frame in enumerate(self._frames(container, is_cut=_missing(self.path) > 0)):
                if index in chosen:
                    yield self._pixels(frame)


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

    def __init__(
        self,
        path: Path,
        *,
        start: int | None = None,
        end: int | None = None,
        every: int = 1,
        levels: LevelsChoice = None,
    ) -> None:
        capture = cv2.VideoCapture(str(path.absolute()))
        try:
            size = (int(capture.get(part)) for part in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
            _check_declared_size(path, *size)
            is_read, first = capture.read()
            if not is_read:
                reason = "OpenCV cannot decode it; `pip install av` adds a reader of more formats"
                raise VideoError(_unreadable(path, reason))
            aspect = [round(capture.get(side)) for side in (cv2.CAP_PROP_SAR_NUM, cv2.CAP_PROP_SAR_DEN)]
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
            all_names=frame_numbers(count),
            pixel_aspect=Fraction(*aspect) if min(aspect) > 0 else Fraction(1),
            start=start,
            end=end,
            every=every,
            levels=levels,
        )

    def __iter__(self) -> Iterator[VideoFrame]:
        """Decode the selected frames, holding one at a time."""
        assert isinstance(self.path, Path)
        width = len(self.all_names[0])
        index = 0
        capture = cv2.VideoCapture(str(self.path.absolute()))
        try:
            while capture.grab():
                if self._selects(index):
                    time = Fraction(capture.get(cv2.CAP_PROP_POS_MSEC)).limit_denominator(1000) / 1000
                    is_read, picture = capture.retrieve()
                    if not is_read:
                        break
                    image = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
                    self._check_size(image, f"Frame {index}")
                    yield VideoFrame(index, f"{index:0{width}d}", image, time)
                index += 1
                if index == self._end:
                    return
        finally:
            capture.release()
        missing = missing_bytes(self.path)
        if missing:
            raise VideoError(_cut_short(self.path, index, missing))

    def _samples(self) -> Iterator[NDArray[Any]]:
        return iter(())  # OpenCV gives 8 bits of every video


def _checksum(image: NDArray[np.uint8]) -> int:
    return zlib.crc32(np.ascontiguousarray(image).data)


def _check_declared_size(path: Path | str, height: int, width: int) -> None:
    excess = pixel_excess(height, width)
    if excess is not None:
        raise VideoError(f"Video `{path}` is too large: {excess}.")


def _bits(frame: Any) -> int:
    return max(component.bits for component in frame.format.components)


def _orientation(frame: Any) -> int:
    # What `frame.side_data` gives holds the frame and is held by it, so that every decoded frame, of megabytes, would
    # wait for the garbage collector.
    matrix = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]  # its stub lacks the argument
    return UPRIGHT if matrix is None else matrix_orientation(np.frombuffer(bytes(matrix), np.int32))


def _missing(path: Path | str) -> int:
    return missing_bytes(path) if isinstance(path, Path) else 0


def _cut_short(path: Path | str, decoded: int, missing: int, reason: str | None = None) -> str:
    reason = f"{missing:,} bytes are missing at its end" if missing else f"{reason}"
    return (
        f"Video `{path}` is damaged or cut short: {decoded} frames were decoded, then it broke off ({reason}). "
        f"The frames before that were given. Copy the file again, or stop before frame {decoded} (`--end {decoded}`)."
    )


def _unreadable(path: Path | str, reason: str) -> str:
    if not isinstance(path, Path):
        return f"The stream or camera `{path}` cannot be read: {reason}. Check the address, and that it can be reached."
    kind: FileKind = file_kind(path)
    missing = missing_bytes(path)
    if missing:
        reason = f"{missing:,} bytes are missing at its end ({reason})"
    elif kind.family == "video":
        reason += "; a recording that was interrupted has no index"
    return (
        f"Video `{path}` cannot be read. It is {kind.name}: {reason}. "
        "Copy or export it again (MP4 with H.264 works everywhere), or give a folder of frames."
    )
