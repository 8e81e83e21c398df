"""Frames of a video one at a time: what every reader offers, and folders of images."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vos_zoo.errors import ConfigError, MissingFileError, VideoError
from vos_zoo.files import file_kind, natural_key
from vos_zoo.media.image_files import DAMAGE, open_image

FRAME_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""Endings of the image files that a folder of frames may hold."""


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One frame.

    Attributes:
        index: Position in the whole video, from 0.
        name: Name of the frame: the stem of its file, or its position in five digits ("00012").
        image: RGB, uint8, shape (H, W, 3).
    """

    index: int
    name: str
    image: NDArray[np.uint8]


class VideoReader(abc.ABC):
    """The selected frames of one video, decoded one at a time; every ``for`` loop starts from the beginning.

    Args:
        path: The file or folder.
        size: (H, W) of every frame, as shown (rotation of phone videos applied).
        rate: Frames per second of the whole video; None if unknown.
        all_names: Names of all frames of the video.
        start: First frame to read, counted from 0; None means 0.
        end: Frame to stop before; None means the end of the video.
        every: Read every n-th frame.

    Attributes:
        path: As given.
        size: As given.
        all_names: As given.
        fps: Frames per second at which the selected frames follow one another; None if unknown.

    Raises:
        ConfigError: If ``start``, ``end`` or ``every`` are out of range.
        VideoError: If no frame is selected.
    """

    def __init__(
        self,
        path: Path,
        *,
        size: tuple[int, int],
        rate: float | None,
        all_names: Sequence[str],
        start: int | None = None,
        end: int | None = None,
        every: int = 1,
    ) -> None:
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
        self.fps = None if rate is None else rate / every
        self._start, self._end, self._every = start, end, every

    @property
    def names(self) -> Sequence[str]:
        """Names of the selected frames, in their order."""
        return self.all_names[self._start : self._end : self._every]

    def __len__(self) -> int:
        """Count the selected frames, as the index of the file says; a damaged file may give fewer."""
        return len(range(*slice(self._start, self._end, self._every).indices(len(self.all_names))))

    @abc.abstractmethod
    def __iter__(self) -> Iterator[VideoFrame]:
        """Decode the selected frames, holding one at a time.

        Raises:
            VideoError: If the video ends early or changes its size; all frames before that have been given.
        """

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

    Raises:
        MissingFileError: If there is no such folder.
        VideoError: If it holds no frames, two frames of one name, or its first frame cannot be read.
        ConfigError: If ``start``, ``end`` or ``every`` are out of range.
    """

    def __init__(self, path: str | Path, *, start: int | None = None, end: int | None = None, every: int = 1) -> None:
        path = Path(path)
        self._files = frame_files(path)
        size = read_image(self._files[0]).shape[:2]
        names = [file.stem for file in self._files]
        super().__init__(path, size=size, rate=None, all_names=names, start=start, end=end, every=every)

    def __iter__(self) -> Iterator[VideoFrame]:
        """Read the selected frames, holding one at a time."""
        for index in range(*slice(self._start, self._end, self._every).indices(len(self._files))):
            file = self._files[index]
            image = read_image(file)
            self._check_size(image, f"Frame `{file}`")
            yield VideoFrame(index, file.stem, image)


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read an image as it is shown, upright where the camera noted its orientation.

    Args:
        path: The image file.

    Returns:
        RGB, uint8, shape (H, W, 3).

    Raises:
        MissingFileError: If there is no such file.
        VideoError: If it is no readable image.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"There is no image `{path}`. Check the path.")
    try:
        with open_image(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # "I;16", or "I" in older versions of Pillow
                # Pillow would clip 16-bit grey at 255 instead of scaling it.
                grey = (np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.array(image.convert("RGB"))
    except PermissionError as error:
        raise VideoError(f"Image `{path}` may not be read ({error.strerror}). Change its permissions.") from error
    except Image.DecompressionBombError as error:
        raise VideoError(f"Image `{path}` is too large: {error}.") from error
    except DAMAGE as error:
        kind = "a folder" if path.is_dir() else file_kind(path).name
        raise VideoError(
            f"Image `{path}` cannot be read: it is {kind}, damaged or no image ({error}). "
            "Frames are JPEG, PNG, BMP or WebP files; copy it again or remove it."
        ) from error


def frame_files(folder: Path) -> list[Path]:
    """List the images of a folder in natural order.

    Raises:
        MissingFileError: If there is no such folder.
        VideoError: If it holds no images, or two of one name.
    """
    if not folder.is_dir():
        raise MissingFileError(f"There is no folder `{folder}`. Give a video file or a folder of frames.")
    # Names with a leading dot are shadows that some systems leave beside real files.
    entries = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: natural_key(p.name))
    files = [p for p in entries if p.suffix.lower() in FRAME_SUFFIXES and p.is_file()]
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
