"""How much a visitor of the page may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vos_zoo.errors import LimitError

if TYPE_CHECKING:
    from vos_zoo.media.frames import VideoReader

__all__ = ["AppLimits"]


@dataclass(frozen=True)
class AppLimits:
    """Limits of one server.

    Attributes:
        upload_bytes: Largest video file.
        frames: Longest video.
        pixels: Largest frame, height times width.
        objects: Most objects of a project.
        running_seconds: Longest tracking at a time; what is finished by then is kept.
        waiting: Most visitors that wait for tracking.
        projects: Most projects at a time; the one that was used longest ago makes room.
        idle_seconds: After how long without use a project is removed.
    """

    upload_bytes: int = 200 * 2**20
    frames: int = 1500
    pixels: int = 4096 * 2304
    objects: int = 20
    running_seconds: float = 1800.0
    waiting: int = 8
    projects: int = 16
    idle_seconds: float = 6 * 3600.0

    def check_video(self, reader: VideoReader) -> None:
        """Refuse a video that is too long or too large.

        Args:
            reader: The video.

        Raises:
            LimitError: If it is.
        """
        if len(reader) > self.frames:
            raise LimitError(
                f"The video has {len(reader)} frames. This page takes up to {self.frames}. Cut it, or segment it with "
                "`vos-zoo segment`, which takes any length."
            )
        height, width = reader.size
        if height * width > self.pixels:
            raise LimitError(
                f"The video has {width}x{height} pixels. This page takes up to {self.pixels:,} of them. Scale it down, "
                "or segment it with `vos-zoo segment`."
            )
