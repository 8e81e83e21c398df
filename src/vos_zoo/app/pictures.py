"""The frames of a video as JPEG files, decoded once, for a page that moves through them fast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
from PIL import Image

from vos_zoo.errors import LimitError
from vos_zoo.media.reader import open_video

if TYPE_CHECKING:
    from vos_zoo.app.limits import AppLimits

__all__ = ["FramePictures"]

_LONGER_SIDE = 1280  # pixels
_JPEG_QUALITY = 88


class FramePictures:
    """Images of all frames, at most 1280 pixels wide or high.

    Args:
        video: The video file.
        folder: Where the images go; it is made.
        limits: Limits of the server.

    Attributes:
        video: As given.
        count: Number of frames; what the file says until :meth:`write` has read them.
        size: Height and width of the frames.
        shown_size: Width and height of the images.
        fps: Frames per second.

    Raises:
        VideoError: If the file is not a video; the message is the library's own.
        LimitError: If the video is too long or too large.
    """

    def __init__(self, video: Path, folder: Path, limits: AppLimits) -> None:
        self.video = video
        self._reader = open_video(video)
        limits.check_video(self._reader)
        self._folder = folder
        self.count = len(self._reader)
        self.size = self._reader.size
        self.fps = float(self._reader.fps or 24.0)
        height, width = self.size
        scale = min(1.0, _LONGER_SIDE / max(height, width))
        self.shown_size = max(1, round(width * scale)), max(1, round(height * scale))

    def write(self) -> Iterator[int]:
        """Read the video and write the images.

        Yields:
            How many are written.

        Raises:
            VideoError: If the video cannot be read to its end.
        """
        self._folder.mkdir(parents=True)
        done = 0
        for done, frame in enumerate(self._reader, 1):
            image = frame.image
            if image.shape[1::-1] != self.shown_size:
                image = cv2.resize(image, self.shown_size, interpolation=cv2.INTER_AREA)
            Image.fromarray(image).save(self._path(done - 1), quality=_JPEG_QUALITY)
            yield done
        self.count = done

    def read(self, frame: int) -> bytes:
        """Give an image as JPEG.

        Raises:
            LimitError: If there is no such frame.
        """
        self.check(frame)
        return self._path(frame).read_bytes()

    def check(self, frame: int) -> None:
        """Refuse the number of a frame that is not there.

        Raises:
            LimitError: If there is no such frame.
        """
        if not 0 <= frame < self.count:
            raise LimitError(f"There is no frame {frame}. The video has {self.count}, counted from 0.")

    def _path(self, frame: int) -> Path:
        return self._folder / f"{frame:06d}.jpg"
