"""Writing results: folders of masks that can be continued, and videos that browsers play."""

from __future__ import annotations

import contextlib
import logging
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import ConfigError, MaskError, MissingExtraError, OutputExistsError, ShapeError
from vos_zoo.files import atomic_path, is_leftover
from vos_zoo.media.encodings import H264, VideoEncoding, find_encoder
from vos_zoo.media.masks import write_mask
from vos_zoo.media.sound import SoundCopy
from vos_zoo.media.webm import PLACEHOLDER, note_display_size

try:
    import av
except ImportError:  # an optional extra; only VideoWriter needs it
    av = None

_logger = logging.getLogger(__name__)
_BITS_PER_PIXEL = 0.15  # for encoders without a constant-quality mode; generous for H.264
_TICK = Fraction(1, 90_000)  # seconds; the clock of MPEG, of which all usual frame rates are whole parts
_BT709, _LIMITED_RANGE = 1, 1  # ISO/IEC 23091-2 codes; what players assume of video
_PNG_HEAD, _PNG_TAIL = b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x00IEND\xaeB`\x82"


class MaskWriter:
    """A folder of masks, one PNG per frame, named like the frame.

    Every file appears complete or not at all, so a run that is interrupted loses nothing and can be continued.

    Args:
        folder: Where to write; made if it does not exist.
        palette: Colours of the ids, shape (K, 3); None means ``davis_palette()``.
        resume: Continue an earlier run: complete masks in the folder count as done.
        overwrite: Replace masks of the same names; other files stay as they are.

    Attributes:
        folder: As given.
        done: Names of the frames whose masks are complete, from this run and, with ``resume``, from earlier ones.

    Raises:
        OutputExistsError: If the folder has files in it and neither ``resume`` nor ``overwrite`` is on, or if
            ``folder`` is a file.
        ConfigError: If both are on.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     MaskWriter(folder).write("00000", np.zeros((2, 2), np.uint8)).name
        ...     sorted(MaskWriter(folder, resume=True).done)
        '00000.png'
        ['00000']
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        palette: NDArray[np.uint8] | None = None,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self._palette = palette
        if resume and overwrite:
            raise ConfigError(
                "Both resume and overwrite were asked for. Continue the earlier run or replace it, not both."
            )
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputExistsError(
                f"`{self.folder}` is a file where an output folder was expected. Choose a new name."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        entries = list(self.folder.iterdir())
        visible = sorted(entry.name for entry in entries if not entry.name.startswith("."))
        if visible and not (resume or overwrite):
            more = f" and {len(visible) - 1} more" if len(visible) > 1 else ""
            raise OutputExistsError(
                f"Output folder `{self.folder}` is not empty: it holds {visible[0]}{more}. "
                "Choose a new folder, continue the earlier run with resume=True (`--resume`), or replace its masks "
                "with overwrite=True (`--overwrite`)."
            )
        for entry in entries:
            if is_leftover(entry.name):
                entry.unlink()
        self.done: set[str] = set()
        if resume:
            self.done = {entry.stem for entry in entries if entry.suffix == ".png" and _is_complete_png(entry)}

    def path(self, name: str) -> Path:
        """Return the file of a frame's mask, whether it exists or not.

        Args:
            name: The frame's name.

        Raises:
            MaskError: If the name is empty or would lead out of the folder.
        """
        if not name or name.startswith(".") or "/" in name or "\\" in name:
            raise MaskError(f"Frame name {name!r} cannot name a mask file. Use a plain name such as '00012'.")
        return self.folder / f"{name}.png"

    def write(self, name: str, mask: NDArray[Any]) -> Path:
        """Write the mask of one frame.

        Args:
            name: The frame's name.
            mask: Object ids 0..65535, shape (H, W).

        Returns:
            The file that was written.

        Raises:
            MaskError: If the mask holds no ids that can be written, or the name is not a file name.
        """
        path = self.path(name)
        write_mask(path, mask, self._palette)
        self.done.add(name)
        return path


class VideoWriter:
    """A video, written frame by frame: H.264 (index first) that browsers and phones play, or another encoding.

    The file appears, or replaces an older one, when the writer is closed. Leaving the ``with`` block closes it, after
    an error too, so that the frames written until then can be watched. In H.264, frames of odd size grow by a copied
    row or column, since it stores colours for blocks of 2x2 pixels.

    Args:
        path: Where to write; its ending is one of the encoding's.
        size: (H, W) of the frames.
        fps: Frames per second, of frames that come without their times.
        pixel_aspect: Width of a shown pixel by its height; players stretch the video by it.
        sound: Video whose sound is copied where the container can hold it; needs frames with their times in that
            video. A file without sound is fine.
        encoding: What kind of video it is.
        quality: Constant rate factor, 0 is best; None takes the encoding's own. The second-best encoders ignore it.

    Attributes:
        path: As given.
        frames: Number of frames written so far.

    Raises:
        MissingExtraError: If PyAV is not installed.
        ConfigError: If ``fps``, ``size`` or ``quality`` are out of range, or the name has another ending.
        VideoError: If the installed PyAV has no encoder of this kind.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        *,
        fps: float,
        pixel_aspect: Fraction = Fraction(1),
        sound: Path | None = None,
        encoding: VideoEncoding = H264,
        quality: int | None = None,
    ) -> None:
        if av is None:
            raise MissingExtraError(
                "Writing a video needs PyAV, which is not installed. Install it with `pip install av`."
            )
        self.path = Path(path)
        self.frames = 0
        if self.path.suffix.lower() not in encoding.suffixes:
            raise ConfigError(f"Video `{path}` must end in one of {', '.join(encoding.suffixes)}. Rename it.")
        quality = encoding.quality if quality is None else quality
        if not 0 < fps <= 1000 or min(size) < 1 or not 0 <= (quality or 0) <= encoding.worst_quality:
            raise ConfigError(
                f"A video with fps={fps}, size={tuple(size)}, quality={quality} was asked for. Expected "
                f"0 < fps <= 1000, (H, W) of at least 1, and a quality from 0 to {encoding.worst_quality}."
            )
        self._rate = Fraction(fps).limit_denominator(1001)  # 29.97 becomes 30000/1001
        self._size = tuple(size)
        self._pixel_aspect = pixel_aspect
        self._sound_path = sound
        self._sound: SoundCopy | None = None
        self._begin: Fraction | None = None  # time of the first frame; None if frames come without times
        self._last = -1  # presentation time of the last frame, in ticks
        self._interval = 0  # ticks between the two closest frames, for which the last one is shown; 0 if unknown
        self._quality = quality
        self._encoding = encoding
        self._encoder = find_encoder(encoding)
        self._has_placeholder = encoding.container == "webm" and pixel_aspect != 1
        self._partial = self.path
        self._container: Any = None
        self._stream: Any = None
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def write(self, image: NDArray[np.uint8], time: Fraction | None = None) -> None:
        """Append one frame.

        Args:
            image: RGB, uint8, shape (H, W, 3); RGBA, shape (H, W, 4), if the encoding has alpha.
            time: When it is shown, in seconds; that of the first frame becomes 0. None keeps to ``fps``.

        Raises:
            ShapeError: If the image has another size or type.
        """
        expected = (*self._size, 4 if self._encoding.has_alpha else 3)
        if image.shape != expected or image.dtype != np.uint8:
            raise ShapeError(
                f"The frame has shape {image.shape} and type {image.dtype}; this video takes uint8 {expected}. "
                "Resize or convert it first."
            )
        if self._container is None:
            self._open(time)
        rows, columns = (new - old for new, old in zip(self._encoded_size, self._size, strict=True))
        padded = np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(padded, format="rgba" if self._encoding.has_alpha else "rgb24").reformat(
            format=self._encoding.pixels,
            dst_colorspace="itu709",
            threads=1,  # with more, FFmpeg 8 leaves a few wrong pixels now and then in formats of 10 bits
        )
        shown = self.frames / self._rate
        if self._begin is not None and time is not None:
            shown = time - self._begin
        # Some files give two frames one time; encoders and players need rising ones.
        frame.pts = max(self._last + 1, round(shown / self._tick))
        if self.frames:
            self._interval = min(self._interval or frame.pts, frame.pts - self._last)
        self._last = frame.pts
        frame.time_base = self._tick
        self._mux(self._container, self._stream.encode(frame))
        self.frames += 1
        if self._sound is not None:
            self._sound.write_until(frame.pts * self._tick)

    def close(self) -> None:
        """Finish the file; without any frame there is no file. Closing twice does no harm."""
        if self._container is None:
            return
        container, self._container = self._container, None
        with self._cleanup:
            with container:
                self._mux(container, self._stream.encode())
                if self._sound is not None:
                    self._sound.write_until((self._last + self._interval) * self._tick + 1 / self._rate)
                    self._sound.close()
            if self._has_placeholder:
                height, width = self._size
                note_display_size(self._partial, (height, max(1, round(width * self._pixel_aspect))))

    def _mux(self, container: Any, packets: list[Any]) -> None:
        for packet in packets:
            packet.duration = self._interval or round(1 / self._rate / self._tick)  # counts for the last one
            container.mux(packet)

    @property
    def _encoded_size(self) -> tuple[int, ...]:
        return tuple(length + length % 2 if self._encoding.needs_even_size else length for length in self._size)

    @property
    def _tick(self) -> Fraction:
        """Seconds between the times that frames can have."""
        return 1 / self._rate if self._begin is None else _TICK

    def _open(self, time: Fraction | None) -> None:
        self._begin = time
        partial = self._partial = self._cleanup.enter_context(atomic_path(self.path))
        if self._sound_path is None or time is None:
            self._start(partial)
        elif not self._start_with_sound(partial, self._sound_path, time, may_copy=True) and (
            # Some codecs are refused by the header of a container that lists them.
            self._encoding.sound_encoder is None
            or not self._start_with_sound(partial, self._sound_path, time, may_copy=False)
        ):
            _logger.warning("The sound of `%s` cannot be copied and is left out.", self._sound_path)
            self._start(partial)

    def _start_with_sound(self, path: Path, sound: Path, begin: Fraction, *, may_copy: bool) -> bool:
        try:
            self._start(path, sound, begin, may_copy=may_copy)
        except (av.error.FFmpegError, ValueError) as error:
            _logger.info("The header of `%s` failed with the sound of `%s`: %s.", self.path, sound, error)
            self._sound = None
            return False
        return True

    def _start(
        self, path: Path, sound: Path | None = None, begin: Fraction = Fraction(0), *, may_copy: bool = True
    ) -> None:
        """Open the file, and write its header."""
        # An absolute path, because FFmpeg takes what comes before the first colon of a relative one for a protocol.
        encoding = self._encoding
        index_first = {"movflags": "+faststart"} if encoding.container in ("mp4", "mov") else {}
        container = av.open(str(path.absolute()), "w", format=encoding.container, options=index_first)
        stream: Any = container.add_stream(self._encoder, rate=self._rate)
        stream.height, stream.width = self._encoded_size
        stream.pix_fmt = encoding.pixels
        stream.metadata.update(encoding.stream_metadata | ({"title": PLACEHOLDER} if self._has_placeholder else {}))
        context = stream.codec_context
        context.color_range, context.colorspace = _LIMITED_RANGE, _BT709
        context.color_primaries, context.color_trc = _BT709, _BT709
        context.sample_aspect_ratio = self._pixel_aspect
        context.time_base = self._tick
        if self._begin is not None:
            # With reordered frames and uneven times, MP4 files would end before their last frames.
            context.max_b_frames = 0
        if self._encoder == encoding.encoders[0]:
            stream.options = {**encoding.options, **({} if self._quality is None else {"crf": str(self._quality)})}
        else:
            stream.bit_rate = round(stream.height * stream.width * float(self._rate) * _BITS_PER_PIXEL)
        if sound is not None:
            self._sound = SoundCopy(sound, container, begin, encoder=encoding.sound_encoder, may_copy=may_copy)
        container.start_encoding()
        self._container, self._stream = container, stream


def _is_complete_png(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(len(_PNG_HEAD))
        if head != _PNG_HEAD:
            return False
        file.seek(max(0, path.stat().st_size - len(_PNG_TAIL)))
        return file.read() == _PNG_TAIL
