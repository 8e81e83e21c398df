"""Masks as videos: the objects on a transparent or plain ground, or as a black-and-white matte."""

from __future__ import annotations

import abc
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from vos_zoo.interchange.exporter import ExportedVideo, Exporter, ResultFrame
from vos_zoo.media.encodings import H264, PRORES_4444, VP9_ALPHA, VideoEncoding
from vos_zoo.media.overlay import draw_overlay
from vos_zoo.media.writer import VideoWriter

__all__ = [
    "BlueScreenExporter",
    "GreenScreenExporter",
    "MatteExporter",
    "OverlayExporter",
    "ProResExporter",
    "WebMExporter",
]

_FOLDER_RATE = 24.0  # frames per second of a folder of frames, which does not say it
_KEPT_AROUND = 8  # pixels around an object that keep their colours under zero opacity, which blocks and edges mix in
_KEY_QUALITY = 12  # of x264; edges of a key colour or matte have to survive


class _VideoExporter(Exporter):
    """A video with the times, the sound and the shape of pixels of the source."""

    needs_images = True
    encoding: ClassVar[VideoEncoding]
    quality: ClassVar[int | None] = None

    def __init__(self, path: Path, video: ExportedVideo) -> None:
        super().__init__(path, video)
        self._rate = Fraction(video.fps or _FOLDER_RATE).limit_denominator(1001)
        self._writer = VideoWriter(
            path,
            video.size,
            fps=float(self._rate),
            pixel_aspect=video.pixel_aspect,
            sound=video.sound,
            encoding=self.encoding,
            quality=self.quality,
        )

    @abc.abstractmethod
    def _picture(self, frame: ResultFrame) -> NDArray[np.uint8]:
        """Make a frame of the video."""

    def write(self, frame: ResultFrame) -> None:
        """Append one frame at its time; where the source does not say it, its position tells."""
        time = frame.index / self._rate if frame.time is None else frame.time
        self._writer.write(self._picture(frame), time)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()

    def discard(self) -> None:
        """Close the file."""
        self._writer.close()


class _TransparentExporter(_VideoExporter):
    def _picture(self, frame: ResultFrame) -> NDArray[np.uint8]:
        opacity = frame.opacity()
        square = np.ones((2 * _KEPT_AROUND + 1,) * 2, np.uint8)
        colours = cv2.copyTo(frame.image, cv2.dilate(opacity, square))
        return np.dstack([colours, opacity])


class WebMExporter(_TransparentExporter):
    """VP9 with alpha, which browsers show transparently."""

    encoding = VP9_ALPHA


class ProResExporter(_TransparentExporter):
    """ProRes 4444 in a QuickTime file, for video editors; opacity is stored exactly."""

    encoding = PRORES_4444


class _KeyExporter(_VideoExporter):
    encoding = H264
    quality = _KEY_QUALITY
    ground: ClassVar[tuple[int, int, int]]

    def _picture(self, frame: ResultFrame) -> NDArray[np.uint8]:
        opacity = frame.opacity()
        ground = np.broadcast_to(np.array(self.ground, np.uint8), frame.image.shape)
        if frame.probabilities is None:
            return cv2.copyTo(frame.image, opacity, ground.copy())
        share = opacity[..., None].astype(np.uint16)
        mixed: NDArray[np.uint8] = ((share * frame.image + (255 - share) * ground + 127) // 255).astype(np.uint8)
        return mixed


class GreenScreenExporter(_KeyExporter):
    """The objects in front of plain green (0, 255, 0)."""

    ground = (0, 255, 0)


class BlueScreenExporter(_KeyExporter):
    """The objects in front of plain blue (0, 0, 255), for green objects."""

    ground = (0, 0, 255)


class MatteExporter(_VideoExporter):
    """White where the objects are, black elsewhere."""

    # Images are not looked at, but the video is decoded for the times of its frames.
    encoding = H264
    quality = _KEY_QUALITY

    def _picture(self, frame: ResultFrame) -> NDArray[np.uint8]:
        return np.repeat(frame.opacity()[..., None], 3, axis=2)


class OverlayExporter(_VideoExporter):
    """The video with the masks drawn in, as ``segment_video(overlay=True)`` writes it."""

    encoding = H264

    def _picture(self, frame: ResultFrame) -> NDArray[np.uint8]:
        return draw_overlay(frame.image, frame.mask)
