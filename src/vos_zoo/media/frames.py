"""Frames of a video one at a time: what every reader offers, folders of images, and files of several images."""

from __future__ import annotations

import abc
import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import ConfigError, MissingFileError, VideoError
from vos_zoo.files import local_path, natural_key, refuse_dangling
from vos_zoo.media.levels import SAMPLES, Levels, LevelsChoice, check_levels, find_levels, to_8_bits
from vos_zoo.media.pictures import count_pictures, load_picture, load_pictures, picture_times

FRAME_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".avif", ".bmp", ".gif", ".webp")
"""Endings of the image files that a folder of frames may hold."""

_MOST_HELD, _LEAST_HELD = 32, 4  # frames
_MOST_HELD_BYTES = 256 * 2**20
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One frame.

    Attributes:
        index: Position in the whole video, from 0.
        name: Name of the frame: the stem of its file, or its position in five digits ("00012").
        image: RGB, uint8, shape (H, W, 3).
        time: When the frame is shown, in seconds on the clock of its file; None if the file does not say.
    """

    index: int
    name: str
    image: NDArray[np.uint8]
    time: Fraction | None = None


class VideoReader(abc.ABC):
    """The selected frames of one video, decoded one at a time; every ``for`` loop starts from the beginning.

    Args:
        path: The file or folder, or the address of a stream.
        size: (H, W) of every frame in pixels, turned as it is shown.
        rate: Frames per second of the whole video; None if unknown.
        all_names: Names of all frames of the video.
        pixel_aspect: Width of a shown pixel by its height.
        start: First frame to read, counted from 0; None means 0.
        end: Frame to stop before; None means the end of the video.
        every: Read every n-th frame.
        levels: Which values of frames of more than 8 bits become 0 and 255.

    Attributes:
        path: As given.
        size: As given.
        all_names: As given.
        pixel_aspect: As given.
        fps: Frames per second at which the selected frames follow one another; None if unknown.

    Raises:
        ConfigError: If ``start``, ``end``, ``every`` or ``levels`` are out of range.
        VideoError: If no frame is selected.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        size: tuple[int, int],
        rate: float | None,
        all_names: Sequence[str],
        pixel_aspect: Fraction = Fraction(1),
        start: int | None = None,
        end: int | None = None,
        every: int = 1,
        levels: LevelsChoice = None,
    ) -> None:
        check_levels(levels)
        start = 0 if start is None else start
        if start < 0 or every < 1 or (end is not None and end <= start):
            raise ConfigError(
                f"Frames from {start} to {end}, every {every}, were asked for. Frames count from 0; the end must lie "
                "behind the start (or be left out), and every must be at least 1."
            )
        if start >= len(all_names):
            raise VideoError(
                f"`{path}` has {len(all_names)} frames, so it cannot start at frame {start}. Start earlier."
            )
        self.path = path
        self.size = size
        self.all_names = all_names
        self.pixel_aspect = pixel_aspect
        self._levels_choice: LevelsChoice = levels
        self._levels: Levels | None = None
        self.fps = None if rate is None else rate / every
        self._start, self._end, self._every = start, end, every

    @property
    def sound(self) -> Path | None:
        """File whose sound goes with the frames, on the same clock as their times, or None."""
        return None

    @property
    def has_known_length(self) -> bool:
        """Whether the number of frames is known before the last one came."""
        return True

    @property
    def is_repeatable(self) -> bool:
        """Whether the frames can be read several times, and so backwards."""
        return True

    @property
    def frames_held(self) -> int:
        """Most frames that reading backwards holds at a time: 32 or 256 MiB of them, whichever is less; 4 at least."""
        height, width = self.size
        return max(_LEAST_HELD, min(_MOST_HELD, _MOST_HELD_BYTES // (3 * height * width)))

    @property
    def names(self) -> Sequence[str]:
        """Names of the selected frames, in their order."""
        return self.all_names[self._start : self._end : self._every]

    def __len__(self) -> int:
        """Count the selected frames, as the index of the file says; a damaged file may give fewer."""
        return len(range(*slice(self._start, self._end, self._every).indices(len(self.all_names))))

    def position(self, frame: VideoFrame) -> int:
        """Return the position of a frame among the selected ones.

        Args:
            frame: One of the selected frames.
        """
        return (frame.index - self._start) // self._every

    def at(self, positions: Sequence[int]) -> Iterator[VideoFrame]:
        """Return some of the selected frames, forwards or backwards.

        Backwards, frames are decoded forwards in groups of :attr:`frames_held`, the last group first. Of a file that
        ends early, the frames that are there come.

        Args:
            positions: Positions among the selected frames, from 0, rising or falling.

        Raises:
            VideoError: If the video is damaged or changes its size; see :meth:`__iter__`.
        """
        if len(positions) < 2 or positions[0] < positions[-1]:
            yield from self._pick(positions)
            return
        step = self.frames_held
        for first in range(0, len(positions), step):
            frames = list(self._pick(positions[first : first + step][::-1]))
            while frames:
                yield frames.pop()

    @abc.abstractmethod
    def __iter__(self) -> Iterator[VideoFrame]:
        """Decode the selected frames, holding one at a time.

        Raises:
            VideoError: If the video ends early or changes its size; all frames before that have been given.
        """

    @abc.abstractmethod
    def _samples(self) -> Iterator[NDArray[Any]]:
        """Decode some frames with all their bits, spread over the whole video."""

    def _decode_from(self, position: int) -> Iterator[VideoFrame]:
        """Decode the selected frames from a position on; where places cannot be found, those before are dropped."""
        return (frame for frame in self if self.position(frame) >= position)

    def _pick(self, positions: Sequence[int]) -> Iterator[VideoFrame]:
        """Give frames at rising positions."""
        if not positions:
            return
        wanted = positions if isinstance(positions, range) else frozenset(positions)
        is_open_end = positions[-1] == len(self) - 1
        for frame in self._decode_from(positions[0]):
            position = self.position(frame)
            if position in wanted:
                yield frame
            # The end of the file is asked for, too: damage is met there.
            if position >= positions[-1] and not is_open_end:
                return

    def _to_8_bits(self, pixels: NDArray[Any], bits: int | None = None) -> NDArray[np.uint8]:
        """Scale pixels of more than 8 bits, all frames alike."""
        if pixels.dtype == np.uint8:
            return pixels
        if self._levels is None:
            wide = (sample for sample in self._samples() if sample.dtype != np.uint8)
            # These pixels too: where frames of both kinds are mixed, the samples may miss the wide ones.
            self._levels = find_levels(
                itertools.chain([pixels], wide), self._levels_choice, name=f"`{self.path}`", bits=bits
            )
        return self._levels.apply(pixels)

    def _spread(self) -> Sequence[int]:
        """Choose frames for samples, the first and the last among them."""
        last = len(self.all_names) - 1
        return sorted({round(number * last / (SAMPLES - 1)) for number in range(SAMPLES)})

    def _selects(self, index: int) -> bool:
        is_inside = index >= self._start and (self._end is None or index < self._end)
        return is_inside and (index - self._start) % self._every == 0

    def _check_size(self, image: NDArray[np.uint8], where: str) -> None:
        height, width = image.shape[:2]
        if (height, width) != self.size:
            raise VideoError(
                f"{where} is {width}x{height} (width x height), the first frame of `{self.path}` is "
                f"{self.size[1]}x{self.size[0]}. All frames must have one size; resize or leave out the odd ones."
            )


class FrameFolder(VideoReader):
    """A folder of images in natural order ("frame2" before "frame10").

    Args:
        path: The folder.
        start: First frame to read, counted from 0 in that order.
        end: Frame to stop before.
        every: Read every n-th frame.
        levels: Which values of frames of more than 8 bits become 0 and 255, see :func:`~vos_zoo.media.open_video`.

    Attributes:
        files: The images, of all frames.

    Raises:
        MissingFileError: If there is no such folder, or frames in it are links to files that are not there.
        VideoError: If it holds no frames, two frames of one name, or its first frame cannot be read.
        ConfigError: If ``start``, ``end``, ``every`` or ``levels`` are out of range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        start: int | None = None,
        end: int | None = None,
        every: int = 1,
        levels: LevelsChoice = None,
    ) -> None:
        path = local_path(path)
        self.files = frame_files(path)
        size = load_picture(self.files[0]).shape[:2]
        names = [file.stem for file in self.files]
        gaps = _gaps(names)
        if gaps:
            _logger.warning(
                "The numbers of the frames in `%s` have gaps: %s. The frames on both sides follow one another as if "
                "nothing were missing; fetch the missing ones if there are any.", path, gaps,
            )  # fmt: skip
        super().__init__(path, size=size, rate=None, all_names=names, start=start, end=end, every=every, levels=levels)

    def __iter__(self) -> Iterator[VideoFrame]:
        """Read the selected frames, holding one at a time."""
        for index in range(*slice(self._start, self._end, self._every).indices(len(self.files))):
            yield self.read(index)

    @property
    def frames_held(self) -> int:
        """One: every frame is a file of its own."""
        return 1

    def _pick(self, positions: Sequence[int]) -> Iterator[VideoFrame]:
        return (self.read(self._start + position * self._every) for position in positions)

    def read(self, index: int) -> VideoFrame:
        """Read one frame, selected or not.

        Args:
            index: Its position, counted from 0.

        Raises:
            VideoError: If it is damaged, or has another size than the first one.
            MissingFileError: If it is no longer there.
        """
        file = self.files[index]
        image = self._to_8_bits(load_picture(file))
        self._check_size(image, f"Frame `{file}`")
        return VideoFrame(index, file.stem, image)

    def _samples(self) -> Iterator[NDArray[Any]]:
        return (load_picture(self.files[index]) for index in self._spread())


class PictureStack(VideoReader):
    """A file of several images: pages of a TIFF file, an animated GIF, WebP, PNG or AVIF file.

    Args:
        path: The file.
        start: First image to read, counted from 0.
        end: Image to stop before.
        every: Read every n-th image.
        levels: Which values of images of more than 8 bits become 0 and 255, see :func:`~vos_zoo.media.open_video`.

    Raises:
        VideoError: If its first image cannot be read, or none is selected.
        ConfigError: If ``start``, ``end``, ``every`` or ``levels`` are out of range.
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
        size = load_picture(path).shape[:2]
        count = count_pictures(path)
        self._times = picture_times(path, count)
        super().__init__(
            path,
            size=size,
            rate=None if self._times is None else float(count / self._times[-1]),
            all_names=frame_numbers(count),
            start=start,
            end=end,
            every=every,
            levels=levels,
        )

    def __iter__(self) -> Iterator[VideoFrame]:
        """Decode the selected images, holding one at a time."""
        assert isinstance(self.path, Path)
        selected = range(*slice(self._start, self._end, self._every).indices(len(self.all_names)))
        for index, pixels in zip(selected, load_pictures(self.path, selected), strict=True):
            image = self._to_8_bits(pixels)
            self._check_size(image, f"Image {index} of `{self.path}`")
            yield VideoFrame(index, self.all_names[index], image, None if self._times is None else self._times[index])

    def _samples(self) -> Iterator[NDArray[Any]]:
        assert isinstance(self.path, Path)
        for index in self._spread():
            yield from load_pictures(self.path, range(index, index + 1))


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read an image as it is shown, upright where the camera noted its orientation.

    Args:
        path: The image file. Values of more than 8 bits are scaled by the range of this image; the frames of a clip,
            which are scaled alike, come from :func:`~vos_zoo.read_frames`.

    Returns:
        RGB, uint8, shape (H, W, 3).

    Raises:
        MissingFileError: If there is no such file.
        VideoError: If it is not a readable image.
    """
    return to_8_bits(load_picture(local_path(path)))


def frame_numbers(count: int) -> list[str]:
    """Name frames by their position, in five digits or more.

    Example:
        >>> frame_numbers(2)
        ['00000', '00001']
    """
    width = max(5, len(str(count - 1)))
    return [f"{index:0{width}d}" for index in range(count)]


def frame_files(folder: Path) -> list[Path]:
    """List the images of a folder in natural order.

    Raises:
        MissingFileError: If there is no such folder, or images in it are links to files that are not there.
        VideoError: If it holds no images, or two of one name.
    """
    if not folder.is_dir():
        raise MissingFileError(f"There is no folder `{folder}`. Give a video file or a folder of frames.")
    # Names with a leading dot are shadows that some systems leave beside real files.
    entries = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: natural_key(p.name))
    images = [p for p in entries if p.suffix.lower() in FRAME_SUFFIXES]
    refuse_dangling(images, "frames")
    files = [p for p in images if p.is_file()]
    if not files:
        folders = [p.name for p in entries if p.is_dir()]
        if folders:
            hint = f"It holds folders ({', '.join(folders[:3])}, …); give the one with the frames."
        elif entries:
            hint = f"It holds {entries[0].name}; frames are images ({', '.join(FRAME_SUFFIXES)})."
        else:
            hint = "It is empty."
        raise VideoError(f"Folder `{folder}` has no frames. {hint}")
    seen: dict[str, Path] = {}
    for file in files:
        other = seen.setdefault(file.stem, file)
        if other is not file:
            raise VideoError(
                f"Folder `{folder}` holds both {other.name} and {file.name}, which are the same frame by name. "
                "Keep frames of one kind in a folder of their own (and masks in another)."
            )
    return files


def _gaps(names: Sequence[str]) -> str:
    """Name the places where the numbering of frames jumps; empty if it is even, or follows no rule."""
    matches = [re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", name, flags=re.DOTALL) for name in names]
    numbered = [match for match in matches if match is not None]
    if len(names) < 3 or len(numbered) < len(names) or len({(match[1], match[3]) for match in numbered}) > 1:
        return ""
    numbers = [int(match[2]) for match in numbered]
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    usual, count = Counter(steps).most_common(1)[0]
    if usual < 1 or 2 * count < len(steps):
        return ""
    jumps = [index for index, step in enumerate(steps) if step > usual]
    named = ", ".join(f"{names[index]} is followed by {names[index + 1]}" for index in jumps[:3])
    return named + (f" and {len(jumps) - 3} more" if jumps[3:] else "")
